"""Recording: whatever happens to the process or the disk, what was published stays, and the run
goes on to the same bits.
"""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import toy_run
from broken_disk import one_write_fails
from sweeps import sweep

import meanfield as mf
from meanfield.files import durable, new_files, parts, publishing
from meanfield.files import recording as recording_module
from meanfield.files.durable import IncompatibleFile, InUse
from meanfield.files.recording import Recording, unfinished
from meanfield.files.trajectory import Trajectory

ROOT = Path(__file__).resolve().parents[2]


def hashes(folder, *arguments):
    """What toy_run prints in a process of its own, which may fork and kill as it likes."""
    command = [
        sys.executable,
        str(ROOT / "tests" / "helpers" / "toy_run.py"),
        str(folder),
        *arguments,
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=120
    ).stdout.split()


def names(folder):
    return sorted(os.listdir(folder))


def parts_of(path):
    return path.with_name(path.name + ".parts")


def interrupted(path, steps=12, checkpoint_every=4):
    """A run that was closed after three checkpoints; returns its folder."""
    with toy_run.create(path) as recording:
        toy_run.record(recording, None, steps, checkpoint_every)
    return parts_of(path)


def newest(folder, kind):
    return sorted(folder.glob(f"{kind}-*"))[-1]


# ---- kills


@pytest.mark.process
def test_twenty_kills_at_random_instants_leave_the_uninterrupted_content_hash(tmp_path):
    expected = Trajectory(toy_run.whole(tmp_path / "whole.h5", steps=60)).content_hash()
    found = hashes(tmp_path, "random", "20")
    assert found and set(found) == {expected}


@pytest.mark.parametrize(
    ("what", "least"),
    sweep([("at_once", 10), ("every", 30), ("extension", 30)], lane="process"),
)
def test_a_kill_before_any_durable_call_leaves_the_uninterrupted_content_hash(
    tmp_path, what, least
):
    """Between creation and the removal of the parts: in a run, in one without checkpoints, in the
    extension of a finished one.
    """
    expected = Trajectory(toy_run.whole(tmp_path / "whole.h5")).content_hash()
    found = hashes(tmp_path, what)
    assert len(found) > least and set(found) == {expected}


def test_the_content_hash_does_not_depend_on_the_cadence_of_checkpoints(tmp_path):
    runs = [
        toy_run.whole(tmp_path / f"{every}.h5", checkpoint_every=every) for every in (1, 3, 100)
    ]
    assert len({Trajectory(run).content_hash() for run in runs}) == 1


@pytest.mark.parametrize("checkpoint_every", [7, 100])
def test_a_run_killed_while_its_parts_are_removed_is_finished(
    h5_path, monkeypatch, checkpoint_every
):
    recording = toy_run.create(h5_path)
    memory = toy_run.record(recording, None, 20, checkpoint_every)
    with monkeypatch.context() as patch:
        patch.setattr(parts.Parts, "remove", lambda self: None)
        recording.finish(memory, {})
    assert h5_path.exists() and parts_of(h5_path).exists() and not unfinished(h5_path)
    with pytest.raises(ValueError, match="is finished"):
        Recording.reopen(h5_path)
    assert not parts_of(h5_path).exists()


