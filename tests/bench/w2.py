"""Exact W2 of two clouds of equal masses: ours, against SciPy's assignment solver, and sorting where p = 1.

Our times at p = 4 are those of POT's network simplex, on costs that we compute; nobody is known to be faster. Clouds are those
of a run: the start, and the start moved by a neuron-wise step of a third of its spread.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import meanfield as mf

from .sections import Column, Effort, Named, best, measure, milliseconds, repeated, spread

TITLE = "exact W2"
COLUMNS = (
    Column("ours_ms", "here ms", ".4g"),
    Column("plain", "plain peer", ""),
    Column("plain_ms", "ms", ".4g"),
    Column("plain_ratio", "ratio", ".1f"),
)
LARGEST_ASSIGNMENT = 2000  # particles up to which SciPy's solver is tried: beyond, it takes minutes


def cases(quick: bool = False) -> list[Named]:
    sizes = [(500, 4), (1000, 4), (10**5, 1)] if quick else [(500, 4), (1000, 4), (2000, 4), (5000, 4), (10**5, 1)]
    return [Named(f"w2-exact-m{m}-p{p}", (m, p)) for m, p in sizes]


def by_assignment(x: np.ndarray, y: np.ndarray) -> float:
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    cost = cdist(x, y, "sqeuclidean")
    return float(np.sqrt(cost[linear_sum_assignment(cost)].mean()))


def by_pot(x: np.ndarray, y: np.ndarray) -> float:
    import ot

    masses = np.full(len(x), 1 / len(x))
    if x.shape[1] == 1:
        return float(np.sqrt(ot.emd2_1d(x[:, 0], y[:, 0], masses, masses)))
    return float(np.sqrt(ot.emd2(masses, masses, ot.dist(x, y), numItermax=10**9)))


def run(case: Named, effort: Effort) -> dict[str, Any]:
    m, p = case.of
    rng = np.random.default_rng(0)
    x = rng.normal(size=(m, p))
    y = x + rng.normal(size=(m, p)) / 3
    works = {"ours": lambda: mf.w2(x, y), "POT": lambda: by_pot(x, y)}
    if p > 1 and m <= LARGEST_ASSIGNMENT:
        works["scipy"] = lambda: by_assignment(x, y)
    expected = works["ours"]()
    for name, work in works.items():
        if not abs(work() - expected) < 1e-9 * expected:
            raise ArithmeticError(f"{name} finds another distance than {expected:.12g}.")
    times = measure({name: repeated(work) for name, work in works.items()}, effort)
    median = milliseconds(times)
    name, ms, ratio = best(median, set(works) - {"ours"})
    return {
        "m": m, "p": p, "ms": median, "spread": spread(times), "ours_ms": median["ours"], "plain": name, "plain_ms": ms,
        "plain_ratio": ratio, "goals": [],
    }  # fmt: skip
