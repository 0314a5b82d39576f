"""What homogeneity conserves, |w_k|² + b_k² - p|a_k|² of each neuron: one pass over θ on the host,
sums in float64.
"""

from __future__ import annotations

import numba
import numpy as np

from .backend import CPU
from .sharing import run

compiled = numba.njit(error_model="numpy", nogil=True, cache=True)


ROWS = 64  # of θ at a time: column by column, so that neighbouring rows are the lanes of a vector


@numba.njit(error_model="numpy", fastmath=False)
def _of_rows(theta, outputs, p, inner, outer):
    """inner = |w_k|² + b_k² - p|a_k|² of the rows of θ, each sum in the order of the columns."""
    rows, columns = theta.shape
    for k in range(rows):
        inner[k] = outer[k] = 0.0
    for j in range(columns):
        sums = outer if j < outputs else inner
        for k in range(rows):
            sums[k] += np.float64(theta[k, j]) * np.float64(theta[k, j])
    for k in range(rows):
        inner[k] -= p * outer[k]


@compiled
def _invariants(shard, shards, theta, outputs, p, out):
    m, outer = theta.shape[0], np.empty(ROWS)
    last = (shard + 1) * m // shards
    for first in range(shard * m // shards, last, ROWS):
        stop = min(first + ROWS, last)
        _of_rows(theta[first:stop], outputs, p, out[first:stop], outer)


@compiled
def _largest_changes(shard, shards, theta, outputs, p, before, largest):
    m, inner, outer, most = theta.shape[0], np.empty(ROWS), np.empty(ROWS), 0.0
    last = (shard + 1) * m // shards
    for first in range(shard * m // shards, last, ROWS):
        stop = min(first + ROWS, last)
        _of_rows(theta[first:stop], outputs, p, inner, outer)
        for k in range(stop - first):
            change = abs(inner[k] - before[first + k])
            if change > most or change != change:  # a NaN stays
                most = change
    largest[shard] = most


def invariants(theta: np.ndarray, outputs: int, p: float) -> np.ndarray:
    """|w_k|² + b_k² - p|a_k|²: θ (m, K + d + 1) -> (m,) float64."""
    out = np.empty(theta.shape[0])
    run(_invariants, CPU.shards(len(theta)), theta.size, theta, outputs, float(p), out)
    return out


def largest_change(theta: np.ndarray, outputs: int, p: float, before: np.ndarray) -> float:
    """max_k |invariant of θ_k - before_k|, NaN where one is; before (m,)."""
    largest = np.empty(CPU.shards(theta.shape[0]))
    run(_largest_changes, largest.size, theta.size, theta, outputs, float(p), before, largest)
    return float(largest.max())
