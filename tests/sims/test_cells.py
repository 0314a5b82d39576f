"""Batches of short runs: kept with their settings, done once, refused where they are another study's."""

from functools import partial

import numpy as np
import pytest

from sims import approach_to_lazy, random_functions
from sims.lab import cells

ABOUT = {"m": 8, "gammas": (0.5, 1.0)}


def test_a_batch_is_done_once_and_read_back_with_its_settings(tmp_path):
    calls = []

    def work():
        calls.append(1)
        return {"x": [1.0, 2.0]}

    for _ in range(2):
        cells.fill([(tmp_path / "new" / "a.npz", ABOUT, work)])
    about, numbers = cells.read(tmp_path / "new" / "a.npz")
    assert len(calls) == 1 and about == {"m": 8, "gammas": [0.5, 1.0]}
    np.testing.assert_array_equal(numbers["x"], [1.0, 2.0])


def test_another_study_is_refused_before_any_work_and_loses_nothing(tmp_path):
    cells.write(tmp_path / "b.npz", ABOUT, {"x": 1.0})
    before = (tmp_path / "b.npz").read_bytes()
    batches = [(tmp_path / f"{name}.npz", {**ABOUT, "m": 16}, lambda: pytest.fail()) for name in "ab"]  # fmt: skip
    with pytest.raises(ValueError, match=r"another study; different here: m \(16, in the file 8\)"):
        cells.fill(batches)
    assert [path.name for path in tmp_path.iterdir()] == ["b.npz"]
    assert (tmp_path / "b.npz").read_bytes() == before


def test_an_interrupted_study_goes_on_with_the_batch_that_was_in_hand(tmp_path):
    """What is done stays, what was in hand leaves nothing, and the end is that of an undisturbed one."""
    stopped = []

    def work(name):
        if name == "b" and not stopped:
            stopped.append(name)
            raise KeyboardInterrupt
        return {"x": np.array([ord(name)])}

    def batches(folder):
        return [(folder / f"{name}.npz", ABOUT, partial(work, name)) for name in "abc"]

    with pytest.raises(KeyboardInterrupt):
        cells.fill(batches(tmp_path / "one"))
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["a.npz"]
    for name in ("one", "two"):
        cells.fill(batches(tmp_path / name))
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("one", "two")
    )
    assert one == two and sorted(one) == ["a.npz", "b.npz", "c.npz"]


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(ValueError, match=r"a\.npz is not a whole file .* remove it"):
        cells.missing(tmp_path / "a.npz", ABOUT)
    with pytest.raises(ValueError, match="there are no runs to measure"):
        cells.found(tmp_path, "*.h5")


def test_files_of_two_studies_make_no_figure(tmp_path):
    """The widths of one study, and one of another in the same folder: 2 and 3 networks each."""
    for m, networks in ((4, 2), (8, 3)):
        config = random_functions.Config(widths=(m, 2 * m), networks=networks, points=5)
        path, about, _ = cells.by_width(config, tmp_path, lambda config, m: {})[0]
        cells.write(path, about, {"f": np.zeros((networks, 5)), "off": np.zeros(networks)})
    with pytest.raises(ValueError, match="the files are of different studies"):
        random_functions.collect(random_functions.Config(), tmp_path)


def test_table_and_figure_are_made_again_from_the_files_alone(tmp_path, capsys):
    """Settings and all: --redraw needs no other option."""
    small = ["--widths", "4", "8", "--narrow", "4", "6", "--gammas", "0.5", "1", "--seeds", "2"]  # fmt: skip
    small += [
        "--groups",
        "2",
        "--group",
        "2",
        "--n",
        "4",
        "--test",
        "5",
        "--t-end",
        "0.5",
        "--out",
        str(tmp_path),
    ]
    assert approach_to_lazy.main(small) == 0
    made = {path: path.read_bytes() for path in tmp_path.iterdir() if path.suffix != ".npz"}
    assert len(made) == 4
    for path in made:
        path.unlink()
    assert approach_to_lazy.main(["--redraw", "--out", str(tmp_path)]) == 0
    assert {path: path.read_bytes() for path in made} == made
    assert approach_to_lazy.main([*small, "--seeds", "3"]) == 2
    assert "another study" in capsys.readouterr().err
