"""Every target against every source of a cloud, for one output and small d: a vector holds targets.

Their sums stay in registers while the sources pass, each loaded once for all of them. S is 1 or 2,
as the formula has F alone or F and X. No fast-math flag, but the fma that is asked for: pairs.py
says why.
"""

from numba import njit

from meanfield.backends.bound import BY_ADDRESS, VECTORS, D, S, T, pair
from meanfield.backends.llvm.intrinsics import fma, stack_array, widest_vectors
from meanfield.backends.unroll import each

LANES = 64 // T().itemsize  # numbers in a vector
COUNT = VECTORS * LANES
lanes = stack_array(COUNT)
kernel = njit(fastmath=False, **BY_ADDRESS)


@kernel
def pair_sums(block, blocks, all_targets, all_x, directions, amplitudes, parameters, all_sums):
    """Of the COUNT targets of a block, of as many blocks as there are in all tiles."""
    widest_vectors()
    groups = blocks // all_targets.shape[0]
    tile, first = block // groups, block % groups * COUNT
    targets, x_targets = all_targets[tile, :, first:], all_x[tile, first:]
    sums = all_sums[block * COUNT :]
    x = lanes(T(0))
    w = [lanes(T(0)) for j in each(D)]
    part = [lanes(T(0)) for j in each(S + D)]  # F, [X,] V of the sources of a tile
    whole = [lanes(0.0) for j in each(S + D)]
    for l in range(COUNT):
        x[l] = x_targets[l]
        for j in each(D):
            w[j][l] = targets[j, l]
        for j in each(S + D):
            whole[j][l] = 0.0

    for tile in range(directions.shape[0]):
        c_tile, x_tile = amplitudes[tile, 0], parameters[tile]
        t = [directions[tile, j] for j in each(D)]
        for l in range(COUNT):
            for j in each(S + D):
                part[j][l] = T(0)
        for i in range(c_tile.shape[0]):
            c, y = c_tile[i], x_tile[i]
            v = [t[j][i] for j in each(D)]
            for l in range(COUNT):
                rho = w[0][l] * v[0]
                for j in each(1, D):
                    rho = fma(w[j][l], v[j], rho)
                along, first, second = pair(rho, x[l], y)
                q = c * T(along)
                part[0][l] = fma(c, T(first), part[0][l])
                if S == 2:
                    part[1][l] = fma(c, T(second), part[1][l])
                for j in each(D):
                    part[S + j][l] = fma(q, v[j], part[S + j][l])
        for l in range(COUNT):
            for j in each(S + D):
                whole[j][l] += part[j][l]

    for l in range(COUNT):
        for j in each(S + D):
            sums[l, j] += whole[j][l]
