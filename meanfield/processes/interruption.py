"""Ctrl-C and termination signals: the step in hand is finished, a checkpoint published, and
Interrupted raised.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..state import State


class Interrupted(KeyboardInterrupt):
    """A run stopped by Ctrl-C or a termination signal, after its checkpoint. `state` is where it
    stopped.
    """

    def __init__(self, message: str, state: State) -> None:
        super().__init__(message)
        self.state = state


_open: list[list[int]] = []  # what the signals() around this one have collected, the innermost last


@contextmanager
def signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying of them; outside the main thread no handler is
    set.

    What comes in while one signals() stands in another is known to both: it may have come too late
    for the inner one.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def handler(number: int, frame: Any) -> None:
        if received:  # asked twice: do not wait for the step
            raise KeyboardInterrupt
        received.append(number)

    previous = {
        number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)
    }
    _open.append(received)
    try:
        yield received
    finally:
        for number, old in previous.items():
            signal.signal(number, old)
        _open.pop()
        if _open:
            _open[-1].extend(received)
