"""What a step does with rows of θ alone, whatever the activation: sums of stages, and their norms.

The kernels of a single step do it in parallel, a stretch of steps shard by shard (shards.py): the
same code, so the same bits.
"""

import numpy as np
from numba import njit, prange

from meanfield.backends.bound import FASTMATH
from meanfield.backends.llvm.intrinsics import widest_vectors

shard_kernel = njit(error_model="numpy", fastmath=FASTMATH, nogil=True, cache=True)
kernel = njit(error_model="numpy", parallel=True, cache=True, fastmath=FASTMATH)


@kernel
def add_scaled(base, coefficient, stage, out):
    for e in prange(base.size):
        out[e] = base[e] + coefficient * stage[e]


@shard_kernel
def add_scaled_shard(start, stop, base, coefficient, stage, out):
    """out = base + coefficient · stage of the entries from start to stop."""
    for e in range(start, stop):
        out[e] = base[e] + coefficient * stage[e]


@shard_kernel
def advance_shard(start, stop, base, coefficient, stage, out, weight, alike, columns, total):
    """out = base + coefficient · stage of the rows from start to stop, where there is an out;
    returns Σ_k weight_k Σ_j columns_j stage_kj².

    alike: whether these weights are equal. total: float64, to work with; (9 + 256 // p) p.
    """
    widest_vectors()
    p = columns.size
    height, write = 8 + 256 // p, out.size > 0
    # of `height` rows in turn: no sum waits for the last, and the loop over them has vectors
    for first in range(start, stop, height):
        rows = min(height, stop - first)
        # without a sign no index wraps around
        row, at, size = np.uint64(first), np.uint64(first * p), np.uint64(rows * p)
        if first == start:
            for e in range(size):
                total[e] = 0.0
        # of one weight: vectors want long ones
        runs, length = (1, size) if alike else (rows, np.uint64(p))
        for r in range(np.uint64(runs)):
            scale, begin = weight[row + r], np.uint64(r) * length
            for e in range(begin, begin + length):
                v = stage[at + e]
                total[e] += scale * (np.float64(v) * np.float64(v))
                if write:
                    out[at + e] = base[at + e] + coefficient * v

    rows, sums = min(height, stop - start), total[height * p :]
    for j in range(0, p // 4 * 4, 4):  # four sums, none of which waits for another
        a, b, c, d = 0.0, 0.0, 0.0, 0.0
        for k in range(rows):
            a += total[k * p + j]
            b += total[k * p + j + 1]
            c += total[k * p + j + 2]
            d += total[k * p + j + 3]
        sums[j], sums[j + 1], sums[j + 2], sums[j + 3] = a, b, c, d
    for j in range(p // 4 * 4, p):
        sums[j] = 0.0
        for k in range(rows):
            sums[j] += total[k * p + j]
    norm = 0.0
    for j in range(p):
        norm += columns[j] * sums[j]
    return norm


@kernel
def advance(base, coefficient, stage, out, weight, columns, partial):
    """The same of all rows, and the sum of each shard."""
    m, shards, p = weight.size, partial.shape[0], columns.size
    for shard in prange(shards):
        start, stop = shard * m // shards, (shard + 1) * m // shards
        common, equal = weight[start], 0
        for k in range(start, stop):
            equal += weight[k] == common
        given = base, coefficient, stage, out, weight, equal == stop - start, columns
        partial[shard] = advance_shard(start, stop, *given, np.empty((9 + 256 // p) * p))
