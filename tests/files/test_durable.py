"""A file takes the place of another whole, or not at all."""

import os

import pytest

from meanfield.files.durable import creating, replacing

WRITERS = [replacing, creating]


@pytest.mark.parametrize("writer", WRITERS)
def test_the_name_is_that_of_the_complete_file_at_the_end_of_the_block(tmp_path, writer):
    target = tmp_path / "table.csv"
    with writer(target) as new:
        new.write_text("a,b\n")
        assert new.suffix == ".csv" and new.parent == tmp_path and not target.exists()
    assert target.read_text() == "a,b\n" and os.listdir(tmp_path) == ["table.csv"]


@pytest.mark.parametrize("writer", WRITERS)
def test_a_block_that_fails_leaves_the_folder_as_it_was(tmp_path, writer):
    (tmp_path / "other").touch()
    with pytest.raises(ZeroDivisionError), writer(tmp_path / "table.csv") as new:
        new.write_text("half")
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == ["other"]


def test_an_old_file_is_replaced_by_one_and_kept_by_the_other(tmp_path):
    target = tmp_path / "table.csv"
    target.write_text("old")
    with pytest.raises(FileExistsError), creating(target) as new:
        new.write_text("new")
    assert target.read_text() == "old"
    with replacing(target) as new:
        new.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new" and os.listdir(tmp_path) == ["table.csv"]


def test_contents_are_durable_before_the_name_and_the_name_before_the_end(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace", "link"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *a, name=name, real=real: (calls.append(name), real(*a))[1]
        )
    for writer, rename in ((replacing, "replace"), (creating, "link")):
        calls.clear()
        with writer(tmp_path / rename) as new:
            new.touch()
        assert calls == ["fsync", rename, "fsync"]
