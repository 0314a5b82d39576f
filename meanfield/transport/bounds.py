"""Bounds that bracket W2 without the full solve: lower <= W2 <= upper, rounding included.

Below: Gelbrich's bound, and (Σ_j W2²(projections on q_j))^½ over an ORTHONORMAL basis q_1 … q_p,
because a coupling's cost is the sum of its costs along the q_j, each at least the one-dimensional
optimum (√p times the sliced distance over independent random directions is not a bound), and
Kantorovich potentials. Above: the cost of any coupling. THEORY.md, section 6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from time import perf_counter
from typing import NamedTuple

import numpy as np

from .couplings import (
    EPS,
    NotConverged,
    Pair,
    coupling_cost,
    coupling_distance,
    monotone_coupling,
    projected,
)
from .exact import Solution
from .potentials import (
    LISTING_SECONDS,
    SAMPLE_SECONDS,
    TRANSFORM_SECONDS,
    Coupling,
    ListedSolver,
    dual_bound,
    sampled_potential,
    shortlist,
)

Solver = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], Coupling]

# Entries of a coupling solved together, about 4 ms; 128 and 512 end within 1 % of each other.
BLOCK = 256
QUIET_SWEEPS = 12  # directions tried in a row without a gain before the refinement stops
# The simplex stops at reduced costs of 2.2e-15 of the largest potential, a few diameters².
SOLVER_ERROR = 1e-14
# Of the time, for more orthonormal bases; potentials and couplings gain more a second.
LOWER_SHARE = 0.05


class Interval(NamedTuple):
    """lower <= W2 <= upper, and the method that gave each."""

    lower: float
    upper: float
    lower_method: str
    upper_method: str


def bures_squared(x: np.ndarray, a: np.ndarray, y: np.ndarray, b: np.ndarray) -> float:
    """tr A + tr B - 2 tr (A^½ B A^½)^½ of the covariances of two centred clouds: W2² of the centred
    Gaussians.

    Computed as min over orthogonal U of ‖F - G U‖², A = F Fᵀ, B = G Gᵀ (Procrustes: U from the SVD
    of GᵀF = S Σ Tᵀ), a sum of squares: the trace formula would lose half the digits for close
    covariances. Bhatia, Jain, Lim (2019), theorem 1.
    """
    f, g = _factor(x, a), _factor(y, b)
    s, _, t = np.linalg.svd(g.T @ f)
    return float(np.square(f @ t.T - g @ s).sum())


def _factor(x: np.ndarray, a: np.ndarray) -> np.ndarray:
    """F (p, p) with F Fᵀ = Σ_k p_k x_k x_kᵀ, by QR of the weighted cloud: the squares of x are
    never formed."""
    r: np.ndarray = np.linalg.qr(np.sqrt(a)[:, None] * x)[1]
    factor = np.zeros((x.shape[1], x.shape[1]))
    factor[:, : len(r)] = r.T
    return factor


def interval(
    pair: Pair,
    seconds: float,
    solve: Solver,
    listed: ListedSolver,
    expected: float,
    own: Solution | None = None,
) -> Interval:
    """The best bounds `seconds` allow. solve(x, a, y, b) -> coupling is the exact solver,
    `expected` its time for the whole pair; listed(x, a, y, b, i, j) -> coupling, ψ solves among the
    pairs (i, j): see potentials.py.

    The first bounds of each kind are made however short the time is. lower = upper up to rounding
    where the exact solve fits, or where `own`, a proved coupling of particles paired one by one, is
    there. A solve that fails only leaves the bounds wider.
    """
    start = perf_counter()
    if pair.identical:
        return Interval(0.0, 0.0, "identical", "identical")
    bracket = _Bracket(pair)
    if pair.x.shape[1] == 1:
        bracket.optimal(monotone_coupling(pair.x[:, 0], pair.a, pair.y[:, 0], pair.b), "sorted")
        return bracket.interval()
    if own is not None:
        bracket.optimal(own.coupling, "exact", own.gap)
        return bracket.interval()
    if expected <= seconds:
        with suppress(NotConverged):
            bracket.optimal(solve(pair.x, pair.a, pair.y, pair.b), "exact")
            return bracket.interval()
    rng = np.random.default_rng(0)
    bracket.raise_lower(bures_squared(pair.x, pair.a, pair.y, pair.b), "gelbrich")
    bracket.drop_upper_to_independent()
    pooled = (pair.x.T * pair.a) @ pair.x + (pair.y.T * pair.b) @ pair.y
    principal = np.linalg.eigh(pooled)[1]
    for name, basis in _bases(pair, principal, rng):
        bracket.raise_lower(float(projected(pair, basis).sum()), name)
        if perf_counter() - start > LOWER_SHARE * seconds:
            break
    same = np.arange(len(pair.a))
    couplings = [("identity coupling", (same, same, pair.a))] if pair.paired else []
    for direction in principal.T[-3:]:  # eigh's eigenvalues ascend: the widest three
        monotone = monotone_coupling(pair.x @ direction, pair.a, pair.y @ direction, pair.b)
        couplings.append(("sorted along a principal axis", monotone))
    for name, coupling in couplings:
        bracket.drop_upper(coupling, name)
    best = min(couplings, key=lambda named: coupling_cost(pair.x, pair.y, named[1]))[1]
    deadline = start + seconds
    with suppress(NotConverged):
        best = _by_potentials(pair, bracket, best, listed, deadline, rng)
    if not bracket.closed and perf_counter() < deadline:
        bracket.drop_upper(refined(pair, best, solve, deadline, rng), "coupling refined in blocks")
    return bracket.interval()


def _by_potentials(
    pair: Pair,
    bracket: _Bracket,
    best: Coupling,
    listed: ListedSolver,
    deadline: float,
    rng: np.random.Generator,
) -> Coupling:
    """Bounds from both sides by potentials and listed pairs, as many rounds as there is time for;
    the best coupling found.

    Potentials of a sample need one large c-transform, and at most half of the time; a round two,
    and two listings.
    """
    # the products ⟨x, y⟩ are a part of the work
    pairs = float(len(pair.a)) * len(pair.b) * (0.8 + pair.x.shape[1] / 50)
    sample = SAMPLE_SECONDS + TRANSFORM_SECONDS * pairs
    round_of = 2 * (TRANSFORM_SECONDS + LISTING_SECONDS) * pairs
    if bracket.closed or 2 * sample > deadline - perf_counter():
        return best
    psi, targets = sampled_potential(pair, listed, rng)
    value, error, phi, psi = dual_bound(pair, psi, targets)
    bracket.raise_lower(value, "potentials of a sample", error / bracket.diameter2)
    quiet = 0
    while not bracket.closed and quiet < 2 and round_of < deadline - perf_counter():
        width = bracket.upper - bracket.lower
        best, psi = listed(pair.x, pair.a, pair.y, pair.b, *shortlist(pair, phi, psi, best))
        bracket.drop_upper(best, "coupling among listed pairs")
        value, error, phi, psi = dual_bound(pair, psi)
        bracket.raise_lower(value, "potentials of listed pairs", error / bracket.diameter2)
        quiet = quiet + 1 if bracket.upper - bracket.lower > 0.999 * width else 0
    return best


class _Bracket:
    """The best bounds so far, each loosened by what rounding can have done to it."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        m1, m2, dim = len(pair.a), len(pair.b), pair.x.shape[1]
        self.relative = EPS * (m1 + m2 + 8.0 * dim)  # summing m products of p terms, worst case
        self.diameter2 = 4.0 * dim  # coordinates lie in [-1, 1]
        # cumulated masses are right to (m1 + m2) ulp; moving that much mass changes W2² by at most
        # its share of the diameter²
        self.mass_error = 0.0 if pair.uniform else 4.0 * EPS * (m1 + m2)
        self.lower, self.lower_method = 0.0, "zero"
        self.upper, self.upper_method = np.inf, "none"

    @property
    def closed(self) -> bool:
        """Nothing but rounding is left between the bounds."""
        return self.upper - self.lower <= 1e-9 * self.upper

    def raise_lower(self, centred2: float, method: str, error: float = 0.0) -> None:
        """From a squared bound of the centred clouds, right to `error` besides what summing and
        cumulated masses do."""
        centred2 = centred2 * (1.0 - self.relative) - (self.mass_error + error) * self.diameter2
        low = self.pair.distance(centred2) * (1.0 - 8.0 * EPS) - self.pair.rounding
        if low > self.lower:
            self.lower, self.lower_method = low, method

    def drop_upper(self, coupling: Coupling, method: str) -> None:
        """A coupling whose marginals miss a and b by δ in all costs at most δ·diameter² more once
        they are mended."""
        reach = self.pair.shift + self.pair.scale * np.sqrt(self.diameter2)
        mended = np.hypot(
            coupling_distance(self.pair, coupling),
            reach * np.sqrt(_marginal_error(self.pair, coupling)),
        )
        self._drop(float(mended) * (1.0 + self.relative + 8.0 * EPS), method)

    def drop_upper_to_independent(self) -> None:
        """The product coupling: |Δmean|² and the two total variances."""
        pair = self.pair
        spread2 = float(
            pair.a @ np.square(pair.x).sum(axis=1) + pair.b @ np.square(pair.y).sum(axis=1)
        )
        self._drop(
            pair.distance(spread2 * (1.0 + self.relative)) * (1.0 + 8.0 * EPS) + pair.rounding,
            "independent coupling",
        )

    def _drop(self, high: float, method: str) -> None:
        if high < self.upper:
            self.upper, self.upper_method = high, method

    def optimal(self, coupling: Coupling, method: str, gap: float | None = None) -> None:
        """Both bounds from an optimal coupling; projections see movements below the solver's
        tolerance.

        gap: the proved share of its cost that is too much, instead of the simplex's tolerance.
        """
        cost = coupling_cost(self.pair.x, self.pair.y, coupling)
        error = SOLVER_ERROR if gap is None else gap * cost / self.diameter2
        self.raise_lower(cost, method, error)
        self.raise_lower(
            float(projected(self.pair, np.eye(self.pair.x.shape[1])).sum()),
            "projections on the axes",
        )
        self.drop_upper(coupling, method)

    def interval(self) -> Interval:
        # two bounds of one number, each correct: they can only cross by rounding that is already
        # paid for
        return Interval(
            min(self.lower, self.upper), self.upper, self.lower_method, self.upper_method
        )


