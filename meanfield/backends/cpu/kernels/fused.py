"""Fused kernels of the CPU for small d: everything in registers and one tile.

x is stored in tiles (tiles, D, tile), padded samples have zero slopes or none; z = ⟨w, x⟩ + b is
recomputed, never stored. Forward, a vector holds samples, and P particles are worked at once so
that one load of x serves all of them. Backward (one output), a vector holds particles, whose
gradients stay in registers while the samples pass: no sum runs across a vector.

`keep` (tiles, m, tile) has σ(z) of the forward pass for the pull-back of the same particles, or is
(0, 0, 0). Bits are the same with and without.

Sums run in the kernel's dtype T within one tile (at most 1024 samples) and blocks of at most 1024
particles, and in float64 across them. A shard is worked by one thread from its first particle to
its last: bits do not depend on threads.
"""

import numpy as np
from numba import njit

from meanfield.backends.bound import (
    BY_ADDRESS,
    FASTMATH,
    KEEPS,
    VECTORS,
    D,
    P,
    T,
    slope_of_value,
    value,
    value_and_slope,
)
from meanfield.backends.cpu.kernels.sums import dot, summed
from meanfield.backends.llvm.half_spaces import lanes
from meanfield.backends.llvm.intrinsics import fma, stack_array, widest_vectors
from meanfield.backends.llvm.squares import square
from meanfield.backends.unroll import each, total

# P is 4 with 32 registers: from d = 5 on the weights take more, and still LLVM's loads of some of
# them from an aligned stack cost less than those of x for fewer particles (at d = 10 a third less
# than with one, of relu and of tanh).
VECTOR = lanes(T().itemsize)  # numbers in a vector
COUNT = VECTORS * 64 // T().itemsize
particles = stack_array(COUNT)
squares = stack_array((VECTOR, COUNT))
# No other pointer reaches them, and the stack is aligned to vectors for all that is put there.
sums_of_tile = stack_array(1024)
kernel = njit(fastmath=FASTMATH, **BY_ADDRESS)


@kernel
def mean_feature(shard, shards, theta, weight, x, partial, keep):
    widest_vectors()
    m = theta.shape[0]
    start, stop = shard * m // shards, (shard + 1) * m // shards
    partial = partial[shard]
    local = sums_of_tile(T(0))
    if KEEPS:  # beside arrays of the stack rows of `keep` need no look at whether they overlap
        t = [sums_of_tile(T(0)) for j in each(D)]
        s = [sums_of_tile(T(0)) for u in each(P)]  # for nobody
    size = x.shape[2] // VECTOR * VECTOR  # all of them: whole vectors, and so said
    for tile in range(x.shape[0]):
        if KEEPS:
            for j in each(D):
                for i in range(size):
                    t[j][i] = x[tile, j, i]
        else:
            t = [x[tile, j] for j in each(D)]
        sums = partial[tile, 0]
        sums[:] = 0.0
        for block in range(start, stop, 1024):
            end = block + 1024 if block + 1024 < stop else stop
            for i in range(size):
                local[i] = T(0)
            first = block
            for count in each((P, 1)):  # P at once, then those that are left
                last = first + (end - first) // count * count
                # without a sign no index wraps around, here and below
                for k in range(np.uint64(first), np.uint64(last), np.uint64(count)):
                    rows = [k + np.uint64(u) for u in each(count)]
                    c = [theta[rows[u], 0] * weight[rows[u]] for u in each(count)]
                    b = [theta[rows[u], D + 1] for u in each(count)]
                    w = [[theta[rows[u], 1 + j] for j in each(D)] for u in each(count)]
                    if KEEPS:
                        row = [keep[tile, rows[u]] if keep.shape[0] else s[u] for u in each(count)]
                    for i in range(size):
                        v = t[0][i]
                        z = [b[u] + w[u][0] * v for u in each(count)]
                        for j in each(1, D):
                            v = t[j][i]
                            for u in each(count):
                                z[u] = z[u] + w[u][j] * v
                        if KEEPS:
                            q = [T(value(z[u])) for u in each(count)]
                            for u in each(count):
                                row[u][i] = q[u]
                            local[i] = total(local[i], *(c[u] * q[u] for u in each(count)))
                        else:
                            local[i] = total(
                                local[i], *(c[u] * T(value(z[u])) for u in each(count))
                            )
                first = last
            for i in range(size):
                sums[i] += local[i]


