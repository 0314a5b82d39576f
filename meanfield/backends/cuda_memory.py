"""Device memory kept from one step to the next: a stage's array is handed on when nobody holds it any more.

An allocation on a GPU waits for all work before it; a step would make a dozen. Work is done in one order (one stream), so memory
given back while a kernel still reads it is written only after that kernel. All goes back to the device with the pool.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
from numba import cuda


class Held:
    """A device array on loan from a pool; dropping it gives the memory back."""

    __slots__ = ("__weakref__", "data")

    def __init__(self, data: Any) -> None:
        self.data = data


class Pool:
    """Arrays by shape and dtype, the free ones first."""

    def __init__(self) -> None:
        self._free: dict[tuple[tuple[int, ...], np.dtype], list[Any]] = {}

    def take(self, shape: tuple[int, ...], dtype: Any) -> Held:
        """An array with whatever was in it."""
        free = self._free.setdefault((shape, np.dtype(dtype)), [])
        held = Held(free.pop() if free else cuda.device_array(shape, dtype))
        weakref.finalize(held, free.append, held.data).atexit = False
        return held

    def fill(self, host: np.ndarray) -> Held:
        """A copy of a host array."""
        held = self.take(host.shape, host.dtype)
        held.data.copy_to_device(host)
        return held
