"""BLAS on one thread, where the bits of a result must not depend on how many there are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


@cache
def _libraries() -> list[Any]:
    import scipy.linalg  # noqa: F401  so that its BLAS is there to be limited

    return [library for library in ThreadpoolController().lib_controllers if library.user_api == "blas"]


@contextmanager
def one_thread() -> Iterator[None]:
    """Matrix products and linear algebra of NumPy and SciPy inside run on one thread; nested it costs next to nothing."""
    counts = [(library, library.get_num_threads()) for library in _libraries()]
    several = [(library, count) for library, count in counts if count != 1]
    for library, _ in several:
        library.set_num_threads(1)
    try:
        yield
    finally:
        for library, count in several:
            library.set_num_threads(count)