def test_a_run_killed_while_it_is_merged_says_that_only_this_is_left(h5_path, monkeypatch):
    recording = toy_run.create(h5_path)
    memory = toy_run.record(recording, None, 20, 7)
    with monkeypatch.context() as patch, recording:
        patch.setattr(publishing, "move", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            recording.finish(memory, {"energy_defect": 2.0}, status="diverged")
    recording, memory = Recording.reopen(h5_path)
    assert recording.final == {"status": "diverged", "summary": {"energy_defect": 2.0}}
    recording.finish(memory, **recording.final)
    with Trajectory(h5_path) as run:
        assert run.status == "diverged" and run.summary == {"energy_defect": 2.0} and len(run) == 5


def test_a_run_killed_before_its_first_checkpoint_starts_from_its_start(h5_path):
    toy_run.create(h5_path).close()
    recording, memory = Recording.reopen(h5_path)
    assert memory is None and recording.final is None
    assert np.array_equal(recording.start.theta, toy_run.start().theta)
    assert recording.start.origin == (toy_run.LAW, 3)
    recording.close()


def test_a_run_killed_before_its_start_was_written_never_began(h5_path):
    toy_run.create(h5_path).close()
    (parts_of(h5_path) / "start.h5").unlink()
    with pytest.raises(ValueError, match="killed before it began"):
        Recording.reopen(h5_path)
    assert names(h5_path.parent) == []


@pytest.mark.parametrize("left", [0, 1, 2])
def test_a_run_whose_start_a_power_cut_has_torn_never_began(h5_path, left):
    """Up to the first checkpoint start.h5 is not fsynced: nothing, half, or half and zeros may be left."""
    toy_run.create(h5_path).close()
    began = parts_of(h5_path) / "start.h5"
    content = began.read_bytes()
    half = len(content) // 2
    began.write_bytes((b"", content[:half], content[:half] + bytes(len(content) - half))[left])
    assert not unfinished(h5_path)
    toy_run.create(h5_path).close()
    assert began.read_bytes() == content
    assert unfinished(h5_path)


# ---- runs that are over before their first checkpoint: from memory into the file


def over_at_once(path):
    """(recording, memory) of a run of 20 steps of which nothing is in parts yet."""
    recording = toy_run.create(path)
    return recording, toy_run.record(recording, None, 20, 100)


def test_a_run_over_before_its_first_checkpoint_is_written_once(h5_path, monkeypatch):
    expected = Trajectory(toy_run.whole(h5_path.with_name("whole.h5"))).content_hash()
    made = []
    real = durable.os.replace
    monkeypatch.setattr(
        durable.os,
        "replace",
        lambda source, target: (made.append(Path(target).name), real(source, target)),
    )
    recording, memory = over_at_once(h5_path)
    recording.finish(memory, {})
    assert made == ["start.h5", "run.h5"] and Trajectory(h5_path).content_hash() == expected


def test_a_run_over_before_its_first_checkpoint_waits_for_the_disk_twice(h5_path, monkeypatch):
    """For what the file holds, before it has its name, and for that name."""
    calls, real = [], {name: getattr(os, name) for name in ("fsync", "replace")}
    for name in real:
        monkeypatch.setattr(os, name, lambda *a, name=name: (calls.append(name), real[name](*a))[1])
    recording, memory = over_at_once(h5_path)
    recording.finish(memory, {})
    assert calls == ["replace", "fsync", "replace", "fsync"]


def test_the_first_checkpoint_makes_the_start_and_the_names_of_its_folder_durable(
    h5_path, monkeypatch
):
    synced = []
    for name in ("sync", "sync_folder"):
        real = getattr(recording_module, name)
        monkeypatch.setattr(
            recording_module, name, lambda path, real=real: (synced.append(path), real(path))
        )
    with toy_run.create(h5_path) as recording:
        assert not synced
        recording.checkpoint({})
        assert synced == [parts_of(h5_path) / "start.h5", h5_path.parent, parts_of(h5_path)]
        recording.checkpoint({})
        assert len(synced) == 3


@pytest.mark.parametrize("checkpoint_every", [7, 100])
def test_data_that_were_damaged_during_the_run_are_not_put_into_its_file(h5_path, checkpoint_every):
    """What is in memory is in parts then, which say what is left to do."""
    recording = toy_run.create(h5_path)
    memory = toy_run.record(recording, None, 20, checkpoint_every)
    began = parts_of(h5_path) / "start.h5"
    damaged = bytearray(began.read_bytes())
    damaged[damaged.index(toy_run.X.tobytes())] ^= 1
    began.write_bytes(damaged)
    with pytest.raises(IncompatibleFile, match=r"start\.h5 is damaged"):
        recording.finish(memory, {})
    assert not h5_path.exists()
    assert len(Trajectory(parts_of(h5_path))) == 5


def test_another_run_that_is_to_replace_it_is_not_taken_for_what_it_was_made_of(h5_path):
    """Killed between the renaming and the removal of its parts a run is finished; a begun one
    beside it is not.
    """
    recording, memory = over_at_once(h5_path)
    recording.finish(memory, {})
    toy_run.create(h5_path, exists="replace", provenance={"author": "else"}).close()
    assert unfinished(h5_path)
    assert Recording.reopen(h5_path)[1] is None


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_what_interrupts_it_finds_everything_in_parts(h5_path, monkeypatch, error):
    recording, memory = over_at_once(h5_path)
    with monkeypatch.context() as patch, recording:
        patch.setattr(publishing, "move", lambda *_: (_ for _ in ()).throw(error))
        with pytest.raises(error):
            recording.finish(memory, {"energy_defect": 2.0})
    assert not h5_path.exists() and len(Trajectory(h5_path)) == 5
    recording, memory = Recording.reopen(h5_path)
    assert recording.final == {"status": "finished", "summary": {"energy_defect": 2.0}}
    recording.finish(memory, **recording.final)
    assert len(Trajectory(h5_path)) == 5


def test_a_file_that_differs_from_what_is_in_memory_is_not_published(h5_path, monkeypatch):
    recording, memory = over_at_once(h5_path)
    real = publishing.schema.write_series
    with monkeypatch.context() as patch, recording:
        patch.setattr(
            publishing.schema,
            "write_series",
            lambda f, name, s, t, values: real(f, name, s, t, -values),
        )
        with pytest.raises(IncompatibleFile, match="differs from the parts"):
            recording.finish(memory, {})
    assert not h5_path.exists() and len(Trajectory(h5_path)) == 5


@pytest.mark.parametrize("at_most, written", [(new_files.IN_MEMORY, 0), (0, 0), (0, 30), (0, 90)])
def test_where_the_disk_refuses_the_file_the_parts_are_tried(
    h5_path, monkeypatch, at_most, written
):
    """One write fails (of one; written piece by piece the file has about 100); then there is space
    again: nobody notices.
    """
    recording, memory = over_at_once(h5_path)
    monkeypatch.setattr(new_files, "IN_MEMORY", at_most)
    failed = one_write_fails(monkeypatch, written)
    recording.finish(memory, {})
    assert failed and len(Trajectory(h5_path)) == 5 and not parts_of(h5_path).exists()


# ---- checkpoints


def test_memory_comes_back_exactly(h5_path):
    memory = {
        "step": 3,
        "dt": np.float64(0.1) * 3,
        "rate": float("inf"),
        "bad": float("nan"),
        "name": 'γ, "quoted"',
        "nothing": None,
        "flag": np.bool_(True),
        "huge": 2**80,
        "nested": {
            "list": [1, 2.5, {"stages": np.arange(12, dtype=np.float32).reshape(3, 4)}],
            "pair": (1, 2),
        },
        "empty": np.empty((0, 3)),
        "scalar": np.array(1.5),
        "mask": np.array([True, False]),
        "infinite": np.array([np.nan, -np.inf, -0.0]),
    }
    with toy_run.create(h5_path) as recording:
        recording.checkpoint(memory)
    recording, read = Recording.reopen(h5_path)
    recording.close()
    nested = read.pop("nested")
    assert nested["pair"] == [1, 2] and nested["list"][:2] == [1, 2.5]
    np.testing.assert_array_equal(
        nested["list"][2]["stages"], np.arange(12, dtype=np.float32).reshape(3, 4), strict=True
    )
    for name, value in read.items():
        np.testing.assert_array_equal(
            value, memory[name], strict=isinstance(memory[name], np.ndarray)
        )
    assert np.signbit(read["infinite"][2]) and read.keys() | {"nested"} == memory.keys()


def test_memory_that_cannot_be_kept_is_refused_and_nothing_is_published(h5_path):
    with toy_run.create(h5_path) as recording:
        with pytest.raises(TypeError, match="a checkpoint holds numbers"):
            recording.checkpoint({"file": object()})
    assert names(parts_of(h5_path)) == ["lock", "start.h5"]


def test_two_checkpoints_are_kept_and_segments_are_never_touched_again(h5_path):
    with toy_run.create(h5_path) as recording:
        toy_run.record(recording, None, 7, 4)
        before = {
            path: (path.stat().st_ino, path.stat().st_mtime_ns)
            for path in parts_of(h5_path).glob("segment-*")
        }
        toy_run.record(recording, {"step": 7}, 20, 4)
    assert len(list(parts_of(h5_path).glob("checkpoint-*"))) == 2
    assert len(list(parts_of(h5_path).glob("segment-*"))) == 5
    assert all(
        (path.stat().st_ino, path.stat().st_mtime_ns) == mark for path, mark in before.items()
    )


def test_pending_bytes_count_what_a_kill_would_lose(h5_path):
    with toy_run.create(h5_path) as recording:
        assert recording.pending_bytes == 0
        before = recording.last_checkpoint_time
        recording.frame(toy_run.state_at(0, recording.start))
        recording.observe("energy", 0, 0.0, 1.0)
        assert recording.pending_bytes == recording.start.theta.nbytes + 24
        recording.checkpoint({})
        assert (
            recording.pending_bytes == 0
            and before <= recording.last_checkpoint_time <= time.monotonic()
        )
        assert recording.frame_count == 1


def test_frames_and_series_go_forward(h5_path):
    with toy_run.create(h5_path) as recording:
        recording.frame(toy_run.state_at(4, recording.start))
        recording.checkpoint({})
    recording, _ = Recording.reopen(h5_path)
    with recording:
        with pytest.raises(ValueError, match="at step 4 already; got step 4"):
            recording.frame(toy_run.state_at(4, recording.start))
        with pytest.raises(ValueError, match=r"theta \(8, 4\) float64; got theta \(9, 4\)"):
            recording.frame(toy_run.LAW.sample(9))
        recording.observe("energy", 1, 0.1, 0.0)
        with pytest.raises(ValueError, match="series/energy"):
            recording.observe("energy", 0, 0.0, 0.0)
        with pytest.raises(ValueError, match="slash"):
            recording.observe("a/b", 0, 0.0, 0.0)


# ---- damage


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [truncate, flip, os.unlink])
@pytest.mark.parametrize("kind", ["checkpoint", "segment"])
def test_a_damaged_newest_checkpoint_or_segment_gives_way_to_the_one_before(h5_path, kind, damage):
    expected = Trajectory(toy_run.whole(h5_path.with_name("whole.h5"))).content_hash()
    folder = interrupted(h5_path)
    damage(newest(folder, kind))
    recording, memory = Recording.reopen(h5_path)
    assert memory["step"] == 7 and len(list(folder.glob("segment-*"))) == 2
    recording.finish(toy_run.record(recording, memory, 20, 4), {})
    assert Trajectory(h5_path).content_hash() == expected