def _marginal_error(pair: Pair, coupling: Coupling) -> float:
    """Σ_i |a_i - Σ_j π_ij| + Σ_j |b_j - Σ_i π_ij|, and the rounding of these sums; a one-to-one
    coupling has none to sum."""
    i, j, w = coupling
    m1, m2 = len(pair.a), len(pair.b)
    one_to_one = (
        np.max(np.bincount(i, minlength=m1)) == 1 and np.max(np.bincount(j, minlength=m2)) == 1
    )
    error = (
        np.abs(pair.a - np.bincount(i, w, m1)).sum() + np.abs(pair.b - np.bincount(j, w, m2)).sum()
    )
    return float(error) + (0.0 if one_to_one else 4.0 * EPS * (m1 + m2))


def _bases(
    pair: Pair, principal: np.ndarray, rng: np.random.Generator
) -> Iterator[tuple[str, np.ndarray]]:
    """Orthonormal bases (p, p): axes, principal axes of both clouds together and of their
    difference, then random rotations."""
    dim = len(principal)
    yield "projections on the axes", np.eye(dim)
    yield "projections on the principal axes", principal
    difference = (pair.x.T * pair.a) @ pair.x - (pair.y.T * pair.b) @ pair.y
    yield "projections on the axes of the covariances' difference", np.linalg.eigh(difference)[1]
    while True:
        yield "projections on a random rotation", np.linalg.qr(rng.normal(size=(dim, dim)))[0]


