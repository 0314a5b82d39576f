"""The compiler without collections of garbage in between.

A compilation makes hundreds of thousands of objects that live until it is over. Python looks
through all of them again and again, and through those of numba: a tenth of the time of a first run.
"""

from __future__ import annotations

import gc

from numba.core import event


class _Undisturbed(event.Listener):
    """Turns the collector of garbage off while anything compiles, and on again where it was on."""

    def __init__(self) -> None:
        self._depth = 0  # the compiler's lock is held: no other thread is here
        self._was_on = False

    def on_start(self, _: event.Event) -> None:
        if self._depth == 0:
            self._was_on = gc.isenabled()
            gc.disable()
        self._depth += 1

    def on_end(self, _: event.Event) -> None:
        self._depth -= 1
        if self._depth == 0 and self._was_on:
            gc.enable()


event.register("numba:compile", _Undisturbed())
