"""The plane in which to see neurons: |a|(w, b) where it has two dimensions, the plane of most movement where it has more."""

from __future__ import annotations

from typing import Any

import numpy as np

import meanfield as mf


def plane(run: Any) -> tuple[np.ndarray, str, str]:
    """(basis, labels) of the plane to see a run's |a|(w, b) in: basis (d + 1, 2).

    d = 1: (|a|w, |a|b). d = 2: |a|w itself. Beyond: the two principal directions in which |a|w moved.
    """
    run = open_run(run)
    d = run.start.dim
    if d > 2:
        return movement(run[0], run[-1], scaled=True), "|a|⟨w, e₁⟩, e₁ the main direction of movement", "|a|⟨w, e₂⟩"
    basis = np.zeros((d + 1, 2))
    basis[:2] = np.eye(2)
    return basis, "|a| w" if d == 1 else "|a| w₁", "|a| b" if d == 1 else "|a| w₂"


def movement(first: mf.State, last: mf.State, scaled: bool = False) -> np.ndarray:
    """(d + 1, 2): the two principal directions in which w (scaled: |a|w) moved from one state to another; 0 for b."""
    moved = (_weights(last, scaled) - _weights(first, scaled))[:, :-1]
    basis = np.zeros((moved.shape[1] + 1, 2))
    basis[:-1] = np.linalg.eigh(moved.T @ moved)[1][:, :-3:-1]
    return basis


def projected(run: Any, basis: np.ndarray, count: int = 400, scaled: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """(frames, positive) of `particles`: (w, b) @ basis, or |a|(w, b) @ basis, of the first `count` neurons in every frame."""
    states = list(open_run(run))
    positive = states[-1].a[:count].sum(axis=1) > 0
    return np.stack([_weights(state, scaled)[:count] @ basis for state in states]), positive


def open_run(run: Any) -> mf.Trajectory:
    """A run, or the one a path names."""
    return run if isinstance(run, mf.Trajectory) else mf.Trajectory(run)


def _weights(state: mf.State, scaled: bool) -> np.ndarray:
    """(w, b) or |a|(w, b): (m, d + 1). For ReLU a neuron is the latter point and the sign of a."""
    inner = state.theta[:, state.outputs :].astype(np.float64)
    return np.linalg.norm(state.a, axis=1, keepdims=True) * inner if scaled else inner
