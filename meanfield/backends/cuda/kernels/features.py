"""A user's φ(θ; x) and ∇φ on a GPU: mean features, push-forward, pull-back, and heights.

Formulas see rows of D and INPUTS numbers that a thread has to itself. θ lies as (p, m), x as (d, n).
Sums over the particles of a slab, and over samples, run in their order in float64. There are no
atomics. A gradient may leave out what is 0.
"""

import numpy as np
from numba import cuda

from meanfield.backends.bound import INPUTS, D, T, grad_phi, phi


@cuda.jit(cache=True)
def mean_feature(theta, weight, x, first, length, partial):
    """partial_c0i = Σ_k weight_k φ(θ_k; x_{first + i}) over the particles k of slab c."""
    row = cuda.local.array(D, T)
    point = cuda.local.array(INPUTS, T)
    i, slab = cuda.grid(1), cuda.blockIdx.y
    if i >= partial.shape[2]:
        return
    for j in range(INPUTS):
        point[j] = x[j, first + i]
    total = 0.0
    for k in range(slab * length, min(theta.shape[1], (slab + 1) * length)):
        for j in range(D):
            row[j] = theta[j, k]
        total += np.float64(weight[k]) * np.float64(phi(row, point))
    partial[slab, 0, i] = total


@cuda.jit(cache=True)
def push_forward(theta, weight, x, first, length, move, partial):
    """partial_c0i = Σ_k weight_k ∇φ(θ_k; x_{first + i})·move_k over the particles k of slab c."""
    row = cuda.local.array(D, T)
    g = cuda.local.array(D, T)
    point = cuda.local.array(INPUTS, T)
    i, slab = cuda.grid(1), cuda.blockIdx.y
    if i >= partial.shape[2]:
        return
    for j in range(INPUTS):
        point[j] = x[j, first + i]
    total = 0.0
    for k in range(slab * length, min(theta.shape[1], (slab + 1) * length)):
        for j in range(D):
            row[j] = theta[j, k]
            g[j] = T(0)
        grad_phi(row, point, g)
        along = 0.0
        for j in range(D):
            along += np.float64(g[j]) * np.float64(move[j, k])
        total += np.float64(weight[k]) * along
    partial[slab, 0, i] = total


@cuda.jit(cache=True)
def pull_back(theta, x, n, slopes, decay, trainable, out):
    """out_k = Σ_i slopes_i ∇φ(θ_k; x_i) - decay θ_k on trainable columns, 0 elsewhere."""
    row = cuda.local.array(D, T)
    g = cuda.local.array(D, T)
    total = cuda.local.array(D, np.float64)
    point = cuda.local.array(INPUTS, T)
    k = cuda.grid(1)
    if k >= theta.shape[1]:
        return
    for j in range(D):
        row[j] = theta[j, k]
        total[j] = 0.0
    for i in range(n):
        for j in range(INPUTS):
            point[j] = x[j, i]
        for j in range(D):
            g[j] = T(0)
        grad_phi(row, point, g)
        for j in range(D):
            total[j] += np.float64(slopes[0, i]) * np.float64(g[j])
    for j in range(D):
        out[j, k] = T(total[j] - np.float64(decay) * np.float64(row[j])) * trainable[j]


@cuda.jit(cache=True)
def heights(theta, x, n, slopes, out):
    """out_0k = Σ_i slopes_i φ(θ_k; x_i)."""
    row = cuda.local.array(D, T)
    point = cuda.local.array(INPUTS, T)
    k = cuda.grid(1)
    if k >= theta.shape[1]:
        return
    for j in range(D):
        row[j] = theta[j, k]
    total = 0.0
    for i in range(n):
        for j in range(INPUTS):
            point[j] = x[j, i]
        total += np.float64(slopes[0, i]) * np.float64(phi(row, point))
    out[0, k] = total