@kernel
def pull_back(shard, shards, theta, x, slopes, decay, trainable, out, keep):
    widest_vectors()
    m = theta.shape[0]
    start, stop = shard * m // shards, (shard + 1) * m // shards
    a, b = particles(T(0)), particles(T(0))
    w = [particles(T(0)) for j in each(D)]
    rates = [particles(T(0)) for j in each(D + 2)]
    ga = particles(T(0))
    gb = particles(T(0))
    g = [particles(T(0)) for j in each(D)]
    if KEEPS:
        values = squares(T(0))
    # of all tiles; where registers are short, out of their way
    total_a = particles(0.0) if VECTORS > 1 else np.empty(COUNT)
    total_b = particles(0.0) if VECTORS > 1 else np.empty(COUNT)
    total_w = [particles(0.0) if VECTORS > 1 else np.empty(COUNT) for j in each(D)]
    for first in range(start, stop, COUNT):
        count = min(COUNT, stop - first)
        for l in range(COUNT):
            k = first + min(l, count - 1)
            b[l] = theta[k, D + 1]
            for j in each(D):
                w[j][l] = theta[k, 1 + j]
            total_a[l] = 0.0
            total_b[l] = 0.0
            for j in each(D):
                total_w[j][l] = 0.0

        for tile in range(slopes.shape[0]):
            r_tile = slopes[tile, 0]
            t = [x[tile, j] for j in each(D)]
            for l in range(COUNT):
                ga[l] = T(0)
                gb[l] = T(0)
                for j in each(D):
                    g[j][l] = T(0)
            if KEEPS and keep.shape[0]:
                n = np.uint64(r_tile.shape[0])
                for begin in range(np.uint64(0), n, np.uint64(VECTOR)):
                    for l in range(0, COUNT, VECTOR):
                        square(keep[tile], first + l, stop - 1, np.intp(begin), values[:, l:])
                    end = begin + np.uint64(VECTOR)
                    for i in range(begin, end if end < n else n):
                        r = r_tile[i]
                        v = [t[j][i] for j in each(D)]
                        for l in range(COUNT):
                            s = values[i - begin, l]
                            ga[l] += r * s
                            q = r * T(slope_of_value(s))
                            gb[l] += q
                            for j in each(D):
                                g[j][l] += q * v[j]
            else:
                for i in range(r_tile.shape[0]):
                    r = r_tile[i]
                    v = [t[j][i] for j in each(D)]
                    for l in range(COUNT):
                        s, d = value_and_slope(total(b[l], *(w[j][l] * v[j] for j in each(D))))
                        ga[l] += r * T(s)
                        q = r * T(d)
                        gb[l] += q
                        for j in each(D):
                            g[j][l] += q * v[j]
            for l in range(COUNT):
                total_a[l] += ga[l]
                total_b[l] += gb[l]
                for j in each(D):
                    total_w[j][l] += g[j][l]

        for l in range(COUNT):
            a[l] = theta[first + min(l, count - 1), 0]  # not in a register before
        for l in range(COUNT):
            rates[0][l] = T(total_a[l] - decay * a[l]) * trainable[0]
            for j in each(D):
                moved = fma(np.float64(a[l]), total_w[j][l], -np.float64(decay * w[j][l]))
                rates[1 + j][l] = T(moved) * trainable[1 + j]
            moved = fma(np.float64(a[l]), total_b[l], -np.float64(decay * b[l]))
            rates[D + 1][l] = T(moved) * trainable[D + 1]
        for l in range(count):
            for j in each(D + 2):
                out[first + l, j] = rates[j][l]


# Any number K of outputs.


