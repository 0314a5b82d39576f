"""The exact solve: an optimal coupling, by the cheapest method that proves its own answer.

Equal masses one by one: particle k coupled with itself, and augmenting paths from there
(assignment.py). All else, and what that does not finish: the network simplex, whose plan its
potentials prove, or which is refined (optimality.py).
"""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import numpy as np

from ..backends.cpu import dense_assignment
from . import optimality
from .assignment import Matching, matched, matched_densely
from .couplings import (
    LEAST,
    NotConverged,
    Pair,
    coupling_distance,
    monotone_coupling,
    root_mean_square,
)
from .potentials import Coupling
from .solvers import is_lazy, network_simplex, simplex_seconds, squared_distances

ANNOUNCE_SECONDS = 10.0  # a solve expected to take longer says so before it starts
OWN = "own coupling"  # the solver's name where particle k goes to itself
PATHS = "augmenting paths"
SECONDS = 1.5e-8  # a pair at p = 0 for matched clouds: 0.1 s at m = 2000 and p = 4, .3 at 4000
SMALL = 300  # particles, up to which all pairs are held; measured
WORK = 1.0  # of the pairs, that augmenting paths may look at: less than the simplex then takes
_TINY = float(np.finfo(np.float64).tiny)  # below it squares have lost their digits


class SlowSolve(UserWarning):
    """A solve that is expected to take long."""


class Solution(NamedTuple):
    """A coupling, the solver that gave it, and what of its cost may be too much: a share of W2²."""

    coupling: Coupling
    solver: str
    gap: float


def expected_seconds(m1: int, m2: int, dim: int, lazy: bool | None = None) -> float:
    """About how long the exact solve takes; for m1 = m2 and lazy=None, of equal masses one by
    one."""
    if m1 != m2 or lazy is not None:
        return simplex_seconds(m1, m2, dim, lazy)
    return SECONDS * float(m1) ** 2 * (1.0 + dim / 10.0)


def solve(
    pair: Pair,
    lazy: bool | None = None,
    numItermax: int = 10**9,
    twin: np.ndarray | None = None,
    stacklevel: int = 4,
) -> Solution:
    """An optimal coupling, proved: the positions are those of `pair`, twin as in optimal_plan.

    Warns SlowSolve before a long run of the network simplex. Raises NotConverged where no coupling
    with a gap of at most optimality.GAP·W2² is found.
    """
    if twin is None and pair.x.shape[1] == 1:
        x, y = pair.given_x[:, 0], pair.given_y[:, 0]
        return Solution(monotone_coupling(x, pair.a, y, pair.b), "sorted", 0.0)
    if twin is None and lazy is None and (found := own_coupling(pair)) is not None:
        return found

    m1, m2, dim = len(pair.a), len(pair.b), pair.x.shape[1]
    hint = ""
    if lazy is None and twin is None and is_lazy(m1, m2, lazy):
        dense = simplex_seconds(m1, m2, dim, lazy=False)
        hint = f" lazy=False would take {dense:.0f} s and {39e-9 * m1 * m2:.1f} GB of memory."
    seconds = simplex_seconds(m1, m2, dim, False if twin is not None else lazy)
    announce("exact", pair, seconds, stacklevel + 1, hint)
    return _by_simplex(pair, lazy, numItermax, twin)


def own_coupling(pair: Pair) -> Solution | None:
    """The solution from the coupling of particle k with itself; None where it is not found, or
    masses differ."""
    if not pair.paired:
        return None
    found: Matching | None = None
    if len(pair.a) <= SMALL and pair.uniform:
        found = matched_densely(pair.given_x, pair.given_y)
    if found is not None:
        found = found._replace(gap=found.gap / pair.scale / pair.scale)
    else:
        found = matched(pair.x, pair.y, pair.a, int(WORK * len(pair.a) ** 2))
    if found is None:
        return None
    coupling = np.arange(len(pair.a)), found.column, pair.a
    enough = optimality.GAP * (coupling_distance(pair, coupling) / pair.scale) ** 2
    if not found.gap <= enough or enough < _TINY:
        return None
    return Solution(coupling, OWN if found.own else PATHS, found.gap / enough * optimality.GAP)


def small(p: Any, q: Any) -> tuple[float, str, float] | None:
    """(W2, solver, gap) of two arrays of floats of up to SMALL particles; None for all else, which
    `solve` looks at: nothing but the solve takes time here.
    """
    if not (type(p) is type(q) is np.ndarray and p.ndim == 2 and p.shape == q.shape):
        return None
    if p.dtype.kind != "f" or q.dtype.kind != "f" or not 0 < len(p) <= SMALL or p is q:
        return None
    if p.shape[1] < 2:
        return None
    x, y = (np.ascontiguousarray(cloud, dtype=np.float64) for cloud in (p, q))
    found = dense_assignment.solve(x, y)
    if not LEAST < found.square < 1.0 / LEAST or not found.gap <= optimality.GAP * found.square:
        return None
    return math.sqrt(found.square), OWN if found.own else PATHS, found.gap / found.square


