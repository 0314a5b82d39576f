"""The assignment problem on short lists of pairs: potentials by Bellman and Ford, shortest
augmenting paths.

Rows i have lists of columns j with their costs c_ij, as in a sparse matrix by rows (start, columns,
costs). A matching gives row i the column mate_i at the cost paid_i; owner_j is the row of column j;
-1 is none. With potentials v of the columns a matched row has u_i = paid_i - v at its mate, and the
matching is optimal among the listed pairs where c_ij - v_j >= u_i. One thread: this is a hundredth
of a pass over all pairs.
"""

from __future__ import annotations

import numba
import numpy as np

from . import launch  # noqa: F401  where kernels are kept

compiled = numba.njit(error_model="numpy", nogil=True, cache=True)
# of the numbers in a sum of three, what is taken for 0
ROUNDING = 8 * float(np.finfo(np.float64).eps)


@compiled
def merged(start, columns, costs, i, j, cost):
    """The lists with the pairs (i, j) in them that they did not have."""
    m = start.size - 1
    first = np.zeros(m + 1, np.int64)
    for e in range(i.size):
        first[i[e] + 1] += 1
    for row in range(m):
        first[row + 1] += first[row]
    order = np.empty(i.size, np.int64)
    place = first[:m].copy()
    for e in range(i.size):
        order[place[i[e]]] = e
        place[i[e]] += 1

    new_start = np.zeros(m + 1, np.int64)
    new_columns = np.empty(columns.size + i.size, np.int64)
    new_costs = np.empty(columns.size + i.size)
    last_row = np.full(m, -1, np.int64)  # that listed a column
    size = 0
    for row in range(m):
        for e in range(start[row], start[row + 1]):
            last_row[columns[e]] = row
            new_columns[size] = columns[e]
            new_costs[size] = costs[e]
            size += 1
        for e in order[first[row] : first[row + 1]]:
            if last_row[j[e]] != row:
                last_row[j[e]] = row
                new_columns[size] = j[e]
                new_costs[size] = cost[e]
                size += 1
        new_start[row + 1] = size
    return new_start, new_columns[:size].copy(), new_costs[:size].copy()


@compiled
def relax(start, columns, costs, mate, paid, v, passes):
    """Lower v until c_ij - v_j >= u_i on all lists, if the matching is optimal on them; at most so
    many passes.

    Bellman and Ford's shortest paths, each pass going on with what it has found. Returns whether it
    came to an end.
    """
    for _ in range(passes):
        lowered = False
        for i in range(mate.size):
            u = paid[i] - v[mate[i]]
            for e in range(start[i], start[i + 1]):
                j = columns[e]
                if costs[e] - u < v[j] - ROUNDING * (abs(v[j]) + costs[e]):
                    v[j] = costs[e] - u
                    lowered = True
        if not lowered:
            return True
    return False


@compiled
def release(start, columns, costs, mate, paid, owner, v):
    """Take their columns from the rows that have a cheaper one; returns these rows."""
    free = np.empty(mate.size, np.int64)
    count = 0
    for i in range(mate.size):
        u = paid[i] - v[mate[i]]
        for e in range(start[i], start[i + 1]):
            j = columns[e]
            if costs[e] - u < v[j] - ROUNDING * (abs(v[j]) + costs[e]):
                free[count] = i
                count += 1
                break
    for i in free[:count]:
        owner[mate[i]] = -1
        mate[i] = -1
    return free[:count]


@compiled
def augment(start, columns, costs, mate, paid, owner, v, free, most):
    """Match the free rows, each along a shortest path of reduced costs to a free column
    (Dijkstra's, with a heap).

    Looks at most at `most` rows in all. Returns how many of these were left; below 0 where some row
    is not matched.
    """
    n = v.size
    distance = np.full(n, np.inf)
    before = np.empty(n, np.int64)  # the row from which a column is reached, and at what cost
    price = np.empty(n)
    settled = np.zeros(n, np.bool_)
    reached = np.empty(n, np.int64)
    order = np.empty(n, np.int64)
    heap = np.empty(columns.size + 1)
    waiting = np.empty(columns.size + 1, np.int64)
    for source in free:
        u = np.inf
        for e in range(start[source], start[source + 1]):
            u = min(u, costs[e] - v[columns[e]])

        i, travelled, shortest = source, 0.0, np.inf
        size = touched = done = 0
        last = -1
        while most > 0:
            most -= 1
            for e in range(start[i], start[i + 1]):
                j = columns[e]
                if settled[j]:
                    continue
                d = travelled + max(costs[e] - v[j] - u, 0.0)
                if d < distance[j] and d < shortest:
                    if distance[j] == np.inf:
                        reached[touched] = j
                        touched += 1
                    distance[j] = d
                    before[j] = i
                    price[j] = costs[e]
                    size = _push(heap, waiting, size, d, j)
                    if owner[j] < 0:
                        shortest = d

            j = -1
            while size > 0 and j < 0:
                travelled = heap[0]
                j = waiting[0]
                size = _pop(heap, waiting, size)
                if settled[j]:
                    j = -1
            if j < 0:
                break
            settled[j] = True
            order[done] = j
            done += 1
            if owner[j] < 0:
                last = j
                break
            i = owner[j]
            u = paid[i] - v[j]
        if last < 0:
            return -1

        for j in order[:done]:
            v[j] += distance[j] - travelled
        j = last
        i = -1
        while i != source:
            i = before[j]
            left = mate[i]
            mate[i] = j
            paid[i] = price[j]
            owner[j] = i
            j = left
        for j in reached[:touched]:
            distance[j] = np.inf
            settled[j] = False
    return most


@compiled
def _push(heap, waiting, size, d, j):
    place = size
    while place > 0 and heap[(place - 1) // 2] > d:
        heap[place] = heap[(place - 1) // 2]
        waiting[place] = waiting[(place - 1) // 2]
        place = (place - 1) // 2
    heap[place] = d
    waiting[place] = j
    return size + 1


@compiled
def _pop(heap, waiting, size):
    """Without its least entry; the last one sinks from the top."""
    size -= 1
    d = heap[size]
    j = waiting[size]
    place = 0
    while 2 * place + 1 < size:
        child = 2 * place + 1
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= d:
            break
        heap[place] = heap[child]
        waiting[place] = waiting[child]
        place = child
    heap[place] = d
    waiting[place] = j
    return size
