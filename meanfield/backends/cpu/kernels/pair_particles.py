"""What is prepared of each particle once, and what its sums over pairs come to: O(m d) work in
float64, whatever θ is in.
"""

import numpy as np
from numba import njit

from meanfield.backends.bound import BY_ADDRESS, finish, linear, prepare

kernel = njit(**BY_ADDRESS)


@kernel
def prepare_cloud(
    shard, shards, theta, factor, K, directions, amplitudes, parameters, squares, total
):
    """w' = μ w, Ã = weight·factor·a, x, q = |w|² of each row [a | w | b]; total (shards, K, d): Σ
    factor a w of a shard.
    """
    m, d, size = theta.shape[0], total.shape[2], parameters.shape[1]
    total[shard] = 0.0
    for k in range(shard * m // shards, (shard + 1) * m // shards):
        tile, i, q = k // size, k % size, 0.0
        for j in range(d):
            q += np.float64(theta[k, K + j]) * np.float64(theta[k, K + j])
        mu, weight, x = prepare(q)
        squares[k] = q
        parameters[tile, i] = x
        for j in range(d):
            directions[tile, j, i] = mu * theta[k, K + j]
        for c in range(K):
            amplitude = factor[k] * theta[k, c]
            amplitudes[tile, c, i] = weight * amplitude
            for j in range(d):
                total[shard, c, j] += amplitude * theta[k, K + j]


@kernel
def finish_sums(
    shard, shards, theta, K, S, squares, sums, total, decay, trainable, potential, velocity
):
    """potential_kc = Σ_l A_lc K(w_k, w_l) and velocity_k = -∇(a_k · potential_k) - decay θ_k; total
    (K, d) is Σ A v.
    """
    m, d = theta.shape[0], total.shape[1]
    for k in range(shard * m // shards, (shard + 1) * m // shards):
        q = squares[k]
        mu, kappa = prepare(q)[0], linear(q)
        D = 0.0
        for j in range(d):
            D += mu * theta[k, K + j] * sums[k, S + j]
        value, on_w, on_V = finish(q, D, sums[k, 0], sums[k, 1] if S == 2 else 0.0)
        for c in range(K):
            g = 0.0
            for j in range(d):
                g += theta[k, K + j] * total[c, j]
            potential[k, c] = kappa * g + (value if K == 1 else sums[k, S + d + c])
            velocity[k, c] = -(potential[k, c] + decay * theta[k, c]) * trainable[c]
        a = np.float64(theta[k, 0]) if K == 1 else 1.0  # of more outputs, a_k is in the sums
        for j in range(d):
            g = a * (on_w * mu * theta[k, K + j] + on_V * sums[k, S + j])
            for c in range(K):
                g += kappa * theta[k, c] * total[c, j]
            velocity[k, K + j] = -(g + decay * theta[k, K + j]) * trainable[K + j]
        velocity[k, K + d] = 0.0
