"""What a step does with rows of θ alone, whatever the activation: sums of stages, and their norms.

Single steps call the kernels for all shards (sharing.py), a stretch of steps does a shard's one after
the other (shards.py): the same code, so the same bits.
"""

import numpy as np
from numba import njit

from meanfield.backends.bound import BY_ADDRESS, FASTMATH
from meanfield.backends.llvm.intrinsics import widest_vectors

# without references to count: nothing is allocated
kernel = njit(fastmath=FASTMATH, _nrt=False, no_rewrites=True, **BY_ADDRESS)


@kernel
def add_scaled(shard, shards, p, base, coefficient, stage, out):
    """out = base + coefficient · stage of the rows of a shard, of p entries each."""
    m = base.size // p
    for e in range(shard * m // shards * p, (shard + 1) * m // shards * p):
        out[e] = base[e] + coefficient * stage[e]


@kernel
def advance(shard, shards, base, coefficient, stage, out, weight, alike, columns, scratch, norms):
    """out = base + coefficient · stage of the rows of a shard, where there is an out; norms[shard] =
    Σ_k weight_k Σ_j columns_j stage_kj².

    alike (shards,): whether its weights are equal. scratch: (9 + 256 // p) p float64 to work with,
    or as many for each shard.
    """
    widest_vectors()
    m, p = weight.size, columns.size
    start, stop = shard * m // shards, (shard + 1) * m // shards
    height, write = 8 + 256 // p, out.size > 0
    begin, end = 0, (height + 1) * p
    if scratch.size > end:
        begin, end = shard * end, (shard + 1) * end
    total = scratch[begin:end]
    # of `height` rows in turn: no sum waits for the last, and the loop over them has vectors
    for first in range(start, stop, height):
        rows = height if height < stop - first else stop - first
        # without a sign no index wraps around
        row, at, size = np.uint64(first), np.uint64(first * p), np.uint64(rows * p)
        if first == start:
            for e in range(size):
                total[e] = 0.0
        # of one weight: vectors want long ones
        runs, length = (1, size) if alike[shard] else (rows, np.uint64(p))
        for r in range(np.uint64(runs)):
            scale, begin = weight[row + r], np.uint64(r) * length
            for e in range(begin, begin + length):
                v = stage[at + e]
                total[e] += scale * (np.float64(v) * np.float64(v))
                if write:
                    out[at + e] = base[at + e] + coefficient * v

    rows = height if height < stop - start else stop - start
    sums = total[height * p :]
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
    norms[shard] = norm