def announce(method: str, pair: Pair, seconds: float, stacklevel: int, hint: str = "") -> None:
    """Says before a long solve that it is one, and what to do instead."""
    if seconds > ANNOUNCE_SECONDS:
        warnings.warn(
            f"the {method} W2 of {len(pair.a)} and {len(pair.b)} particles in {pair.x.shape[1]} "
            f"dimensions will take about {seconds:.0f} s (within a factor of 2); "
            f"mf.w2_interval(p, q, seconds=...) brackets it in the time you give.{hint}",
            SlowSolve,
            stacklevel=stacklevel,
        )


def _by_simplex(
    pair: Pair, lazy: bool | None, numItermax: int, twin: np.ndarray | None
) -> Solution:
    """That of the network simplex where the gap of its potentials proves it, else a refined one."""
    cost, unit = None, 1.0
    if twin is not None:
        cost = _quotient_cost(pair.given_x, pair.given_y, twin)
        unit = float(cost.max()) or 1.0
        cost /= unit
    elif not is_lazy(len(pair.a), len(pair.b), lazy):
        cost = squared_distances(pair.x, pair.y)
    coupling, u, v = network_simplex(pair.x, pair.a, pair.y, pair.b, lazy, numItermax, cost)

    distance = _distance(pair, coupling, twin)
    if distance == 0.0:
        return Solution(coupling, "network simplex", 0.0)
    scale = pair.scale if twin is None else math.sqrt(unit)
    enough = optimality.GAP * (distance / scale) ** 2
    gap = _lazy_gap(pair, u, v, coupling) if cost is None else optimality.gap(cost, u, v, coupling)
    if gap <= enough and enough >= _TINY:
        return Solution(coupling, "network simplex", max(gap, 0.0) / enough * optimality.GAP)

    if cost is None:
        share = gap / enough * optimality.GAP
        raise NotConverged(_not_proved(pair, share, "lazy=False refines it, or take "))
    del cost
    refined, gap = _refined_coupling(pair, coupling, numItermax, twin)
    return Solution(refined, "network simplex, refined", gap)


def _quotient_cost(x: np.ndarray, y: np.ndarray, twin: np.ndarray) -> np.ndarray:
    """min(|x_i - y_j|², |x_i - twin·y_j|²), (m1, m2)."""
    return np.minimum(squared_distances(x, y), squared_distances(x, y * twin))


def _refined_coupling(
    pair: Pair, first: Coupling, numItermax: int, twin: np.ndarray | None
) -> tuple[Coupling, float]:
    """`first` or a cheaper coupling, of the positions as given, whose gap is small; else
    NotConverged."""
    unit = 2.0 ** math.floor(math.log2(pair.scale))  # a power of 2: dividing by it loses nothing
    x, y = pair.given_x / unit, pair.given_y / unit
    shift = (
        np.zeros(x.shape[1]) if twin is not None else np.median(x, axis=0) - np.median(y, axis=0)
    )
    distance = _distance(pair, first, twin)

    def solve(reduced: np.ndarray) -> tuple[Coupling, np.ndarray, np.ndarray]:
        return network_simplex(x, pair.a, y, pair.b, False, numItermax, reduced)

    cost = optimality.accurate_costs(x, y, shift, twin)
    if not cost.any():
        return first, 0.0
    mass = float(min(pair.a.min(), pair.b.min()))
    coupling, found = optimality.refined(cost, mass, optimality.GAP * (distance / unit) ** 2, solve)
    refined = _distance(pair, coupling, twin)
    least = optimality.GAP * (refined / unit) ** 2
    if refined > 0.0 and (found > least or least < _TINY):
        raise NotConverged(_not_proved(pair, found / max(least, _TINY) * optimality.GAP, "Take "))
    chosen = coupling if refined < distance else first
    return chosen, found / least * optimality.GAP if refined > 0.0 else 0.0


def _lazy_gap(pair: Pair, u: np.ndarray, v: np.ndarray, coupling: Coupling) -> float:
    """optimality.gap without the cost matrix."""
    i, j, w = coupling
    least = np.empty(len(u))
    for rows in optimality.blocks(len(u), len(v)):
        least[rows] = (squared_distances(pair.x[rows], pair.y) - (u[rows, None] + v)).min(axis=1)
    cost = np.square(pair.x[i] - pair.y[j]).sum(axis=1)
    return float(w @ (cost - (u[i] + v[j]) - least[i]))


def _distance(pair: Pair, coupling: Coupling, twin: np.ndarray | None) -> float:
    """(Σ w |x_i - y_j|²)^½ of the positions as given; with a twin, to the nearer of the two."""
    if twin is None:
        return coupling_distance(pair, coupling)
    i, j, w = coupling
    y = pair.given_y[j]
    nearer = np.square(pair.given_x[i] - y * twin).sum(axis=1) < np.square(pair.given_x[i] - y).sum(
        axis=1
    )
    return root_mean_square(pair.given_x[i] - np.where(nearer[:, None], y * twin, y), w)


def _not_proved(pair: Pair, relative: float, instead: str) -> str:
    return (
        f"the network simplex's plan for {len(pair.a)} and {len(pair.b)} particles is not proved "
        f"optimal: W2² may be less by {relative:.1e} of itself, for the costs of near and of far "
        f"particles differ by more digits than a number has. {instead}mf.w2_interval(p, q), which "
        "brackets it; or measure the far particles by themselves."
    )