def test_a_damaged_segment_that_every_checkpoint_names_is_named(h5_path):
    folder = interrupted(h5_path)
    flip(folder / "segment-000001.h5")
    with pytest.raises(
        IncompatibleFile, match=r"no valid checkpoint left.*segment-000001\.h5 is damaged"
    ):
        Recording.reopen(h5_path)
    assert len(list(folder.glob("segment-*"))) == 3


def test_a_reader_takes_the_newest_checkpoint_that_is_whole(h5_path):
    folder = interrupted(h5_path)
    truncate(newest(folder, "segment"))
    with Trajectory(h5_path) as run:
        assert run.series("energy").steps[-1] == 7


class FirstOfEach:
    """Frames with an error: in each block all are as the first."""

    def __init__(self, frames):
        self.frames, self.clock, self._real = frames.frames, frames.clock, frames.frames_from

    def frames_from(self, *where):
        block = self._real(*where)
        return np.repeat(block[:1], len(block), axis=0)


def test_a_merge_that_differs_from_the_parts_is_not_published(h5_path, monkeypatch):
    with toy_run.create(h5_path) as recording:
        memory = toy_run.record(recording, None, 20, 7)
        real = publishing.schema.write_frames
        with monkeypatch.context() as patch:
            patch.setattr(
                publishing.schema,
                "write_frames",
                lambda file, frames, *rest: real(file, FirstOfEach(frames), *rest),
            )
            recording.checkpoint(memory | {"step": 20})
            with pytest.raises(IncompatibleFile, match="differs from the parts"):
                recording.finish(memory, {})
    assert not h5_path.exists() and len(Trajectory(h5_path)) == 5


