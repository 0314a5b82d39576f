"""Files that survive a kill: written under a temporary name, fsynced, renamed, the folder fsynced;
one writer at a time.

Knows bytes, names and locks; nothing of HDF5 and nothing of particles.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import io
import json
import os
import shutil
import socket
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

import numpy as np

from . import sealing

WRITE_BACK = 1 << 22  # bytes: the disk is given so many at a time, before anybody waits for it
LARGEST_WRITE = 1 << 30  # one system call moves less than 2 GB on Linux and macOS
COMPARED_AT_ONCE = 1 << 16  # words, of eight bytes where that is possible
SHORT = 1 << 21  # bytes that are read back in less time than a thread takes to start
HARDLY_ANY = 1 << 16  # bytes, of which a copy takes less than a view
TRIES, PAUSE = 10, 0.01  # of a lock that somebody may only be looking at (`check_free`); seconds
UNLOCKABLE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


class IncompatibleFile(ValueError):
    """Not one of our files, a damaged one, or one of a newer schema."""


class InUse(ValueError):
    """Another process is writing this run."""


def canonical_json(value: Any) -> str:
    """One text for one value: sorted keys, no spaces, floats by repr (exact; NaN and Infinity as
    Python writes them).
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(
        f"{value!r} cannot be written as JSON: use numbers, strings, booleans, None, "
        "lists and dictionaries."
    )


def file_sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def array_sha256(array: np.ndarray) -> str:
    """sha256 over dtype, shape and the bytes in C order, little-endian."""
    digest = hashlib.sha256()
    feed(digest, "array", array)
    return digest.hexdigest()


def feed(digest: Any, name: str, array: np.ndarray) -> None:
    """Add a named array to a hash, the same on every machine."""
    array = np.asarray(array)
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    digest.update(f"{name} {little.dtype.str} {array.shape}\n".encode())
    digest.update(little.reshape(-1).view(np.uint8).data)


def same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether dtype, shape and every byte are the same (a NaN is itself, and -0 is not 0)."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.nbytes <= HARDLY_ANY:
        return one.tobytes() == other.tobytes()
    word = np.uint64 if one.nbytes % 8 == 0 else np.uint8
    left, right = (
        np.ascontiguousarray(array).reshape(-1).view(np.uint8).view(word) for array in (one, other)
    )
    blocks = (
        slice(start, start + COMPARED_AT_ONCE) for start in range(0, left.size, COMPARED_AT_ONCE)
    )
    return all(np.array_equal(left[block], right[block]) for block in blocks)


def fsync(descriptor: int) -> None:
    """To the platter: on macOS plain fsync stops at the drive's cache."""
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        with suppress(OSError):  # network file systems do not know it
            fcntl.fcntl(descriptor, full)
            return
    os.fsync(descriptor)


def write_back(descriptor: int, start: int, size: int) -> None:
    """Let the disk begin with bytes that were written, so that a later fsync waits the less; size 0:
    to the end. Promises nothing, and macOS does not have it.
    """
    if (begin := _sync_file_range()) is not None:
        begin(descriptor, start, size, 2)  # SYNC_FILE_RANGE_WRITE


@cache
def _sync_file_range() -> Any:
    found = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if found is not None:
        found.argtypes = ctypes.c_int, ctypes.c_longlong, ctypes.c_longlong, ctypes.c_uint
    return found


def sync(path: Path) -> None:
    """Make a file that is closed durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder as durable as the files' contents."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def temporary(target: Path) -> Iterator[Path]:
    """A temporary name in the folder of `target`, with its ending; what has it at the end is
    removed.
    """
    path = target.with_name(f".tmp-{uuid.uuid4().hex[:8]}-{target.name}")
    try:
        yield path
    finally:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """The name under which the block writes a file, which takes the place of `target` at its end.

    Whatever happens, `target` is the old file or the complete new one.
    """
    with temporary(target) as path:
        yield path
        sync(path)
        move(path, target)


@contextmanager
def creating(target: Path) -> Iterator[Path]:
    """As `replacing`, but never over a file: FileExistsError where another has come meanwhile."""
    with temporary(target) as path:
        yield path
        sync(path)
        os.link(path, target)
        sync_folder(target.parent)


def move(source: Path, target: Path) -> None:
    """Atomic: under the name `target` is the old file or the complete new one, whenever the power
    goes.
    """
    with _kept_open(target):
        os.replace(source, target)
        sync_folder(target.parent)


@contextmanager
def _kept_open(path: Path) -> Iterator[None]:
    """The blocks of a large file that is replaced in the block are freed by a thread, after it: for 30 MB
    that takes 10 ms.
    """
    old = None
    with suppress(OSError):
        if os.stat(path).st_size > SHORT:
            old = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        if old is not None:
            try:
                threading.Thread(target=os.close, args=(old,)).start()
            except RuntimeError:  # no more threads
                os.close(old)


def check_space(needed: int, folder: Path, what: str) -> None:
    """Raise where `what` needs more bytes than the disk of the folder has free."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            errno.ENOSPC,
            f"{what} takes {needed / 1e9:.3g} GB, and {free / 1e9:.3g} GB are free",
            str(folder),
        )


