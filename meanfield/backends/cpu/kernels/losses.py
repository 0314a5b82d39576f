"""Σ ℓ and ℓ' of predictions f = s F; WEIGHTED: each sample has a weight. Coupled: a loss of all
outputs of a sample at once.
"""

from numba import njit

from meanfield.backends.bound import WEIGHTED, slope, value

kernel = njit(error_model="numpy", cache=True, nogil=True, no_cfunc_wrapper=True)


@kernel
def total(F, y, weights, s):
    result = 0.0
    for i in range(F.shape[0]):
        for c in range(F.shape[1]):
            loss = value(s * F[i, c], y[i, c])
            result += weights[i] * loss if WEIGHTED else loss
    return result


@kernel
def slopes(F, y, s, factor, out):
    for i in range(F.shape[0]):
        for c in range(F.shape[1]):
            out[i, c] = factor * slope(s * F[i, c], y[i, c]) / s


@kernel
def total_coupled(f, y, weights):
    result = 0.0
    for i in range(f.shape[0]):
        loss = value(f[i], y[i])
        result += weights[i] * loss if WEIGHTED else loss
    return result


@kernel
def slopes_coupled(f, y, out):
    for i in range(f.shape[0]):
        slope(f[i], y[i], out[i])
