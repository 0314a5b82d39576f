"""Whether a coupling is optimal, proved by its potentials, and a better one where it is not.

    Σ w c - min = at most  Σ_ij π_ij (c_ij - φ_i - ψ_j)     whenever φ_i + ψ_j <= c_ij for all i, j

The right side, the gap, is a sum of reduced costs >= 0 over the coupling: no two large numbers are
subtracted. A network simplex compares reduced costs with about 10 ulp of its largest potential, so
one particle far away hides what the others cost. The remedy is iterative refinement: reduced costs
are a problem with the same solutions, and their size is that of what is still wrong. They are
formed from differences of positions, each right to its last digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from .potentials import Coupling

# solve(cost (m1, m2)) -> an optimal coupling and its potentials u (m1,), v (m2,)
PotentialSolver = Callable[[np.ndarray], tuple[Coupling, np.ndarray, np.ndarray]]

GAP = 1e-9  # of W2²: W2 is then right to half of it
# of refinement; each gains some ten digits, so that four are enough for positions in float64
ROUNDS = 8
# Gaps per smallest mass: a pair of higher reduced cost carries no mass in a better coupling.
CAP = 8.0
_BLOCK_ENTRIES = 2_000_000  # of costs in work at once: 16 MB an array


def gap(cost: np.ndarray, u: np.ndarray, v: np.ndarray, coupling: Coupling) -> float:
    """Σ π (c - φ - ψ) for ψ = v and φ_i = min_j (c_ij - v_j): what the coupling costs above the
    minimum, at most."""
    i, j, w = coupling
    least = np.empty(len(u))
    for rows in blocks(*cost.shape):
        least[rows] = (cost[rows] - (u[rows, None] + v)).min(axis=1)
    return float(w @ (cost[i, j] - (u[i] + v[j]) - least[i]))


def blocks(m1: int, m2: int) -> Iterator[slice]:
    """The rows, so many at a time as fit."""
    step = max(1, _BLOCK_ENTRIES // m2)
    for begin in range(0, m1, step):
        yield slice(begin, min(begin + step, m1))


def refined(
    cost: np.ndarray, mass: float, enough: float, solve: PotentialSolver
) -> tuple[Coupling, float]:
    """(coupling, gap) with a gap <= enough where that can be had; mass is the least one of a
    particle.

    cost (m1, m2), not all 0, is used up.
    """
    best: tuple[Coupling, float] | None = None
    cap = float(cost.max())
    for _ in range(ROUNDS):
        if not cap > 0.0:
            break
        coupling, u, v = solve(np.minimum(cost, cap) / cap)
        i, j, w = coupling
        _reduce(cost, cap * u, cap * v)
        left = float(w @ cost[i, j])
        if best is None or left < best[1]:
            best = coupling, left
        if left <= enough:
            break
        cap = min(float(cost.max()), CAP * left / mass)
    assert best is not None  # a cost needs an entry above 0
    return best


def _reduce(cost: np.ndarray, u: np.ndarray, v: np.ndarray) -> None:
    """c_ij - u_i - v_j, then what makes every entry >= 0 and every row hold a 0, in place.

    u_i + v_j is exact where the two nearly cancel: the error is some ulp of the cost and of what is
    left of it.
    """
    for rows in blocks(*cost.shape):
        cost[rows] -= u[rows, None] + v
        cost[rows] -= cost[rows].min(axis=1)[:, None]


def accurate_costs(
    x: np.ndarray, y: np.ndarray, shift: np.ndarray, twin: np.ndarray | None = None
) -> np.ndarray:
    """|x_i - y_j - shift|² (m1, m2), each right to some ulp of itself: differences carry their
    rounding errors.

    A shift changes no optimal coupling: it adds terms of x alone and of y alone. twin: min(|x -
    y|², |x - twin·y|²).
    """
    cost = _squares(x, y, shift)
    return cost if twin is None else np.minimum(cost, _squares(x, y * twin, shift))


def _squares(x: np.ndarray, y: np.ndarray, shift: np.ndarray) -> np.ndarray:
    cost = np.zeros((len(x), len(y)))
    for rows in blocks(len(x), len(y)):
        for column in range(x.shape[1]):
            here, there = x[rows, column, None], y[None, :, column]
            difference = here - there
            taken = here - difference
            # Knuth's: difference + lost = here - there, exactly
            lost = (here - (difference + taken)) + (taken - there)
            difference -= shift[column]
            difference += lost
            cost[rows] += np.square(difference, out=difference)
    return cost
