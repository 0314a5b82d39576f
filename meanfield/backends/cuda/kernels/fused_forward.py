"""Σ_k p_k φ(θ_k; x) on a GPU for small d, and its derivative: every pre-activation lives and dies
in a register.

A thread holds S samples and all of them read the same particle, staged through shared memory a tile
of R rows at a time, a row of WIDTH numbers each, so that a warp needs one broadcast of four numbers
where S use it. The block is cut into G groups of L threads with rows of their own, whose sums meet
at the end in a fixed order.

θ lies as (p, m), x as (D, n): neighbouring threads read neighbouring numbers. Sums run in T over at
most TERMS terms and in float64 across them; there are no atomics, so the bits are those of the last
run. K outputs are worked C at a time, z being computed again for the next C. Rows past the end
repeat the last one with amplitude zero. cuda/fused.py has the constants.
"""

import numpy as np
from numba import cuda

from meanfield.backends.bound import (
    ALIGN,
    PUSH,
    TERMS,
    WIDTH,
    C,
    D,
    G,
    L,
    R,
    S,
    T,
    value,
    value_and_slope,
)
from meanfield.backends.unroll import each, in_pairs, total


@cuda.jit(cache=True)
def forward(theta, move, weight, x, first, length, partial):
    """partial[slab, c, i] = Σ_{k in slab} weight_k φ_c(θ_k; x_i); PUSH: of its derivative in the
    direction `move`.

    Grid: (tiles of L S samples, slabs of `length` particles, outputs by C). first: the first sample
    of this launch.
    """
    tile = cuda.shared.array((G, R, WIDTH), T, ALIGN)  # a row is [w b | u_w u_b | a_c | u_c]
    sums = cuda.shared.array((G, L), np.float64)
    lane, group = cuda.threadIdx.x % L, cuda.threadIdx.x // L
    K, m = partial.shape[1], theta.shape[1]
    i0, slab, c0 = cuda.blockIdx.x * (L * S) + lane, cuda.blockIdx.y, cuda.blockIdx.z * C
    start = slab * length
    stop = min(m, start + length)
    v = [[x[j, first + i0 + s * L] for j in each(D)] for s in each(S)]
    whole = [[0.0 for s in each(S)] for c in each(C)]
    block = start
    while block < stop:
        part = [[T(0) for s in each(S)] for c in each(C)]
        end = min(stop, block + TERMS)
        while block < end:
            for rows in each(0, R, L):
                r = lane + rows
                k = block + group * R + r
                scale = weight[k] if k < stop else T(0)
                k = min(k, stop - 1)
                for j in each(D + 1):
                    tile[group, r, j] = theta[K + j, k]
                if PUSH:
                    for j in each(D + 1):
                        tile[group, r, D + 1 + j] = move[K + j, k]
                    for c in each(C):
                        here = c0 + c < K
                        tile[group, r, 2 * D + 2 + c] = theta[c0 + c, k] * scale if here else T(0)
                        tile[group, r, 2 * D + 2 + C + c] = (
                            move[c0 + c, k] * scale if here else T(0)
                        )
                else:
                    for c in each(C):
                        here = c0 + c < K
                        tile[group, r, D + 1 + c] = theta[c0 + c, k] * scale if here else T(0)
            cuda.syncthreads()

            q = 0
            while q < R:
                for s in each(S):
                    z = total(tile[group, q, D], *(tile[group, q, j] * v[s][j] for j in each(D)))
                    if PUSH:
                        f, d = value_and_slope(z)
                        f = T(f)
                        moved = total(
                            tile[group, q, 2 * D + 1],
                            *(tile[group, q, D + 1 + j] * v[s][j] for j in each(D)),
                        )
                        d = T(d) * moved
                        for c in each(C):
                            u_c = tile[group, q, 2 * D + 2 + C + c]
                            part[c][s] += u_c * f + tile[group, q, 2 * D + 2 + c] * d
                    else:
                        f = T(value(z))
                        for c in each(C):
                            part[c][s] += tile[group, q, D + 1 + c] * f
                q += 1
            cuda.syncthreads()
            block += G * R
        for s in each(S):
            for c in each(C):
                whole[c][s] += np.float64(part[c][s])

    for s in each(S):
        for c in each(C):
            sums[group, lane] = whole[c][s]
            cuda.syncthreads()
            if group == 0 and i0 + s * L < partial.shape[2] and c0 + c < K:
                partial[slab, c0 + c, i0 + s * L] = in_pairs(*(sums[g, lane] for g in each(G)))
            cuda.syncthreads()
