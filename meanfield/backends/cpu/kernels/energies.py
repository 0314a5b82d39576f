"""A pairwise energy: Σ_l p_l ∇_x U(x_k, x_l) and Σ_l p_l U(x_k, x_l) of all particles k, and V and
∇V of each.

In lanes, a vector holds particles k, and the sources l stream by: the formulas, inlined, see rows
of D numbers that live in registers, so whatever they compute is computed for many particles at
once, user-written or not. In rows they see rows of θ itself, one pair at a time. SELF_PAIRS: a
particle meets itself. A gradient may leave out what is 0.

The shards of a call are those from `first_shard` on, `of` as many: a process may work some of them
(part.py).

Sums run over the sources in their order, in the kernel's dtype over blocks of at most 1024 of them
and in float64 across blocks. No fast-math flag, here or in the formulas, but the fma that is asked
for: energies.py in the folder above says why.
"""

import numpy as np
from numba import njit

from meanfield.backends.bound import BY_ADDRESS, SELF_PAIRS, D, T, U, V, grad_U, grad_V
from meanfield.backends.llvm.intrinsics import fma, stack_array, widest_vectors
from meanfield.backends.unroll import each

# in work at once: 2 vectors of float32, 4 of float64; 64 are slower for all formulas tried
TARGETS = 32
row = stack_array(D, fixed=True)
lanes = stack_array(TARGETS)
kernel = njit(fastmath=False, **BY_ADDRESS)


@kernel
def velocity_in_lanes(shard, shards, theta, weight, out, first_shard, of):
    widest_vectors()
    m = theta.shape[0]
    start, stop = (first_shard + shard) * m // of, (first_shard + shard + 1) * m // of
    x, y, g = row(T(0)), row(T(0)), row(T(0))
    targets = [lanes(T(0)) for j in each(D)]
    part = [lanes(T(0)) for j in each(D)]
    whole = [np.empty(TARGETS) for j in each(D)]
    for first in range(start, stop, TARGETS):
        count = min(TARGETS, stop - first)
        for l in range(TARGETS):
            k = first + min(l, count - 1)
            for j in each(D):
                targets[j][l] = theta[k, j]
            for j in each(D):
                whole[j][l] = 0.0

        for block in range(0, m, 1024):
            for l in range(TARGETS):
                for j in each(D):
                    part[j][l] = T(0)
            for i in range(block, min(m, block + 1024)):
                w = weight[i]
                for j in each(D):
                    y[j] = theta[i, j]
                for l in range(TARGETS):
                    for j in each(D):
                        x[j] = targets[j][l]
                    for j in each(D):
                        g[j] = T(0)
                    grad_U(x, y, g)
                    for j in each(D):
                        if SELF_PAIRS:
                            part[j][l] = fma(w, T(g[j]), part[j][l])
                        else:  # chosen, not skipped: a vector has no branches
                            part[j][l] = (
                                fma(w, T(g[j]), part[j][l]) if i != first + l else part[j][l]
                            )
            for l in range(TARGETS):
                for j in each(D):
                    whole[j][l] += part[j][l]

        for l in range(count):
            k = first + l
            for j in each(D):
                x[j] = theta[k, j]
            for j in each(D):
                g[j] = T(0)
            grad_V(x, g)
            for j in each(D):
                out[k, j] = T(-(whole[j][l] / m + g[j]))


@kernel
def values_in_lanes(shard, shards, theta, weight, alone, paired, first_shard, of):
    widest_vectors()
    m = theta.shape[0]
    start, stop = (first_shard + shard) * m // of, (first_shard + shard + 1) * m // of
    x, y = row(T(0)), row(T(0))
    targets = [lanes(T(0)) for j in each(D)]
    part = lanes(T(0))
    whole = np.empty(TARGETS)
    for first in range(start, stop, TARGETS):
        count = min(TARGETS, stop - first)
        for l in range(TARGETS):
            k = first + min(l, count - 1)
            for j in each(D):
                targets[j][l] = theta[k, j]
            whole[l] = 0.0

        for block in range(0, m, 1024):
            for l in range(TARGETS):
                part[l] = T(0)
            for i in range(block, min(m, block + 1024)):
                w = weight[i]
                for j in each(D):
                    y[j] = theta[i, j]
                for l in range(TARGETS):
                    for j in each(D):
                        x[j] = targets[j][l]
                    if SELF_PAIRS:
                        part[l] = fma(w, T(U(x, y)), part[l])
                    else:
                        part[l] = fma(w, T(U(x, y)), part[l]) if i != first + l else part[l]
            for l in range(TARGETS):
                whole[l] += part[l]

        for l in range(count):
            k = first + l
            for j in each(D):
                x[j] = theta[k, j]
            alone[k] = V(x)
            paired[k] = whole[l] / m


@kernel
def velocity_in_rows(shard, shards, theta, weight, out, first_shard, of):
    m, p = theta.shape
    start, stop = (first_shard + shard) * m // of, (first_shard + shard + 1) * m // of
    g, part, whole = np.zeros(p, T), np.empty(p, T), np.empty(p)  # g is 0 before each call
    for k in range(start, stop):
        whole[:] = 0.0
        for block in range(0, m, 1024):
            part[:] = T(0)
            for i in range(block, min(m, block + 1024)):
                if SELF_PAIRS or i != k:
                    grad_U(theta[k], theta[i], g)
                    w = weight[i]
                    for j in range(p):
                        part[j] = fma(w, g[j], part[j])
                        g[j] = T(0)
            for j in range(p):
                whole[j] += part[j]
        grad_V(theta[k], g)
        for j in range(p):
            out[k, j] = T(-(whole[j] / m + g[j]))
            g[j] = T(0)


@kernel
def values_in_rows(shard, shards, theta, weight, alone, paired, first_shard, of):
    m = theta.shape[0]
    start, stop = (first_shard + shard) * m // of, (first_shard + shard + 1) * m // of
    for k in range(start, stop):
        whole = 0.0
        for block in range(0, m, 1024):
            part = T(0)
            for i in range(block, min(m, block + 1024)):
                if SELF_PAIRS or i != k:
                    part = fma(weight[i], T(U(theta[k], theta[i])), part)
            whole += part
        alone[k] = V(theta[k])
        paired[k] = whole / m


@kernel
def velocity_alone(shard, shards, theta, weight, out, first_shard, of):
    m = theta.shape[0]
    start, stop = (first_shard + shard) * m // of, (first_shard + shard + 1) * m // of
    for k in range(start, stop):
        out[k] = T(0)
        grad_V(theta[k], out[k])
        for j in range(theta.shape[1]):
            out[k, j] = -out[k, j]


@kernel
def values_alone(shard, shards, theta, weight, alone, paired, first_shard, of):
    m = theta.shape[0]
    start, stop = (first_shard + shard) * m // of, (first_shard + shard + 1) * m // of
    for k in range(start, stop):
        alone[k] = V(theta[k])
        paired[k] = 0.0
