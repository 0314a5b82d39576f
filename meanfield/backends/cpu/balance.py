"""What homogeneity conserves, |w_k|² + b_k² - p|a_k|² of each neuron: one pass over θ on the host,
sums in float64.
"""

from __future__ import annotations

import numba
import numpy as np

from .backend import CPU
from .sharing import run

compiled = numba.njit(error_model="numpy", nogil=True, cache=True)


@numba.njit(error_model="numpy", fastmath=False)
def _invariant(theta, k, outputs, p):
    inner = outer = 0.0
    for j in range(outputs):
        outer += np.float64(theta[k, j]) * np.float64(theta[k, j])
    for j in range(outputs, theta.shape[1]):
        inner += np.float64(theta[k, j]) * np.float64(theta[k, j])
    return inner - p * outer


@compiled
def _invariants(shard, shards, theta, outputs, p, out):
    m = theta.shape[0]
    for k in range(shard * m // shards, (shard + 1) * m // shards):
        out[k] = _invariant(theta, k, outputs, p)


@compiled
def _largest_changes(shard, shards, theta, outputs, p, before, largest):
    m, most = theta.shape[0], 0.0
    for k in range(shard * m // shards, (shard + 1) * m // shards):
        change = abs(_invariant(theta, k, outputs, p) - before[k])
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
    return float(np.max(largest))