# ---- the disk


@pytest.mark.parametrize(
    "at_most, written",
    [*((new_files.IN_MEMORY, few) for few in range(7)), *((0, many) for many in range(0, 200, 13))],
)
def test_a_full_disk_loses_nothing_that_was_published(h5_path, monkeypatch, at_most, written):
    """The disk takes `written` more pieces, then none: in a checkpoint (4 pieces, or 55 where files
    are not made in memory), or in the merge (up to 10, or 160).
    """
    monkeypatch.setattr(new_files, "IN_MEMORY", at_most)
    recording = toy_run.create(h5_path)
    memory = toy_run.record(recording, None, 12, 4)
    real, left = os.pwrite, iter(range(written))

    def full(*arguments):
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(
            OSError,
            match=r"No space left on device; what was published before is safe in .*mf\.resume",
        ) as raised:
            recording.checkpoint(memory)
            recording.finish(memory, {})
    assert raised.value.errno == errno.ENOSPC
    assert not [name for name in names(parts_of(h5_path)) if name.startswith(".tmp")]
    with Trajectory(h5_path) as run:
        assert run.series("energy").steps[-1] in (11, 12)
    recording.checkpoint(memory)  # space was made: the same call goes through
    recording.close()
    recording, memory = Recording.reopen(h5_path)
    assert recording.finish(memory, {}) == h5_path
    assert Trajectory(h5_path).series("energy").steps[-1] == 12


