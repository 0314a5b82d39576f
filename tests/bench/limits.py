"""What this machine's processor can do: fused multiply-adds a second, on all threads, with operands in the first cache."""

from __future__ import annotations

import time

import numba
import numpy as np

from meanfield.backends import products

LENGTH, COLUMNS, ROUNDS = 64, 64, 2000  # of one product: its operands are 17 KB in float32
THREADS = 4  # chunks of work a thread, so that a slow start is evened out


def gigaflops(dtype: str, seconds: float = 0.3) -> float:
    """The best of several runs of `seconds`/5 each: 2 operations a multiply-add."""
    multiply = products.multiplier(dtype)

    @numba.njit(parallel=True, error_model="numpy")
    def work(rows, packed, out):
        for chunk in numba.prange(out.shape[0]):
            for _ in range(ROUNDS):
                multiply(rows, packed, out[chunk])

    rows = np.ones((products.ROWS, LENGTH), dtype)
    packed = products.pack(np.ones((LENGTH, COLUMNS), dtype))
    out = np.empty((THREADS * numba.get_num_threads(), products.ROWS, COLUMNS), dtype)
    work(rows, packed, out)
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        work(rows, packed, out)
        best = min(best, time.perf_counter() - begin)
    return 2e-9 * len(out) * ROUNDS * rows.size * COLUMNS / best
