"""Several stages of a method added to θ in one pass over the memory."""

from numba import cuda

from meanfield.backends.bound import COUNT
from meanfield.backends.unroll import each, total


@cuda.jit(cache=True)
def combine(base, c: each(COUNT), stage: each(COUNT), out):
    """out = base + Σ_j c_j stage_j, from left to right."""
    k = cuda.blockIdx.x * 256 + cuda.threadIdx.x
    j = cuda.blockIdx.y
    while k < base.shape[1] and j < base.shape[0]:
        out[j, k] = total(base[j, k], *(c[i] * stage[i][j, k] for i in each(COUNT)))
        j += cuda.gridDim.y
