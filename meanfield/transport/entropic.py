"""The Sinkhorn divergence from its three pairs of potentials, with a bound of its error.

    S_ε = OT_ε(μ,ν) - ½OT_ε(μ,μ) - ½OT_ε(ν,ν)
    OT_ε = max_g ⟨a, f(g)⟩ + ⟨b, g⟩,    f(g) = -ε log Σ_j b_j exp((g_j - c_j)/ε)

Of close clouds it is a small difference of large numbers, each of which Sinkhorn's iteration leaves
off by ½ε rᵀL⁻¹r: r is what the marginal of ν misses, L = diag(πᵀ1) - πᵀ diag(1/a) π the Hessian.
The same solve is a Newton step, and a few of them do what thousands of iterations would not. NumPy
only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .couplings import EPS

Problem = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # x, a, y, b
Potentials = tuple[np.ndarray, np.ndarray]  # log u, log v of a plan u K v

SHARE = 1e-2  # of the divergence that may be rounding: of the distance it is half of that
ACCURACY = 1e-6  # of the divergence that may be left of the iteration
NEWTON_STEPS = 20
SAFETY = 100.0  # error of a value over m·ε·tolerance², with plans that converge slowly


def divergence(
    problems: Sequence[Problem],
    potentials: Sequence[Potentials],
    epsilon: float,
    tolerance: float,
    dense: int,
) -> tuple[float, float]:
    """(S_ε, a bound of its error) from the potentials of (μ, ν), (μ, μ), (ν, ν).

    Newton steps where a plan has at most so many pairs; else the bound is from the tolerance of the
    marginals.
    """
    found, rounding = _difference(problems, potentials, epsilon)
    if any(len(a) * len(b) > dense for _, a, _, b in problems):
        return found, rounding + SAFETY * max(
            len(a) for _, a, _, _ in problems
        ) * epsilon * tolerance**2
    left = ACCURACY * max(found, rounding)
    polished = [
        _polished(problem, pair, epsilon, left)
        for problem, pair in zip(problems, potentials, strict=True)
    ]
    return _difference(problems, polished, epsilon)


def _difference(
    problems: Sequence[Problem], potentials: Sequence[Potentials], epsilon: float
) -> tuple[float, float]:
    """(S_ε, its rounding): the potentials are subtracted before they are summed, the entropies of a
    and b cancel."""
    _, a, _, b = problems[0]
    (u, v), (u_x, v_x), (u_y, v_y) = potentials
    above, below = u - 0.5 * (u_x + v_x), v - 0.5 * (u_y + v_y)
    largest = max(float(np.abs(potential).max()) for pair in potentials for potential in pair)
    # costs are of order 1
    return epsilon * float(a @ above + b @ below), 4.0 * EPS * max(epsilon * largest, 1.0)


def _polished(problem: Problem, potentials: Potentials, epsilon: float, left: float) -> Potentials:
    """Newton's method on the dual in g, until what the value can still gain is at most `left`, or
    no more."""
    from scipy.linalg import LinAlgError, cho_factor, cho_solve
    from scipy.spatial.distance import cdist
    from scipy.special import logsumexp

    x, a, y, b = problem
    best, log_v = potentials, potentials[1]
    kernel = cdist(x, y, "sqeuclidean") / -epsilon
    before = np.inf
    for _ in range(NEWTON_STEPS):
        log_u = np.log(a) - logsumexp(kernel + log_v, axis=1)
        plan = np.exp(log_u[:, None] + kernel + log_v)
        reached = plan.sum(axis=0)
        missed = b - reached
        hessian = np.diag(reached + EPS * b) - plan.T @ (plan / a[:, None])
        hessian += np.outer(b, b)  # constants change nothing: this fixes them
        try:
            step = cho_solve(cho_factor(hessian), missed)
        except LinAlgError:  # a plan so sparse that rounding makes it singular
            break
        gain = 0.5 * epsilon * float(missed @ step)
        if not gain < before:
            break
        if before < np.inf:
            best = log_u, log_v
        if gain <= left:
            break
        log_v = log_v + step / max(1.0, float(np.abs(step).max()))
        before = gain
    return best
