"""Compiled losses on predictions f = s F: n-vectors on the host, always float64."""

from __future__ import annotations

import numpy as np

from ...formulas.losses import Loss
from ...formulas.slopes import written_here
from .. import as_written, compiler

SOURCE = '''"""Written by meanfield/backends/cpu/losses.py; bound here: value, slope."""
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


class Kernels:
    """The compiled ℓ and ℓ' of one loss, its constants as they are now."""

    device = "cpu"

    def __init__(self, loss: Loss) -> None:
        self.loss = loss
        self.unproved = set() if written_here(loss.value, loss.slope) else {"value", "slope"}
        self.forget()

    def forget(self) -> None:
        """Load the kernels of the formulas as they are now."""
        self.module = compiler.load(
            "loss", SOURCE, "float64", {"value": self.loss.value, "slope": self.loss.slope}
        )

    def total(
        self, F: np.ndarray, y: np.ndarray, s: float = 1.0, weights: np.ndarray | None = None
    ) -> float:
        """Σ_i w_i ℓ(s F_i, y_i), summed over outputs: F (n, K), y (n, K) or classes (n,), w = 1 unless given."""
        if "value" in self.unproved:
            as_written.prove_loss(self.loss, "value", y, F.shape[1], self)
        if weights is not None:
            if self.loss.coupled:
                return float(self.module.total_coupled_weighted(s * F, y, weights))
            return float(self.module.total_weighted(F, y, s, weights))
        if self.loss.coupled:
            return float(self.module.total_coupled(s * F, y))
        return float(self.module.total(F, y, s))

    def slopes(
        self,
        F: np.ndarray,
        y: np.ndarray,
        s: float = 1.0,
        factor: float = 1.0,
        weights: np.ndarray | None = None,
    ) -> np.ndarray:
        """factor · w_i ℓ'(s F_i, y_i)/s, (n, K): the derivative of factor · Σ_i w_i ℓ(s F_i, y_i)/s² in F."""
        if weights is not None:
            return weights[:, None] * self.slopes(F, y, s, factor)
        if "slope" in self.unproved:
            as_written.prove_loss(self.loss, "slope", y, F.shape[1], self)
        out = np.zeros_like(F)  # a slope may leave out what is 0
        if self.loss.coupled:
            self.module.slopes_coupled(s * F, y, out)
            return factor * out / s
        self.module.slopes(F, y, s, factor, out)
        return out


def total(
    loss: Loss, F: np.ndarray, y: np.ndarray, s: float = 1.0, weights: np.ndarray | None = None
) -> float:
    """Σ_i w_i ℓ(s F_i, y_i), summed over outputs: F (n, K), y (n, K) or classes (n,), w = 1 unless given."""
    return Kernels(loss).total(F, y, s, weights)


def slopes(
    loss: Loss,
    F: np.ndarray,
    y: np.ndarray,
    s: float = 1.0,
    factor: float = 1.0,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """factor · w_i ℓ'(s F_i, y_i)/s, (n, K): the derivative of factor · Σ_i w_i ℓ(s F_i, y_i)/s² in F."""
    return Kernels(loss).slopes(F, y, s, factor, weights)
