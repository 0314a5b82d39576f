"""Sums of seconds that processes of one user keep together: a file of the cache folder whose length is
the sum.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

from .caches import folder

UNIT = 0.01  # seconds that a byte stands for
MEANWHILE = 60.0  # seconds for what one process does that has cleared a sum


class Ledger:
    """The sum of this name. A byte that is appended takes no lock, and no byte can be a wrong one;
    where the file cannot be written, this process counts for itself.
    """

    def __init__(self, name: str) -> None:
        self.path = folder() / f"{name}.ledger"
        self._written = 0  # bytes of the file, when it was written last
        self._own = 0.0  # seconds of this process that are not in it

    def add(self, seconds: float) -> float:
        """The sum with these, and with what other processes had added when this one last wrote. Less
        than a unit waits, without a look at the disk.
        """
        self._own += seconds
        if self._own >= UNIT:
            with suppress(OSError):
                self._append(int(self._own / UNIT))
        return UNIT * self._written + self._own

    def _append(self, count: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
        file = os.open(self.path, flags, 0o666)
        try:
            self._own -= UNIT * os.write(file, bytes(count))
            self._written = os.fstat(file).st_size
        finally:
            os.close(file)

    def clear(self, least: float) -> bool:
        """From zero again; whether this process is the one to do what the sum was kept for: of several
        that ask within a minute one is, and so is each whose own seconds are more than `least` and in no file.
        """
        alone = self._own > least
        self._own, self._written = 0.0, 0
        begun = self.path.with_suffix(".begun")
        try:
            if time.time() - begun.stat().st_mtime < MEANWHILE:
                return alone
        except OSError:
            pass
        try:
            self.path.unlink()
            begun.touch()
        except FileNotFoundError:
            return alone
        except OSError:
            return True
        return True
