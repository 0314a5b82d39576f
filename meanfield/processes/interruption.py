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

    def __reduce__(self) -> tuple[Any, ...]:
        return Interrupted, (str(self), self.state)  # to whoever waits for another process


# by thread: what the signals() around one another have collected, the innermost last
_open: dict[int, list[list[int]]] = {}


@contextmanager
def signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying of them, and what `stop` sends; outside the main
    thread no handler is set.

    What comes in while one signals() stands in another, or before it did, is known to both: it may
    have come too late for the inner one, or between the start of a program and that of its run.
    """
    thread = threading.get_ident()
    around = _open.setdefault(thread, [])
    received: list[int] = list(around[-1]) if around else []
    before = len(received)

    def handler(number: int, frame: Any) -> None:
        # Ctrl-C again: do not wait for the step. A cluster sends SIGTERM to torchrun and to its
        # processes, and torchrun sends it on: two of those are one request.
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    main = threading.current_thread() is threading.main_thread()
    previous = {
        number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM) if main
    }
    around.append(received)
    try:
        yield received
    finally:
        for number, old in previous.items():
            signal.signal(number, old)
        around.pop()
        if around:
            around[-1].extend(received[before:])
        else:
            del _open[thread]


def stop(thread: int | None = None) -> None:
    """As if SIGTERM had come for the run of this thread (an identifier; None: the caller's), which
    then publishes a checkpoint and ends; nothing where there is none.
    """
    if around := _open.get(threading.get_ident() if thread is None else thread):
        around[-1].append(signal.SIGTERM)