def test_a_disk_that_is_full_from_the_start_leaves_nothing_behind(h5_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        toy_run.create(h5_path)
    assert names(h5_path.parent) == []


def test_a_file_size_limit_ends_in_an_error_and_not_in_a_crash(tmp_path):
    """The operating system's own refusal inside HDF5, which alone would end in a segmentation
    fault.
    """
    program = (
        "import resource, signal, sys, pathlib; import toy_run, meanfield as mf\n"
        "from meanfield.files.trajectory import Trajectory\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); path = pathlib.Path(sys.argv[1])\n"
        "recording = toy_run.create(path, first=toy_run.start(2000)); memory = "
        "toy_run.record(recording, None, 4, 5)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))\n"
        "try: toy_run.record(recording, memory, 20, 100), recording.checkpoint(memory)\n"
        "except OSError as error: print(error.errno, len(Trajectory(path)))\n"
    )
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'helpers'}"}
    command = [sys.executable, "-c", program, str(tmp_path / "run.h5")]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == [str(errno.EFBIG), "1"]


def test_a_merge_that_cannot_fit_is_not_begun(h5_path, monkeypatch):
    with toy_run.create(h5_path) as recording:
        memory = toy_run.record(recording, None, 20, 7)
        monkeypatch.setattr(durable.shutil, "disk_usage", lambda _: type("usage", (), {"free": 10}))
        with pytest.raises(OSError, match="are free") as raised:
            recording.finish(memory, {})
    assert raised.value.errno == errno.ENOSPC and unfinished(h5_path)


