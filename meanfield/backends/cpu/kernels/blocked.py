"""Kernels of the CPU for large d: matrix products of a block of particles with a tile of samples.

A block of at most BLOCK particles and a tile of at most 1024 samples give Z = W Xᵀ (block, tile),
one row a particle; x is packed once for that product (`forward`), and once more for the one of the
pull-back (`backward`): llvm/products.py. `keep` holds Z of the forward pass for the pull-back of
the same particles where it fits the budget (then its shape is (tiles, m, tile), otherwise (0, 0, 0)
and Z is computed again: the same product on the same block, so the same bits). Blocks never
straddle a shard, and a shard is worked by one thread: bits do not depend on threads.
"""

import numpy as np
from numba import njit

from meanfield.backends.bound import BY_ADDRESS, FASTMATH, T, value, value_and_slope
from meanfield.backends.cpu.kernels.sums import dot, summed
from meanfield.backends.llvm.intrinsics import widest_vectors
from meanfield.backends.llvm.products import multiplier

BLOCK = 96
multiply = multiplier(np.dtype(T).name)
kernel = njit(fastmath=FASTMATH, **BY_ADDRESS)


@kernel
def inputs(rows, weights, x, z):
    """z[k, i] = ⟨w_k, x_i⟩ for one block and one tile; `rows` (block, >= d) holds w in its first d
    columns.
    """
    for k in range(rows.shape[0]):
        for j in range(weights.shape[1]):
            weights[k, j] = rows[k, j]
    multiply(weights, x, z)


@kernel
def mean_feature(shard, shards, theta, weight, x, partial, keep):
    widest_vectors()
    m = theta.shape[0]
    start, stop = shard * m // shards, (shard + 1) * m // shards
    partial = partial[shard]
    tiles, K, size = partial.shape
    d = theta.shape[1] - K - 1
    weights, scratch = np.empty((BLOCK, d), T), np.empty((BLOCK, size), T)
    local, values = np.empty((K, size), T), np.empty(size, T)
    partial[:] = 0.0
    for first in range(start, stop, BLOCK):
        last = min(stop, first + BLOCK)
        for tile in range(tiles):
            z = keep[tile, first:last] if keep.shape[0] else scratch[: last - first]
            inputs(theta[first:last, K:], weights[: last - first], x[tile], z)
            local[:] = T(0)
            for k in range(last - first):
                row, b = z[k], theta[first + k, K + d]
                if K == 1:
                    c, out = theta[first + k, 0] * weight[first + k], local[0]
                    for i in range(size):
                        out[i] += c * T(value(row[i] + b))
                else:
                    for i in range(size):
                        values[i] = value(row[i] + b)
                    for o in range(K):
                        c, out = theta[first + k, o] * weight[first + k], local[o]
                        for i in range(size):
                            out[i] += c * values[i]
            for o in range(K):
                total, out = partial[tile, o], local[o]
                for i in range(size):
                    total[i] += out[i]


@kernel
def pull_back(shard, shards, theta, forward, backward, slopes, decay, trainable, out, keep):
    widest_vectors()
    m = theta.shape[0]
    start, stop = shard * m // shards, (shard + 1) * m // shards
    tiles, K, size = slopes.shape
    p = theta.shape[1]
    d, d_padded = p - K - 1, backward.shape[1] // size
    # z and q are never the same memory: loops over overlapping rows would run unvectorised, with
    # other bits.
    weights = np.empty((BLOCK, d), T)
    scratch = np.empty((BLOCK, size), T)
    q_block = np.empty((BLOCK, size), T)
    values, common = np.empty(size, T), np.empty(size, T)
    product, total = np.empty((BLOCK, d_padded), T), np.empty((BLOCK, p), np.float64)
    for first in range(start, stop, BLOCK):
        last = min(stop, first + BLOCK)
        total[:] = 0.0
        for tile in range(tiles):
            q = q_block[: last - first]
            z = keep[tile, first:last] if keep.shape[0] else scratch[: last - first]
            if not keep.shape[0]:
                inputs(theta[first:last, K:], weights[: last - first], forward[tile], z)
            for k in range(last - first):
                row, q_row, b = z[k], q[k], theta[first + k, K + d]
                if K == 1:
                    a, r = theta[first + k, 0], slopes[tile, 0]
                    for i in range(size):
                        v, s = value_and_slope(row[i] + b)
                        values[i] = v
                        q_row[i] = a * r[i] * T(s)
                    total[k, 0] += dot(r, values)
                else:
                    for i in range(size):
                        v, s = value_and_slope(row[i] + b)
                        values[i] = v
                        q_row[i] = s
                        common[i] = T(0)
                    for o in range(K):
                        a, r = theta[first + k, o], slopes[tile, o]
                        total[k, o] += dot(r, values)
                        for i in range(size):
                            common[i] += a * r[i]
                    for i in range(size):
                        q_row[i] *= common[i]
                total[k, p - 1] += summed(q_row)
            g_w = product[: last - first]
            multiply(q, backward[tile], g_w)
            for k in range(last - first):
                for j in range(d):
                    total[k, K + j] += g_w[k, j]
        for k in range(last - first):
            for j in range(p):
                out[first + k, j] = T(total[k, j] - decay * theta[first + k, j]) * trainable[j]


@kernel
def push_forward(shard, shards, theta, weight, x, move, partial):
    widest_vectors()
    m = theta.shape[0]
    start, stop = shard * m // shards, (shard + 1) * m // shards
    partial = partial[shard]
    tiles, K, size = partial.shape
    d = theta.shape[1] - K - 1
    weights = np.empty((BLOCK, d), T)
    scratch = np.empty((BLOCK, size), T)
    change = np.empty((BLOCK, size), T)
    local, values = np.empty((K, size), T), np.empty(size, T)
    partial[:] = 0.0
    for first in range(start, stop, BLOCK):
        last = min(stop, first + BLOCK)
        for tile in range(tiles):
            z, dz = scratch[: last - first], change[: last - first]
            inputs(theta[first:last, K:], weights[: last - first], x[tile], z)
            inputs(move[first:last, K:], weights[: last - first], x[tile], dz)
            local[:] = T(0)
            for k in range(last - first):
                row, d_row, b, db = z[k], dz[k], theta[first + k, K + d], move[first + k, K + d]
                for i in range(size):
                    v, s = value_and_slope(row[i] + b)
                    values[i] = v
                    d_row[i] = T(s) * (d_row[i] + db)
                for o in range(K):
                    c = theta[first + k, o] * weight[first + k]
                    dc = move[first + k, o] * weight[first + k]
                    out = local[o]
                    for i in range(size):
                        out[i] = out[i] + dc * values[i] + c * d_row[i]
            for o in range(K):
                total, out = partial[tile, o], local[o]
                for i in range(size):
                    total[i] += out[i]
