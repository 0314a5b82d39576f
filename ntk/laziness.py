"""How lazy is a network, before training (the relative scale κ) and after it (the gap to the linearised run, and its bound)?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from meanfield import tangent
from meanfield.flow import GradientFlow
from meanfield.functionals.risk import EmpiricalRisk
from meanfield.network import Network
from meanfield.state import State
from meanfield.trajectory import Trajectory

from .curvature import hessian_norm
from .dynamics import KernelFlow
from .empirical import drift, empirical
from .matrices import Modes, as_matrix

LAZY, RICH = 0.1, 0.5  # below the first in gap and drift a run is called lazy, above the second in one of them rich


class RelativeScale(NamedTuple):
    """kappa = ‖f - y‖ ‖∇²f‖/‖∇f‖² (the ‖∇²f‖ that was reached), upper the same with an upper bound of ‖∇²f‖; its factors."""

    kappa: float
    upper: float
    residual: float
    jacobian: float
    hessian: float


def relative_scale(network: Network, state: State, x: Any, y: Any) -> RelativeScale:
    """κ(θ) = ‖f - y‖ ‖∇²f‖/‖∇f‖² at a state, operator norms over the trainable parameters and the samples. κ ≪ 1: lazy.

    The relative change of ∇f over the way that the linearised model has to go. Chizat, Oyallon and Bach (2019), section 1;
    THEORY.md, section 3. x (n, d); y (n,) or (n, K). ‖∇f‖ = s √λ_max(H) by Lanczos iteration on H·v, ‖∇²f‖ by
    ntk.curvature, neither matrix formed. The metrics (∫|v|² dμ and the Euclidean one on f) cancel: any multiple gives the same κ.
    For a smooth σ κ ~ m^(-1/2) at γ = 1/2 (times log^½ m for Gaussian a), O(1) at γ = 1. Where σ has kinks, ∇²f is that of
    almost every θ, which leaves the kinks out. Raises where y does not fit, nothing trains, or σ has kinks and a is frozen.
    """
    if not isinstance(network, Network) or not isinstance(state, State):
        found = f"{type(network).__name__}, {type(state).__name__}"
        raise TypeError(f"relative_scale(network, state, x, y) needs an mf.Network and an mf.State; got {found}.")
    if not network.trainable:
        raise ValueError("the relative scale of a network with nothing to train is not defined: trainable is ().")
    risk = EmpiricalRisk(network, x, y)
    field = GradientFlow(risk).on_device(state)
    theta = field.backend.upload(state.theta)
    residual = float(np.linalg.norm(field.predictions(theta) - risk.y))
    jacobian = field.s * float(np.sqrt(tangent.largest_eigenvalue(field, theta, rtol=1e-8, steps=1000)))
    if jacobian == 0.0:
        raise ValueError("∇f vanishes on these samples: the relative scale is not defined.")
    lower, upper = hessian_norm(network, state, risk.x)
    return RelativeScale(
        scale(residual, jacobian, lower), scale(residual, jacobian, upper), residual, jacobian, lower
    )  # fmt: skip


def scale(residual: float, jacobian: float, hessian: float) -> float:
    """κ = ‖f - y‖ ‖∇²f‖/‖∇f‖² from the three norms; of a scalar model, |f - y| |f''|/f'². αf in place of f: as 1/α if f = 0."""
    return abs(residual) * abs(hessian) / jacobian**2


@dataclass(frozen=True, eq=False)
class Laziness:
    """What ntk.laziness found. One value for each of `times`; f is on the n training inputs, |·| its root mean square.

    gap |f_t - f_t^lin| as measured; bound >= gap, computed, and resolution, its part for what happens between frames;
    start |f_0 - y|, the yardstick of both; drift ‖H_t - H_0‖/‖H_0‖ (Frobenius); kappa at the start, None where it has none
    (the note says why). verdict: one sentence with numbers.
    """

    times: np.ndarray
    gap: np.ndarray
    bound: np.ndarray
    resolution: np.ndarray
    drift: np.ndarray
    start: float
    kappa: RelativeScale | None
    note: str

    @property
    def regime(self) -> str:
        """lazy: gap/start and drift below 0.1 at all times; rich: one of them above 0.5; else intermediate."""
        largest = max(float(self.gap.max()) / self.start, float(self.drift.max()))
        return "lazy" if largest < LAZY else "rich" if largest > RICH else "intermediate"

    @property
    def verdict(self) -> str:
        gap, bound = (float(values.max()) / self.start for values in (self.gap, self.bound))
        found = f"sup |f - f_lin| is {gap:.2g} of |f_0 - y| (bound {bound:.2g}), kernel drift {self.drift.max():.2g}"
        kappa = f", kappa = {self.kappa.kappa:.2g}" if self.kappa else ""
        certain = ", certified by the bound" if bound < LAZY and self.regime == "lazy" else ""
        said = {
            "lazy": f"Lazy{certain}: training is that of the linearised network",
            "intermediate": "Intermediate: the linearised network describes the training roughly",
            "rich": "Rich: features move, and the linearised network does not describe the training",
        }[self.regime]
        return f"{said} ({found}{kappa}, t = {self.times[0]:g} … {self.times[-1]:g})."

    def __str__(self) -> str:
        return self.verdict + (f" {self.note}" if self.note else "")


