"""Optimal couplings of clouds with equal masses one by one, found and proved from the coupling of
particle k with itself.

A gradient flow moves particles by the gradient of a potential, and to first order that is an
optimal map (Brenier), so the coupling of each particle with itself is nearly always the optimal
one. It is where potentials v exist with

    |x_i - y_j|² - v_j >= |x_i - y_i|² - v_i     for all i, j,

that is where no cycle of exchanged partners is a gain: shortest paths, or none. Few of the m²
conditions bind. The pairs that do are listed, a round at a time: potentials are found on the lists
(Bellman and Ford), rows whose condition cannot be met are matched again along shortest augmenting
paths, and one pass over all pairs, without a matrix, proves the result or adds the pairs that break
it. Column generation: Gottschlich and Schuhmacher 2014; augmenting paths: Jonker and Volgenant
1987.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..backends.cpu import assignment, dense_assignment, reduced_costs
from . import optimality

LISTED = 8  # pairs of each particle in the first lists, from either side
ADDED = 4  # pairs of a particle that a round adds
# Up to so many particles, where fewer than this share have a nearer one than their own, all pairs at
# once are quicker than lists.
FEW = 1000
SETTLED = 0.25
ROUNDS = 40  # a kink's clouds at γ = 1 take eight
PASSES = 30  # of Bellman and Ford over the lists, each a hundredth of a pass over all pairs
ROUNDING = 64 * float(np.finfo(np.float64).eps)  # of a reduced cost, in units of what it is made of


class Matching(NamedTuple):
    """Particle i of x goes to particle column_i of y. gap: what this costs above the minimum at
    most, Σ_i p_i c_ij."""

    column: np.ndarray
    gap: float

    @property
    def own(self) -> bool:
        """Whether every particle is coupled with itself."""
        return bool(np.array_equal(self.column, np.arange(len(self.column))))


def matched(x: np.ndarray, y: np.ndarray, mass: np.ndarray, work: int) -> Matching | None:
    """The optimal matching of x with y, equal masses one by one; None where it is not found.

    Parameters
    ----------
    x, y : ndarray, shape (m, p)
    mass : ndarray, shape (m,)
        Of particle k in both clouds. Where masses differ among the particles only the coupling with
        itself is tried.
    work : int
        Rows that augmenting paths may look at, in all.

    Returns
    -------
    Matching or None

    Notes
    -----
    The gap bounds Σ_i p_i |x_i - y_σ(i)|² minus the minimum by duality, see optimality.py.
    """
    paid = np.square(x - y).sum(axis=1)
    left = len(reduced_costs.least(x, y, np.zeros(len(x)), paid * (1.0 - ROUNDING), 1)[0])
    if not left:
        return Matching(np.arange(len(x)), ROUNDING * float(mass @ paid))

    movable = np.ptp(mass) == 0.0
    if movable and len(x) <= FEW and left < SETTLED * len(x):
        if (found := matched_densely(x, y)) is not None:
            return found

    problem = _Problem(x, y, paid)
    own = True
    for turn in range(ROUNDS):
        own = own and problem.relax()
        if not own:
            if not movable:
                return None
            work = problem.rematch(work)
            if work < 0:
                return None

        added, gap = problem.violated(mass, by_column=turn % 2 == 0)
        if not added:
            return Matching(problem.mate, gap)
    return None


def matched_densely(x: np.ndarray, y: np.ndarray) -> Matching | None:
    """The optimal matching of x with y, equal masses all, by all pairs at once; None where rounding
    hides it: its potentials are of the size of distances between particles, not of their ways.
    """
    found = dense_assignment.solve(x, y)
    proved = math.isfinite(found.square) and found.gap <= optimality.GAP * found.square
    return Matching(found.mate, found.gap) if proved else None


class _Problem:
    """Lists of pairs (see backends/cpu/assignment.py), a matching of all rows, and potentials v of
    the columns."""

    def __init__(self, x: np.ndarray, y: np.ndarray, paid: np.ndarray) -> None:
        m = len(x)
        self.x = x
        self.y = y
        self.mate = np.arange(m)
        self.owner = np.arange(m)
        self.paid = paid.copy()
        self.v = np.zeros(m)
        self.lists = np.arange(m + 1), np.arange(m), paid
        nothing, everything = np.zeros(m), np.full(m, np.inf)
        count = min(LISTED, m)
        self._add(*reduced_costs.least(x, y, nothing, everything, count))
        j, i, cost = reduced_costs.least(y, x, nothing, everything, count)
        self._add(i, j, cost)

    def relax(self) -> bool:
        """Potentials that prove the matching on the lists; False where none are found."""
        v = self.v.copy()
        found = bool(assignment.relax(*self.lists, self.mate, self.paid, v, PASSES))
        if found:
            self.v = v
        return found

    def rematch(self, work: int) -> int:
        """The optimal matching on the lists; the work that is left, below 0 where it does not
        suffice."""
        state = self.mate, self.paid, self.owner, self.v
        free = assignment.release(*self.lists, *state)
        return int(assignment.augment(*self.lists, *state, free, work))

    def violated(self, mass: np.ndarray, by_column: bool) -> tuple[int, float]:
        """Add the pairs that break their condition most: how many were not listed, and the gap.

        Rows that have close columns may be none of the columns' close rows, so the passes take
        turns.
        """
        u = self.paid - self.v[self.mate]
        if by_column:
            size = np.abs(self.v) + self.paid[self.owner]
            j, i, cost = reduced_costs.least(self.y, self.x, u, self.v - ROUNDING * size, ADDED)
            where = j
        else:
            size = np.abs(u) + self.paid
            i, j, cost = reduced_costs.least(self.x, self.y, self.v, u - ROUNDING * size, ADDED)
            where = i
        missed = ROUNDING * size
        np.maximum.at(missed, where, u[i] + self.v[j] - cost)
        return self._add(i, j, cost), float(mass @ missed)

    def _add(self, i: np.ndarray, j: np.ndarray, cost: np.ndarray) -> int:
        before = len(self.lists[1])
        self.lists = assignment.merged(*self.lists, i, j, cost)
        return len(self.lists[1]) - before
