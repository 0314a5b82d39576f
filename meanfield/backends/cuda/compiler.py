"""A formula compiled for the GPU: the same scalar function, its exp, tanh, … taken from NVIDIA's
libdevice.

libdevice's functions are good to 1 or 2 units in the last place (CUDA C++ Programming Guide,
"Mathematical Functions") and let NaN and infinity through. No fast-math flag is set: it would bind
approximations of 2⁻²¹ and flush small numbers to zero; products and sums are still fused.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import cuda
from numba.cuda import config

from .. import compiler

# NUMBA_ENABLE_CUDASIM=1: kernels run as Python threads, for tests without a GPU
SIMULATED = bool(getattr(config, "ENABLE_CUDASIM", False))
ALIGN = None if SIMULATED else 16  # bytes: rows of a shared tile are then read four numbers at once
# A small problem cannot fill a GPU, and a norm ends in one block: numba need not warn of it.
vars(config).update(CUDA_LOW_OCCUPANCY_WARNINGS=0)


def bind(function: Callable, dtype: str) -> Any:
    """The formula as a device function for "float32" or "float64"."""
    return compiler.bind(
        function, dtype, cuda.jit(device=True), lambda name, _: getattr(math, name, None)
    )


def kernels(file: str, dtype: str, used: dict[str, Callable], **constants: Any) -> types.ModuleType:
    """The kernels of a kernel file (compiler.kernels); compiled when first called."""
    return compiler.kernels(file, dtype, used, bind=bind, **constants)


def is_compiled(kernel: Any) -> bool:
    """Whether a first call of this kernel would find machine code, in this process or in the cache
    on disk.
    """
    if SIMULATED:
        return True
    stored = kernel._cache._impl
    return bool(kernel.overloads) or any(
        Path(stored.locator.get_cache_path()).glob(f"{stored.filename_base}*.nbi")
    )