@pytest.mark.slow  # a time: beside other work it says nothing
def test_two_megabyte_frames_are_recorded_at_hundreds_of_megabytes_a_second(h5_path):
    """Asked for: hundreds; tested: 60, for the machine may be busy, and its disk slow to sync."""
    first = mf.State(np.random.default_rng(0).normal(size=(2**16, 4)))
    with toy_run.create(h5_path, first=first) as recording:
        begun = time.perf_counter()
        for step in range(40):
            recording.frame(mf.State.trusted(first.theta, 1, first.mass, step, float(step)))
            if recording.pending_bytes > 3e7:
                recording.checkpoint({"theta": first.theta})
        recording.checkpoint({})
        assert 40 * first.theta.nbytes / (time.perf_counter() - begun) > 60e6


# ---- what is there already


def test_a_finished_file_is_not_overwritten_unless_told_to(h5_path):
    before = toy_run.whole(h5_path).read_bytes()
    for exists in ("error", "resume"):
        with pytest.raises(FileExistsError, match=r"mf\.resume\(.*exists=\"replace\""):
            toy_run.create(h5_path, exists)
    assert h5_path.read_bytes() == before and names(h5_path.parent) == ["run.h5"]


def test_a_replaced_file_stays_until_the_new_one_is_complete(h5_path):
    old = Trajectory(toy_run.whole(h5_path)).content_hash()
    recording = toy_run.create(h5_path, "replace", steps=10)
    memory = toy_run.record(recording, None, 10, 3)
    recording.close()
    assert Trajectory(h5_path).content_hash() == old and len(Trajectory(parts_of(h5_path))) == 2
    assert unfinished(h5_path)
    recording, memory = Recording.reopen(h5_path)
    recording.finish(toy_run.record(recording, memory, 10, 3), {})
    assert Trajectory(h5_path).config == toy_run.config(10) and names(h5_path.parent) == ["run.h5"]


def test_an_unfinished_run_is_not_given_up_unless_told_to(h5_path):
    folder = interrupted(h5_path)
    before = names(folder)
    with pytest.raises(FileExistsError, match=r"unfinished run\. Continue it with mf\.resume"):
        toy_run.create(h5_path)
    assert names(folder) == before
    toy_run.whole(h5_path, exists="replace")
    assert names(h5_path.parent) == ["run.h5"]


@pytest.mark.parametrize(
    "again", [toy_run.create, Recording.reopen, lambda path: toy_run.create(path, "replace")]
)
def test_a_run_has_one_writer(h5_path, again):
    with toy_run.create(h5_path):
        before = names(parts_of(h5_path))
        with pytest.raises(InUse, match=rf"run\.h5 is in use by process {os.getpid()}"):
            again(h5_path)
        assert names(parts_of(h5_path)) == before


