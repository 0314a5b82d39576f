"""What a command prints reaches a terminal of any encoding."""

from __future__ import annotations

import io
import sys


def accept_all() -> None:
    """Characters that the encoding of stdout or stderr lacks are written as \\u03c3 instead of
    raising UnicodeEncodeError.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
