"""Device memory kept from one step to the next: a stage's array is handed on when nobody holds it
any more. Numbers likewise.

An allocation on a GPU waits for all work before it; a step would make a dozen. Work is done in one
order (one stream), so memory given back while a kernel still reads it is written only after that
kernel. All goes back to the device with the pool.
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


class Number:
    """A float64 on the device. float() waits for it, and for every other number that is under way."""

    __slots__ = ("data", "numbers", "value")

    def __init__(self, numbers: Numbers, data: Any) -> None:
        self.numbers, self.data = numbers, data
        self.value: float | None = None

    def __float__(self) -> float:
        if self.value is None:
            self.numbers.read()
        assert self.value is not None
        return self.value


class Numbers:
    """A row of numbers on the device, written one after the other by kernels and read together, in
    one copy.
    """

    def __init__(self, count: int = 256) -> None:
        self._device = cuda.device_array((count, 1, 1), float)
        self._host = cuda.pinned_array((count, 1, 1), float)
        self._places = [self._device[i] for i in range(count)]
        self._waiting: list[Number] = []

    def next(self) -> Number:
        """One to be written: its .data is (1, 1). All are read first where none is left."""
        if len(self._waiting) == len(self._places):
            self.read()
        number = Number(self, self._places[len(self._waiting)])
        self._waiting.append(number)
        return number

    def read(self) -> None:
        self._device.copy_to_host(self._host)
        for number, value in zip(self._waiting, self._host[:, 0, 0].tolist(), strict=False):
            number.value = value
        self._waiting.clear()
