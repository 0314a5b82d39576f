"""Arrays of the CPU backend kept from one step to the next: one that nobody refers to any more is
handed out again.

A large array that is made anew comes from the system page by page, each cleared when it is first
written to.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


class Pool:
    """Arrays by shape and dtype. A view refers to its base, so one that is looked at in part is in
    use too.
    """

    def __init__(self) -> None:
        self._arrays: dict[tuple[tuple[int, ...], np.dtype], list[np.ndarray]] = {}

    def take(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """An array with whatever was in it."""
        arrays = self._arrays.setdefault((shape, np.dtype(dtype)), [])
        for array in arrays:  # held while it is looked at: another thread finds it in use
            if sys.getrefcount(array) == UNUSED:
                return array
        made = np.empty(shape, dtype)
        arrays.append(made)
        return made


def _references(arrays: list[np.ndarray]) -> int:
    for array in arrays:  # as in take
        return sys.getrefcount(array)
    return 0


UNUSED = _references([np.empty(0)])  # of an array that only its list refers to, and who looks
