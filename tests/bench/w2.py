"""Exact W2 of two clouds of equal masses: ours, against SciPy's assignment solver, and sorting
where p = 1.

Our times at p = 4 are those of POT's network simplex, on costs that we compute. Clouds "moved":
normal particles, and each of them moved by a third of its spread, as in a run; "shifted": two
draws, one shifted by twice the spread, where assignment solvers suffer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import meanfield as mf

from .engine import clouds
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
    widths = (500, 1000) if quick else (500, 1000, 2000, 5000)
    kinds = [("moved", m, 4) for m in widths] + [
        ("shifted", m, 4) for m in widths if m <= LARGEST_ASSIGNMENT
    ]
    return [
        Named(f"w2-{kind}-m{m}-p{p}", (kind, m, p)) for kind, m, p in [*kinds, ("moved", 10**5, 1)]
    ]


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
    kind, m, p = case.of
    x, y = clouds(kind, m, p)
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
        "kind": kind, "m": m, "p": p, "ms": median, "spread": spread(times), "ours_ms": median["ours"],
        "plain": name, "plain_ms": ms, "plain_ratio": ratio, "goals": [],
    }  # fmt: skip
