"""The assignment problem on a matrix of costs, for clouds so small that lists and passes take longer
than all m² pairs.

Jonker and Volgenant 1987: least costs of the columns, two rounds in which each free row takes its
cheapest column at the price of its second cheapest, and shortest augmenting paths for the rows that
are left. One thread.
"""

from __future__ import annotations

import numba
import numpy as np

from . import launch  # noqa: F401  where kernels are kept

compiled = numba.njit(error_model="numpy", nogil=True, cache=True)
AUCTIONS = 2  # rounds before the augmenting paths


def solve(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The optimal matching of x with y, both (m, p), and what proves it.

    Returns
    -------
    mate : ndarray of int, shape (m,)
        Particle i of x goes to particle mate_i of y.
    paid : ndarray, shape (m,)
        |x_i - y_j|² at j = mate_i.
    missed : ndarray, shape (m,)
        By how much paid_i - v_j is above the least of its row, for the potentials v.
    size : ndarray, shape (m,)
        Of the numbers that missed is a difference of.
    """
    m = len(x)
    mate, owner = np.full(m, -1), np.full(m, -1)
    paid, missed, size = np.empty(m), np.empty(m), np.empty(m)
    cost = np.empty((m, m))
    _solve(x, np.ascontiguousarray(y.T), cost, np.empty(m), mate, owner, paid, missed, size)
    return mate, paid, missed, size


@compiled
def _solve(x, across, cost, v, mate, owner, paid, missed, size):
    m, p = x.shape
    for i in range(m):
        for j in range(m):
            cost[i, j] = 0.0
        for c in range(p):
            for j in range(m):
                d = x[i, c] - across[c, j]
                cost[i, j] += d * d
    for j in range(m):
        v[j] = cost[0, j]
    for i in range(1, m):
        for j in range(m):
            v[j] = min(v[j], cost[i, j])

    waiting = np.arange(m)
    count = m
    for _ in range(AUCTIONS):
        count = _auction(cost, v, mate, owner, waiting, count)
    _augment(cost, v, mate, owner, waiting[:count])

    for i in range(m):
        least = np.inf
        for j in range(m):
            least = min(least, cost[i, j] - v[j])
        paid[i] = cost[i, mate[i]]
        missed[i] = paid[i] - v[mate[i]] - least
        size[i] = paid[i] + abs(v[mate[i]])


@compiled
def _auction(cost, v, mate, owner, waiting, count):
    """Each waiting row takes its cheapest column, whose price falls to where the second cheapest is
    as good; whoever had it waits. Returns how many wait in the end, first in `waiting`.
    """
    m = v.size
    left = 0
    at = 0
    most = 4 * m  # steps: a row that ties for ever waits
    while at < count:
        i = waiting[at]
        at += 1
        first, second, j = np.inf, np.inf, 0
        for k in range(m):
            reduced = cost[i, k] - v[k]
            if reduced < first:
                second = first
                first = reduced
                j = k
            elif reduced < second:
                second = reduced
        before = owner[j]
        if second > first and m > 1:
            v[j] -= second - first
        elif before >= 0:  # a tie: nobody is driven out for nothing
            waiting[left] = i
            left += 1
            continue
        mate[i] = j
        owner[j] = i
        if before < 0:
            continue
        mate[before] = -1
        most -= 1
        if most > 0 and second > first:
            at -= 1
            waiting[at] = before
        else:
            waiting[left] = before
            left += 1
    return left


@compiled
def _augment(cost, v, mate, owner, free):
    """Match the free rows, each along a shortest path of reduced costs to a free column (Dijkstra)."""
    m = v.size
    distance = np.empty(m)
    before = np.empty(m, np.int64)
    columns = np.arange(m)
    for source in free:
        for j in range(m):
            distance[j] = np.inf
            columns[j] = j
        i, travelled, done, last = source, 0.0, 0, -1
        offset = 0.0
        while last < 0:
            # of row i, whose own column is settled at `travelled`: reduced costs from there on
            shortest, place = np.inf, done
            for at in range(done, m):
                j = columns[at]
                d = cost[i, j] - v[j] + offset
                if d < distance[j]:
                    distance[j] = d
                    before[j] = i
                if distance[j] < shortest or (distance[j] == shortest and owner[j] < 0):
                    shortest = distance[j]
                    place = at
            j = columns[place]
            columns[place] = columns[done]
            columns[done] = j
            done += 1
            travelled = shortest
            if owner[j] < 0:
                last = j
            else:
                i = owner[j]
                offset = travelled - (cost[i, j] - v[j])

        for at in range(done):
            j = columns[at]
            v[j] += distance[j] - travelled
        j = last
        i = -1
        while i != source:
            i = before[j]
            left = mate[i]
            mate[i] = j
            owner[j] = i
            j = left
