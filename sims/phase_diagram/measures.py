"""What is measured of the runs of `phase_diagram`, and what theory says of the slopes: no training
and no drawing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import meanfield as mf
from meanfield import tangent
from meanfield.diagnostics.library import condensation
from meanfield.files.tables import text_table

from ..lab import runs
from ..lab.fits import ExponentFit, Refused

DEGREES = 10.0  # of a cluster of directions


@dataclass(frozen=True)
class Row:
    """What is measured of one run, from its file alone."""

    kind: str  # plane, scan or scale
    gamma: float
    gamma_prime: float
    alpha: float
    m: int
    seed: int
    t_end: float
    steps: int
    loss_left: float  # R(T)/R(0)
    converged: bool  # loss_left <= tol
    relative_change: float  # ‖v(T) - v(0)‖/‖v(0)‖, v all input weights (w_k, b_k) as one vector
    kernel_drift: float  # ‖H_T - H_0‖/‖H_0‖ on the training inputs, Frobenius
    displacement: float  # RMS of θ, neuron by neuron
    alignment: float  # order parameter of the directions at the end: 1 on one line, 0 isotropic
    alignment_start: float
    neurons: float  # effective number of neurons at the end, a fraction of m
    clusters: int  # of directions within DEGREES that hold 99 % of the amplitude
    energy_defect: float
    file: str

    @property
    def scale(self) -> float:
        """s = α m^(1-γ)."""
        return self.alpha * self.m ** (1 - self.gamma)


@dataclass(frozen=True)
class Point:
    """A point of the plane: the slope of log relative_change against log m, and what stands beside
    it at the largest m.
    """

    gamma: float
    gamma_prime: float
    fit: ExponentFit | Refused
    alignment: float
    converged: bool

    @property
    def slope(self) -> float:
        return math.nan if isinstance(self.fit, Refused) else self.fit.slope


def measure(path: Path, tol: float) -> Row:
    """The Row of a finished run; tol: the fraction of R(0) at which it counts as converged."""
    with mf.Trajectory(path) as run:
        first, last, data, network, law = run[0], run[-1], run.data, run.network, run.law
        risk = run.series("risk").values
        seed = run.config["seed"]
        defect = run.summary["energy_defect"]
    assert law is not None
    left = float(risk[-1] / risk[0])
    return Row(
        kind=path.name.split("_")[0],
        gamma=network.scaling.gamma,
        gamma_prime=round(-math.log(law.a_std / law.w_std) / math.log(first.m), 9)
        + 0.0,  # κ' = m^(-γ')
        alpha=network.scaling.alpha,
        m=first.m,
        seed=int(seed),
        t_end=last.t,
        steps=last.step,
        loss_left=left,
        converged=left <= tol,
        relative_change=condensation.relative_change(first, last),
        kernel_drift=tangent.drift(network, first, last, data.x),
        displacement=mf.displacement(first, last),
        alignment=condensation.alignment(last),
        alignment_start=condensation.alignment(first),
        neurons=condensation.effective_neurons(last) / first.m,
        clusters=len(condensation.clusters(last, DEGREES).mass),
        energy_defect=float(defect),
        file=path.name,
    )


def point(rows: Sequence[Row]) -> Point:
    """The Point that rows of one (γ, γ') make."""
    widest = max(row.m for row in rows)
    return Point(
        rows[0].gamma, rows[0].gamma_prime, runs.exponent(rows, "relative_change"),
        float(np.mean([row.alignment for row in rows if row.m == widest])), all(row.converged for row in rows),
    )  # fmt: skip


def points(rows: Sequence[Row]) -> list[Point]:
    """One Point for each (γ, γ')."""
    keys = sorted({(row.gamma, row.gamma_prime) for row in rows})
    return [point([row for row in rows if (row.gamma, row.gamma_prime) == key]) for key in keys]


def expected_slope(gamma: float, gamma_prime: float) -> float:
    """S of relative_change ~ m^S for m → ∞ at convergence, a ~ m^(-γ'/2), v = (w, b) ~ m^(γ'/2) at
    the start, s = m^(1-γ).

    Scaling argument, all rates up to constants; H_a ~ |v|², H_v ~ |a|², dv/dt ~ a/s: γ <= 1: a and
    v hardly change until t = 1/max(|a|², |v|²), so |Δv|/|v| ~ |a| t/(s|v|): S = γ - 1 - 2 max(γ',
    0). γ > 1, γ' > γ - 1: a alone grows, to m^(γ-1)/|v|, within t = 1/|v|²: S = 2(γ - 1 - γ'). γ >
    1, γ' < γ - 1: |a||v| must reach m^(γ-1) while |v|² - |a|² is conserved: |v| = |a|, or |v| =
    m^(γ-1)/|a(0)| where |a(0)| is larger: S = min((γ - 1 - γ')/2, γ - 1). Its sign is the theorem
    of Luo et al. (2021): < 0 in the linear regime γ < 1 or γ' > γ - 1, > 0 in the condensed one.
    """
    if gamma <= 1:
        return gamma - 1 - 2 * max(gamma_prime, 0.0)
    if gamma_prime >= gamma - 1:
        return 2 * (gamma - 1 - gamma_prime)
    return min((gamma - 1 - gamma_prime) / 2, gamma - 1)


def distance_to_critical_line(gamma: np.ndarray, gamma_prime: np.ndarray) -> np.ndarray:
    """Euclidean distance in the plane from the line γ = 1, γ' <= 0 and γ' = γ - 1 >= 0."""
    vertical = np.hypot(gamma - 1, np.maximum(gamma_prime, 0))
    along = np.maximum((gamma - 1 + gamma_prime) / 2, 0)
    return np.minimum(vertical, np.hypot(gamma - 1 - along, gamma_prime - along))


def table(rows: Sequence[Row], tol: float) -> str:
    """One line for each (γ, γ'): the slope of the relative change, theory's, the order parameter;
    what did not converge.
    """
    lines: list[tuple[str, ...]] = [("γ", "γ′", "slope", "theory", "alignment", "")]
    for at in points([row for row in rows if row.kind == "plane"]):
        slope = getattr(at.fit, "short", "refused")
        theory = expected_slope(at.gamma, at.gamma_prime)
        mark = "" if at.converged else "not converged"
        place = (f"{at.gamma:.4g}", f"{at.gamma_prime:.4g}")
        lines.append((*place, slope, f"{theory:.3f}", f"{at.alignment:.3f}", mark))
    late = [row.file for row in rows if not row.converged]
    first = f", the first {late[0]}" if late else ""
    return "\n".join(
        [
            text_table(lines, ">"),
            f"{len(late)} of {len(rows)} runs above {tol:g} of their first loss{first}",
        ]
    )