@kernel
def mean_feature_k(shard, shards, theta, weight, x, partial, keep):
    widest_vectors()
    m = theta.shape[0]
    start, stop = shard * m // shards, (shard + 1) * m // shards
    partial = partial[shard]
    K, size = partial.shape[1], x.shape[2]
    local, values = np.empty((K, size), T), np.empty(size, T)
    for tile in range(x.shape[0]):
        t = [x[tile, j] for j in each(D)]
        partial[tile] = 0.0
        for block in range(start, stop, 1024):
            local[:] = T(0)
            for k in range(block, min(stop, block + 1024)):
                w = [theta[k, K + j] for j in each(D)]
                b = theta[k, K + D]
                for i in range(size):
                    v = [t[j][i] for j in each(D)]
                    values[i] = value(total(b, *(w[j] * v[j] for j in each(D))))
                if KEEPS and keep.shape[0]:
                    keep[tile, k] = values
                for c in range(K):
                    a, row = theta[k, c] * weight[k], local[c]
                    for i in range(size):
                        row[i] += a * values[i]
            for c in range(K):
                row, sums = local[c], partial[tile, c]
                for i in range(size):
                    sums[i] += row[i]


@kernel
def pull_back_k(shard, shards, theta, x, slopes, decay, trainable, out, keep):
    widest_vectors()
    m = theta.shape[0]
    start, stop = shard * m // shards, (shard + 1) * m // shards
    K, size, p = slopes.shape[1], x.shape[2], theta.shape[1]
    values, rates, common = np.empty(size, T), np.empty(size, T), np.empty(size, T)
    sums = np.empty(p, np.float64)
    for k in range(start, stop):
        w = [theta[k, K + j] for j in each(D)]
        b = theta[k, K + D]
        sums[:] = 0.0
        for tile in range(x.shape[0]):
            t = [x[tile, j] for j in each(D)]
            if KEEPS and keep.shape[0]:
                values[:] = keep[tile, k]
                for i in range(size):
                    rates[i] = slope_of_value(values[i])
            else:
                for i in range(size):
                    v = [t[j][i] for j in each(D)]
                    s, d = value_and_slope(total(b, *(w[j] * v[j] for j in each(D))))
                    values[i] = s
                    rates[i] = d
            common[:] = T(0)
            for c in range(K):
                row, a = slopes[tile, c], theta[k, c]
                sums[c] += dot(row, values)
                for i in range(size):
                    common[i] += a * row[i]
            for i in range(size):
                common[i] *= rates[i]
            for j in each(D):
                sums[K + j] += dot(common, t[j])
            sums[p - 1] += summed(common)
        for j in range(p):
            out[k, j] = T(sums[j] - decay * theta[k, j]) * trainable[j]


@kernel
def push_forward(shard, shards, theta, weight, x, move, partial):
    widest_vectors()
    m = theta.shape[0]
    start, stop = shard * m // shards, (shard + 1) * m // shards
    partial = partial[shard]
    K, size = partial.shape[1], x.shape[2]
    local, values, changes = np.empty((K, size), T), np.empty(size, T), np.empty(size, T)
    for tile in range(x.shape[0]):
        t = [x[tile, j] for j in each(D)]
        partial[tile] = 0.0
        for block in range(start, stop, 1024):
            local[:] = T(0)
            for k in range(block, min(stop, block + 1024)):
                w = [theta[k, K + j] for j in each(D)]
                b = theta[k, K + D]
                uw = [move[k, K + j] for j in each(D)]
                ub = move[k, K + D]
                for i in range(size):
                    v = [t[j][i] for j in each(D)]
                    s, d = value_and_slope(total(b, *(w[j] * v[j] for j in each(D))))
                    values[i] = s
                    changes[i] = T(d) * total(ub, *(uw[j] * v[j] for j in each(D)))
                for c in range(K):
                    a, ua, row = theta[k, c] * weight[k], move[k, c] * weight[k], local[c]
                    for i in range(size):
                        row[i] = row[i] + ua * values[i] + a * changes[i]
            for c in range(K):
                row, sums = local[c], partial[tile, c]
                for i in range(size):
                    sums[i] += row[i]
