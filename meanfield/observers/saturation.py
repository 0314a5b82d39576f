"""Whether the units of a bounded σ are saturated: their slopes vanish on all samples, and hardly
anything can be learnt.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..diagnostics.library.patterns import pre_activations
from ..state import State
from .progress import unscaled

SHARE = 0.9  # of the units: nearly all
SLOPE = 1e-3  # of the largest |σ'|
LOOKED_AT = 64  # units and samples, evenly spaced


def saturation(flow: Any, state: State) -> str:
    """What is to be said of a start whose units are nearly all saturated, or ""; of σ with σ' → 0
    at both ends alone.
    """
    if flow.network is None or "x" not in flow.functional.arrays or not state.outputs:
        return ""
    if flow.network.feature is not None:
        return ""
    slope = flow.network.sigma.slope
    try:
        largest = _largest_slope(slope)
        if not largest > 0:
            return ""
        some = State(state.theta[_some(state.m)], state.outputs)
        x = np.asarray(flow.functional.arrays["x"])
        ((_, z),) = pre_activations(some, x[_some(len(x))])
        flat = np.array(
            [[abs(slope(value)) < SLOPE * largest for value in row] for row in z.tolist()]
        ).all(axis=1)
    except (ArithmeticError, ValueError):  # a user's formula that is not defined so far out
        return ""
    if flat.mean() < SHARE:
        return ""
    return (
        f"{flat.mean():.0%} of the units are saturated at the start: |σ'(z)| of "
        f"{flow.network.sigma.name} is below {SLOPE:g} of "
        f"its largest on every sample, |z| = |⟨w, x⟩ + b| is {np.median(abs(z)):.2g} in "
        "the median, and they hardly learn. "
        + (unscaled(flow) or "Scale the start down: a smaller w_std and b_std.")
    )


def _largest_slope(slope: Any) -> float:
    """The largest |σ'| between -5 and 5; 0 where σ' does not vanish at both ends, so that nothing
    saturates.
    """
    near = max(abs(slope(z)) for z in np.linspace(-5, 5, 41).tolist())
    return (
        near
        if all(abs(slope(z)) < 1e-6 * near for z in (-300.0, -40.0, -37.5, 37.5, 40.0, 300.0))
        else 0.0
    )


def _some(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, LOOKED_AT)).round().astype(int))
