"""Σ ℓ and ℓ' of predictions f = s F on a GPU, features (K, n); WEIGHTED: each sample has a weight.

Coupled: a loss of all outputs of a sample at once, which reads them as a row: f and its slopes pass
through (K, n) arrays.
"""

import numpy as np
from numba import cuda

from meanfield.backends.bound import WEIGHTED, slope, value
from meanfield.backends.cuda.kernels.meet import meet


@cuda.jit(cache=True)
def total(features, y, weights, s, length, partial):
    """partial[slab] = Σ_{i in slab} Σ_c w_i ℓ(s F_ci, y_ci); 128 threads, one block for each slab
    of `length` samples.
    """
    sums = cuda.shared.array(128, np.float64)
    thread, slab = cuda.threadIdx.x, cuda.blockIdx.x
    start = slab * length
    stop = min(features.shape[1], start + length)
    mine = 0.0
    i = start + thread
    while i < stop:
        c = 0
        while c < features.shape[0]:
            loss = value(s * features[c, i], y[c, i])
            mine += weights[i] * loss if WEIGHTED else loss
            c += 1
        i += 128
    found = meet(sums, thread, mine)
    if thread == 0:
        partial[slab, 0, 0] = found


@cuda.jit(cache=True)
def slopes(features, y, s, factor, out):
    """out = factor ℓ'(s F, y)/s; blocks of 128 samples, one row of the grid for each output."""
    i, c = cuda.blockIdx.x * 128 + cuda.threadIdx.x, cuda.blockIdx.y
    if i < features.shape[1]:
        out[c, i] = factor * slope(s * features[c, i], y[c, i]) / s


@cuda.jit(cache=True)
def total_coupled(features, y, weights, s, length, f, partial):
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
        loss = value(f[:, i], y[i])
        mine += weights[i] * loss if WEIGHTED else loss
        i += 128
    found = meet(sums, thread, mine)
    if thread == 0:
        partial[slab, 0, 0] = found


@cuda.jit(cache=True)
def slopes_coupled(features, y, s, factor, f, r, out):
    """As slopes, of a loss that couples the outputs of a sample; f and r are overwritten with s F
    and ℓ'.
    """
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
def weigh(weights, out):
    """out_ci *= w_i; the grid of slopes."""
    i, c = cuda.blockIdx.x * 128 + cuda.threadIdx.x, cuda.blockIdx.y
    if i < out.shape[1]:
        out[c, i] *= weights[i]
