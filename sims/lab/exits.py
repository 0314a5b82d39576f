"""Exit codes of command lines, and the one line that says why."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from . import terminal

USAGE, DIVERGED, BAD_DATA, IO, IN_USE, INCOMPATIBLE, INTERRUPTED = 2, 3, 4, 5, 6, 7, 75


class BadSettings(ValueError):
    """A setting that does not exist, or has a value of the wrong kind; exit code 2."""


class BadData(ValueError):
    """Input data that cannot be used; exit code 4."""


def code_of(error: BaseException) -> int | None:
    """The exit code of an expected failure; None for a bug."""
    import meanfield as mf
    from meanfield.files.durable import IncompatibleFile, InUse

    codes: tuple[tuple[type[BaseException], int], ...] = (
        (mf.Interrupted, INTERRUPTED),
        (KeyboardInterrupt, INTERRUPTED),
        (mf.RankLost, INTERRUPTED),
        (mf.Diverged, DIVERGED),
        (BadData, BAD_DATA),
        (InUse, IN_USE),
        (IncompatibleFile, INCOMPATIBLE),
        (OSError, IO),
        (ImportError, USAGE),
        (ValueError, USAGE),
        (TypeError, USAGE),
        (MemoryError, USAGE),  # more was asked for than this machine has
    )
    return next((number for kind, number in codes if isinstance(error, kind)), None)


def exit_code(work: Callable[[], Any]) -> int:
    """Run `work`; an expected failure becomes one line on stderr and its exit code, a bug keeps its
    traceback.
    """
    code, line, lost = outcome(work)
    if code and not lost:
        print(line, file=sys.stderr)
    return code


def outcome(work: Callable[[], Any]) -> tuple[int, str, bool]:
    """Run `work`: (exit code, the line that says why, whether another process was lost, which is said
    where it is found); a bug keeps its traceback.
    """
    terminal.accept_all()
    try:
        work()
    except (Exception, KeyboardInterrupt) as error:
        code = code_of(error)
        if code is None:
            raise
        import meanfield as mf

        return code, _line(error, code), isinstance(error, mf.RankLost)
    return 0, "", False


def _line(error: BaseException, code: int) -> str:
    """What is said of a failure."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:  # without "[Errno 17]"
        text = error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    unsaid = {INTERRUPTED: "interrupted"}.get(code, type(error).__name__)
    text = " ".join(text.split()) or unsaid
    if code != INTERRUPTED:
        return f"error: {text}"
    return f"{text.removesuffix('.')}. The same command goes on from here."
