"""A user's φ(θ; x) and ∇φ over particles k and samples i: mean features, pull-back, push-forward,
and each gradient.

Formulas see a row of θ and a row of x. `g` is 0 before each call, so a gradient may leave out what
is 0. Sums over samples run in their order in float64, sums over particles within a shard likewise;
the caller adds the shards by its tree. A call works the shards first … last - 1 of `shards`, without
Python's lock: threads are the caller's, for a kernel with threads of its own compiles five times as
long, and each user's formulas are compiled anew.
"""

import numpy as np
from numba import njit

from meanfield.backends.bound import T, grad_phi, phi

kernel = njit(error_model="numpy", nogil=True, cache=True)


@kernel
def mean_feature(first, last, shards, theta, weight, x, partial):
    """partial_i = Σ_k weight_k φ(θ_k; x_i) over the particles of each shard."""
    m = theta.shape[0]
    for shard in range(first, last):
        partial[shard] = 0.0
        for k in range(shard * m // shards, (shard + 1) * m // shards):
            for i in range(x.shape[0]):
                partial[shard, i] += np.float64(weight[k]) * np.float64(phi(theta[k], x[i]))


@kernel
def pull_back(first, last, shards, theta, x, slopes, decay, trainable, out):
    """out_k = Σ_i slopes_i ∇φ(θ_k; x_i) - decay θ_k on trainable columns, 0 elsewhere."""
    m, p = theta.shape
    for shard in range(first, last):
        g, total = np.zeros(p, T), np.empty(p)
        for k in range(shard * m // shards, (shard + 1) * m // shards):
            total[:] = 0.0
            for i in range(x.shape[0]):
                grad_phi(theta[k], x[i], g)
                for j in range(p):
                    total[j] += slopes[i] * np.float64(g[j])
                    g[j] = T(0)
            for j in range(p):
                out[k, j] = T(total[j] - decay * np.float64(theta[k, j])) * trainable[j]


@kernel
def push_forward(first, last, shards, theta, weight, x, move, partial):
    """partial_i = Σ_k weight_k ∇φ(θ_k; x_i)·move_k over the particles of each shard."""
    m, p = theta.shape
    for shard in range(first, last):
        g = np.zeros(p, T)
        partial[shard] = 0.0
        for k in range(shard * m // shards, (shard + 1) * m // shards):
            for i in range(x.shape[0]):
                grad_phi(theta[k], x[i], g)
                along = 0.0
                for j in range(p):
                    along += np.float64(g[j]) * np.float64(move[k, j])
                    g[j] = T(0)
                partial[shard, i] += np.float64(weight[k]) * along


@kernel
def heights(first, last, shards, theta, x, slopes, out):
    """out_k = Σ_i slopes_i φ(θ_k; x_i)."""
    m = theta.shape[0]
    for shard in range(first, last):
        for k in range(shard * m // shards, (shard + 1) * m // shards):
            total = 0.0
            for i in range(x.shape[0]):
                total += slopes[i] * np.float64(phi(theta[k], x[i]))
            out[k] = total


@kernel
def gradients(first, last, shards, theta, x, out):
    """out_ki = ∇φ(θ_k; x_i), (m, n, p)."""
    m = theta.shape[0]
    for shard in range(first, last):
        for k in range(shard * m // shards, (shard + 1) * m // shards):
            for i in range(x.shape[0]):
                out[k, i] = T(0)
                grad_phi(theta[k], x[i], out[k, i])
