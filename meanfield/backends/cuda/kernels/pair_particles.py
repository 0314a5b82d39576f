"""What is prepared of each particle once, and what its sums over pairs come to: O(m d) work in
float64.
"""

import numpy as np
from numba import cuda

from meanfield.backends.bound import finish, linear, prepare
from meanfield.backends.cuda.kernels.meet import meet

THREADS = 128  # a block


@cuda.jit(cache=True)
def prepare_cloud(theta, factor, K, squares, rows):
    """The columns [w' | x | Ã] of rows (d + 1 + K, m), and q = |w|²."""
    k = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
    if k < theta.shape[1]:
        d, q = theta.shape[0] - K - 1, 0.0
        for j in range(d):
            q += np.float64(theta[K + j, k]) * np.float64(theta[K + j, k])
        mu, weight, x = prepare(q)
        squares[k] = q
        rows[d, k] = x
        for j in range(d):
            rows[j, k] = mu * np.float64(theta[K + j, k])
        for c in range(K):
            rows[d + 1 + c, k] = weight * (factor[k] * np.float64(theta[c, k]))


@cuda.jit(cache=True)
def moments(theta, factor, K, length, partial):
    """partial[slab, c, j] = Σ_{k in slab} factor_k a_kc w_kj; 128 threads, grid (K d, slabs of
    `length`).
    """
    sums = cuda.shared.array(128, np.float64)
    thread, slab, d = cuda.threadIdx.x, cuda.blockIdx.y, partial.shape[2]
    c, j = cuda.blockIdx.x // d, cuda.blockIdx.x % d
    stop = min(theta.shape[1], (slab + 1) * length)
    mine = 0.0
    k = slab * length + thread
    while k < stop:
        mine += factor[k] * np.float64(theta[c, k]) * np.float64(theta[K + j, k])
        k += 128
    found = meet(sums, thread, mine)
    if thread == 0:
        partial[slab, c, j] = found


@cuda.jit(cache=True)
def pairing(theta, factor, potential, length, partial):
    """partial[slab] = Σ_{k in slab} factor_k ⟨a_k, potential_k⟩; 128 threads, one block for each
    slab of `length`.
    """
    sums = cuda.shared.array(128, np.float64)
    thread, slab = cuda.threadIdx.x, cuda.blockIdx.x
    stop = min(theta.shape[1], (slab + 1) * length)
    mine = 0.0
    k = slab * length + thread
    while k < stop:
        row = 0.0
        for c in range(potential.shape[0]):
            row += np.float64(theta[c, k]) * potential[c, k]
        mine += factor[k] * row
        k += 128
    found = meet(sums, thread, mine)
    if thread == 0:
        partial[slab, 0, 0] = found


@cuda.jit(cache=True)
def finish_sums(theta, S, squares, sums, total, decay, trainable, potential, velocity):
    """potential_kc = Σ_l A_lc K(w_k, w_l) and velocity_k = -∇(a_k · potential_k) - decay θ_k; total
    (K, d) is Σ A v.
    """
    k = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
    if k < theta.shape[1]:
        K, d, q = total.shape[0], total.shape[1], squares[k]
        mu, _, _ = prepare(q)
        kappa, D = linear(q), 0.0
        for j in range(d):
            D += mu * np.float64(theta[K + j, k]) * sums[S + j, k]
        value, on_w, on_V = finish(q, D, sums[0, k], sums[1, k] if S == 2 else 0.0)
        for c in range(K):
            g = 0.0
            for j in range(d):
                g += np.float64(theta[K + j, k]) * total[c, j]
            g = kappa * g + (value if K == 1 else sums[S + d + c, k])
            potential[c, k] = g
            velocity[c, k] = -(g + decay * np.float64(theta[c, k])) * trainable[c]
        a = np.float64(theta[0, k]) if K == 1 else 1.0  # of more outputs, a_k is in the sums
        for j in range(d):
            w = np.float64(theta[K + j, k])
            g = a * (on_w * mu * w + on_V * sums[S + j, k])
            for c in range(K):
                g += kappa * np.float64(theta[c, k]) * total[c, j]
            velocity[K + j, k] = -(g + decay * w) * trainable[K + j]
        velocity[K + d, k] = 0.0
