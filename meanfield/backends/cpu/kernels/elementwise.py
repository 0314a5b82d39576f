"""σ and σ' of a matrix, entry by entry."""

from numba import njit

from meanfield.backends.bound import T, slope, value
from meanfield.backends.llvm.intrinsics import widest_vectors


@njit(error_model="numpy", nogil=True, cache=True)
def evaluate(shard, shards, z, values, slopes):
    widest_vectors()
    m = z.shape[0]
    for k in range(shard * m // shards, (shard + 1) * m // shards):
        for i in range(z.shape[1]):
            values[k, i] = value(z[k, i])
            slopes[k, i] = slope(z[k, i])


@njit(error_model="numpy", cache=True, nogil=True)
def features(z, b, root, rates, values, slopes):
    widest_vectors()
    for k in range(z.shape[0]):
        if values.size:
            for i in range(z.shape[1]):
                values[k, i] = root[k] * T(value(z[k, i] + b[k]))
        if slopes.size:
            for i in range(z.shape[1]):
                z[k, i] = slope(z[k, i] + b[k])
            for c in range(rates.shape[1]):
                for i in range(z.shape[1]):
                    slopes[c, k, i] = rates[k, c] * z[k, i]
