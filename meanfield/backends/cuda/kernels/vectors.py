"""Sums of partials and norms on a GPU. Every sum has one order that depends on the shapes alone,
and is float64.

A thread adds its rows from first to last, the threads of a block meet in a tree in shared memory.
"""

import numpy as np
from numba import cuda

from meanfield.backends.cuda.kernels.meet import meet


@cuda.jit(cache=True)
def add_rows(partial, divisor, first, total):
    """total[c, first + i] = Σ_r partial[r, c, i] / divisor; blocks of (32, rows) threads, rows 2^j,
    grid (⌈n/32⌉, K).
    """
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
    """partial[slab] = Σ_{k in slab} weight_k Σ_j columns_j array_jk²; 128 threads, one block for
    each slab of `length`.
    """
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
    found = meet(sums, thread, mine)
    if thread == 0:
        partial[slab, 0, 0] = found
