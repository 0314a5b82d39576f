"""Every target against every source of a cloud, for any d and number K of outputs: by products of
matrices.

The products ⟨w', v'⟩ of a block of targets with a tile, and the sums V, are matrix products
(llvm/products.py). Targets are w' (targets, d), their x, a (targets, K) and q. S is 1 or 2, as the
formula has F alone or F and X. With K > 1 outputs Ã is ⟨a_k, Ã_l⟩, and K more columns of `sums` get
Σ_l Ã_lc times the pair's part of `value`.
"""

import numpy as np
from numba import njit

from meanfield.backends.bound import BY_ADDRESS, S, T, finish, pair
from meanfield.backends.cpu.kernels.sums import dot
from meanfield.backends.llvm.intrinsics import fma, widest_vectors
from meanfield.backends.llvm.products import multiplier

multiply = multiplier(np.dtype(T).name)
kernel = njit(fastmath=False, **BY_ADDRESS)


@kernel
def pair_sums(
    block, blocks, all_w, all_x, all_a, all_q, forward, backward, amplitudes, parameters, all_sums
):
    widest_vectors()
    m = all_sums.shape[0]
    start, stop = block * m // blocks, (block + 1) * m // blocks
    w, x_w, a_w = all_w[start:stop], all_x[start:stop], all_a[start:stop]
    q_w, sums = all_q[start:stop], all_sums[start:stop]
    count, d = w.shape
    tiles, K, size = amplitudes.shape
    d_padded = backward.shape[1] // size
    # z and q are never the same memory: loops over overlapping rows would run unvectorised, with
    # other bits.
    z, q = np.empty((count, size), T), np.empty((count, size), T)
    firsts = np.empty(size, T)
    seconds = np.empty(size, T)
    values = np.empty(size, T)
    common = np.empty(size, T)
    product, total = np.empty((count, d_padded), T), np.zeros((count, sums.shape[1]))
    for tile in range(tiles):
        multiply(w, forward[tile], z)
        y = parameters[tile]
        for k in range(count):
            row, q_row, x, square = z[k], q[k], x_w[k], q_w[k]
            if K == 1:
                c = amplitudes[tile, 0]
                for i in range(size):
                    along, first, second = pair(row[i], x, y[i])
                    q_row[i] = c[i] * T(along)
                    firsts[i] = first
                    seconds[i] = second
                total[k, 0] += dot(c, firsts)
                if S == 2:
                    total[k, 1] += dot(c, seconds)
            else:
                for i in range(size):
                    common[i] = T(0)
                for o in range(K):
                    a, c = a_w[k, o], amplitudes[tile, o]
                    for i in range(size):
                        common[i] = fma(a, c[i], common[i])
                for i in range(size):
                    along, first, second = pair(row[i], x, y[i])
                    q_row[i] = common[i] * T(along)
                    firsts[i] = first
                    seconds[i] = second
                    values[i] = finish(square, row[i] * T(along), T(first), T(second))[0]
                total[k, 0] += dot(common, firsts)
                if S == 2:
                    total[k, 1] += dot(common, seconds)
                for o in range(K):
                    total[k, S + d + o] += dot(amplitudes[tile, o], values)
        multiply(q, backward[tile], product)
        for k in range(count):
            for j in range(d):
                total[k, S + j] += product[k, j]
    for k in range(count):
        for j in range(sums.shape[1]):
            sums[k, j] += total[k, j]
