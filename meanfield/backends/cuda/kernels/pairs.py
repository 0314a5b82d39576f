"""Σ over pairs of neurons on a GPU: every target against all sources, in tiles of shared memory.
cuda/pairs.py has the constants.

A thread holds one target. A tile of R sources is staged through shared memory, a row [w' | x | Ã]
of WIDTH numbers each, and all threads read the same row: a broadcast. For few targets the block is
cut into G groups of L threads, each with its SHARE of the rows, whose sums meet at the end in a
tree. Sums run in T over at most TERMS sources and in float64 across them, in one order that depends
on the counts alone; there are no atomics. S is 1 or 2, as the formula has F alone or F and X;
without sums (S = 0) no pair is visited. Beyond some d + K loops are not written out but run over
arrays in local memory: right, and slow.
"""

import numpy as np
from numba import cuda

from meanfield.backends.bound import (
    ALIGN,
    COLUMNS,
    SHARE,
    TERMS,
    THREADS,
    WIDTH,
    D,
    G,
    K,
    L,
    R,
    S,
    T,
    finish,
    pair,
)
from meanfield.backends.unroll import each, in_pairs


@cuda.jit(cache=True)
def pair_sums(theta, targets, squares, sources, moment, add, sums, total):
    """add: to what is in `sums` and in `total` (K, d), Σ A v, which the first block adds up."""
    w, mine = cuda.local.array(D, T), cuda.local.array(COLUMNS, np.float64)
    lane, group = cuda.threadIdx.x % L, cuda.threadIdx.x // L
    m, count = targets.shape[1], sources.shape[1]
    k = cuda.blockIdx.x * L + lane
    at = min(k, m - 1)
    for j in each(COLUMNS):
        mine[j] = 0.0

    if S > 0:
        tile = cuda.shared.array((R, WIDTH), T, ALIGN)
        s = cuda.local.array(COLUMNS, T)
        if G > 1:
            meet = cuda.shared.array((G, L), np.float64)
        for j in each(D):
            w[j] = targets[j, at]
        x = targets[D, at]
        if K > 1:
            a, square = cuda.local.array(K, T), T(squares[at])
            for j in each(K):
                a[j] = T(theta[j, at])
        block = 0
        while block < count:
            for j in each(COLUMNS):
                s[j] = T(0)
            end = min(count, block + TERMS)
            while block < end:
                i = min(block + cuda.threadIdx.x, count - 1)
                if cuda.threadIdx.x < R:
                    for j in each(D + 1 + K):
                        tile[cuda.threadIdx.x, j] = sources[j, i]
                cuda.syncthreads()
                q = group * SHARE
                stop = min(q + SHARE, count - block)
                while q < stop:
                    rho = T(0)
                    for j in each(D):
                        rho += w[j] * tile[q, j]
                    along, first, second = pair(rho, x, tile[q, D])
                    if K > 1:
                        c = T(0)
                        for j in each(K):
                            c += a[j] * tile[q, D + 1 + j]
                        value = T(finish(square, rho * along, first, second)[0])
                        for j in each(K):
                            s[S + D + j] += tile[q, D + 1 + j] * value
                    else:
                        c = tile[q, D + 1]
                    s[0] += c * T(first)
                    if S == 2:
                        s[1] += c * T(second)
                    c *= T(along)
                    for j in each(D):
                        s[S + j] += c * tile[q, j]
                    q += 1
                cuda.syncthreads()
                block += R
            for j in each(COLUMNS):
                mine[j] += np.float64(s[j])
        if G > 1:
            for j in each(COLUMNS):
                meet[group, lane] = mine[j]
                cuda.syncthreads()
                mine[j] = in_pairs(*(meet[g, lane] for g in each(G)))
                cuda.syncthreads()

    if group == 0 and k < m:
        for j in each(COLUMNS):
            sums[j, k] = sums[j, k] + mine[j] if add else mine[j]
    if cuda.blockIdx.x == 0:
        e = cuda.threadIdx.x
        while e < K * D:
            c, j = e // D, e % D
            total[c, j] = total[c, j] + moment[c, j] if add else moment[c, j]
            e += THREADS
