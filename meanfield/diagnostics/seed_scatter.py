"""How far apart two seeds of one setting are in a measure of their neurons' motion, estimated from
one run alone.

A measure is a function of means over the m neurons, and neurons are drawn independently (symmetric
pairs together), so it scatters by m^(-1/2) times what a jackknife finds: the measure without one of
GROUPS blocks of neighbours,

    r² = (G - 1)/G Σ_g (log M_(g) - mean)²,            M_(g): without block g     (Efron and Stein, 1981)

The jackknife holds the flow fixed, so r is at least FLOOR/√(independent neurons): so much scattered
over 8 seeds of ReLU and tanh at γ = 1/2 and 1, m = 40 and 200, where the flow itself varies (2.0 to
2.6 for the drift with ReLU, whose kinks are crossed). Another seed has another f_0, too: |slopes at
f_0 - slopes at 0|/|slopes at f_0| of what drives the flow is this seed's own, and OWN of it was
found in the measures. It is 0 for a symmetric start, m^(-1/2) at γ = 1, of order 1 at γ = 1/2.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from .. import tangent
from ..functionals.risk import EmpiricalRisk
from ..network import Network
from ..state import State

GROUPS = 16  # blocks of the jackknife, of two neurons at least
REACH = 2.5  # standard errors of the difference of two runs within which nothing is concluded
FLOOR = {"kernel drift": 2.0, "RMS displacement": 0.6}
OWN = 0.7


def reach(first: float, second: float) -> float:
    """The factor within which two measures of relative errors r1, r2 are one: exp(REACH √(r1² +
    r2²)).
    """
    return math.exp(min(REACH * math.hypot(first, second), 700.0))


def floor(measure: str, m: int, symmetric: bool) -> float:
    """What the relative error of a measure is at least, for m neurons; a symmetric start drew pairs
    of them together.
    """
    return FLOOR[measure] / math.sqrt(max(1.0, m / 2 if symmetric else m))


def blocks(m: int) -> list[slice]:
    """Neighbours, in pairs: symmetric starts draw two neurons at once."""
    count = min(GROUPS, m // 2)
    edges = [2 * round(m // 2 * g / count) for g in range(count)] + [m] if count else [0, m]
    return [slice(a, b) for a, b in pairwise(edges)]


def _jackknife(logs: Any) -> float:
    """√((G - 1)/G Σ (log M_(g) - mean)²); ∞ for fewer than two blocks, or measures that vanish:
    nothing is known.
    """
    logs = np.asarray(logs, dtype=float)
    if len(logs) < 2 or not np.isfinite(logs).all():
        return math.inf
    return float(np.sqrt((len(logs) - 1) / len(logs) * np.square(logs - logs.mean()).sum()))


def of_displacement(start: State, end: State) -> float:
    """The relative standard error of the RMS displacement over seeds; 0 where nothing moved."""
    moved = start.mass * np.square(end.theta.astype(np.float64) - start.theta).sum(axis=1)
    if not moved.any():
        return 0.0
    left = [
        (moved.sum() - moved[b].sum()) / (1.0 - start.mass[b].sum())
        for b in blocks(start.m)
        if start.mass[b].sum() < 1
    ]
    with np.errstate(divide="ignore", invalid="ignore"):
        return _jackknife(0.5 * np.log(left))


def of_drift(network: Network, start: State, end: State, x: Any) -> tuple[float, float]:
    """(tangent.drift to the bit, its relative standard error over seeds); a second pass over the
    neurons, block by block.
    """
    H0 = tangent.kernel(network, start, x)
    A = tangent.kernel(network, end, x) - H0
    size2, way2 = float(np.vdot(H0, H0)), float(np.vdot(A, A))
    if size2 == 0.0:
        return math.nan, math.inf
    drift = float(np.linalg.norm(A)) / float(np.linalg.norm(H0))
    if not np.array_equal(start.mass, end.mass):  # blocks have other shares at the end
        return drift, math.inf
    logs = []
    for block in blocks(start.m):
        p = float(start.mass[block].sum())
        if not 0 < p < 1:
            continue
        parts = [state.moved(state.theta[block], state.mass[block] / p) for state in (start, end)]
        h0 = tangent.kernel(network, parts[0], x)
        a = tangent.kernel(network, parts[1], x) - h0
        left = [(total - 2 * p * float(np.vdot(whole, part)) + p * p * float(np.vdot(part, part)))
                for total, whole, part in ((way2, A, a), (size2, H0, h0))]  # fmt: skip
        with np.errstate(divide="ignore", invalid="ignore"):
            logs.append(0.5 * (np.log(left[0]) - np.log(left[1])))
    return drift, 0.0 if way2 == 0.0 else _jackknife(logs)


def of_output(risk: EmpiricalRisk, f0: np.ndarray) -> float:
    """OWN times the share of ∂R/∂f at the start that this seed's f_0 makes."""
    drives = risk.slopes(f0)
    size = float(np.linalg.norm(drives))
    return (
        OWN * float(np.linalg.norm(drives - risk.slopes(np.zeros_like(f0)))) / size
        if size
        else math.inf
    )
