"""Who keeps what in a stretch of steps (kernels/team.py): whole branches of the tree of sums for each
worker, and lines of a cache that no two of them share.
"""

from __future__ import annotations

import numpy as np

from .records import APART


def branches_of(shards: int, workers: int) -> tuple[int, np.ndarray]:
    """(nodes of a level of tree_sum, (shards,) the worker for each of them and for what is below it).

    The level with the fewest nodes at which no worker has more than its share of the shards.
    """
    counts = [shards]
    while counts[-1] > 1:
        counts.append((counts[-1] + 1) // 2)
    for count in reversed(counts):
        node = np.arange(shards)
        for half in counts[1 : counts.index(count) + 1]:
            node = np.where(node < half, node, node - half)
        sizes, loads = np.bincount(node), np.zeros(workers, np.int64)
        keeper = np.zeros(count, np.int64)
        for r in np.argsort(-sizes, kind="stable"):
            keeper[r] = np.argmin(loads)
            loads[keeper[r]] += sizes[r]
        if count >= workers and loads.max() <= -(-shards // workers):
            break
    return count, keeper[node]


def in_lines(count: int, size: int) -> np.ndarray:
    """(count, size) int64 zeros, each row at the start of a line of a cache."""
    width = -(-size // APART) * APART
    memory = np.zeros(count * width + APART, np.int64)
    skip = -memory.ctypes.data // 8 % APART
    return memory[skip : skip + count * width].reshape(count, width)[:, :size]