def laziness(run: Any) -> Laziness:
    """How far a recorded run (path or mf.Trajectory) is from its linearisation at its first frame, measured and bounded.

    With u = f - y and u^lin on the samples, u̇ = -c H_t u and u̇^lin = -c H_0 u^lin (c = 1/n or 1), Δ = u - u^lin solves
    Δ̇ = -c H_0 Δ - c (H_t - H_0) u with Δ = 0 at the start. In the eigenbasis H_0 v_j = λ_j v_j (Duhamel, then |∫| <= ∫| |)

        |⟨v_j, Δ_t⟩| <= c ∫_0^t e^{-cλ_j (t - τ)} |⟨v_j, (H_τ - H_0) u_τ⟩| dτ,       ‖Δ_t‖² = Σ_j ⟨v_j, Δ_t⟩²,

    Grönwall's inequality mode by mode: no constant but those of the run, and modes that H_0 damps forget early changes of the
    kernel. H_τ and u_τ are those of the stored frames; between them the integrand is linear, the exponential exact. What
    that can miss, `resolution`, is the difference to the same from every second frame, and is part of the bound: record
    evenly spaced frames for long runs, log_spaced ones to resolve the start. f_lin is exact (KernelFlow with H_0), so the
    gap holds the run's own time-stepping error too.

    Gradient flows of the squared loss without ridge, three frames at least; others raise ValueError.
    O(frames m n² K²) for the kernels and O((nK)³) for the modes.
    """
    if not isinstance(run, Trajectory):
        with Trajectory(run) as opened:
            return laziness(opened)
    flow = _flow(run)
    risk, network = flow.functional, flow.network
    assert isinstance(risk, EmpiricalRisk)
    first = run[0]
    H0 = empirical(network, first, risk.x)
    modes, c, n = Modes(H0, name="H_0"), risk.factor, risk.n
    f0 = flow.predict(first)
    if not np.any(f0 - risk.y):
        raise ValueError(f"{run.path} starts with f_0 = y: nothing is trained, and nothing is lazy or rich.")
    times = run.times - run.times[0]
    linear = KernelFlow(H0, risk.y, f0=f0, reduction=risk.reduction).at(times).train
    forcing, gap, drifts = [], [], []
    for state, f_linear in zip(run, linear, strict=True):
        H = empirical(network, state, risk.x)
        f = flow.predict(state)
        change = as_matrix(H) - as_matrix(H0)
        residual = (f - risk.y).reshape(len(change), -1) if H.ndim == 4 else f - risk.y
        forcing.append(np.linalg.norm(modes.vectors.T @ (change @ residual), axis=1))
        gap.append(float(np.linalg.norm(f - f_linear)))
        drifts.append(drift(H0, H))
    fine = _duhamel(times, np.array(forcing), c, modes.values)
    every_second = np.unique([*range(0, len(times), 2), len(times) - 1])
    coarse = _duhamel(times[every_second], np.array(forcing)[every_second], c, modes.values)
    resolution = np.maximum.accumulate(np.abs(fine - np.interp(times, times[every_second], coarse)))
    kappa, note = None, ""
    try:
        kappa = relative_scale(network, first, risk.x, risk.y)
    except ValueError as error:
        note = f"No kappa: {error}"
    root = np.sqrt(n)
    return Laziness(
        run.times, np.array(gap) / root, (fine + resolution) / root, resolution / root, np.array(drifts),
        float(np.linalg.norm(f0 - risk.y)) / float(root), kappa, note,
    )  # fmt: skip


def _flow(run: Trajectory) -> GradientFlow:
    """The run's flow in float64 on this machine's CPU; raises where the theory of `laziness` does not apply."""
    config = run.config
    functional = (config.get("flow") or {}).get("functional") or {}
    wrong = ""
    if functional.get("kind") != "EmpiricalRisk":
        wrong = f"descends {functional.get('kind') or 'no functional'}; laziness is about mf.EmpiricalRisk"
    elif functional["loss"] != "squared" or functional["ridge"] != 0:
        wrong = (
            f"has loss {functional['loss']!r} and ridge {functional['ridge']:g}; the bound is for the squared loss without ridge"
        )
    elif config["flow"]["temperature"] or config["flow"]["reaction"]:
        wrong = "is noisy or changes its masses"
    elif len(run) < 3:
        wrong = f"has {len(run)} frame(s); record three at least, as with mf.Recorder(path, mf.evenly(50))"
    elif not np.isfinite(run[-1].theta).all():
        wrong = "ends in NaN"
    if wrong:
        raise ValueError(f"{run.path} {wrong}.")
    data = run.data
    return GradientFlow.from_dict({**config["flow"], "backend": "cpu", "dtype": "float64"}, data.x, data.y)


def _duhamel(times: np.ndarray, g: np.ndarray, c: float, rates: np.ndarray) -> np.ndarray:
    """(Σ_j b_j(t)²)^½ at each time, b_j(t) = c ∫_0^t e^{-cλ_j (t-τ)} g_j(τ) dτ, g (times, N) linear between the times."""
    b = np.zeros(g.shape[1])
    found = [0.0]
    for step, before, after in zip(np.diff(times), g[:-1], g[1:], strict=True):
        E = c * rates * step
        phi1, phi2 = _phi(E)
        b = np.exp(-E) * b + c * step * ((phi1 - phi2) * before + phi2 * after)
        found.append(float(np.linalg.norm(b)))
    return np.array(found)


def _phi(E: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(1 - e^{-E})/E and (E - 1 + e^{-E})/E², which are 1 and ½ at 0."""
    small = E < 1e-3
    safe = np.where(small, 1.0, E)
    phi1 = np.where(small, 1.0 - E / 2 + E**2 / 6, -np.expm1(-safe) / safe)
    return phi1, np.where(small, 0.5 - E / 6 + E**2 / 24, (safe + np.expm1(-safe)) / safe**2)
