"""Source text of the CUDA kernels that work on whole arrays: sums of partials, norms, stages, σ and σ' of a matrix.

Every sum has one order that depends on the shapes alone: a thread adds its rows from first to last, the threads of a block
meet in a tree in shared memory. Sums are float64.
"""

from __future__ import annotations

STAGES = 7  # of the longest tableau, Dormand and Prince's

# The sums `mine` of 128 threads of one block, added in a tree.
MEET = """    sums[thread] = mine
    cuda.syncthreads()
    half = 64
    while half > 0:
        if thread < half:
            sums[thread] += sums[thread + half]
        cuda.syncthreads()
        half //= 2
    if thread == 0:
        partial[slab, 0, 0] = sums[0]
"""

SOURCE = f'''"""Written by meanfield/backends/cuda/vectors.py; bound here: T."""
import numpy as np
from numba import cuda


@cuda.jit(cache=True)
def add_rows(partial, divisor, first, total):
    """total[c, first + i] = Σ_r partial[r, c, i] / divisor; blocks of (32, rows) threads, rows 2^j, grid (⌈n/32⌉, K)."""
    sums = cuda.shared.array((32, 32), np.float64)
    lane, row, rows = cuda.threadIdx.x, cuda.threadIdx.y, cuda.blockDim.y
    i, c = cuda.blockIdx.x * 32 + lane, cuda.blockIdx.y
    value = 0.0
    if i < partial.shape[2]:
        r = row
        while r < partial.shape[0]:
            value += partial[r, c, i]
            r += rows
    sums[row, lane] = value
    cuda.syncthreads()
    while rows > 1:
        rows //= 2
        if row < rows:
            sums[row, lane] += sums[row + rows, lane]
        cuda.syncthreads()
    if row == 0 and i < partial.shape[2]:
        total[c, first + i] = sums[0, lane] / divisor


@cuda.jit(cache=True)
def squares(array, weight, columns, length, partial):
    """partial[slab] = Σ_{{k in slab}} weight_k Σ_j columns_j array_jk²; 128 threads, one block for each slab of `length`."""
    sums = cuda.shared.array(128, np.float64)
    thread, slab = cuda.threadIdx.x, cuda.blockIdx.x
    start = slab * length
    stop = min(array.shape[1], start + length)
    mine = 0.0
    k = start + thread
    while k < stop:
        row = 0.0
        j = 0
        while j < array.shape[0]:
            entry = np.float64(array[j, k])
            row += columns[j] * entry * entry
            j += 1
        mine += weight[k] * row
        k += 128
{MEET}'''


def _combine(count: int) -> str:
    stages = ", ".join(f"c{j}, stage{j}" for j in range(count))
    return f'''

@cuda.jit(cache=True)
def combine_{count}(base, {stages}, out):
    """out = base + Σ_j c_j stage_j, from left to right."""
    k = cuda.blockIdx.x * 256 + cuda.threadIdx.x
    j = cuda.blockIdx.y
    while k < base.shape[1] and j < base.shape[0]:
        out[j, k] = base[j, k] + {" + ".join(f"c{j} * stage{j}[j, k]" for j in range(count))}
        j += cuda.gridDim.y
'''


def source() -> str:
    """All of them for one dtype; combine_1 … combine_7 add that many stages at once."""
    return SOURCE + "".join(_combine(count) for count in range(1, STAGES + 1))


# For large d, around matrix products: z (particles, samples) is overwritten.
ACTIVATE = '''"""Written by meanfield/backends/cuda/vectors.py; bound here: T, value, value_and_slope."""
from numba import cuda


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
'''
