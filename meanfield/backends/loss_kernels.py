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


@kernel
def total_weighted(F, y, s, weights):
    result = 0.0
    for i in range(F.shape[0]):
        for c in range(F.shape[1]):
            result += weights[i] * value(s * F[i, c], y[i, c])
    return result


@kernel
def total_coupled_weighted(f, y, weights):
    result = 0.0
    for i in range(f.shape[0]):
        result += weights[i] * value(f[i], y[i])
    return result
'''


@cache
def _kernels(loss: Loss) -> Any:
    return formulas.load("loss", SOURCE, "float64", {"value": loss.value, "slope": loss.slope})


def total(loss: Loss, F: np.ndarray, y: np.ndarray, s: float = 1.0, weights: np.ndarray | None = None) -> float:
    """Σ_i w_i ℓ(s F_i, y_i), summed over outputs: F (n, K), y (n, K) or classes (n,), w = 1 unless given."""
    if weights is not None:
        kernels = _kernels(loss)
        return float(
            kernels.total_coupled_weighted(s * F, y, weights) if loss.coupled else kernels.total_weighted(F, y, s, weights)
        )
    if loss.coupled:
        return float(_kernels(loss).total_coupled(s * F, y))
    return float(_kernels(loss).total(F, y, s))


def slopes(
    loss: Loss, F: np.ndarray, y: np.ndarray, s: float = 1.0, factor: float = 1.0, weights: np.ndarray | None = None
) -> np.ndarray:
    """factor · w_i ℓ'(s F_i, y_i)/s, (n, K): the derivative of factor · Σ_i w_i ℓ(s F_i, y_i)/s² in F."""
    if weights is not None:
        return weights[:, None] * slopes(loss, F, y, s, factor)
    out = np.empty_like(F)
    if loss.coupled:
        _kernels(loss).slopes_coupled(s * F, y, out)
        return factor * out / s
    _kernels(loss).slopes(F, y, s, factor, out)
    return out
