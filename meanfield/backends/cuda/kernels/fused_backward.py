"""The pull-back on a GPU for small d: every pre-activation lives and dies in a register.

A thread holds P particles and all of them read the same sample, staged through shared memory a tile
of L rows at a time, a row [inputs | slopes] of WIDTH numbers each, so that a warp needs one
broadcast of four numbers where P use it. The block is cut into G groups of L threads with rows of
their own, whose sums meet at the end in a fixed order.

θ lies as (p, m), x as (D, n): neighbouring threads read neighbouring numbers. Sums run in T over at
most TERMS terms and in float64 across them; there are no atomics, so the bits are those of the last
run. K outputs are worked C at a time, z being computed again for the next C. Rows past the end
repeat the last one with amplitude zero. cuda/fused.py has the constants.
"""

import numpy as np
from numba import cuda

from meanfield.backends.bound import (
    ALIGN,
    FREE,
    TERMS,
    WIDTH,
    C,
    D,
    G,
    L,
    P,
    T,
    slope,
    value_and_slope,
)
from meanfield.backends.unroll import each, in_pairs, total


@cuda.jit(cache=True)
def pull_back(theta, x, slopes, decay, trainable, out):
    """out_k = Σ_i slopes_i · ∇φ(θ_k; x_i) - decay θ_k on trainable columns.

    Grid: blocks of L P particles. With several groups each takes its share of the samples: for few
    particles. FREE: σ(z) = z σ'(z) and one output, so the gradient in a follows from those in w and
    b.
    """
    tile = cuda.shared.array((G, L, WIDTH), T, ALIGN)
    if G > 1:
        sums = cuda.shared.array((G, L), np.float64)
    lane, group = cuda.threadIdx.x % L, cuda.threadIdx.x // L
    K, m, n, samples = slopes.shape[0], theta.shape[1], x.shape[1], slopes.shape[1]
    k0 = cuda.blockIdx.x * (L * P) + lane
    k = [min(k0 + u * L, m - 1) for u in each(P)]
    b = [theta[K + D, k[u]] for u in each(P)]
    w = [[theta[K + j, k[u]] for j in each(D)] for u in each(P)]
    total_b = [0.0 for u in each(P)]
    total_w = [[0.0 for j in each(D)] for u in each(P)]
    c0 = 0
    while c0 < K:
        a = [[theta[c0 + c, k[u]] if c0 + c < K else T(0) for c in each(C)] for u in each(P)]
        if not FREE:
            total_a = [[0.0 for c in each(C)] for u in each(P)]
        block = 0
        while block < n:
            if not FREE:
                sa = [[T(0) for c in each(C)] for u in each(P)]
            sb = [T(0) for u in each(P)]
            sw = [[T(0) for j in each(D)] for u in each(P)]
            end = min(n, block + TERMS)
            while block < end:
                i = block + cuda.threadIdx.x
                for j in each(D):
                    tile[group, lane, j] = x[j, i]
                for c in each(C):
                    here = c0 + c < K and i < samples
                    tile[group, lane, D + c] = slopes[c0 + c, i] if here else T(0)
                cuda.syncthreads()

                q = 0
                while q < L:
                    for u in each(P):
                        z = total(b[u], *(w[u][j] * tile[group, q, j] for j in each(D)))
                        if FREE:
                            r = tile[group, q, D] * T(slope(z))
                        else:
                            v, r = value_and_slope(z)
                            v = T(v)
                            # a is common to all terms of its particle: it is taken out of the sum
                            if C == 1:
                                r = T(r) * tile[group, q, D]
                            else:
                                r = T(r) * total(
                                    *(a[u][c] * tile[group, q, D + c] for c in each(C))
                                )
                            for c in each(C):
                                sa[u][c] += tile[group, q, D + c] * v
                        sb[u] += r
                        for j in each(D):
                            sw[u][j] += r * tile[group, q, j]
                    q += 1
                cuda.syncthreads()
                block += L * G
            for u in each(P):
                if not FREE:
                    for c in each(C):
                        total_a[u][c] += np.float64(sa[u][c])
                total_b[u] += np.float64(sb[u])
                for j in each(D):
                    total_w[u][j] += np.float64(sw[u][j])

        if not FREE:
            for u in each(P):
                for c in each(C):
                    if G > 1:
                        sums[group, lane] = total_a[u][c]
                        cuda.syncthreads()
                        total_a[u][c] = in_pairs(*(sums[g, lane] for g in each(G)))
                        cuda.syncthreads()
            for u in each(P):
                for c in each(C):
                    if (G == 1 or group == 0) and k0 + u * L < m and c0 + c < K:
                        g_a = T(total_a[u][c] - decay * a[u][c])
                        out[c0 + c, k[u]] = g_a * trainable[c0 + c]
        c0 += C

    if G > 1:
        for u in each(P):
            sums[group, lane] = total_b[u]
            cuda.syncthreads()
            total_b[u] = in_pairs(*(sums[g, lane] for g in each(G)))
            cuda.syncthreads()
            for j in each(D):
                sums[group, lane] = total_w[u][j]
                cuda.syncthreads()
                total_w[u][j] = in_pairs(*(sums[g, lane] for g in each(G)))
                cuda.syncthreads()

    for u in each(P):
        if (G == 1 or group == 0) and k0 + u * L < m:
            if FREE:
                g_a = total(total_b[u] * b[u], *(total_w[u][j] * w[u][j] for j in each(D)))
                out[0, k[u]] = T(g_a - decay * theta[0, k[u]]) * trainable[0]
            for j in each(D):
                if C == 1:
                    g_w = theta[0, k[u]] * total_w[u][j]
                else:
                    g_w = total_w[u][j]
                out[K + j, k[u]] = T(g_w - decay * w[u][j]) * trainable[K + j]
            if C == 1:
                g_b = theta[0, k[u]] * total_b[u]
            else:
                g_b = total_b[u]
            out[K + D, k[u]] = T(g_b - decay * b[u]) * trainable[K + D]
