"""Compiled losses on predictions f = s F: n-vectors on the host, always float64."""

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
def total(F, y, s):
    result = 0.0
    for i in range(F.shape[0]):
        for c in range(F.shape[1]):
            result += value(s * F[i, c], y[i, c])
    return result


@kernel
def slopes(F, y, s, factor, out):
    for i in range(F.shape[0]):
        for c in range(F.shape[1]):
            out[i, c] = factor * slope(s * F[i, c], y[i, c]) / s


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


def total(loss: Loss, F: np.ndarray, y: np.ndarray, s: float = 1.0) -> float:
    """Σ_i ℓ(s F_i, y_i), summed over outputs: F (n, K), y (n, K) or classes (n,)."""
    if loss.coupled:
        return float(_kernels(loss).total_coupled(s * F, y))
    return float(_kernels(loss).total(F, y, s))


def slopes(loss: Loss, F: np.ndarray, y: np.ndarray, s: float = 1.0, factor: float = 1.0) -> np.ndarray:
    """factor · ℓ'(s F_i, y_i)/s, (n, K): the derivative of factor · Σ_i ℓ(s F_i, y_i)/s² in F."""
    out = np.empty_like(F)
    if loss.coupled:
        _kernels(loss).slopes_coupled(s * F, y, out)
        return factor * out / s
    _kernels(loss).slopes(F, y, s, factor, out)
    return out
