"""The plane in which to see neurons: |a|(w, b) for homogeneous σ, else (w, b); that of most
movement beyond two dimensions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import meanfield as mf
from meanfield.formulas import activations

from .sources import open_run, some_frames, usable

WIDE = 1024  # coordinates of a particle from which on directions come from an SVD


def homogeneous(run: Any) -> bool:
    """Whether σ(cz) = cσ(z) for c > 0: then a neuron is the point |a|(w, b) and the sign
    (direction) of a, and no more.
    """
    settings = open_run(run).config.get("network")
    if not settings or "feature" in settings:
        return False
    try:
        return activations.get(settings["activation"]).homogeneity == 1.0
    except ValueError:  # written by its user
        return False


def plane(run: Any, scaled: bool | None = None) -> tuple[np.ndarray, str, str]:
    """(basis, labels) of the plane to see a run's neurons in: basis (d + 1, 2) for `projected`.

    d = 1: (w, b). d = 2: w itself. Beyond: the two principal directions in which w moved. scaled:
    |a|w and |a|b instead; None: where σ is `homogeneous`. Whole rows of θ (a pairwise energy, a
    feature): the same of θ.
    """
    run = open_run(run)
    state = run.start
    scaled = homogeneous(run) if scaled is None else scaled
    if not state.neurons:
        symbol, d = "θ", state.theta.shape[1]
        if d == 1:
            raise ValueError(
                f"the particles of {run.path} have one coordinate: there is no plane to "
                "see them in."
            )
    else:
        symbol, d = "|a|w" if scaled else "w", state.dim
    if d > 2:
        basis = movement(run[0], run[usable(run) - 1], scaled)
        return (
            basis,
            f"⟨{symbol}, e₁⟩, e₁ and e₂ the main directions of movement",
            f"⟨{symbol}, e₂⟩",
        )
    basis = np.eye(d + state.neurons, 2)
    if d == 1:
        return basis, symbol.replace("|a|", "|a| "), "|a| b" if scaled else "b"
    return basis, f"{symbol}₁".replace("|a|", "|a| "), f"{symbol}₂".replace("|a|", "|a| ")


def movement(first: mf.State, last: mf.State, scaled: bool = False) -> np.ndarray:
    """(d + 1, 2): the two principal directions in which w (scaled: |a|w) moved from one state to
    another; 0 for b.

    Whole rows of θ: (p, 2).
    """
    moved = weights(last, scaled) - weights(first, scaled)
    biases = first.neurons
    directions = moved[:, : moved.shape[1] - biases]
    basis = np.zeros((moved.shape[1], 2))
    if directions.shape[1] > WIDE:  # a module's θ: no matrix of its size squared
        found = np.linalg.svd(directions, full_matrices=False)[2][:2].T
        basis[: len(found), : found.shape[1]] = found
        return basis
    basis[: directions.shape[1]] = np.linalg.eigh(directions.T @ directions)[1][:, :-3:-1]
    return basis


def shown(run: mf.Trajectory, count: int) -> np.ndarray:
    """The places of `count` neurons to draw, in order: the heaviest at the end of the run; of equal
    masses neighbours (2j, 2j + 1), which symmetric starts pair, evenly spaced.
    """
    mass = run[usable(run) - 1].mass
    m = len(mass)
    if m <= count:
        return np.arange(m)
    if np.ptp(mass) > 1e-6 * mass.max():
        return np.sort(np.argsort(-mass, kind="stable")[:count])
    if count == 1:
        return np.arange(1)
    first = np.linspace(0, m // 2 - 1, count // 2).round().astype(int) * 2
    return np.column_stack([first, first + 1]).ravel()


def said_of(run: mf.Trajectory, chosen: np.ndarray) -> str:
    """What a verdict says where not all neurons are drawn, after a comma; or ""."""
    mass = run[usable(run) - 1].mass
    if len(chosen) == len(mass):
        return ""
    unequal = np.ptp(mass) > 1e-6 * mass.max()
    how = f"the heaviest, {mass[chosen].sum():.2g} of the mass" if unequal else "evenly spaced"
    return f", {len(chosen)} of {len(mass)} drawn, {how}"


def projected(
    run: Any,
    basis: np.ndarray,
    count: int = 400,
    scaled: bool = False,
    frames: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """(frames, positive) of `particles`: (w, b) @ basis, or |a|(w, b) @ basis, of the neurons
    `shown`, `count` at most; where particles are replaced, those of their ancestors.

    frames: their numbers; None for all, or of more than 400 as many, evenly spaced. positive: the
    sign of a (summed over outputs) in the last finite frame.
    """
    run = open_run(run)
    frames = some_frames(run) if frames is None else frames
    last = int(frames[-1])
    own = shown(run, count)
    chosen = [run.ancestors(last, int(k))[own] for k in frames]
    places = np.stack(
        [weights(run[int(k)], scaled)[at] @ basis for k, at in zip(frames, chosen, strict=True)]
    )
    return places, signs(run[usable(run) - 1])[own]


def signs(state: mf.State) -> np.ndarray:
    """(m,): whether Σ_c a_c > 0; all true for whole rows of θ."""
    return state.a.sum(axis=1) > 0 if state.neurons else np.ones(state.m, dtype=bool)


def weights(state: mf.State, scaled: bool) -> np.ndarray:
    """(w, b) or |a|(w, b): (m, d + 1). For ReLU a neuron is the latter point and the sign of a."""
    inner = state.theta[:, state.outputs if state.neurons else 0 :].astype(np.float64)
    return np.linalg.norm(state.a, axis=1, keepdims=True) * inner if scaled else inner
