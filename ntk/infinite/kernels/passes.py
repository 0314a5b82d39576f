"""Gaussian expectations of a matrix of covariances, once or through all layers: rows stay in the
cache between layers.
"""

from numba import njit

from meanfield.backends.bound import BY_ADDRESS, FASTMATH, dual

kernel = njit(fastmath=FASTMATH, **BY_ADDRESS)


@kernel
def one_layer(shard, shards, c, p1, g1, p2, g2, values, slopes):
    n = c.shape[0]
    for i in range(shard * n // shards, (shard + 1) * n // shards):
        for j in range(c.shape[1]):
            value, slope = dual(c[i, j], p1[i], g1[i], p2[j], g2[j])
            values[i, j] = value
            slopes[i, j] = slope


@kernel
def all_layers(shard, shards, sigma, theta, triangle, scale, shift, p1, g1, p2, g2):
    n = sigma.shape[0]
    for k in range(shard * n // shards, (shard + 1) * n // shards):
        i = n - 1 - k // 2 if k % 2 else k // 2  # long and short rows in turn
        first = i if triangle else 0
        s, t = sigma[i, first:], theta[i, first:]
        for h in range(scale.shape[0]):
            factor = scale[h]
            offset = shift[h]
            p = p1[h, i]
            g = g1[h, i]
            ps = p2[h, first:]
            gs = g2[h, first:]
            for j in range(s.shape[0]):
                value, slope = dual(s[j], p, g, ps[j], gs[j])
                s[j] = factor * value + offset
                t[j] = s[j] + factor * slope * t[j]
