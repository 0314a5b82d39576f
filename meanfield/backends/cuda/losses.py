"""Losses on the GPU: ℓ and ℓ' of mean features where they lie, by the scalar formulas of losses.py
compiled in float64.

Features F and labels are (K, n), classes (n,); a prediction is f = s F. R is summed over samples in
one fixed order: a thread its own from first to last, the threads of a block in a tree, the blocks
by add_rows. A coupled loss (softmax) reads a sample's outputs as a row, so f and its slopes pass
through two (K, n) arrays of float64.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from ...formulas.losses import Loss
from ..cpu import losses
from . import compiler


class Kernels(losses.Formulas):
    """The kernels of one loss. total and slopes take and give arrays of the host: for the comparison
    with the Python functions (as_written).
    """

    device, file = "cuda", f"{__package__}.kernels.losses"
    load = staticmethod(compiler.kernels)

    def __init__(self, loss: Loss, backend: Any) -> None:
        super().__init__(loss)
        self.backend = weakref.proxy(backend)

    def total(self, f: np.ndarray, y: np.ndarray) -> float:
        return float(
            self.backend.total(self.loss, self.backend.labels(f), self.backend.labels(y), 1.0)
        )

    def slopes(self, f: np.ndarray, y: np.ndarray) -> np.ndarray:
        made = self.backend.slopes(
            self.loss, self.backend.labels(f), self.backend.labels(y), 1.0, 1.0
        )
        return np.ascontiguousarray(made.data.copy_to_host().T)