def test_a_writer_in_another_process_is_seen_and_its_death_frees_the_run(h5_path):
    program = (
        "import sys, time, pathlib, toy_run\n"
        "kept = toy_run.create(pathlib.Path(sys.argv[1])); print('ready', flush=True); "
        "time.sleep(60)\n"
    )
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'helpers'}"}
    with subprocess.Popen(
        [sys.executable, "-c", program, str(h5_path)], env=environment, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        with pytest.raises(InUse, match=f"process {process.pid}"):
            Recording.reopen(h5_path)
        process.kill()
    recording, memory = Recording.reopen(h5_path)
    recording.close()
    assert memory is None


def test_a_file_system_without_locks_is_said_to_have_none(h5_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.warns(UserWarning, match="nothing keeps a second process from writing"):
        toy_run.whole(h5_path)
    assert len(Trajectory(h5_path)) == 5


def test_other_peoples_files_in_the_parts_folder_are_left_alone(h5_path):
    recording = toy_run.create(h5_path)
    (parts_of(h5_path) / "notes.txt").write_text("mine")
    recording.finish(toy_run.record(recording, None, 20, 7), {})
    assert names(parts_of(h5_path)) == ["notes.txt"]
    toy_run.whole(h5_path, exists="replace")
    assert names(parts_of(h5_path)) == ["notes.txt"]


# ---- going on


def test_an_extension_equals_the_longer_run(h5_path):
    expected = Trajectory(toy_run.whole(h5_path.with_name("long.h5"), steps=30)).content_hash()
    toy_run.extend(toy_run.whole(h5_path, steps=17), 30)
    with Trajectory(h5_path) as run:
        assert run.content_hash() == expected and run.config == toy_run.config(30)


def test_a_file_being_extended_stays_readable(h5_path):
    before = Trajectory(toy_run.whole(h5_path)).content_hash()
    recording, memory = Recording.extend(h5_path, config=toy_run.config(40))
    assert (
        memory["step"] == 20
        and recording.frame_count == 5
        and recording.config == toy_run.config(40)
    )
    toy_run.record(recording, memory, 33, 4)
    recording.close()
    assert Trajectory(h5_path).content_hash() == before and len(Trajectory(parts_of(h5_path))) == 7
    recording, memory = Recording.reopen(h5_path)
    recording.finish(toy_run.record(recording, memory, 40, 4), {})
    assert len(Trajectory(h5_path)) == 9 and names(h5_path.parent) == ["run.h5"]


def test_each_process_that_continues_a_run_leaves_its_provenance(h5_path):
    interrupted(h5_path)
    recording, memory = Recording.reopen(h5_path, provenance={"author": "second"})
    recording.finish(memory, {})
    recording, memory = Recording.extend(h5_path, provenance={"author": "third"})
    recording.checkpoint(memory)
    recording.close()
    recording, memory = Recording.reopen(h5_path, provenance={"author": "fourth"})
    recording.finish(memory, {})
    provenance = Trajectory(h5_path).provenance
    assert [provenance["author"], *(item["author"] for item in provenance["continued"])] == [
        "nobody",
        "second",
        "third",
        "fourth",
    ]


def test_only_what_can_go_on_is_continued(h5_path):
    with pytest.raises(FileNotFoundError, match="no run at"):
        Recording.reopen(h5_path)
    with pytest.raises(FileNotFoundError, match="no run at"):
        Recording.extend(h5_path)
    toy_run.whole(h5_path)
    with pytest.raises(ValueError, match="is finished"):
        Recording.reopen(h5_path)
    Recording.extend(h5_path)[0].close()
    with pytest.raises(ValueError, match="holds an unfinished run"):
        Recording.extend(h5_path)


# ---- the door


def test_a_place_that_cannot_hold_a_run_is_refused_before_anything_is_created(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        toy_run.create(tmp_path / "nowhere" / "run.h5")
    with pytest.raises(NotADirectoryError, match="not a folder"):
        toy_run.create(tmp_path / "file" / "run.h5")
    with pytest.raises(IsADirectoryError, match="add a file name"):
        toy_run.create(tmp_path)
    with pytest.raises(
        ValueError, match="exists must be one of error, resume, replace; got 'append'"
    ):
        toy_run.create(tmp_path / "run.h5", "append")
    with pytest.raises(TypeError, match="cannot be written as JSON"):
        toy_run.create(tmp_path / "run.h5", config={"activation": np.tanh})
    with pytest.raises(TypeError, match="data set 'x'"):
        toy_run.create(tmp_path / "run.h5", arrays={"x": np.array(["a"])})
    assert names(tmp_path) == ["file"] and not Path(f"{tmp_path}.parts").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_an_unwritable_folder_is_refused(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o500)
    with pytest.raises(PermissionError, match="not writable"):
        toy_run.create(folder / "run.h5")
