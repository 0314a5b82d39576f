"""BLAS on one thread, where the bits of a result must not depend on how many there are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


@cache
def _libraries(scipy: bool) -> list[Any]:
    """Those that are loaded. scipy: whether SciPy's own is among them, which comes with its first import."""
    return [library for library in ThreadpoolController().lib_controllers if library.user_api == "blas"]


@contextmanager
def one_thread() -> Iterator[None]:
    """Matrix products and linear algebra inside run on one thread, SciPy's too where it is imported; takes 4 µs, nested 2."""
    counts = [(library, library.get_num_threads()) for library in _libraries("scipy.linalg" in sys.modules)]
    several = [(library, count) for library, count in counts if count != 1]
    for library, _ in several:
        library.set_num_threads(1)
    try:
        yield
    finally:
        for library, count in several:
            library.set_num_threads(count)
