"""σ and σ' on a whole array: for diagnostics that need them apart, such as the tangent kernel in closed form."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from ...formulas.activations import Activation
from .. import compiler

SOURCE = '''"""Written by meanfield/backends/cpu/elementwise.py; bound here: T, FASTMATH, value, slope."""
from numba import njit, prange

from meanfield.backends.elementary.intrinsics import widest_vectors


@njit(error_model="numpy", parallel=True, cache=True)
def evaluate(z, values, slopes):
    for k in prange(z.shape[0]):
        widest_vectors()
        for i in range(z.shape[1]):
            values[k, i] = value(z[k, i])
            slopes[k, i] = slope(z[k, i])


@njit(error_model="numpy", cache=True, nogil=True)
def features(z, b, root, rates, values, slopes):
    widest_vectors()
    for k in range(z.shape[0]):
        if values.size:
            for i in range(z.shape[1]):
                values[k, i] = root[k] * T(value(z[k, i] + b[k]))
        if slopes.size:
            for i in range(z.shape[1]):
                z[k, i] = slope(z[k, i] + b[k])
            for c in range(rates.shape[1]):
                for i in range(z.shape[1]):
                    slopes[c, k, i] = rates[k, c] * z[k, i]
'''


def _kernels(sigma: Activation, dtype: str) -> Any:
    return compiler.load("elementwise", SOURCE, dtype, {"value": sigma.value, "slope": sigma.slope})


def threads() -> int:
    """How many threads kernels may use now."""
    return int(numba.get_num_threads())


def values_and_slopes(sigma: Activation, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(σ(z), σ'(z)) of an array z (m, n), both (m, n) float64, by the formulas that the engine steps with."""
    z = np.ascontiguousarray(z, dtype=np.float64)
    values, slopes = np.empty_like(z), np.empty_like(z)
    _kernels(sigma, "float64").evaluate(z, values, slopes)
    return values, slopes


def features(sigma: Activation, dtype: str) -> Any:
    """The kernel (z, b, root, rates, values, slopes): values (m, n) = root_k σ(z + b_k), slopes (K, m, n) = rates_kc σ'(z + b_k),
    either of size 0 where not wanted.

    z (m, n) is overwritten; b, root (m,), rates (m, K); all of that dtype. On the thread that calls it.
    """
    return _kernels(sigma, dtype).features
