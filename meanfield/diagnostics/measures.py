"""What every run records at its frames, as diagnostics of stored frames: the same functions, so the same bits.

Units: F and R as in THEORY.md, section 1; lengths are those of θ. No matrix product here: sums are those of the backend, which
has one order for them whatever the threads, so BLAS need not be limited and a value costs next to nothing.
"""

from __future__ import annotations

import math

import numpy as np

from ..state import State
from .frame import Frame
from .registry import register_diagnostic


@register_diagnostic(unit="F", needs=("flow",), finite=False, blas=False)
def energy(frame: Frame) -> float:
    """F_s(μ_t) = R/s² + ∫r dμ_t."""
    return frame.energy


@register_diagnostic(unit="R", needs=("flow",), finite=False, blas=False)
def risk(frame: Frame) -> float:
    """R(f_t) on the training samples."""
    return frame.field.value(frame.theta)


@register_diagnostic(unit="F", needs=("flow",), finite=False, blas=False)
def regulariser(frame: Frame) -> float:
    """∫r dμ_t."""
    return frame.field.regulariser(frame.theta)


@register_diagnostic(unit="θ²/t²", needs=("flow",), finite=False, blas=False)
def speed2(frame: Frame) -> float:
    """∫|v_t|² dμ_t, the rate at which F_s falls."""
    return frame.field.speed2(frame.velocity)


@register_diagnostic(unit="θ", of=("speed",))
def path(speed) -> np.ndarray:
    """∫_0^t |v|_{L2(μ)} dt, the length travelled, by the trapezoid over the frames; what the run recorded has the
    weights of its method."""
    return _trapezoid(speed.times, speed.values)


@register_diagnostic(unit="θ", needs=("flow", "equal masses"), finite=False, blas=False)
def displacement(frame: Frame) -> float:
    """(∫|θ_t - θ_0|² dμ)^½, each neuron against itself at the start."""
    start = frame.field.backend.upload(frame.start.theta)  # not kept: θ-sized arrays are what a run costs in memory
    return math.sqrt(frame.field.speed2(frame.field.backend.combine(frame.theta, [-1.0], [start])))


@register_diagnostic(unit="θ", finite=False, blas=False)
def theta_max(frame: Frame) -> float:
    """The largest |component of θ_t|."""
    return float(np.abs(frame.state.theta).max())


@register_diagnostic(unit="components", finite=False, blas=False)
def nonfinite(frame: Frame) -> float:
    """How many components of θ_t are NaN or infinite."""
    return float(np.count_nonzero(~np.isfinite(frame.state.theta)))


@register_diagnostic(unit="1", of=("energy", "speed2"))
def energy_defect(energy, speed2) -> np.ndarray:
    """|F(0) - F(t) - ∫_0^t ∫|v|² dμ dt| / max(|F(0) - F(t)|, 1e-12 |F(0)|), by the trapezoid over the frames and right up to
    its error; what the run recorded has the weights of its method."""
    fall = energy.values[0] - energy.values
    scale = np.maximum(np.abs(fall), 1e-12 * abs(energy.values[0]))
    gap = np.abs(fall - _trapezoid(speed2.times, speed2.values))
    return np.divide(gap, scale, out=np.zeros_like(gap), where=scale != 0)


@register_diagnostic(unit="1", needs=("balance",), version=2, finite=False, blas=False)
def balance_defect(frame: Frame) -> float:
    """The largest change of |w_k|² + b_k² - p|a_k|² since the start, relative to the largest |θ_k(0)|²; σ is p-homogeneous."""
    p = frame.network.sigma.homogeneity
    assert p is not None
    before, scale = frame.problem.keep("balance", lambda: (_invariants(frame.start, p), _squares(frame.start.theta).max()))
    change = np.abs(_invariants(frame.state, p) - before).max()
    return float(change / scale) if scale > 0 else 0.0


def _invariants(state: State, p: float) -> np.ndarray:
    """|w_k|² + b_k² - p|a_k|² of each neuron, (m,)."""
    return _squares(state.theta[:, state.outputs :]) - p * _squares(state.theta[:, : state.outputs])


def _squares(columns: np.ndarray) -> np.ndarray:
    """Σ_j θ_kj² of each row in float64; einsum of two operands calls no BLAS."""
    columns = columns.astype(np.float64, copy=False)
    return np.einsum("kj,kj->k", columns, columns)


def _trapezoid(times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """∫ from the first time to each of them, (frames,)."""
    return np.concatenate([[0.0], np.cumsum(0.5 * np.diff(times) * (values[1:] + values[:-1]))])
