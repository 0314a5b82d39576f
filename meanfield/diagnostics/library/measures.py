"""What every run records at its frames, as diagnostics of stored frames: the same functions, so the
same bits.

Units: F and R as in THEORY.md, section 1; lengths are those of θ. No matrix product here: sums are
those of the backend, which has one order for them whatever the threads, so BLAS need not be limited
and a value costs next to nothing.
"""

from __future__ import annotations

import math

import numpy as np

from ...backends.cpu import balance
from ..frame import Frame
from ..registry import register_diagnostic


@register_diagnostic(unit="F", needs=("energy",), finite=False, blas=False)
def energy(frame: Frame) -> float:
    """F_s(μ_t) = R/s² + ∫r dμ_t; of a pairwise energy ∫V dμ_t + ½ ∬U dμ_t dμ_t."""
    return frame.energy


@register_diagnostic(unit="R", needs=("risk",), finite=False, blas=False)
def risk(frame: Frame) -> float:
    """R(f_t) on the training samples."""
    return frame.field.value(frame.particles)


@register_diagnostic(unit="F", needs=("risk",), finite=False, blas=False)
def regulariser(frame: Frame) -> float:
    """∫r dμ_t."""
    return frame.field.regulariser(frame.particles)


@register_diagnostic(unit="θ²/t²", needs=("flow",), finite=False, blas=False)
def speed2(frame: Frame) -> float:
    """∫|v_t|² dμ_t, the rate at which F_s falls."""
    return float(frame.field.mean_square(frame.velocity, frame.particles))


@register_diagnostic(
    unit="θ",
    of=("recorded:path",),
    needs=("energy balance", "equal masses", "recorded path"),
)
def path(recorded) -> np.ndarray:
    """∫_0^t |v|_{L2(μ)} dt, the length travelled, as the run recorded it: every step counted, with
    the weights of its method.
    """
    return recorded.values


@register_diagnostic(unit="θ", of=("speed",), needs=("plain flow",), interval=True)
def path_frames(speed) -> tuple:
    """Bounds of ∫|v|_{L2(μ)} dt since the first frame, where the speed is monotone between frames;
    their middle is the trapezoid.
    """
    lower, upper = _riemann(speed.times, speed.values)
    return lower, upper, *_methods(len(lower))


@register_diagnostic(unit="θ", needs=("flow", "equal masses"), finite=False, blas=False)
def displacement(frame: Frame) -> float:
    """(∫|θ_t - θ_0|² dμ)^½, each neuron against itself at the start."""
    backend = frame.field.backend
    # not kept: θ-sized arrays are what a run costs in memory
    start = backend.upload(frame.start.theta)
    way = backend.combine(frame.theta, [-1.0], [start])
    return math.sqrt(frame.field.mean_square(way, frame.particles))


@register_diagnostic(unit="θ", finite=False, blas=False)
def theta_max(frame: Frame) -> float:
    """The largest |component of θ_t|."""
    return frame.keep("theta_max", lambda: _largest(frame.state.theta))


@register_diagnostic(unit="components", finite=False, blas=False)
def nonfinite(frame: Frame) -> float:
    """How many components of θ_t are NaN or infinite."""
    if math.isfinite(theta_max(frame)):
        return 0.0
    return float(np.count_nonzero(~np.isfinite(frame.state.theta)))


@register_diagnostic(
    unit="1", of=("recorded:energy_defect",), needs=("energy balance", "recorded energy_defect")
)
def energy_defect(recorded) -> np.ndarray:
    """|F(0) - F(t) - ∫_0^t ∫|v|² dμ dt| / max(|F(0) - F(t)|, 1e-12 |F(0)|), as the run recorded it:
    every step counted, with the weights of its method. With momentum F + K for F; with a reaction
    ρ Var(δF/δμ) is dissipated too.
    """
    return recorded.values


@register_diagnostic(
    unit="1",
    of=("recorded:energy_defect_motion",),
    needs=("plain flow", "recorded energy_defect_motion"),
)
def energy_defect_motion(recorded) -> np.ndarray:
    """The energy_defect with the dissipation of the motion that took place, |Δθ|²/Δt over windows
    of ten steps and more, as the run recorded it: where particles slide along kinks it tends to 0
    with dt, and energy_defect does not (motion.py).
    """
    return recorded.values


@register_diagnostic(unit="F", of=("recorded:kinetic_energy",), needs=("recorded kinetic_energy",))
def kinetic_energy(recorded) -> np.ndarray:
    """K = ½ ∫|v|² dμ_t with v the velocity that a method with momentum carries, as the run recorded it."""
    return recorded.values


@register_diagnostic(unit="particles", needs=("varying masses",), finite=False, blas=False)
def effective_sample_size(frame: Frame) -> float:
    """1/Σ_k p_k²: m for equal masses, 1 where one particle has all."""
    mass = frame.particles.mass
    return 1.0 / float((mass * mass).sum())


@register_diagnostic(unit="1", of=("energy", "speed2"), needs=("plain flow",), interval=True)
def energy_defect_frames(energy, speed2) -> tuple:
    """Bounds of the energy_defect since the first frame, where ∫|v|² dμ is monotone between frames;
    wide where frames are too few to tell.
    """
    fall = energy.values[0] - energy.values
    scale = np.maximum(np.abs(fall), 1e-12 * abs(energy.values[0]))
    least, most = _riemann(speed2.times, speed2.values)
    gaps = (
        np.maximum(np.maximum(least - fall, fall - most), 0.0),
        np.maximum(np.abs(fall - least), np.abs(fall - most)),
    )
    lower, upper = (np.divide(gap, scale, out=np.zeros_like(gap), where=scale != 0) for gap in gaps)
    return lower, upper, *_methods(len(lower))


@register_diagnostic(unit="1", needs=("balance",), version=3, finite=False, blas=False)
def balance_defect(frame: Frame) -> float:
    """The largest change of |w_k|² + b_k² - p|a_k|² since the start, relative to the largest
    |θ_k(0)|²; σ is p-homogeneous.
    """
    p, start = frame.network.sigma.homogeneity, frame.start
    assert p is not None

    def at_start() -> tuple[np.ndarray, float]:
        return balance.invariants(start.theta, start.outputs, p), balance.invariants(
            start.theta, 0, p
        ).max()

    before, scale = frame.problem.keep("balance", at_start)
    change = balance.largest_change(frame.state.theta, start.outputs, p, before)
    return float(change / scale) if scale > 0 else 0.0


def _largest(theta: np.ndarray) -> float:
    """max |θ_kj|, NaN where one is; without an array of all |θ_kj|."""
    return abs(float(np.maximum(theta.max(), -theta.min())))


def _riemann(times: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper sums of ∫ from the first time to each of them, (frames,): they hold what is
    monotone between frames.
    """
    ends = np.minimum(values[1:], values[:-1]), np.maximum(values[1:], values[:-1])
    lower, upper = (np.concatenate([[0.0], np.cumsum(np.diff(times) * end)]) for end in ends)
    return lower, upper


def _methods(count: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of these bounds at each frame."""
    return ("lower sum",) * count, ("upper sum",) * count
