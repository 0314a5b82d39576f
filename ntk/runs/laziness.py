"""How lazy is a network, before training (the relative scale κ) and after it (the gap to the
linearised run, and its bound)?
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from meanfield.diagnostics import defects
from meanfield.files.trajectory import Trajectory
from meanfield.flow import GradientFlow
from meanfield.functionals.risk import EmpiricalRisk
from meanfield.network import Network
from meanfield.particles import Particles
from meanfield.state import State
from meanfield.tangent import as_matrix

from ..finite.curvature import hessian_norm
from ..finite.curvature_of_features import hessian_norm as hessian_norm_of_features
from ..finite.kernel import drift, empirical
from ..learning.dynamics import KernelFlow
from ..learning.matrices import Modes
from .frames import check_frames, look, rounding
from .time_quadrature import denser

# below the first in gap and drift a run is called lazy, above the second in one of them rich
LAZY, RICH = 0.1, 0.5
# what the frames miss over the integral that they show: above it they are too few for a bound
RESOLVED = 0.5
# a drift that is rounding: the kernel of a network that is linear in what it trains
CONSTANT = 1e-12
FITTED = 0.05  # of |f_0 - y|: less is left of the residual of a fit that fits its labels
# on what the run's own steps and rounding do to the gap, which is not the frames' fault
SAFETY = 2.0


class RelativeScale(NamedTuple):
    """kappa = ‖f - y‖ ‖∇²f‖/‖∇f‖² (the ‖∇²f‖ that was reached), upper the same with an upper bound
    of ‖∇²f‖ (∞ for features, of which none is known); its factors.
    """

    kappa: float
    upper: float
    residual: float
    jacobian: float
    hessian: float


def relative_scale(network: Network, state: State, x: Any, y: Any) -> RelativeScale:
    """κ(θ) = ‖f - y‖ ‖∇²f‖/‖∇f‖² at a state. κ ≪ 1: lazy.

    Parameters
    ----------
    network, state : with something to train.
    x : (n, d).
    y : (n,) or (n, K).

    Returns
    -------
    A RelativeScale: the relative change of ∇f over the way that the linearised model has to go, in
    operator norms over the trainable parameters and the samples.

    Raises
    ------
    ValueError, TypeError : where y does not fit, nothing trains, or σ has kinks and a is frozen.

    Notes
    -----
    ‖∇f‖ = s √λ_max(H) by Lanczos iteration on H·v, ‖∇²f‖ by ntk.curvature, neither matrix formed.
    The metrics (∫|v|² dμ and the Euclidean one on f) cancel: any multiple gives the same κ. For a
    smooth σ κ ~ m^(-1/2) at γ = 1/2 (times log^½ m for Gaussian a), O(1) at γ = 1. Where σ has
    kinks, ∇²f is that of almost every θ, which leaves the kinks out. Chizat, Oyallon and Bach
    (2019), section 1; THEORY.md, section 3.
    """
    if not isinstance(network, Network) or not isinstance(state, State):
        found = f"{type(network).__name__}, {type(state).__name__}"
        raise TypeError(
            "relative_scale(network, state, x, y) needs an mf.Network and an mf.State; "
            f"got {found}."
        )
    if not network.trainable:
        raise ValueError(
            "the relative scale of a network with nothing to train is not defined: trainable is ()."
        )
    risk = EmpiricalRisk(network, x, y)
    field = GradientFlow(risk, backend=network.home).on_device(state)
    particles = Particles.of(state, field.backend)
    residual = float(np.linalg.norm(field.predictions(particles) - risk.y))
    eigenvalue = field.tangent_eigenvalue(particles, rtol=1e-8, steps=1000)
    jacobian = field.s * float(np.sqrt(eigenvalue))
    if jacobian == 0.0:
        raise ValueError("∇f vanishes on these samples: the relative scale is not defined.")
    norm = hessian_norm if network.feature is None else hessian_norm_of_features
    lower, upper = norm(network, state, risk.x)
    return RelativeScale(
        scale(residual, jacobian, lower), scale(residual, jacobian, upper), residual, jacobian, lower
    )  # fmt: skip


def scale(residual: float, jacobian: float, hessian: float) -> float:
    """κ = ‖f - y‖ ‖∇²f‖/‖∇f‖² from the three norms; of a scalar model, |f - y| |f''|/f'². αf in
    place of f: as 1/α if f = 0.
    """
    return abs(residual) * abs(hessian) / jacobian**2


@dataclass(frozen=True, eq=False)
class Laziness:
    """What ntk.laziness found. One value for each of `times`; f is on the n training inputs, |·|
    its root mean square.

    gap |f_t - f_t^lin| as measured; bound, the integral of ntk.laziness by quadrature on the
    frames, plus resolution, what the quadrature misses, as measured: bound >= gap at every frame,
    by construction. resolved: the frames miss at most half of the integral (what the run's own
    steps and rounding explain is not counted); otherwise bound says nothing about the time between
    frames, and certifies nothing. start |f_0 - y|, the yardstick of both; drift ‖H_t - H_0‖/‖H_0‖
    (Frobenius); kappa at the start, None where it has none (the note says why). verdict: one
    sentence with numbers.
    """

    times: np.ndarray
    gap: np.ndarray
    bound: np.ndarray
    resolution: np.ndarray
    drift: np.ndarray
    resolved: bool
    start: float
    kappa: RelativeScale | None
    note: str
    every_step: bool = False  # whether each step of the run is a frame

    @property
    def certified(self) -> bool:
        """lazy, resolved, and bound/start below 0.1 at all times."""
        return (
            self.regime == "lazy" and self.resolved and bool(self.bound.max() < LAZY * self.start)
        )

    @property
    def regime(self) -> str:
        """lazy: gap/start and drift below 0.1 at all times; rich: one of them above 0.5; else
        intermediate.
        """
        largest = max(float(self.gap.max()) / self.start, float(self.drift.max()))
        return "lazy" if largest < LAZY else "rich" if largest > RICH else "intermediate"

    @property
    def verdict(self) -> str:
        gap, bound = (float(values.max()) / self.start for values in (self.gap, self.bound))
        known = f"(bound {bound:.2g})" if self.resolved else f"at its {len(self.times)} frames"
        head = f"{self.regime.capitalize()}{', certified by the bound' if self.certified else ''}"
        kappa = f", kappa = {self.kappa.kappa:.2g}" if self.kappa else ""
        found = (
            f"{head}: sup |f - f_lin| is {gap:.2g} of |f_0 - y| {known} on the training inputs, "
            f"kernel drift {self.drift.max():.2g}; {self._reason}"
            f" (t = {self.times[0]:g} … {self.times[-1]:g}{kappa})."
        )
        if self.resolved:
            return found
        return f"{found} No bound: the frames are too few for one; {denser(self.times, self.every_step)}."

    @property
    def _reason(self) -> str:
        """Which of gap and drift made the regime, and what the gap says of the linearised network."""
        gap, drift = float(self.gap.max()) / self.start, float(self.drift.max())
        where = "" if self.resolved else " at these frames"
        describes = (
            "describes f closely"
            if gap < LAZY
            else "describes f roughly"
            if gap <= RICH
            else "does not describe f"
        )
        says = f"the linearised network {describes}{where}"
        if self.regime == "lazy":
            return f"both are below {LAZY:g}: {says}"
        rich = self.regime == "rich"
        level, limit = ("above", RICH) if rich else ("not below", LAZY)
        over = [
            name
            for name, value in (("gap", gap), ("drift", drift))
            if (value > limit if rich else value >= limit)
        ]
        made = (
            f"both, {level} {limit:g}, make"
            if len(over) == 2
            else f"the {over[0]} alone, {level} {limit:g}, makes"
        )
        if drift <= RICH:
            return f"{made} it {self.regime}: {says}"
        if gap >= LAZY:
            return f"{made} it rich: features move, and {says}"
        # both are true, of different things: the neurons, and f at the training inputs
        return (
            f"{made} it rich: features move, and yet {says}: on the training inputs f hardly needs "
            "their motion, on others it may (linearise(…).gap)"
        )

    def __str__(self) -> str:
        return self.verdict + (f" {self.note}" if self.note else "")


def laziness(run: Any, flow: GradientFlow | None = None) -> Laziness:
    """How far a recorded run is from its linearisation at its first frame, measured and bounded on
    the training inputs.

    Parameters
    ----------
    run : path or mf.Trajectory: a gradient flow of the squared loss without ridge, three frames at
        least.
    flow : only for an activation or feature written by the user, which no file holds: the flow that
        was run.

    Returns
    -------
    A Laziness: gap, bound, resolution, kernel drift, and the verdict with its regime.

    Raises
    ------
    ValueError : for other runs, with the reason.

    Notes
    -----
    With u = f - y and u^lin on the samples, u̇ = -c H_t u and u̇^lin = -c H_0 u^lin (c = 1/n or 1),
    Δ = u - u^lin solves Δ̇ = -c H_0 Δ - c (H_t - H_0) u with Δ = 0 at the start. In the eigenbasis
    H_0 v_j = λ_j v_j (Duhamel, then |∫| <= ∫| |)

        |⟨v_j, Δ_t⟩| <= c ∫_0^t e^{-cλ_j (t - τ)} |⟨v_j, (H_τ - H_0) u_τ⟩| dτ,       ‖Δ_t‖² = Σ_j ⟨v_j, Δ_t⟩²,

    Grönwall's inequality mode by mode: no constant but those of the run, and modes that H_0 damps
    forget early changes of the kernel. H_τ and u_τ are those of the stored frames; between them the
    integrand is linear, the exponential exact. What that misses is measured. Without the |·| the
    formula is an equality for Δ_t itself, and Δ_t is known at the frames (f_lin is exact:
    KernelFlow with H_0), so that ‖Δ_t - its quadrature‖ is the quadrature's error and the run's own
    time-stepping error. `resolution` is the largest of it up to t, plus the largest difference of
    the integral to the same from every second frame; it is part of the bound, which therefore is at
    least the gap. Where the frames' part of it (the rest is twice what a step and two halves of it
    at each frame, and rounding, explain) exceeds half of the integral, or where a step's error
    falls so far from frame to frame that its sum is open by more than the bound and a factor of
    two, the frames are too few and nothing is certified: most of the change comes early, so record
    mf.log_spaced frames.

    All of it is about the training inputs. Where both fit the same labels both end at y there, and
    the gap returns to zero whatever the neurons did (the note says so): hence the sup over the run,
    and the drift. Elsewhere two fits of the same labels can differ: linearise(…).gap(risk, x) is
    for any inputs.

    The regime is a convention. lazy: sup |f - f_lin|/|f_0 - y| < 0.1 and sup ‖H_t - H_0‖/‖H_0‖ <
    0.1 over the frames; rich: one of them > 0.5, the other may be small; intermediate: all else.
    The verdict says which. certified: lazy, and the bound is resolved and below 0.1 too; it is
    about f on the training inputs, and a numerical bound, not an interval-arithmetic proof.

    O(frames m n² K²) for the kernels and O((nK)³) for the modes.
    """
    if not isinstance(run, Trajectory):
        with Trajectory(run) as opened:
            return laziness(opened, flow)
    flow = _flow(run, flow)
    risk, network = flow.functional, flow.network
    assert isinstance(risk, EmpiricalRisk)
    first = run[0]
    risk.refuse_weights("laziness")
    H0 = empirical(network, first, risk.x)
    modes, c, n = Modes(H0, name="H_0"), risk.factor, risk.n
    seen = look(run, flow, risk.x)
    f0 = flow.predict(first)
    if not np.any(f0 - risk.y):
        raise ValueError(
            f"{run.path} starts with f_0 = y: nothing is trained, and nothing is lazy or rich."
        )
    times = run.times - run.times[0]
    linear = KernelFlow(H0, risk.y, f0=f0, reduction=risk.reduction).at(times).train
    forcing, apart, drifts = [], [], []
    for state, f_linear in zip(run, linear, strict=True):
        H = empirical(network, state, risk.x)
        f = flow.predict(state)
        change = as_matrix(H) - as_matrix(H0)
        # (n K, 1) for a kernel over outputs, (n, K) for one kernel of all of them
        unfolded = (
            len(change),
            -1,
        )
        forcing.append(modes.vectors.T @ (change @ (f - risk.y).reshape(unfolded)))
        apart.append(modes.vectors.T @ (f - f_linear).reshape(unfolded))
        drifts.append(drift(H0, H))
    signed, delta = np.array(forcing), np.array(apart)
    size = np.linalg.norm(signed, axis=2)
    gap = np.linalg.norm(delta, axis=(1, 2))
    missed = np.linalg.norm(delta + _duhamel(times, signed, c, modes.values), axis=(1, 2))
    integral = np.linalg.norm(_duhamel(times, size, c, modes.values), axis=1)
    second = np.unique([*range(0, len(times), 2), len(times) - 1])
    coarse = np.linalg.norm(_duhamel(times[second], size[second], c, modes.values), axis=1)
    coarser = np.abs(integral - np.interp(times, times[second], coarse))
    resolution = np.maximum.accumulate(missed) + np.maximum.accumulate(coarser)
    scale_up, bound = np.sqrt(signed[0].size), integral + resolution
    least, most = (
        np.diff(run.steps) * pick(seen.missed[:-1], seen.missed[1:]) * scale_up
        for pick in (np.minimum, np.maximum)
    )
    explained = SAFETY * (
        np.concatenate([[0.0], np.cumsum(least)]) + scale_up * rounding(run, flow, risk.x)
    )
    unseen = np.maximum.accumulate(np.maximum(missed - explained, 0.0)) + np.maximum.accumulate(
        coarser
    )
    moves_as_seen = max(drifts) < CONSTANT or unseen[-1] <= RESOLVED * integral.max()
    steps_as_seen = most.sum() <= SAFETY * least.sum() or most.sum() - least.sum() <= bound.max()
    kappa, note = None, ""
    try:
        kappa = relative_scale(network, first, risk.x, risk.y)
    except ValueError as error:
        note = f"No kappa: {error}"
    left = np.linalg.norm(linear[-1] - risk.y)
    if max(np.linalg.norm(f - risk.y), left) <= FITTED * np.linalg.norm(f0 - risk.y):
        fits = "Both fit the labels at the end: there they agree on these inputs in any regime."
        note = " ".join(filter(None, (note, fits)))
    if (finding := defects.of_run(run)) is not None:
        note = " ".join(filter(None, (note, f"Note: {finding.text}")))
    root = np.sqrt(n)
    return Laziness(
        run.times, gap / root, bound / root, resolution / root, np.array(drifts), bool(moves_as_seen and steps_as_seen),
        float(np.linalg.norm(f0 - risk.y)) / float(root), kappa, note,
        bool((np.diff(run.steps) == 1).all()),
    )  # fmt: skip


def _flow(run: Trajectory, given: GradientFlow | None) -> GradientFlow:
    """The run's flow in float64 on this machine's CPU; raises where the theory of `laziness` does
    not apply.
    """
    config = run.config
    functional = (config.get("flow") or {}).get("functional") or {}
    wrong = ""
    if functional.get("kind") != "EmpiricalRisk":
        wrong = (
            f"descends {functional.get('kind') or 'no functional'}; laziness is about "
            "mf.EmpiricalRisk"
        )
    elif functional["loss"] != "squared" or functional["ridge"] != 0:
        wrong = (
            f"has loss {functional['loss']!r} and ridge {functional['ridge']:g}; the "
            "bound is for the squared loss without ridge"
        )
    elif config["flow"]["temperature"] or config["flow"]["reaction"]:
        wrong = "is noisy or changes its masses"
    elif traits := (config.get("integrator") or {}).get("traits"):
        wrong = f"is no gradient flow (its method: {', '.join(traits)})"
    elif given is None and config["network"].get("feature"):
        wrong = "has a feature that no file holds: pass flow=, the flow that was run"
    check_frames(run, wrong)
    if given is None:
        return run.flow("cpu", "float64")
    if given.to_dict()["functional"] != functional:
        raise ValueError(f"flow= is not the flow of {run.path}; it needs {functional}.")
    return replace(given, backend=given.network.home, dtype="float64")


def _duhamel(times: np.ndarray, g: np.ndarray, c: float, rates: np.ndarray) -> np.ndarray:
    """b_j(t) = c ∫_0^t e^{-cλ_j (t-τ)} g_j(τ) dτ at each time, g (times, N, …) linear between the
    times; of g's shape.
    """
    b = np.zeros_like(g)
    trailing = (-1,) + (1,) * (g.ndim - 2)
    for i, step in enumerate(np.diff(times)):
        E = (c * rates * step).reshape(trailing)
        phi1, phi2 = _phi(E)
        b[i + 1] = np.exp(-E) * b[i] + c * step * ((phi1 - phi2) * g[i] + phi2 * g[i + 1])
    return b


def _phi(E: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(1 - e^{-E})/E and (E - 1 + e^{-E})/E², which are 1 and ½ at 0."""
    small = E < 1e-3
    safe = np.where(small, 1.0, E)
    phi1 = np.where(small, 1.0 - E / 2 + E**2 / 6, -np.expm1(-safe) / safe)
    return phi1, np.where(small, 0.5 - E / 6 + E**2 / 24, (safe + np.expm1(-safe)) / safe**2)
