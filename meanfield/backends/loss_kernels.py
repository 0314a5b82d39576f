"""Compiled losses on predictions: n-vectors on the host, always float64."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ..losses import Loss
from . import formulas

SOURCE = '''"""Written by meanfield/backends/loss_kernels.py; bound here: value, slope."""
from numba import njit

kernel = njit(error_model="numpy", cache=True, nogil=True)


@kernel
def total(f, y):
    result = 0.0
    for i in range(f.shape[0]):
        for c in range(f.shape[1]):
            result += value(f[i, c], y[i, c])
    return result


@kernel
def slopes(f, y, out):
    for i in range(f.shape[0]):
        for c in range(f.shape[1]):
            out[i, c] = slope(f[i, c], y[i, c])


@kernel
def total_coupled(f, y):
    result = 0.0
    for i in range(f.shape[0]):
        result += value(f[i], y[i])
    return result


@kernel
def slopes_coupled(f, y, out):
    for i in range(f.shape[0]):
        slope(f[i], y[i], out[i])
'''


@cache
def _kernels(loss: Loss) -> Any:
    return formulas.load("loss", SOURCE, "float64", {"value": loss.value, "slope": loss.slope})


def total(loss: Loss, f: np.ndarray, y: np.ndarray) -> float:
    """Σ_i ℓ(f_i, y_i), summed over outputs: f (n, K), y (n, K) or classes (n,)."""
    return float((_kernels(loss).total_coupled if loss.coupled else _kernels(loss).total)(f, y))


def slopes(loss: Loss, f: np.ndarray, y: np.ndarray) -> np.ndarray:
    """ℓ'(f_i, y_i): (n, K)."""
    out = np.empty_like(f)
    (_kernels(loss).slopes_coupled if loss.coupled else _kernels(loss).slopes)(f, y, out)
    return out