def refined(
    pair: Pair, coupling: Coupling, solve: Solver, deadline: float, rng: np.random.Generator
) -> Coupling:
    """A coupling that costs no more: its entries, sorted along a random direction by their
    midpoints and cut in blocks, are coupled again, exactly, within each block; then another
    direction, until the deadline or until nothing is gained.

    A block keeps its marginals, so every stage is a coupling and the cost never rises.
    """
    i, j, w = coupling
    cost, quiet = coupling_cost(pair.x, pair.y, coupling), 0
    while quiet < QUIET_SWEEPS and perf_counter() < deadline:
        along = (pair.x[i] + pair.y[j]) @ rng.normal(size=pair.x.shape[1])
        # the cuts fall elsewhere each time
        order = np.roll(np.argsort(along), -int(rng.integers(BLOCK)))
        pieces = []
        for begin in range(0, len(order), BLOCK):
            block = order[begin : begin + BLOCK]
            if perf_counter() >= deadline:
                block = order[begin:]
                pieces.append((i[block], j[block], w[block]))
                break
            pieces.append(_block(pair, (i[block], j[block], w[block]), solve))
        i, j, w = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
        if pair.uniform and len(w) == len(pair.a):
            # a permutation again: the masses need not collect rounding from block to block
            w = pair.a
        lower_cost = coupling_cost(pair.x, pair.y, (i, j, w))
        quiet = quiet + 1 if lower_cost >= cost * (1.0 - 1e-12) else 0
        cost = lower_cost
    return i, j, w


def _block(pair: Pair, entries: Coupling, solve: Solver) -> Coupling:
    """The optimal coupling with the marginals of these entries."""
    i, j, w = entries
    rows, row_of = np.unique(i, return_inverse=True)
    columns, column_of = np.unique(j, return_inverse=True)
    total = float(w.sum())
    a, b = np.bincount(row_of, w) / total, np.bincount(column_of, w) / total
    try:
        new_i, new_j, new_w = solve(pair.x[rows], a, pair.y[columns], b)
    except NotConverged:
        return entries
    return rows[new_i], columns[new_j], new_w * total
