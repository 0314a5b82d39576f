"""σ and σ' of a matrix on a GPU, between matrix products: z (particles, samples) is overwritten."""

from numba import cuda

from meanfield.backends.bound import T, value, value_and_slope


@cuda.jit(cache=True)
def values(z, rows, columns):
    """z <- σ(z)."""
    i, k = cuda.blockIdx.x * 256 + cuda.threadIdx.x, cuda.blockIdx.y
    if i < columns and k < rows:
        z[k, i] = value(z[k, i])


@cuda.jit(cache=True)
def values_and_slopes(z, factor, rows, columns):
    """z <- σ(z), factor <- factor σ'(z)."""
    i, k = cuda.blockIdx.x * 256 + cuda.threadIdx.x, cuda.blockIdx.y
    if i < columns and k < rows:
        v, r = value_and_slope(z[k, i])
        z[k, i] = v
        factor[k, i] *= T(r)
