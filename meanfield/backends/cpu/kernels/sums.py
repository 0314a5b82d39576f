"""Σ over arrays of whole vectors, in an order that is written down: four vectors of running sums,
added at the end.
"""

from numba import njit

from meanfield.backends.bound import FASTMATH, T
from meanfield.backends.llvm.intrinsics import stack_array

LANES = 64 // T().itemsize  # numbers in a vector
WIDE = 4 * LANES
wide = stack_array(WIDE)
compiled = njit(
    error_model="numpy", fastmath=FASTMATH, no_cpython_wrapper=True, no_cfunc_wrapper=True
)


@compiled
def dot(u, v):
    """Σ_i u_i v_i."""
    s = wide(T(0))
    for l in range(WIDE):
        s[l] = T(0)
    whole = u.shape[0] // WIDE * WIDE
    for i in range(0, whole, WIDE):
        for l in range(WIDE):
            s[l] += u[i + l] * v[i + l]
    for i in range(whole, u.shape[0], LANES):
        for l in range(LANES):
            s[l] += u[i + l] * v[i + l]
    for l in range(LANES):
        s[l] = (s[l] + s[LANES + l]) + (s[2 * LANES + l] + s[3 * LANES + l])
    total = T(0)
    for l in range(LANES):
        total += s[l]
    return total


@compiled
def summed(u):
    """Σ_i u_i."""
    s = wide(T(0))
    for l in range(WIDE):
        s[l] = T(0)
    whole = u.shape[0] // WIDE * WIDE
    for i in range(0, whole, WIDE):
        for l in range(WIDE):
            s[l] += u[i + l]
    for i in range(whole, u.shape[0], LANES):
        for l in range(LANES):
            s[l] += u[i + l]
    for l in range(LANES):
        s[l] = (s[l] + s[LANES + l]) + (s[2 * LANES + l] + s[3 * LANES + l])
    total = T(0)
    for l in range(LANES):
        total += s[l]
    return total
