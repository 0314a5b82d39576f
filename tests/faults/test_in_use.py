"""While somebody holds the lock of a run, every way in says so and changes no byte, whatever the
folder holds so far: the holder may change it at any moment.
"""

import fcntl
from pathlib import Path

import pytest
import toy_run

import meanfield as mf
from meanfield.files import verification
from meanfield.files.durable import InUse, lock
from meanfield.files.recording import Recording, unfinished
from sims.commands import inspect
from sims.lab.config import IN_USE

FLOW = mf.GradientFlow(mf.EmpiricalRisk(toy_run.NETWORK, toy_run.X, toy_run.Y))


def simulate(path, exists, steps=20):
    recorder = mf.Recorder(path, mf.every(5), exists=exists)
    return mf.simulate(
        FLOW, toy_run.start(), mf.RK4, dt=0.1, n_steps=steps, observers=[recorder], progress=False
    )


def unfinished_run(path):
    with toy_run.create(path) as recording:
        toy_run.record(recording, None, 12, 5)


def torn_start(path):
    """What a power cut leaves before the first checkpoint."""
    toy_run.create(path).close()
    start = path.with_name("run.h5.parts") / "start.h5"
    start.write_bytes(start.read_bytes()[:1000])


def extension(path):
    simulate(path, "error")
    recording, _ = Recording.extend(path)
    recording.close()


HELD = {
    "nothing": lambda path: None,
    "a torn start": torn_start,
    "a start": lambda path: toy_run.create(path).close(),
    "an unfinished run": unfinished_run,
    "the remainder of a finished run": lambda path: simulate(path, "error"),
    "an extension": extension,
    "a replacement of what is no run": lambda path: path.write_text("no run"),
}
WAYS = {
    "mf.resume": lambda path: mf.resume(path, progress=False),
    "mf.resume to t_end": lambda path: mf.resume(path, t_end=9.0, progress=False),
    "simulate, error": lambda path: simulate(path, "error"),
    "simulate, resume": lambda path: simulate(path, "resume"),
    "simulate another, resume": lambda path: simulate(path, "resume", steps=3),
    "simulate, replace": lambda path: simulate(path, "replace"),
    "Recording.create": toy_run.create,
    "Recording.reopen": Recording.reopen,
    "Recording.extend": Recording.extend,
    "begin_again": verification.begin_again,
}


def content(folder):
    return {
        path: path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))
    }


@pytest.fixture(params=HELD, ids=[name.replace(" ", "_") for name in HELD])
def held(request, tmp_path):
    """The name of a run whose folder holds this, under the lock of somebody else."""
    path = tmp_path / "run.h5"
    HELD[request.param](path)
    folder = path.with_name("run.h5.parts")
    folder.mkdir(exist_ok=True)
    with lock(folder / "lock", str(path)):
        yield path


@pytest.mark.parametrize("way", WAYS.values(), ids=[name.replace(" ", "_") for name in WAYS])
def test_a_run_that_is_held_is_said_to_be_in_use(held, way):
    before = content(held.parent)
    with pytest.raises(InUse, match=r"run\.h5 is in use by process \d+ on .*; wait until"):
        way(held)
    assert content(held.parent) == before


def test_repair_of_a_run_that_is_held_ends_with_6(held, capsys):
    before = content(held.parent)
    assert inspect.main(["repair", str(held)]) == IN_USE
    assert "run.h5 is in use by process" in capsys.readouterr().err
    assert content(held.parent) == before


def test_what_nobody_holds_is_as_it_was(tmp_path):
    """The remainder of a run that never began, with the lock of a dead process in it."""
    path = tmp_path / "run.h5"
    folder = path.with_name("run.h5.parts")
    folder.mkdir()
    (folder / "lock").write_text("process 1 on elsewhere\n")
    with pytest.raises(FileNotFoundError, match="no run at"):
        mf.resume(path)
    assert not unfinished(path)
    simulate(path, "resume")
    assert mf.resume(path).step == 20 and not folder.exists()


def test_a_lock_whose_text_is_damaged_is_held_all_the_same(tmp_path):
    path = tmp_path / "run.h5"
    with toy_run.create(path):
        path.with_name("run.h5.parts").joinpath("lock").write_bytes(b"process \xff")
        for way in (toy_run.create, Recording.reopen):
            with pytest.raises(InUse, match="in use by process \N{REPLACEMENT CHARACTER};"):
                way(path)
        with pytest.raises(InUse):
            lock(path.with_name("run.h5.parts") / "lock", "run.h5")


def test_of_two_that_make_the_folder_at_once_one_has_the_run(tmp_path, monkeypatch):
    path, mkdir = tmp_path / "run.h5", Path.mkdir

    def second(folder, **given):
        mkdir(folder)  # the other's, between our look and our mkdir
        mkdir(folder, **given)

    monkeypatch.setattr(Path, "mkdir", second)
    toy_run.create(path).close()
    assert unfinished(path)


def test_who_only_looks_whether_a_run_is_held_keeps_nobody_from_it(tmp_path, monkeypatch):
    """The lock is asked for shared, for an instant; a writer that comes then asks again."""
    path = tmp_path / "lock"
    path.touch()
    with open(path) as looking:
        fcntl.flock(looking, fcntl.LOCK_SH | fcntl.LOCK_NB)
        monkeypatch.setattr("time.sleep", lambda _: looking.close())
        lock(path, "run.h5").close()
