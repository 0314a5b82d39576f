"""Exact W2 of two clouds of equal masses: ours, against POT's network simplex, SciPy's assignment
solver, and sorting where p = 1.

Clouds "moved": normal particles, and each of them moved by a third of its spread; "shifted": two
draws, one shifted by twice the spread, where assignment solvers suffer; "γ": start and end of a run.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import meanfield as mf

from .engine import clouds
from .sections import Column, Effort, Goal, Named, best, measure, milliseconds, repeated, spread

TITLE = "exact W2"
COLUMNS = (
    Column("ours_ms", "here ms", ".4g"),
    Column("plain", "plain peer", ""),
    Column("plain_ms", "ms", ".4g"),
    Column("plain_ratio", "ratio", ".1f"),
)
ASKED = {0.5: 30.0, 0.75: 8.0, 1.0: 3.0}  # γ -> times as fast as POT, m = 4000, p = 5
LARGEST_ASSIGNMENT = 2000  # particles up to which SciPy's solver is tried: beyond, it takes minutes


def cases(quick: bool = False) -> list[Named]:
    widths = (100, 300) if quick else (100, 300, 500, 1000, 2000, 5000)
    kinds = [("moved", m, 4) for m in widths] + [
        ("shifted", m, 4) for m in widths if m <= LARGEST_ASSIGNMENT
    ]
    runs = [(f"γ = {gamma}", 200 if quick else 4000, 5) for gamma in ASKED]
    line = [("moved", m, 1) for m in (100, 10**5)]
    return [Named(_name(*case), case) for case in [*kinds, *runs, *line]]


def _name(kind: str, m: int, p: int) -> str:
    return f"w2-{kind.replace('γ = ', 'gamma-')}-m{m}-p{p}"


def by_assignment(x: np.ndarray, y: np.ndarray) -> float:
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    cost = cdist(x, y, "sqeuclidean")
    return float(np.sqrt(cost[linear_sum_assignment(cost)].mean()))


def by_sorting(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.sqrt(np.square(np.sort(x[:, 0]) - np.sort(y[:, 0])).mean()))


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
    if p == 1:
        works["numpy"] = lambda: by_sorting(x, y)
    elif m <= LARGEST_ASSIGNMENT:
        works["scipy"] = lambda: by_assignment(x, y)
    expected = works["ours"]()
    for name, work in works.items():
        if not abs(work() - expected) < 1e-9 * expected:
            raise ArithmeticError(f"{name} finds another distance than {expected:.12g}.")
    times = measure({name: repeated(work) for name, work in works.items()}, effort)
    median = milliseconds(times)
    name, ms, ratio = best(median, set(works) - {"ours"})
    goals = [Goal(name, ASKED[float(kind.removeprefix("γ = "))], ratio)] if kind[0] == "γ" else []
    return {
        "kind": kind, "m": m, "p": p, "ms": median, "spread": spread(times), "ours_ms": median["ours"],
        "plain": name, "plain_ms": ms, "plain_ratio": ratio, "goals": goals,
    }  # fmt: skip
