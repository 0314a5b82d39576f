"""Threads of BLAS and OpenMP: BLAS on one where bits must not depend on their number, OpenMP's
number as others set it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


@cache
def _libraries(scipy: bool) -> list[Any]:
    """Those that are loaded. scipy: whether SciPy's own is among them, which comes with its first
    import.
    """
    return [
        library for library in ThreadpoolController().lib_controllers if library.user_api == "blas"
    ]


@contextmanager
def one_thread() -> Iterator[None]:
    """Matrix products and linear algebra inside run on one thread, SciPy's too where it is
    imported; takes 4 µs, nested 2.
    """
    counts = [
        (library, library.get_num_threads())
        for library in _libraries("scipy.linalg" in sys.modules)
    ]
    several = [(library, count) for library, count in counts if count != 1]
    for library, _ in several:
        library.set_num_threads(1)
    try:
        yield
    finally:
        for library, count in several:
            library.set_num_threads(count)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def openmp_threads() -> int | None:
    """What OMP_NUM_THREADS asks for, of a list the first; None where it is not set, or no positive
    whole number.
    """
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else None


def share_of_rank() -> int | None:
    """The cores of this machine over the processes that torchrun has started on it; None without
    torchrun, or where OMP_NUM_THREADS asks for more than the 1 that torchrun sets unasked.
    """
    here = os.environ.get("LOCAL_WORLD_SIZE", "")
    if not here.isdecimal() or int(here) < 2 or (openmp_threads() or 1) > 1:
        return None
    return max(1, cores() // int(here))


@contextmanager
def openmp_untouched() -> Iterator[None]:
    """Where OpenMP is loaded, its number of threads after the block is that before it: torch's, for
    one.
    """
    libraries = [
        library
        for library in ThreadpoolController().lib_controllers
        if library.user_api == "openmp"
    ]
    counts = [library.get_num_threads() for library in libraries]
    try:
        yield
    finally:
        for library, count in zip(libraries, counts, strict=True):
            library.set_num_threads(count)
