"""For every point the others of least reduced cost |x_i - y_j|² - v_j, without a matrix of costs.

One pass over all pairs: 0.8 ns a pair at p = 5 on one thread of a busy Intel Xeon. Rows are
independent of one another, so the bits do not depend on the number of threads.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np

from .. import compiler
from ..llvm.intrinsics import widest_vectors

CHUNK = 128  # columns at a time: their costs stay in the first cache
ALONE = 2_000_000  # coordinates of pairs that one thread does in about half a millisecond
SHARDS = 8  # of rows, for each thread: a thread that is kept off its core holds up one of them

compiled = numba.njit(error_model="numpy", nogil=True, cache=True, fastmath=compiler.FASTMATH)


def least(
    x: np.ndarray, y: np.ndarray, v: np.ndarray, limit: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs (i, j) with |x_i - y_j|² - v_j < limit_i, of each i at most the `count` least.

    Parameters
    ----------
    x, y : ndarray, shape (m, p) and (n, p)
    v : ndarray, shape (n,)
    limit : ndarray, shape (m,)
    count : int

    Returns
    -------
    i, j, cost : ndarray
        Sorted by i, then by the reduced cost; cost is |x_i - y_j|².

    Notes
    -----
    Of equal reduced costs those are taken that come first after j = i, in a circle:
    many particles at one place then get different partners.
    """
    m, p = x.shape
    columns = np.empty((m, count), np.int64)
    values = np.empty((m, count))
    found = np.empty(m, np.int64)
    x, across = np.ascontiguousarray(x), np.ascontiguousarray(y.T)

    def rows(begin: int, end: int) -> None:
        _least(x, across, v, limit, begin, end, columns, values, found)

    threads = int(numba.get_num_threads())
    if threads == 1 or m * len(y) * p < ALONE:
        rows(0, m)
    else:
        cuts = np.linspace(0, m, SHARDS * threads + 1).astype(int)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(rows, cuts[:-1], cuts[1:]))

    kept = np.arange(count) < found[:, None]
    j = columns[kept]
    return np.repeat(np.arange(m), found), j, values[kept] + v[j]


@compiled
def _least(x, y, v, limit, begin, end, columns, values, found):
    """Each row's list is kept in order by insertion; most chunks have nothing below its last
    entry."""
    widest_vectors()
    n, most = y.shape[1], columns.shape[1]
    reduced = np.empty(CHUNK)
    chunks = (n + CHUNK - 1) // CHUNK
    for i in range(begin, end):
        bound, size = limit[i], 0
        for turn in range(chunks):
            first = (i // CHUNK + turn) % chunks * CHUNK
            length = min(CHUNK, n - first)
            _reduced(x[i], y, v, first, length, reduced)

            below = 0
            for j in range(np.uint64(length)):
                below += reduced[j] < bound
            if below == 0:
                continue

            for j in range(length):
                if reduced[j] < bound:
                    place = min(size, most - 1)
                    while place > 0 and values[i, place - 1] > reduced[j]:
                        values[i, place] = values[i, place - 1]
                        columns[i, place] = columns[i, place - 1]
                        place -= 1
                    values[i, place] = reduced[j]
                    columns[i, place] = first + j
                    size = min(size + 1, most)
                    if size == most:
                        bound = values[i, most - 1]
        found[i] = size


@compiled
def _reduced(x, y, v, first, length, out):
    """out_j = Σ_c (x_c - y_cj)² - v_j, four coordinates a turn: out is read and written as rarely
    as that."""
    p = x.shape[0]
    odd, at, size = p % 4, np.uint64(first), np.uint64(length)
    if odd == 0:
        for j in range(size):
            out[j] = -v[at + j]
    elif odd == 1:
        for j in range(size):
            d0 = x[0] - y[0, at + j]
            out[j] = d0 * d0 - v[at + j]
    elif odd == 2:
        for j in range(size):
            d0 = x[0] - y[0, at + j]
            d1 = x[1] - y[1, at + j]
            out[j] = d0 * d0 + d1 * d1 - v[at + j]
    else:
        for j in range(size):
            d0 = x[0] - y[0, at + j]
            d1 = x[1] - y[1, at + j]
            d2 = x[2] - y[2, at + j]
            out[j] = d0 * d0 + d1 * d1 + d2 * d2 - v[at + j]

    for c in range(odd, p, 4):
        for j in range(size):
            d0 = x[c] - y[c, at + j]
            d1 = x[c + 1] - y[c + 1, at + j]
            d2 = x[c + 2] - y[c + 2, at + j]
            d3 = x[c + 3] - y[c + 3, at + j]
            out[j] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)
