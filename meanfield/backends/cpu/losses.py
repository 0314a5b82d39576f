"""Compiled losses on predictions f = s F: n-vectors on the host, always float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...formulas.losses import Loss
from ...formulas.slopes import written_here
from .. import as_written, compiler

NO_WEIGHTS = np.empty(0)


class Formulas:
    """ℓ and ℓ' of one loss in the kernels of a device, its constants as they are now; of kernels with
    and without weights only those called for are ever compiled.
    """

    device: str
    load: Callable[..., Any]  # `kernels` of the device's compiler
    file: str

    def __init__(self, loss: Loss) -> None:
        self.loss = loss
        self.unproved = set() if written_here(loss.value, loss.slope) else {"value", "slope"}
        self.forget()

    def forget(self) -> None:
        """Load the kernels of the formulas as they are now."""
        self.modules: dict[bool, Any] = {}

    def module(self, weighted: bool = False) -> Any:
        """The kernels for samples without or with weights."""
        if weighted not in self.modules:
            used = {"value": self.loss.value, "slope": self.loss.slope}
            self.modules[weighted] = self.load(self.file, "float64", used, WEIGHTED=weighted)
        return self.modules[weighted]


class Kernels(Formulas):
    """The compiled ℓ and ℓ' of one loss, on arrays of the host."""

    device, file = "cpu", f"{__package__}.kernels.losses"
    load = staticmethod(compiler.kernels)

    def total(
        self, F: np.ndarray, y: np.ndarray, s: float = 1.0, weights: np.ndarray | None = None
    ) -> float:
        """Σ_i w_i ℓ(s F_i, y_i), summed over outputs: F (n, K), y (n, K) or classes (n,), w = 1
        unless given.
        """
        if "value" in self.unproved:
            as_written.prove_loss(self.loss, "value", y, F.shape[1], self)
        kernels = self.module(weights is not None)
        weights = NO_WEIGHTS if weights is None else weights
        if self.loss.coupled:
            return float(kernels.total_coupled(s * F, y, weights))
        return float(kernels.total(F, y, weights, s))

    def slopes(
        self,
        F: np.ndarray,
        y: np.ndarray,
        s: float = 1.0,
        factor: float = 1.0,
        weights: np.ndarray | None = None,
    ) -> np.ndarray:
        """factor · w_i ℓ'(s F_i, y_i)/s, (n, K): the derivative of factor · Σ_i w_i ℓ(s F_i,
        y_i)/s² in F.
        """
        if weights is not None:
            return weights[:, None] * self.slopes(F, y, s, factor)
        if "slope" in self.unproved:
            as_written.prove_loss(self.loss, "slope", y, F.shape[1], self)
        out = np.zeros(F.shape, F.dtype)  # a slope may leave out what is 0
        if self.loss.coupled:
            self.module().slopes_coupled(s * F, y, out)
            return factor * out / s
        self.module().slopes(F, y, s, factor, out)
        return out


def total(
    loss: Loss, F: np.ndarray, y: np.ndarray, s: float = 1.0, weights: np.ndarray | None = None
) -> float:
    """Σ_i w_i ℓ(s F_i, y_i), summed over outputs: F (n, K), y (n, K) or classes (n,), w = 1 unless
    given.
    """
    return Kernels(loss).total(F, y, s, weights)


def slopes(
    loss: Loss,
    F: np.ndarray,
    y: np.ndarray,
    s: float = 1.0,
    factor: float = 1.0,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """factor · w_i ℓ'(s F_i, y_i)/s, (n, K): the derivative of factor · Σ_i w_i ℓ(s F_i, y_i)/s² in
    F.
    """
    return Kernels(loss).slopes(F, y, s, factor, weights)
