"""The velocity of a population risk in one call: what pairs.py does kernel by kernel, for one output
and small d, by their addresses.

A stretch of steps calls it without knowing the arrays it needs. `places` names them: numbers, and
where in memory the arrays are, in the order of PLACES in stretched_pairs.py.
"""

import numpy as np
from numba import carray, njit

from meanfield.backends.bound import BY_ADDRESS, S, T
from meanfield.backends.llvm.addresses import call, pointer

kernel = njit(**BY_ADDRESS)
part = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


@part
def _sources(places, first, tiles, d, size):
    """Directions, amplitudes and parameters of a cloud whose addresses begin at places[first]."""
    directions = carray(pointer(places[first]), (tiles, d, size), T)
    amplitudes = carray(pointer(places[first + 1]), (tiles, 1, size), T)
    parameters = carray(pointer(places[first + 2]), (tiles, size), T)
    return directions, amplitudes, parameters


@kernel
def velocity(theta, out, places):
    """out = v of all particles θ: act of pairs.py, of their own cloud and the teacher's."""
    prepare, pair_sums, finish = places[0], places[1], places[2]
    shards, blocks, tiles, size = places[3], places[4], places[5], places[6]
    m, p = theta.shape
    d, K = p - 2, 1
    own, teacher = (
        _sources(places, 9, tiles, d, size),
        _sources(places, 12, places[7], d, places[8]),
    )
    factor = carray(pointer(places[15]), m, np.float64)
    squares = carray(pointer(places[16]), tiles * size, np.float64)
    sums = carray(pointer(places[17]), (tiles * size, S + d), np.float64)
    totals = carray(pointer(places[18]), (shards, 1, d), np.float64)
    total = carray(pointer(places[19]), (1, d), np.float64)
    of_teacher = carray(pointer(places[20]), (1, d), np.float64)
    trainable = carray(pointer(places[21]), p, np.float64)
    potential = carray(pointer(places[22]), (m, 1), np.float64)
    decay = carray(pointer(places[23]), 1, np.float64)[0]

    directions, amplitudes, parameters = own
    for shard in range(shards):
        given = shard, shards, theta, factor, K, directions, amplitudes, parameters
        call(prepare, (*given, squares, totals))
    count = shards
    while count > 1:  # backend.tree_sum
        half = (count + 1) // 2
        for r in range(count - half):
            for j in range(d):
                totals[r, 0, j] += totals[half + r, 0, j]
        count = half
    for j in range(d):
        total[0, j] = 0.0 + of_teacher[0, j] + totals[0, 0, j]

    if pair_sums:
        for k in range(tiles * size):
            for j in range(S + d):
                sums[k, j] = 0.0
        for block in range(blocks):
            call(pair_sums, (block, blocks, directions, parameters, *teacher, sums))
        for block in range(blocks):
            call(pair_sums, (block, blocks, directions, parameters, *own, sums))
    for shard in range(shards):
        given = shard, shards, theta, K, S, squares, sums, total, decay, trainable
        call(finish, (*given, potential, out))
