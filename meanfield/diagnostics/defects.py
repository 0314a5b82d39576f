"""One rule for a run that is not the flow: its energy_defect is above LIMIT, and sliding along
kinks does not explain it.

The end of a run, scripts/inspect, mf.compare, ntk.laziness, figures and sweeps all ask here, and
say the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..formulas import activations
from ..functionals.risk import EmpiricalRisk
from ..particles import Particles
from ..processes.threads import one_thread
from ..scaling import Scaling
from ..stepping.clocks import NOISE
from ..stepping.march import March
from ..stepping.motion import LEAST, may_slide

# Of energy_defect this share may be left in that of the motion, whose windows are short where there
# were few steps. Step control shortens the steps at each crossing of a kink, so a window may hold
# less than a period of the chatter: more is left there.
EXPLAINED = 0.25
EXPLAINED_ADAPTIVE = 0.5
WINDOW = 2 * LEAST  # steps
# of energy_defect, the energy lost and not dissipated (or the reverse) over the energy lost
LIMIT = 0.1


@dataclass(frozen=True)
class Finding:
    """What an energy_defect above LIMIT means. kind: "steps" (too long), "sliding" (the flow all
    the same: particles chatter along kinks at every dt), "unclear" (one of the two). text:
    sentences for a user; short: a few words for a figure.
    """

    kind: str
    defect: float
    text: str

    @property
    def short(self) -> str:
        if self.kind == "sliding":
            return f"energy_defect {self.defect:.2g}: neurons slide along kinks."
        return (
            f"Not the flow: energy_defect {self.defect:.2g}."
            if self.kind == "steps"
            else f"energy_defect {self.defect:.2g}."
        )


def at_end(march: March) -> Finding | None:
    """What is to be said of a march that has ended, or None."""
    flow, start = march.flow, march.start
    if not march.balances:
        return None
    own = energy_defect(march, march.dissipated)
    if not own > LIMIT or not abs(march.total_start - march.total - march.dissipated) > _rounding(
        march
    ):
        return None
    moved = march.moved
    motion = None if moved is None else energy_defect(march, moved)
    rate = flow.network.scaling.learning_rate(march.dt, start.m) if _is_descent(march) else None
    dt = "auto" if march.clock.kind == "halving" else march.dt
    advice = shorter_steps(march.method.name, dt, flow.network is not None)
    return _finding(_kind(march, own, motion), own, motion, rate, advice, flow.network is not None)


def of_run(run: Any) -> Finding | None:
    """The same of a stored run, an mf.Trajectory: from its summary, or the last values of its
    series while it goes on.
    """
    if run.status == "diverged":  # that is said in its own words
        return None
    config, summary = run.config, run.summary
    own, motion = (_last(run, name) for name in ("energy_defect", "energy_defect_motion"))
    if own is None or not own > LIMIT or not _above_noise(run, own):
        return None
    method = config.get("integrator") or {}
    network, dt = config.get("network"), summary.get("dt")
    first, last = _ends(run)
    descent = method.get("name") == "euler" and network and isinstance(dt, float) and last < first
    rate = (
        Scaling(**network["scaling"]).learning_rate(dt, run.start.m)
        if descent and network
        else None
    )
    if (kind := summary.get("defect")) == "none":
        return None
    kind = kind or ("steps" if motion is None and _smooth(config) else "unclear")
    advice = shorter_steps(method.get("name", ""), config.get("dt"), bool(network))
    return _finding(kind, own, motion, rate, advice, bool(network))


def energy_defect(march: March, dissipated: float) -> float:
    """|F(0) - F(t) - q| / max(|F(0) - F(t)|, 1e-12 |F(0)|), q what was dissipated.

    Of a method with momentum F + K loses q, and is held against the larger of its own fall, that of
    F and K: with little friction F + K hardly falls, while F and K are exchanged.
    """
    fall = march.total_start - march.total
    exchanged = (
        max(abs(march.energy_start - march.energy), march.kinetic) if march.method.inertial else 0.0
    )
    scale = max(abs(fall), exchanged, 1e-12 * abs(march.total_start))
    return abs(fall - dissipated) / scale if scale != 0 else 0.0


def _kind(march: March, own: float, motion: float | None) -> str:
    """Steps at the stability limit of the method make θ bounce between the sides of a valley, and
    the mean motion follows the valley: that looks as sliding does. λ_max of the tangent kernel
    tells them apart: training grows it until dt λ_max is at the limit, and keeps it there (Cohen et
    al. 2021, "Gradient descent on neural networks typically occurs at the edge of stability"; here
    0.92 … 1.0 of the limit in every case tried).
    """
    if march.flow.network is None:  # V and U are the user's: they may have kinks
        return "unclear"
    if march.motion is None and march.method.moves_masses and may_slide(march.flow):
        return "unclear"  # nothing measures the motion of particles whose masses change
    # no whole window: its motion cannot speak for the steps
    if march.step - march.start.step < WINDOW:
        return "steps"
    explained = EXPLAINED_ADAPTIVE if march.method.controls_error else EXPLAINED
    if motion is None or motion > max(LIMIT, explained * own):
        return "steps"
    if march.method.controls_error:
        return "sliding"
    try:
        with one_thread():
            start = Particles.of(march.start, march.field.backend)
            rate = max(march.field.rate(start), march.field.rate(march.particles))
    except ValueError:  # of a loss or an energy without a bound of its curvature
        return "unclear"
    times = march.dt * rate / march.method.stability
    return "sliding" if times <= 0.8 else "unclear" if times <= 0.95 else "steps"


def _rounding(march: March) -> float:
    """What rounding does to F(0) - F(t): that of F itself, and, where f is close to y, that of f -
    y.
    """
    flow, size = march.flow, abs(march.energy_start) + abs(march.energy)
    risk = flow.functional
    if not isinstance(risk, EmpiricalRisk):
        return NOISE[flow.dtype] * size
    # R/s² at f = 0: the size of y
    alone = risk.value(np.zeros((risk.n, march.start.outputs))) / march.field.s**2
    eps = float(np.finfo(flow.dtype).eps)
    return NOISE[flow.dtype] * size + 16 * eps * (math.sqrt(size * alone) + eps * alone)


def _is_descent(march: March) -> bool:
    """Whether this can be meant as gradient descent on R: Euler, and F fell."""
    euler = march.method.name == "euler"
    return euler and march.flow.network is not None and march.energy < march.energy_start


def _finding(
    kind: str, own: float, motion: float | None, rate: float | None, advice: str, network: bool
) -> Finding:
    moved = "" if motion is None else f"; from the motion that took place it is {motion:.2g}"
    who, kinks = ("neurons", "kinks of σ or ℓ") if network else ("particles", "kinks of V or U")
    head = f"energy_defect {own:.3g}, above {LIMIT:g}"
    if kind == "sliding":
        return Finding(kind, own, (
            f"energy_defect {own:.3g} because {who} are sliding along {kinks}, where ∫∫|v|² dμ dt, and path, count the "
            f"chatter across it at every dt{moved}. A smaller dt does not change that."
        ))  # fmt: skip
    if kind == "unclear":
        return Finding(kind, own, (
            f"{head}: either the steps were too long, or {who} are sliding along {kinks}, which a smaller dt does not change"
            f"{moved}. Half the dt tells which."
        ))  # fmt: skip
    if rate is not None:
        return Finding(kind, own, (
            f"{head}: this run is gradient descent with learning rate {rate:.3g} on R, and not the gradient flow. Where the flow "
            "is meant, use a smaller dt or mf.RK4."
        ))  # fmt: skip
    besides = (
        f" Part of it is {who} sliding along {kinks}{moved}."
        if motion is not None and motion < own / 2
        else ""
    )
    return Finding(kind, own, (
        f"{head}: the energy lost is not the energy dissipated, so the steps were too long, and this run is not the gradient "
        f"flow.{besides} {advice}"
    ))  # fmt: skip


def shorter_steps(method: str, dt: Any, network: bool) -> str:
    """What to do about steps that are too long. dt: as it was asked for, "auto" included."""
    if method == "adaptive":
        return "Use smaller rtol and atol."
    if dt == "auto":
        return "Use mf.Adaptive(rtol=1e-6), or a number for dt below those that were taken."
    return "Use a smaller dt, or " + ('dt="auto".' if network else "mf.Adaptive(rtol=1e-6).")


def _last(run: Any, name: str) -> float | None:
    value = run.summary.get(name)
    if value is None and name in run.series_names and len(values := run.series(name).values):
        value = values[-1]
    return None if value is None else float(value)


def _ends(run: Any) -> tuple[float, float]:
    """F at the first and the last moment that the file has; NaN where it has none."""
    values = run.series("energy").values if "energy" in run.series_names else np.empty(0)
    return (float(values[0]), float(values[-1])) if values.size else (math.nan, math.nan)


def _above_noise(run: Any, own: float) -> bool:
    first, last = _ends(run)
    if math.isnan(first):
        return True
    gap = own * max(abs(first - last), 1e-12 * abs(first))
    return gap > NOISE[(run.config.get("flow") or {}).get("dtype", "float64")] * (
        abs(first) + abs(last)
    )


def _smooth(config: dict[str, Any]) -> bool:
    """Whether the σ of a stored run is known to have no kink."""
    try:
        return activations.get(config["network"]["activation"]).smooth
    except (KeyError, TypeError, ValueError):
        return False
