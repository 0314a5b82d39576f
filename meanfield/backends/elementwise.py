"""σ and σ' on a whole array: for diagnostics that need them apart, such as the tangent kernel in closed form."""

from __future__ import annotations

import numpy as np

from ..activations import Activation
from . import formulas

SOURCE = '''"""Written by meanfield/backends/elementwise.py; bound here: T, FASTMATH, value, slope."""
from numba import njit, prange


@njit(error_model="numpy", parallel=True, cache=True)
def evaluate(z, values, slopes):
    for k in prange(z.shape[0]):
        for i in range(z.shape[1]):
            values[k, i] = value(z[k, i])
            slopes[k, i] = slope(z[k, i])
'''


def values_and_slopes(sigma: Activation, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(σ(z), σ'(z)) of an array z (m, n), both (m, n) float64, by the formulas that the engine steps with."""
    z = np.ascontiguousarray(z, dtype=np.float64)
    values, slopes = np.empty_like(z), np.empty_like(z)
    kernels = formulas.load("elementwise", SOURCE, "float64", {"value": sigma.value, "slope": sigma.slope})
    kernels.evaluate(z, values, slopes)
    return values, slopes
