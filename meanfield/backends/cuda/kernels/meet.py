"""Σ over the 128 threads of a block, by a tree: one order, whatever the threads do."""

from numba import cuda


@cuda.jit(device=True)
def meet(sums, thread, mine):
    """Σ of `mine` in thread 0; every thread of the block calls, `sums` (128,) is theirs to share."""
    sums[thread] = mine
    cuda.syncthreads()
    half = 64
    while half > 0:
        if thread < half:
            sums[thread] += sums[thread + half]
        cuda.syncthreads()
        half //= 2
    return sums[0]
