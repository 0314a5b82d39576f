"""Where compiled code is kept: in the user's cache folder, or for this process alone where there is
none to write to.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _of_user() -> Path | None:
    """$XDG_CACHE_HOME, else ~/.cache; None where nobody knows the home of this user, as in many
    containers.
    """
    if found := os.environ.get("XDG_CACHE_HOME"):
        return Path(found)
    try:
        return Path.home() / ".cache"
    except RuntimeError:
        return None


@cache
def folder() -> Path:
    """Where generated kernels and their compiled code live: $MEANFIELD_CACHE, else the user's cache
    folder.
    """
    if wanted := os.environ.get("MEANFIELD_CACHE"):
        try:
            Path(wanted).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=wanted):
                return Path(wanted)
        except OSError as error:
            raise OSError(f"MEANFIELD_CACHE={wanted} is not a writable folder: {error}.") from error
    base = _of_user()
    if base is not None and _writable(base / "meanfield"):
        return base / "meanfield"
    # read-only home: compile afresh in this process
    return Path(tempfile.mkdtemp(prefix="meanfield-"))


def for_numba(config: Any, kept: Any) -> None:
    """Before a kernel of this package is declared: where numba can write neither beside the source
    nor into the user's cache folder it would raise; it then keeps compiled code in ours. What it
    keeps it writes one process at a time, and what it cannot write is not kept. config: numba.config;
    kept: its IndexDataCacheFile.
    """
    _one_at_a_time(kept)
    base = _of_user()
    beside = Path(__file__).parents[1] / "__pycache__"
    if config.CACHE_DIR or _writable(beside) or (base is not None and _writable(base / "numba")):
        return
    config.CACHE_DIR = str(folder() / "numba")


def _one_at_a_time(kept: Any) -> None:
    """numba gives compiled code the next name that is free in the index of its function, and writes
    both, without a lock. Of two processes that compile a function for different arguments at the same
    moment one entry may be left, with the code of the other: every process that asks for it later gets
    a function of other arguments. findings/numba_cache_of_two_processes.sh.
    """
    save = kept.save
    if save.__module__ == __name__:
        return

    def save_alone(self: Any, key: Any, data: Any) -> None:
        # a full disk must not end a run that has been going on without this function
        with (
            suppress(OSError),
            open(os.path.join(self._cache_path, "meanfield.lock"), "w") as file,
        ):
            with suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)
            save(self, key, data)

    kept.save = save_alone
