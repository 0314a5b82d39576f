"""The compiler without collections of garbage in between.

A compilation makes hundreds of thousands of objects that live until it is over, and where compiled
code is loaded from the cache most of numba is imported first. Python looks through all of them
again and again, and through those that were there: a tenth of the time of a first run.
"""

from __future__ import annotations

import gc
import threading

from numba.core import event


class _Undisturbed(event.Listener):
    """Turns the collector of garbage off while any thread compiles, loads, or waits for another that
    does, and on again where it was on.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._was_on = False

    def on_start(self, _: event.Event) -> None:
        with self._lock:
            if self._depth == 0:
                self._was_on = gc.isenabled()
                gc.disable()
            self._depth += 1

    def on_end(self, _: event.Event) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0 and self._was_on:
                gc.enable()


event.register("numba:compiler_lock", _Undisturbed())
