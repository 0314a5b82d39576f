"""The velocity and the energy of a population risk in one call each: what pairs.py does kernel by
kernel, for one output and small d, by their addresses. And the energy of a pairwise one.

A stretch of steps calls them without knowing the arrays they need. `places` is the address of a
record that names them, POPULATION or POINTS of records.py.
"""

import numpy as np
from numba import carray, njit

from meanfield.backends.bound import BY_ADDRESS, S, T
from meanfield.backends.cpu.kernels.trees import tree_sum
from meanfield.backends.cpu.records import POINTS, POPULATION
from meanfield.backends.llvm.addresses import call, pointer

kernel = njit(**BY_ADDRESS)
part = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


@part
def _numbers(address, shape):
    """The float64 array that is there."""
    return carray(pointer(address), shape, np.float64)


@part
def _sources(cloud, d):
    """Directions, amplitudes and parameters of a cloud."""
    tiles, size = cloud.tiles, cloud.size
    directions = carray(pointer(cloud.directions), (tiles, d, size), T)
    amplitudes = carray(pointer(cloud.amplitudes), (tiles, 1, size), T)
    parameters = carray(pointer(cloud.parameters), (tiles, size), T)
    return directions, amplitudes, parameters


@part
def _sums(cloud, d):
    """(targets, S + d) of a cloud that is acted on."""
    return _numbers(cloud.sums, (cloud.tiles * cloud.size, S + d))


@part
def _add_sums(pair_sums, cloud, source, d):
    """To the sums of a cloud those over the sources of another, where the formula has any."""
    blocks = cloud.blocks if pair_sums else 0
    directions, _, parameters = _sources(cloud, d)
    given = directions, parameters, *_sources(source, d), _sums(cloud, d)
    for block in range(blocks):
        call(pair_sums, (block, blocks, *given))


@part
def _pairing(cloud, theta):
    """Σ_k factor_k a_k potential_k, whose terms take the place of the potential: PairSums.pairing."""
    m = theta.shape[0]
    factor, terms = _numbers(cloud.factor, m), _numbers(cloud.potential, m)
    for k in range(m):
        terms[k] = factor[k] * (np.float64(theta[k, 0]) * terms[k])
    return tree_sum(terms)


@kernel
def velocity(theta, out, places):
    """out = v of all particles θ: act of pairs.py, of their own cloud and the teacher's."""
    at = carray(pointer(places), 1, POPULATION)[0]
    own, teacher, shards = at.own, at.teacher, at.shards
    m, p = theta.shape
    d, K = p - 2, 1
    factor, squares = _numbers(own.factor, m), _numbers(own.squares, own.tiles * own.size)
    totals, total = _numbers(at.totals, (shards, 1, d)), _numbers(at.total, (1, d))
    of_teacher = _numbers(at.of_teacher, (1, d))
    for shard in range(shards):
        call(at.prepare, (shard, shards, theta, factor, K, *_sources(own, d), squares, totals))
    count = shards
    while count > 1:  # backend.tree_sum
        half = (count + 1) // 2
        for r in range(count - half):
            for j in range(d):
                totals[r, 0, j] += totals[half + r, 0, j]
        count = half
    for j in range(d):
        total[0, j] = 0.0 + of_teacher[0, j] + totals[0, 0, j]

    sums = _sums(own, d)
    for k in range(sums.shape[0]):
        for j in range(S + d):
            sums[k, j] = 0.0
    _add_sums(at.pair_sums, own, teacher, d)
    _add_sums(at.pair_sums, own, own, d)
    trainable, potential = _numbers(at.trainable, p), _numbers(own.potential, (m, 1))
    given = theta, K, S, squares, sums, total, at.decay, trainable, potential, out
    for shard in range(shards):
        call(own.finish, (shard, shards, *given))


@kernel
def energy(theta, places):
    """½ ∬ K_σ dν dν of the θ whose velocity has just been made: _SignedMeasure.energy."""
    at = carray(pointer(places), 1, POPULATION)[0]
    own, teacher = at.own, at.teacher
    if at.velocity:
        call(at.velocity, (theta, _numbers(at.spare, theta.shape), places))
    count, p = teacher.count, theta.shape[1]
    d, K = p - 2, 1
    sums = _sums(teacher, d)
    of_itself = _numbers(at.of_itself, sums.shape)
    for k in range(sums.shape[0]):
        for j in range(S + d):
            sums[k, j] = of_itself[k, j]
    _add_sums(at.pair_sums, teacher, own, d)

    neurons, squares = _numbers(teacher.theta, (count, p)), _numbers(teacher.squares, count)
    total, trainable = _numbers(at.total, (1, d)), _numbers(at.trainable, p)
    potential, unused = _numbers(teacher.potential, (count, 1)), _numbers(at.spare, (count, p))
    given = neurons, K, S, squares, sums, total, 0.0, trainable, potential, unused
    call(teacher.finish, (0, 1, *given))
    student = _pairing(own, theta)
    return 0.5 * (student + _pairing(teacher, neurons))


@kernel
def energy_of_points(theta, places):
    """∫ V dμ + ½ ∬ U dμ dμ: PairField.energy."""
    at = carray(pointer(places), 1, POINTS)[0]
    m, shards = theta.shape[0], at.shards
    weight, mass = carray(pointer(at.weight), m, T), _numbers(at.mass, m)
    alone, paired = _numbers(at.alone, m), _numbers(at.paired, m)
    for shard in range(shards):
        call(at.values, (shard, shards, theta, weight, alone, paired, 0, shards))
    for k in range(m):
        alone[k] = mass[k] * (alone[k] + 0.5 * paired[k])
    return tree_sum(alone)
