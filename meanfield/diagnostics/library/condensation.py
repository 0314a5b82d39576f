"""Condensation: how far the input weights went, how many neurons and how many directions of them
carry the network.

The input weights of neuron k are v_k = (w_k, b_k) ∈ R^D, D = d + 1, its direction u_k = v_k/|v_k|,
its amplitude A_k = |a_k||v_k| (for a 1-homogeneous σ all that its output depends on besides u_k),
its share ρ_k = p_k A_k / Σ_j p_j A_j. Luo, Xu, Ma and Zhang (2021), JMLR 22(71): in the linear
regime ‖Δv‖/‖v(0)‖ vanishes with m, in the condensed one it diverges and the v_k gather on a few
directions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...checks import is_number
from ...state import State


class Clusters(NamedTuple):
    """directions (c, D), unit vectors; mass (c,), the share of the amplitude in each, largest
    first; rest: share left over.
    """

    directions: np.ndarray
    mass: np.ndarray
    rest: float


def relative_change(start: State, end: State) -> float:
    """‖v(t) - v(0)‖ / ‖v(0)‖ over all input weights as one vector, biases included: RD(θ_w) of Luo
    et al. (2021).

    The norm is that of L2(μ), (Σ_k p_k |v_k|²)^½; for equal masses the ratio is that of the
    Euclidean norms. Neuron k of one state is neuron k of the other: ValueError unless their m and
    masses are equal, or if all input weights start at 0.
    """
    v, v_start = _input_weights(end), _input_weights(start)
    if v.shape != v_start.shape or not np.array_equal(start.mass, end.mass):
        raise ValueError(
            f"the relative change needs the same neurons twice; got {start} and {end}"
            f"{'' if v.shape != v_start.shape else ' with other masses'}."
        )
    length = _norm(v_start, start.mass)
    if length == 0:
        raise ValueError(
            "all input weights (w, b) are 0 at the start: there is nothing their change "
            "could be relative to."
        )
    return _norm(v - v_start, start.mass) / length


def amplitudes(state: State) -> np.ndarray:
    """A_k = |a_k||(w_k, b_k)|, (m,); |a_k| Euclidean over the K outputs."""
    return np.linalg.norm(state.a.astype(np.float64), axis=1) * np.linalg.norm(
        _input_weights(state), axis=1
    )


def participation(weights: np.ndarray) -> float:
    """The effective number of terms (Σ w)² / Σ w² of weights w >= 0: n for n equal ones, 1 where
    one has it all.

    The inverse participation ratio. NaN where all weights are 0.
    """
    weights = np.asarray(weights, dtype=np.float64)
    largest = weights.max(initial=0.0)
    if largest == 0:
        return float("nan")
    weights = weights / largest  # so that no square overflows
    return float(weights.sum() ** 2 / np.square(weights).sum())


def effective_neurons(state: State) -> float:
    """1 / Σ_k ρ_k², between 1 and m: how many neurons carry the output. NaN where none has an
    amplitude.
    """
    return participation(state.mass * amplitudes(state))


def alignment(state: State) -> float:
    """The order parameter S = (D ∬ ⟨u, u'⟩² dρ dρ' - 1) / (D - 1) of the directions, weighted by
    amplitude: in [0, 1].

    1: all input weights lie on one line through 0; 0: the second moment M = ∫ u uᵀ dρ is isotropic,
    I/D; c orthogonal lines of equal share give (D/c - 1)/(D - 1). ∬⟨u, u'⟩² = tr M², so S = D/(D-1)
    ‖M - I/D‖²_F, the squared order of a nematic: it sees lines, not the sign of u. Pairs k = k' are
    included: N independent directions of equal amplitude give S ≈ 1/N. Needs D >= 2, which any
    input with its bias has. NaN where no neuron has an amplitude.
    """
    rho, u = _directions(state)
    D = u.shape[1]
    if not len(u):
        return float("nan")
    M = (u * rho[:, None]).T @ u
    return float(D / (D - 1) * np.square(M - np.eye(D) / D).sum())


def clusters(state: State, degrees: float = 10.0, share: float = 0.99) -> Clusters:
    """Directions of the input weights, gathered: the neuron with the largest share ρ_k founds a
    cluster and takes all within `degrees` of it; the largest of the rest founds the next; until the
    clusters hold `share` of the amplitude.

    Leader clustering (Hartigan 1975, chapter 3): no number of clusters is asked for, the order of
    the neurons matters in ties only. u and -u are two directions. The direction of a cluster is
    that of Σ ρ_k u_k over its members. O(m D c). len(clusters(state).mass) is their number,
    participation(….mass) an effective one. None where no neuron has an amplitude.
    """
    for name, value, most in (("degrees", degrees, 90.0), ("share", share, 1.0)):
        if not is_number(value) or not 0 < value <= most:
            raise ValueError(f"{name} must be a number in (0, {most:g}]; got {value!r}.")
    rho, u = _directions(state)
    order = np.argsort(-rho, kind="stable")
    rho, u = rho[order], u[order]
    least = np.cos(np.radians(degrees))
    centres: list[np.ndarray] = []
    masses: list[float] = []
    while len(rho) and sum(masses) < share:
        member = u @ u[0] >= least
        member[0] = True
        centre = rho[member] @ u[member]
        centres.append(centre / np.linalg.norm(centre))
        masses.append(float(rho[member].sum()))
        rho, u = rho[~member], u[~member]
    largest = np.argsort(-np.array(masses), kind="stable")
    directions = np.array(centres).reshape(-1, state.dim + 1)[largest]
    return Clusters(directions, np.array(masses)[largest], float(rho.sum()))


def _input_weights(state: State) -> np.ndarray:
    """v_k = (w_k, b_k), (m, d + 1) float64."""
    return np.column_stack([state.w, state.b]).astype(np.float64)


def _norm(v: np.ndarray, mass: np.ndarray) -> float:
    return float(np.sqrt(mass @ np.square(v).sum(axis=1)))


def _directions(state: State) -> tuple[np.ndarray, np.ndarray]:
    """(ρ_k, u_k) of the neurons that have an amplitude; ValueError where one is not a number."""
    weight, v = state.mass * amplitudes(state), _input_weights(state)
    if not np.isfinite(weight).all():
        raise ValueError(
            f"{np.count_nonzero(~np.isfinite(weight))} of {state.m} neurons are not "
            "finite: they have no direction."
        )
    v, weight = v[weight > 0], weight[weight > 0]
    total = weight.sum()
    return weight / total if len(weight) else weight, v / np.linalg.norm(v, axis=1, keepdims=True)
