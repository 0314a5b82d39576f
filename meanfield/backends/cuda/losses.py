"""Losses on the GPU: ℓ and ℓ' of mean features where they lie, by the scalar formulas of losses.py compiled in float64.

Features F and labels are (K, n), classes (n,); a prediction is f = s F. R is summed over samples in one fixed order: a thread
its own from first to last, the threads of a block in a tree, the blocks by add_rows. A coupled loss (softmax) reads a
sample's outputs as a row, so f and its slopes pass through two (K, n) arrays of float64.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from ...formulas.losses import Loss
from ...formulas.slopes import written_here
from . import compiler
from .vectors import MEET

SOURCE = f'''"""Written by meanfield/backends/cuda/losses.py; bound here: value, slope."""
import numpy as np
from numba import cuda


@cuda.jit(cache=True)
def total(features, y, s, length, partial):
    """partial[slab] = Σ_{{i in slab}} Σ_c ℓ(s F_ci, y_ci); 128 threads, one block for each slab of `length` samples."""
    sums = cuda.shared.array(128, np.float64)
    thread, slab = cuda.threadIdx.x, cuda.blockIdx.x
    start = slab * length
    stop = min(features.shape[1], start + length)
    mine = 0.0
    i = start + thread
    while i < stop:
        c = 0
        while c < features.shape[0]:
            mine += value(s * features[c, i], y[c, i])
            c += 1
        i += 128
{MEET}

@cuda.jit(cache=True)
def slopes(features, y, s, factor, out):
    """out = factor ℓ'(s F, y)/s; blocks of 128 samples, one row of the grid for each output."""
    i, c = cuda.blockIdx.x * 128 + cuda.threadIdx.x, cuda.blockIdx.y
    if i < features.shape[1]:
        out[c, i] = factor * slope(s * features[c, i], y[c, i]) / s


@cuda.jit(cache=True)
def total_coupled(features, y, s, length, f, partial):
    """As total, of a loss that couples the outputs of a sample; f is overwritten with s F."""
    sums = cuda.shared.array(128, np.float64)
    thread, slab = cuda.threadIdx.x, cuda.blockIdx.x
    start = slab * length
    stop = min(features.shape[1], start + length)
    mine = 0.0
    i = start + thread
    while i < stop:
        c = 0
        while c < features.shape[0]:
            f[c, i] = s * features[c, i]
            c += 1
        mine += value(f[:, i], y[i])
        i += 128
{MEET}

@cuda.jit(cache=True)
def slopes_coupled(features, y, s, factor, f, r, out):
    """As slopes, of a loss that couples the outputs of a sample; f and r are overwritten with s F and ℓ'."""
    i = cuda.blockIdx.x * 128 + cuda.threadIdx.x
    if i < features.shape[1]:
        c = 0
        while c < features.shape[0]:
            f[c, i] = s * features[c, i]
            r[c, i] = 0.0  # a slope may leave out what is 0
            c += 1
        slope(f[:, i], y[i], r[:, i])
        c = 0
        while c < features.shape[0]:
            out[c, i] = factor * r[c, i] / s
            c += 1


@cuda.jit(cache=True)
def total_weighted(features, y, weights, s, length, partial):
    """partial[slab] = Σ_{{i in slab}} Σ_c w_i ℓ(s F_ci, y_ci), as total."""
    sums = cuda.shared.array(128, np.float64)
    thread, slab = cuda.threadIdx.x, cuda.blockIdx.x
    start = slab * length
    stop = min(features.shape[1], start + length)
    mine = 0.0
    i = start + thread
    while i < stop:
        c = 0
        while c < features.shape[0]:
            mine += weights[i] * value(s * features[c, i], y[c, i])
            c += 1
        i += 128
{MEET}

@cuda.jit(cache=True)
def total_coupled_weighted(features, y, weights, s, length, f, partial):
    """As total_weighted, of a loss that couples the outputs of a sample; f is overwritten with s F."""
    sums = cuda.shared.array(128, np.float64)
    thread, slab = cuda.threadIdx.x, cuda.blockIdx.x
    start = slab * length
    stop = min(features.shape[1], start + length)
    mine = 0.0
    i = start + thread
    while i < stop:
        c = 0
        while c < features.shape[0]:
            f[c, i] = s * features[c, i]
            c += 1
        mine += weights[i] * value(f[:, i], y[i])
        i += 128
{MEET}

@cuda.jit(cache=True)
def weigh(weights, out):
    """out_ci *= w_i; the grid of slopes."""
    i, c = cuda.blockIdx.x * 128 + cuda.threadIdx.x, cuda.blockIdx.y
    if i < out.shape[1]:
        out[c, i] *= weights[i]
'''


class Kernels:
    """The kernels of one loss, its constants as they are now; of the two kinds only the one it calls for is ever compiled.

    total and slopes take and give arrays of the host: for the comparison with the Python functions (as_written.py).
    """

    device = "cuda"

    def __init__(self, loss: Loss, backend: Any) -> None:
        self.loss, self.backend = loss, weakref.proxy(backend)
        self.unproved = set() if written_here(loss.value, loss.slope) else {"value", "slope"}
        self.forget()

    def forget(self) -> None:
        """Load the kernels of the formulas as they are now."""
        self.module = compiler.load(
            "cuda_loss", SOURCE, "float64", {"value": self.loss.value, "slope": self.loss.slope}
        )

    def total(self, f: np.ndarray, y: np.ndarray) -> float:
        return float(
            self.backend.total(self.loss, self.backend.labels(f), self.backend.labels(y), 1.0)
        )

    def slopes(self, f: np.ndarray, y: np.ndarray) -> np.ndarray:
        made = self.backend.slopes(
            self.loss, self.backend.labels(f), self.backend.labels(y), 1.0, 1.0
        )
        return np.ascontiguousarray(made.data.copy_to_host().T)
