"""How far and how fast the measure moves: displacements with labels, W2 without, speed, and how
straight the path is.
"""

from __future__ import annotations

import math

import numpy as np

from ...transport import floor as transport
from ...transport.bounds import Interval
from ...transport.distances import displacement as rms_displacement
from ...transport.distances import w2_interval
from ..frame import Frame
from ..registry import register_diagnostic


@register_diagnostic(unit="θ", needs=("equal masses",))
def displacement_step(frame: Frame, previous: Frame) -> float:
    """(∫|θ_t - θ_t'|² dμ)^½ since the frame before, at t'."""
    return rms_displacement(previous.state, frame.state)


@register_diagnostic(unit="θ/t", needs=("flow",))
def speed(frame: Frame) -> float:
    """|v_t|_{L2(μ_t)} = (∫|v_t|² dμ_t)^½, the metric speed."""
    return math.sqrt(frame.field.mean_square(frame.velocity, frame.particles))


@register_diagnostic(unit="θ", interval=True)
def w2(frame: Frame, *, seconds: float = 1.0) -> Interval:
    """Bounds lower <= W2(μ_0, μ_t) <= upper, as by mf.w2_interval in `seconds` a frame; equal up to
    rounding, and the same on every call, where the exact solve fits.
    """
    return w2_interval(frame.start, frame.state, seconds)


@register_diagnostic(unit="θ", interval=True)
def w2_step(frame: Frame, previous: Frame, *, seconds: float = 1.0) -> Interval:
    """Bounds of W2(μ_t', μ_t) since the frame before, at t'; as w2."""
    return w2_interval(previous.state, frame.state, seconds)


@register_diagnostic(unit="θ", needs=("no copies",))
def w2_floor(frame: Frame, *, seconds: float = 1.0) -> float:
    """(E W2²)^½ of two independent samples of m neurons of the law of the frame, by mf.w2_floor: as
    far apart are two seeds that differ in nothing else. NaN where there are too few to be cut.
    """
    try:
        return transport.w2_floor(frame.state, seconds=seconds).value
    except ValueError:
        return math.nan


@register_diagnostic(unit="1", of=("w2", "recorded:path"), needs=("recorded path",), interval=True)
def geodesic_efficiency(w2, path) -> tuple:
    """W2(μ_0, μ_t) / ∫_0^t |v|_{L2(μ)} dt <= 1, with the path the run recorded: 1 for a geodesic at
    any speed; NaN before any movement.
    """
    moved = path.values > 0
    lower, upper = (
        np.divide(bound, path.values, out=np.full(len(moved), np.nan), where=moved)
        for bound in (w2.lower, w2.upper)
    )
    return lower, upper, w2.lower_method, w2.upper_method


@register_diagnostic(unit="θ", of=("displacement", "w2"), interval=True)
def relabelling(displacement, w2) -> tuple:
    """(∫|θ_t - θ_0|² dμ)^½ - W2(μ_0, μ_t) >= 0: movement of labelled neurons that the measure does
    not see; 0 while no two change places.
    """
    return (
        displacement.values - w2.upper,
        displacement.values - w2.lower,
        w2.upper_method,
        w2.lower_method,
    )
