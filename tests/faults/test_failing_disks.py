"""Full, read-only, failing and slow disks; a folder that vanishes.

The run ends with an OSError that says what is safe; what was published before can be read; and when
the disk is well again the run goes on, to the bits of an undisturbed one.
"""

import errno
import os
import random
import resource
import shutil
import subprocess
from contextlib import contextmanager

import broken_disk
import pytest
import toy_run
from toy_run import advance, create, extend, record, whole

from meanfield.files.recording import unfinished
from meanfield.files.trajectory import Trajectory

KINDS = ("run", "at once", "extension")


def content(path):
    with Trajectory(path) as run:
        return run.content_hash()


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    toy_run.start()
    return content(whole(tmp_path_factory.mktemp("right") / "run.h5"))


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    return whole(tmp_path_factory.mktemp("short") / "run.h5", steps=10)


def begin(kind, path, short):
    if kind == "extension":
        shutil.copy(short, path)


def go(kind, path):
    if kind == "extension" and (path.exists() or unfinished(path)):
        extend(path, 20)
    else:
        advance(path, 20, 8 if kind == "run" else 100)


def survived(kind, path, before, right):
    """What there is can be read, nothing is lost, and the run goes on."""
    if path.exists():
        assert content(path) in (before, right)
    else:
        assert before is None
    if unfinished(path):
        content(path.with_name("run.h5.parts"))
    if not path.exists() or content(path) != right or unfinished(path):
        go(kind, path)
    assert content(path) == right and not unfinished(path)
    # parts that could not be removed after the run was published count for nothing
    assert set(os.listdir(path.parent)) <= {"run.h5", "run.h5.parts"}


@pytest.mark.parametrize("last", ["for good", "once"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stride", [41, pytest.param(1, marks=pytest.mark.slow)])
def test_a_disk_that_refuses_from_any_call_on_costs_no_run(
    kind, last, stride, right, short, tmp_path
):
    """Full, over its quota, read-only, or broken."""
    before = content(short) if kind == "extension" else None
    numbers = list(broken_disk.REFUSALS.values())
    first, failed = 0, 0
    while True:
        path = tmp_path / str(first) / "run.h5"
        path.parent.mkdir()
        begin(kind, path, short)
        number = numbers[first // stride % len(numbers)]
        end = first if last == "once" else None
        with broken_disk.refusing(first, number, end) as count:
            try:
                go(kind, path)
            except OSError as error:
                assert error.errno == number, error
                failed += 1
        if count[0] < first:  # over before this call
            break
        survived(kind, path, before, right)
        shutil.rmtree(path.parent)
        first += stride
    # a file that could not be made at once is made in parts, and nobody is told
    assert failed >= first // stride // (5 if last == "once" else 3)


@contextmanager
def small(folder, *options):
    """A file system of its own in this folder."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        done = False
    if not done:
        pytest.skip("mounting a file system needs rights that this process has not")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def remount(folder, options):
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


@pytest.mark.parametrize("count", [3, pytest.param(30, marks=pytest.mark.slow)])
@pytest.mark.parametrize("quota", ["size", "nr_inodes"])
def test_a_full_file_system(quota, count, right, short, tmp_path):
    """Of 4 to 400 kB, a file takes some 30; or of 2 to 12 names."""
    with small(tmp_path / "disk", "size=1m") as folder:
        failed = 0
        for number in range(count):
            kind = KINDS[number % len(KINDS)]
            room = 2 + number * 10 // count if quota == "nr_inodes" else (4 + number * 396 // count)
            path = folder / "run.h5"
            before = None
            begin(kind, path, short)
            before = content(path) if path.exists() else None
            filler = shutil.disk_usage(folder).used // 1024 + room
            names = len(os.listdir(folder)) + room
            remount(folder, f"nr_inodes={names}" if quota == "nr_inodes" else f"size={filler}k")
            try:
                go(kind, path)
            except OSError as error:
                assert error.errno == errno.ENOSPC, error
                failed += 1
            remount(folder, "size=4m,nr_inodes=1000")
            survived(kind, path, before, right)
            path.unlink()
        assert failed >= count // 3


@pytest.mark.parametrize("count", [3, pytest.param(30, marks=pytest.mark.slow)])
def test_a_limit_of_the_size_of_files(count, right, short, tmp_path):
    """RLIMIT_FSIZE: no rights are needed for it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    failed = 0
    for number in range(count):
        kind, path = KINDS[number % len(KINDS)], tmp_path / "run.h5"
        begin(kind, path, short)
        old = content(path) if path.exists() else None
        resource.setrlimit(resource.RLIMIT_FSIZE, ((1 + number * 60 // count) * 1024, before[1]))
        try:
            go(kind, path)
        except OSError as error:
            assert error.errno == errno.EFBIG, error
            failed += 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        survived(kind, path, old, right)
        path.unlink()
    assert failed >= count // 3


def test_a_read_only_file_system_is_read_and_nothing_is_begun_there(right, short, tmp_path):
    with small(tmp_path / "disk", "size=1m") as folder:
        shutil.copy(short, folder / "short.h5")
        with create(folder / "run.h5") as recording:
            record(recording, None, 12, 4)
        names = sorted(os.listdir(folder))
        remount(folder, "ro")
        for work in (
            lambda: advance(folder / "run.h5", 20, 8),
            lambda: advance(folder / "new.h5", 20, 8),
            lambda: extend(folder / "short.h5", 20),
        ):
            with pytest.raises(OSError) as caught:
                work()
            assert caught.value.errno in (errno.EROFS, errno.EACCES)
        assert sorted(os.listdir(folder)) == names
        assert len(Trajectory(folder / "run.h5")) == 3
        remount(folder, "rw")
        advance(folder / "run.h5", 20, 8)
        assert content(folder / "run.h5") == right


@pytest.mark.parametrize("count", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_a_slow_disk_changes_nothing(count, right, tmp_path):
    chance = random.Random(count)
    for number in range(count):
        with broken_disk.slow(chance, 0.002):
            advance(tmp_path / f"{number}.h5", 20, 8)
        assert content(tmp_path / f"{number}.h5") == right


def test_a_run_whose_folder_vanishes_says_so_and_makes_no_other(right, tmp_path):
    """Removed, or moved away: before the first checkpoint, between two, before the end."""
    for number, (after, removed) in enumerate(
        (after, removed) for after in (0, 9, 20) for removed in ("parts", "all")
    ):
        place = tmp_path / str(number)
        place.mkdir()
        path = place / "run.h5"
        with create(path) as recording:
            memory = record(recording, None, after, 4)
            gone = place if removed == "all" else place / "run.h5.parts"
            gone.rename(tmp_path / "elsewhere")
            with pytest.raises(OSError, match="is gone"):
                recording.finish(memory, {})
            assert not path.exists() and not gone.exists()
        (tmp_path / "elsewhere").rename(gone)  # mounted again
        advance(path, 20, 8)
        assert content(path) == right
