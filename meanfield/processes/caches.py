"""Where compiled code is kept: in the user's cache folder, or for this process alone where there is
none to write to.
"""

from __future__ import annotations

import os
import tempfile
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


def for_numba(config: Any) -> None:
    """Before a kernel of this package is declared: where numba can write neither beside the source
    nor into the user's cache folder it would raise; it then keeps compiled code in ours. config:
    numba.config.
    """
    base = _of_user()
    beside = Path(__file__).parents[1] / "__pycache__"
    if config.CACHE_DIR or _writable(beside) or (base is not None and _writable(base / "numba")):
        return
    config.CACHE_DIR = str(folder() / "numba")
