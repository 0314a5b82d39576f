"""A pairwise energy on a GPU: every target against all sources, in tiles of shared memory.
cuda/energies.py has the constants.

A thread holds one target in registers. R sources at a time are staged through shared memory, a row
[coordinates | weight] of WIDTH numbers, and all threads read the same row: a broadcast. For few
particles the block is cut into G groups of L threads, each with its SHARE of the rows, whose sums
meet at the end in a tree. Sums run in T over at most TERMS sources and in float64 across them, in
one order that depends on m alone; there are no atomics. PAIRED: there is a U; SELF_PAIRS: a
particle meets itself. What pads the last tile is not visited: its distance from a target may be 0,
and 0 times infinity is no number.
"""

import numpy as np
from numba import cuda

from meanfield.backends.bound import (
    ALIGN,
    PAIRED,
    SELF_PAIRS,
    SHARE,
    TERMS,
    THREADS,
    WIDTH,
    D,
    G,
    L,
    R,
    T,
    U,
    V,
    grad_U,
    grad_V,
)
from meanfield.backends.unroll import each, in_pairs


@cuda.jit(cache=True)
def velocity(theta, weight, out):
    """out_k = -∇V(x_k) - Σ_l p_l ∇_x U(x_k, x_l)."""
    x = cuda.local.array(D, T)
    y = cuda.local.array(D, T)
    g = cuda.local.array(D, T)
    lane, group = cuda.threadIdx.x % L, cuda.threadIdx.x // L
    m = theta.shape[1]
    k = cuda.blockIdx.x * L + lane
    at = min(k, m - 1)
    for j in each(D):
        x[j] = theta[j, at]
    if PAIRED:
        tile = cuda.shared.array((R, WIDTH), T, ALIGN)
        if G > 1:
            sums = cuda.shared.array((G, L), np.float64)
        whole = [0.0 for j in each(D)]
        block = 0
        while block < m:
            part = [T(0) for j in each(D)]
            end = min(m, block + TERMS)
            while block < end:
                i = min(block + cuda.threadIdx.x, m - 1)
                if R == THREADS or cuda.threadIdx.x < R:
                    for j in each(D):
                        tile[cuda.threadIdx.x, j] = theta[j, i]
                    tile[cuda.threadIdx.x, D] = weight[i]
                cuda.syncthreads()
                q = group * SHARE
                stop = min(q + SHARE, m - block)
                while q < stop:
                    for j in each(D):
                        y[j] = tile[q, j]
                    for j in each(D):  # a gradient may leave out what is 0
                        g[j] = T(0)
                    grad_U(x, y, g)
                    for j in each(D):
                        if SELF_PAIRS:
                            part[j] += tile[q, D] * T(g[j])
                        else:
                            part[j] += tile[q, D] * T(g[j]) if block + q != at else T(0)
                    q += 1
                cuda.syncthreads()
                block += R
            for j in each(D):
                whole[j] += np.float64(part[j])
        if G > 1:
            for j in each(D):
                sums[group, lane] = whole[j]
                cuda.syncthreads()
                whole[j] = in_pairs(*(sums[h, lane] for h in each(G)))
                cuda.syncthreads()

    if group == 0 and k < m:
        for j in each(D):
            g[j] = T(0)
        grad_V(x, g)
        for j in each(D):
            if PAIRED:
                out[j, k] = T(-(whole[j] / m + g[j]))
            else:
                out[j, k] = T(-(g[j]))


@cuda.jit(cache=True)
def values(theta, weight, out):
    """out_0k = V(x_k), out_1k = Σ_l p_l U(x_k, x_l)."""
    x = cuda.local.array(D, T)
    y = cuda.local.array(D, T)
    lane, group = cuda.threadIdx.x % L, cuda.threadIdx.x // L
    m = theta.shape[1]
    k = cuda.blockIdx.x * L + lane
    at = min(k, m - 1)
    for j in each(D):
        x[j] = theta[j, at]
    if PAIRED:
        tile = cuda.shared.array((R, WIDTH), T, ALIGN)
        if G > 1:
            sums = cuda.shared.array((G, L), np.float64)
        whole = 0.0
        block = 0
        while block < m:
            part = T(0)
            end = min(m, block + TERMS)
            while block < end:
                i = min(block + cuda.threadIdx.x, m - 1)
                if R == THREADS or cuda.threadIdx.x < R:
                    for j in each(D):
                        tile[cuda.threadIdx.x, j] = theta[j, i]
                    tile[cuda.threadIdx.x, D] = weight[i]
                cuda.syncthreads()
                q = group * SHARE
                stop = min(q + SHARE, m - block)
                while q < stop:
                    for j in each(D):
                        y[j] = tile[q, j]
                    if SELF_PAIRS:
                        part += tile[q, D] * T(U(x, y))
                    else:
                        part += tile[q, D] * T(U(x, y)) if block + q != at else T(0)
                    q += 1
                cuda.syncthreads()
                block += R
            whole += np.float64(part)
        if G > 1:
            sums[group, lane] = whole
            cuda.syncthreads()
            whole = in_pairs(*(sums[h, lane] for h in each(G)))
            cuda.syncthreads()

    if group == 0 and k < m:
        out[0, k] = V(x)
        if PAIRED:
            out[1, k] = whole / m
        else:
            out[1, k] = 0.0
