"""Threads that help with a stretch of steps: kernels/team.py.

They are Python's, and sleep at a lock until they are called; in compiled code they need no lock of
Python's. One that comes late finds the call over, and goes to sleep again.
"""

from __future__ import annotations

import os
import sys
import threading
from queue import SimpleQueue
from typing import Any


class Helper:
    """A thread that does what it is given, one thing after the other."""

    def __init__(self, number: int) -> None:
        self._work: SimpleQueue[tuple[Any, tuple[Any, ...]]] = SimpleQueue()
        name = f"meanfield-helper-{number}"
        threading.Thread(target=self._serve, name=name, daemon=True).start()

    def give(self, function: Any, *arguments: Any) -> None:
        """To be called soon; nothing, where what was given before has not even begun."""
        if self._work.empty():
            self._work.put((function, arguments))

    def _serve(self) -> None:
        while True:
            function, arguments = self._work.get()
            try:
                function(*arguments)
            except Exception:
                # said as Python says it of a thread, which goes on: others call it too
                threading.excepthook(
                    threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread()))
                )
            del function, arguments  # the memory of a run that is over


_helpers: list[Helper] = []


def helpers(count: int) -> list[Helper]:
    """So many; they are started once in a process."""
    while len(_helpers) < count:
        _helpers.append(Helper(len(_helpers) + 1))
    return _helpers[:count]


if hasattr(os, "register_at_fork"):  # threads do not live on in a fork
    os.register_at_fork(after_in_child=_helpers.clear)
