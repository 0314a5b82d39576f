"""A small file is written over the one before that was like it: its bytes are those of a file made afresh."""

import threading

import h5py
import numpy as np
import pytest
import toy_run

from meanfield.files import genealogy, hdf5, new_files, publishing
from meanfield.files.recording import Recording
from meanfield.files.trajectory import Trajectory

KINDS = {
    "as it is": {},
    "longer": {"steps": 30},
    "other data": {"arrays": {"x": toy_run.X + 1, "y": toy_run.Y - 1}},
    "more data": {"arrays": {"x": np.ones((9, 2)), "y": np.ones(9), "weights": np.ones(9)}},
    "no samples": {"arrays": {}},
    "a longer text": {"provenance": {"author": "somebody", "command": "x" * 3000}},
    "a formula": {"identity": {"series": {"mine": "0.0"}}},
    "more neurons": {"first": toy_run.start(11)},
    "float32": {"first": toy_run.start(dtype=np.float32)},
    "masses that vary": {"mass_varies": True},
    "events": {"births": 3},
    "more events": {"births": 5},
}


@pytest.fixture(autouse=True)
def afresh():
    forget()
    yield
    forget()


def forget():
    for kept in list(new_files._kept.values()):
        new_files._close(*kept)
    new_files._kept.clear()


def finished(path, steps=20, status="finished", births=0, **more):
    recording = toy_run.create(path, "replace", steps, **more)
    for born in range(births):
        source = np.arange(8)
        source[born] = 7
        recording.log(genealogy.rows(source, born + 1, 0.1 * (born + 1), born + 1))
    memory = toy_run.record(recording, None, steps, 100)
    recording.finish(memory, {"energy": 1 / (1 + steps)}, status)
    return path


@pytest.mark.parametrize("second", KINDS)
@pytest.mark.parametrize(
    "first", ["as it is", "a formula", "more data", "more neurons", "more events"]
)
def test_whatever_was_written_before_a_file_has_the_same_bytes(first, second, tmp_path):
    alone = finished(tmp_path / "alone.h5", **KINDS[second]).read_bytes()
    forget()
    finished(tmp_path / "before.h5", **KINDS[first])
    assert finished(tmp_path / "run.h5", **KINDS[second]).read_bytes() == alone
    assert finished(tmp_path / "run.h5", **KINDS[second]).read_bytes() == alone


def test_nothing_is_made_in_a_file_like_the_one_before(tmp_path, monkeypatch):
    def new(*_, **__):
        raise AssertionError("made again")

    finished(tmp_path / "before.h5")
    monkeypatch.setattr(hdf5, "_new", new)
    monkeypatch.setattr(h5py.h5g, "create", new)
    monkeypatch.setattr(h5py.h5a, "create", new)
    other = {"arrays": {"x": toy_run.X * 2, "y": toy_run.Y}, "provenance": {"author": "nobody"}}
    with Trajectory(finished(tmp_path / "run.h5", status="finished", **other)) as run:
        np.testing.assert_array_equal(run.data.x, toy_run.X * 2)
        assert len(run) == 5


def test_a_file_that_could_not_be_written_is_not_written_over(tmp_path, monkeypatch):
    alone = finished(tmp_path / "alone.h5").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(publishing.schema, "write_views", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            finished(tmp_path / "fails.h5")
    assert finished(tmp_path / "run.h5").read_bytes() == alone


def test_larger_files_are_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(new_files, "KEPT", 1000)
    finished(tmp_path / "run.h5")
    assert not new_files._kept


def test_threads_write_each_their_own(tmp_path):
    alone, found = finished(tmp_path / "alone.h5").read_bytes(), []

    def several(number):
        for turn in range(4):
            found.append(finished(tmp_path / f"{number}-{turn}.h5").read_bytes())

    threads = [threading.Thread(target=several, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16 and set(found) == {alone}


def test_an_extension_has_the_data_and_formulas_of_its_run(tmp_path):
    path = finished(tmp_path / "run.h5", **KINDS["more data"], **KINDS["a formula"])
    with Trajectory(path) as run:
        before = run.data_sha256, run.identity, run.arrays["weights"].tobytes()
    recording, memory = Recording.extend(path)
    recording.finish(memory, {})
    with Trajectory(path) as run:
        assert (run.data_sha256, run.identity, run.arrays["weights"].tobytes()) == before