class Scratch(io.RawIOBase):
    """The new file that HDF5 writes into.

    HDF5 crashes the whole process when a write fails inside it (full disk, quota). So the first
    error is kept, HDF5 is told that all is well, and `check` raises it; the half-written file is
    never given a name that counts.
    """

    # of its first bytes, where it is made while others are written
    _hash: sealing.Hash | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self.error: OSError | None = None
        self._at = self._given = 0  # where the next write goes; how much the disk has been given
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)

    def check(self) -> None:
        if self.error is not None:
            raise self.error

    def complete(
        self,
        meanwhile: Callable[[], None] | None = None,
        synced: bool = True,
        content: bytes | None = None,
    ) -> None:
        """Everything is on the disk (written, where not `synced`), sealed, or the error that prevented it
        is raised. meanwhile: called while the seal is made and the disk is at work. content: all of
        the file, where it is in memory.
        """
        self.check()
        if content is not None and len(content) <= SHORT:
            self._seal(False, content)
            if meanwhile is not None:
                self.begin()
                meanwhile()
            if synced:
                fsync(self._file)
            return
        if synced:
            self.begin()
        if meanwhile is None:
            self._seal(synced, content)
            return
        with ThreadPoolExecutor(1) as disk:
            sealed = disk.submit(self._seal, synced, content)
            meanwhile()
            sealed.result()

    def _seal(self, synced: bool, content: bytes | None) -> None:
        sealing.seal(self._file, content, self._hash)
        if synced:
            fsync(self._file)

    def _give(self, end: int) -> None:
        """To the disk, all up to there."""
        write_back(self._file, self._given, end - self._given)
        self._given = end

    def begin(self) -> None:
        """Let the disk begin with what it has not been given yet."""
        write_back(self._file, self._given, 0)

    def close(self) -> None:
        if not self.closed:
            os.close(self._file)
        super().close()

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = (
            offset
            + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: os.fstat(self._file).st_size}[
                whence
            ]
        )
        return self._at

    def readinto(self, buffer: Any) -> int:
        count = os.preadv(self._file, [buffer], self._at)
        self._at += count
        return count

    def write(self, data: Any) -> int:
        size, done = len(data), 0
        try:
            while done < size and self.error is None:
                done += os.pwrite(self._file, data[done : done + LARGEST_WRITE], self._at + done)
        except OSError as error:
            self.error = error
        self._at += size
        if self._at - self._given >= WRITE_BACK:
            self._give(self._at)
        return size

    def truncate(self, size: int | None = None) -> int:
        size = self._at if size is None else size
        try:
            os.ftruncate(self._file, size)
        except OSError as error:
            self.error = self.error or error
        return size


def lock(path: Path, what: str) -> IO[str]:
    """Take the flock on `path`: held until the returned file is closed, or its process dies in
    whatever way. InUse where another process, or another call of this one, holds it.
    """
    tries = TRIES
    while True:
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        file = os.fdopen(opened, "r+", errors="replace")
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tries -= 1
            with file:
                if not tries:
                    raise _in_use(file, what) from None
            time.sleep(PAUSE)
            continue
        except OSError as error:
            if error.errno not in UNLOCKABLE:
                file.close()
                raise
            warnings.warn(
                f"no locks in {path.parent}: nothing keeps a second process from writing "
                f"{what} too.",
                stacklevel=3,
            )
        # whoever held the lock before may have removed the file between our open and our flock: a
        # lock on no name
        if is_at(file, path):
            name = f"process {os.getpid()} on {socket.gethostname()}\n".encode()
            with suppress(OSError):  # a full disk: the lock holds without a name in it
                # in this order: a file that was cut to nothing ext4 gives to the disk at its close
                os.ftruncate(file.fileno(), os.pwrite(file.fileno(), name, 0))
            return file
        file.close()


def check_free(path: Path, what: str) -> None:
    """Raise InUse where somebody holds the lock on `path`. Writes nothing; where locks cannot be
    asked, nothing is said.
    """
    with suppress(OSError), open(path, errors="replace") as file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _in_use(file, what) from None


def _in_use(file: IO[str], what: str) -> InUse:
    """With the name that the holder has left in the lock."""
    holder = file.readline(200).strip() or "another process"
    return InUse(f"{what} is in use by {holder}; wait until it has ended, or choose another name.")


def is_at(file: IO[str], path: Path) -> bool:
    """Whether the open file is what has this name now."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    return False
