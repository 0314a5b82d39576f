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


# by thread: what the signals() around one another have collected, the innermost last
_open: dict[int, list[list[int]]] = {}


@contextmanager
def signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying of them, and what `stop` sends; outside the main
    thread no handler is set.

    What comes in while one signals() stands in another is known to both: it may have come too late
    for the inner one.
    """
    received: list[int] = []

    def handler(number: int, frame: Any) -> None:
        if received:  # asked twice: do not wait for the step
            raise KeyboardInterrupt
        received.append(number)

    main = threading.current_thread() is threading.main_thread()
    previous = {
        number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM) if main
    }
    thread = threading.get_ident()
    around = _open.setdefault(thread, [])
    around.append(received)
    try:
        yield received
    finally:
        for number, old in previous.items():
            signal.signal(number, old)
        around.pop()
        if around:
            around[-1].extend(received)
        else:
            del _open[thread]


def stop(thread: int | None = None) -> None:
    """As if SIGTERM had come for the run of this thread (an identifier; None: the caller's), which
    then publishes a checkpoint and ends; nothing where there is none.
    """
    if around := _open.get(threading.get_ident() if thread is None else thread):
        around[-1].append(signal.SIGTERM)
