"""Runs that are cut off before each of their calls that change the disk: by a kill, and by a power
cut that loses and reorders what was not fsynced (helpers/disk_model.py).

Whatever is left: what is published can be read, no frame of a checkpoint is lost, a file that was
there before is whole or replaced, and the run that goes on has the bits of an undisturbed one.
"""

import pytest
import toy_run
from disk_model import Disk, folders_left
from toy_run import advance, create, extend, record, whole

from meanfield.files import hdf5, new_files
from meanfield.files.recording import Recording, unfinished
from meanfield.files.trajectory import Trajectory

# files of so many bytes are made in memory; frames of so many bytes are written together, and those of
# one by one last of all; calls that there are at least, of which one in so many is cut before, by so
# many power cuts
AMOUNTS = [
    (0, hdf5.AT_ONCE, 200, 21, 1),
    (0, 1, 200, 21, 1),
    (new_files.IN_MEMORY, hdf5.AT_ONCE, 15, 3, 1),
    pytest.param((0, hdf5.AT_ONCE, 200, 1, 8), marks=pytest.mark.slow),
    pytest.param((0, 1, 200, 1, 8), marks=pytest.mark.slow),
    pytest.param((new_files.IN_MEMORY, hdf5.AT_ONCE, 15, 1, 8), marks=pytest.mark.slow),
]


def content(path):
    with Trajectory(path) as run:
        return run.content_hash()


def short(path):
    whole(path, steps=10)


def nothing(path):
    """Before a run of a new name."""


def replaced(path):
    recording = create(path, exists="replace")
    recording.finish(record(recording, None, 20, 8), {})


WORKS = {
    "run": (nothing, lambda path: advance(path, 20, 8)),
    "at once": (nothing, lambda path: advance(path, 20, 100)),
    "extension": (short, lambda path: extend(path, 20)),
    "replaced": (short, replaced),
}


def cuts_of(folder, prepare, work, monkeypatch):
    """All cuts of a work; `promised`: how many frames its last checkpoint has published."""
    folder.mkdir()
    prepare(folder / "run.h5")
    disk = Disk(folder)
    checkpoint = Recording.checkpoint

    def noted(self, memory):
        checkpoint(self, memory)
        disk.promised = self.frame_count

    with monkeypatch.context() as patch, disk.watched():
        patch.setattr(Recording, "checkpoint", noted)
        work(folder / "run.h5")
    return disk.cuts


@pytest.mark.parametrize("amount", AMOUNTS)
@pytest.mark.parametrize("name", WORKS)
def test_nothing_published_is_lost_wherever_a_run_is_cut(name, amount, tmp_path, monkeypatch):
    toy_run.start()
    at_most, together, least, stride, most = amount
    monkeypatch.setattr(new_files, "IN_MEMORY", at_most)
    monkeypatch.setattr(hdf5, "AT_ONCE", together)
    prepare, work = WORKS[name]
    right = content(whole(tmp_path / "whole.h5"))
    prepare(tmp_path / "old.h5")
    old = content(tmp_path / "old.h5") if prepare is short else None
    cuts = cuts_of(tmp_path / "watched", prepare, work, monkeypatch)
    assert len(cuts) > least

    for cut, folder in folders_left(cuts[::stride], tmp_path / "cut", most):
        path = folder / "run.h5"
        found = content(path) if path.exists() else None
        assert found == right or (found == old and look(path, cut.promised or 0))
        if found != right or unfinished(path):
            work(path)
        assert content(path) == right, cut.call


def look(path, promised):
    """The parts of a run that goes on have what was promised."""
    if promised:
        with Trajectory(path.with_name("run.h5.parts")) as run:
            assert len(run) >= promised
            run.content_hash()
    return True


def given_up(path):
    """An unfinished run of ten steps, with two checkpoints."""
    recording = create(path, steps=10, exists="replace")
    record(recording, None, 8, 4)
    recording.close()


def goes_on(path):
    """The run that is there, to its end."""
    recording, memory = Recording.reopen(path)
    with recording:
        steps = round(recording.config["t_end"] / 0.1)
        memory = record(recording, memory, steps, 8)
        recording.finish(memory, **(recording.final or {"summary": {}}))


def test_a_run_that_gives_up_an_unfinished_one_is_never_mixed_with_it(tmp_path, monkeypatch):
    """Cut off before its first checkpoint: neither goes on with a checkpoint of the other."""
    toy_run.start()
    rights = [content(whole(tmp_path / f"{steps}.h5", steps=steps)) for steps in (10, 20)]
    cuts = cuts_of(tmp_path / "watched", given_up, replaced, monkeypatch)
    early = [cut for cut in cuts if not cut.promised]
    for cut, folder in folders_left(early, tmp_path / "cut", 8):
        path = folder / "run.h5"
        if unfinished(path):
            goes_on(path)
        assert not path.exists() or content(path) in rights, cut.call
