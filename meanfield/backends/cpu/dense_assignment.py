"""The assignment problem on a matrix of costs, for clouds so small that lists and passes take longer
than all m² pairs.

Jonker and Volgenant 1987: least costs of the columns, two rounds in which each free row takes its
cheapest column at the price of its second cheapest, and shortest augmenting paths for the rows that
are left. One thread.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np

from . import launch  # noqa: F401  where kernels are kept

compiled = numba.njit(error_model="numpy", nogil=True, cache=True)
AUCTIONS = 2  # rounds before the augmenting paths
ROUNDING = 64 * float(np.finfo(np.float64).eps)  # of a reduced cost, in units of what it is made of


class Found(NamedTuple):
    """Particle i of x goes to particle mate_i of y: (1/m) Σ_i |x_i - y_mate|², and by how much this
    may be above the minimum. own: mate_i = i.

    Where numbers overflow, or NaN are among them, square is no finite number.
    """

    mate: np.ndarray
    square: float
    gap: float
    own: bool


def solve(x: np.ndarray, y: np.ndarray) -> Found:
    """The optimal matching of x with y, both (m, p) float64 of equal masses.

    The costs are |x_i - y_j - s|² with s the difference of the means, which changes them by terms of
    x alone and of y alone: a shift of the whole cloud does not hide the ways. Each is right to some
    ulp of itself, for x_i - y_j goes with its rounding error (Knuth). The gap is that of potentials v of the columns:
    (1/m) Σ_i (c_i,mate - v_mate - min_j (c_ij - v_j)), not below its own rounding.
    """
    m = len(x)
    mate, owner = np.full(m, -1), np.full(m, -1)
    square, gap, own = _solve(x, y, np.empty((m, m)), np.empty(m), mate, owner)
    return Found(mate, square, gap, own)


@compiled
def _solve(x, y, cost, v, mate, owner):
    m, p = x.shape
    cost[:] = 0.0
    for c in range(p):
        shift = 0.0
        for i in range(m):
            shift += (x[i, c] - y[i, c]) / m
        for j in range(m):
            v[j] = y[j, c]
        for i in range(m):
            here = x[i, c]
            for j in range(m):
                way = here - v[j]
                taken = here - way
                lost = (here - (way + taken)) + (taken - v[j])
                d = (way - shift) + lost
                cost[i, j] += d * d
    everything = 0.0
    for i in range(m):
        for j in range(m):
            everything += cost[i, j]
    if not math.isfinite(everything):
        return everything, everything, False

    own, gap = _own(cost)
    if own:
        for i in range(m):
            mate[i] = i
        return _square(x, y, mate), gap, True

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

    gap, own = 0.0, True
    for i in range(m):
        k, least = mate[i], np.inf
        for j in range(m):
            least = min(least, cost[i, j] - v[j])
        missed = cost[i, k] - v[k] - least
        gap += max(missed, ROUNDING * (cost[i, k] + abs(v[k]))) / m
        own = own and k == i
    return _square(x, y, mate), gap, own


@compiled
def _own(cost):
    """Whether no particle has a nearer one than its own, and the gap of v = 0."""
    m = cost.shape[0]
    gap = 0.0
    for i in range(m):
        least = np.inf
        for j in range(m):
            least = min(least, cost[i, j])
        if least < cost[i, i]:
            return False, np.inf
        gap += ROUNDING * cost[i, i] / m
    return True, gap


@compiled
def _square(x, y, mate):
    """(1/m) Σ_i |x_i - y_mate|²."""
    m, p = x.shape
    square = 0.0
    for i in range(m):
        way2 = 0.0
        for c in range(p):
            d = x[i, c] - y[mate[i], c]
            way2 += d * d
        square += way2 / m
    return square


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
