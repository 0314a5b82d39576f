"""Followed: a new file that is hashed behind its writer. Its seal is of all bytes in their order, and HDF5
writes the first ones last. So what is largest is given a place, then all else is written, then what is
largest, while a thread hashes, and gives to the disk, what stays as it is.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from .durable import Scratch, write_back
from .sealing import Hash


class Followed(Scratch):
    """A Scratch with some writes left for last.

    HDF5 writes while h5py holds its lock, for which a thread waits that happens to free objects of
    h5py. So a write never waits for the thread: it puts what is to be done into a queue.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._placing = 0  # bytes: what is so long is given a place alone
        self._places: deque[int] = deque()  # that wait for what belongs there
        self._behind: Thread | None = None
        self._written: SimpleQueue[tuple[int, int] | None] = SimpleQueue()

    @contextmanager
    def placing(self, size: int) -> Iterator[None]:
        """What has so many bytes gets its place in the file; it is written later, in the same order."""
        self._placing = size
        yield
        self._placing = 0

    def follow(self) -> None:
        """All is written but for what has been placed. The hash is asked for up to `_given`."""
        self._behind, self._hash, self._given = Thread(target=self._work), Hash(self._file), 0
        self._behind.start()

    def write(self, data: Any) -> int:
        at, size = self._at, len(data)
        if size == self._placing:
            self._places.append(at)
            self._at += size
            return size
        if self._hash and at < self._given and not self._has(at, data):
            self._hash = None  # it begins again, at the end
        if self._places and self._places[0] == at:
            self._places.popleft()
        return super().write(data)

    def close(self) -> None:
        self._stop()
        super().close()

    def _has(self, at: int, data: Any) -> bool:
        """Whether the file has this there: HDF5 writes its first block again when it closes it."""
        try:
            return os.pread(self._file, len(data), at) == bytes(data)
        except OSError:
            return False

    def _give(self, end: int) -> None:
        if self._behind is None:
            super()._give(end)
        elif not self._places or end <= self._places[0]:
            self._written.put((self._given, end))
            self._given = end

    def _work(self) -> None:
        with suppress(OSError):  # which the seal will meet again
            for start, end in iter(self._written.get, None):
                write_back(self._file, start, end - start)
                if begun := self._hash:
                    begun.upto(end)

    def _stop(self) -> None:
        if self._behind is not None:
            self._written.put(None)
            self._behind.join()
            self._behind = None

    def _seal(self, synced: bool, content: bytes | None) -> None:
        self._stop()
        super()._seal(synced, content)
