"""Observers: a schedule and an action each. What they look at is a Moment of the march."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import is_number
from ..data.dataset import Dataset
from ..diagnostics import needs, registry
from ..diagnostics.defects import energy_defect
from ..diagnostics.frame import Frame, Problem, evaluate
from ..files.schema import check_series_name
from ..flow import GradientFlow
from ..state import State
from ..stepping.march import March
from . import schedules


class Moment:
    """The run at one accepted step: its clock, and the Frame that diagnostics see (its State is built when first asked for)."""

    def __init__(self, march: March, problem: Problem) -> None:
        self.march, self.step, self.t, self.dt = march, march.step, march.t, march.dt
        self.frame = Frame(problem, march.state, lambda: march, march.dt)

    @property
    def flow(self) -> GradientFlow:
        return self.march.flow

    @property
    def state(self) -> State:
        return self.frame.state

    def measure(self, name: str) -> float:
        """One of MEASURES, or another diagnostic of one frame, at this moment."""
        if name in ALONG:
            return float(ALONG[name](self.march))
        diagnostic = registry.get(name)
        return float(evaluate(diagnostic, self.frame, **diagnostic.parameters))


def _energy_defect_motion(march: March) -> float:
    moved = march.moved
    return math.nan if moved is None else energy_defect(march, moved)


# What every run can carry, by name: diagnostics of one frame (diagnostics/measures.py), and three sums along the way.
MEASURES = (
    "energy", "risk", "regulariser", "speed2", "path", "displacement", "theta_max", "nonfinite", "energy_defect",
    "energy_defect_motion", "balance_defect",
)  # fmt: skip
ALONG: dict[str, Callable[[March], float]] = {
    "path": lambda march: march.path, "energy_defect": lambda march: energy_defect(march, march.dissipated),
    "energy_defect_motion": _energy_defect_motion,
}  # fmt: skip


def measures(march: March) -> list[str]:
    """The MEASURES that make sense for this flow and start."""
    problem = Problem(march.flow, march.start)
    found = [
        name for name in MEASURES if name in ALONG or not needs.reason(registry.get(name), problem)
    ]
    return [name for name in found if name != "energy_defect_motion" or march.motion is not None]


def recordable(name: str) -> registry.Diagnostic:
    """The diagnostic of that name; ValueError where it is none, or not one number of one moment of one run."""
    if name not in (known := registry.names()):
        more = f"Known: {', '.join(known)}; or pass function(flow, state)."
        raise ValueError(f"no built-in series {name!r}.{registry.missing(name)} {more}")
    diagnostic = registry.get(name)
    if diagnostic.kind != "frame" or diagnostic.interval or "companion" in diagnostic.needs:
        raise ValueError(
            f"{name!r} is not one number of one moment, so it cannot be recorded; after the run: mf.diagnose(path, [{name!r}])."
        )
    return diagnostic


def series_of_clock(name: str, names: Sequence[str]) -> str:
    """The one of `names` whose times or steps are called `name` in an xarray.Dataset; "" where there is none."""
    for suffix in ("_t", "_step"):
        other = name.removesuffix(suffix)
        if other != name and other in names:
            return other
    return ""


class Recorder:
    """Records the run to an HDF5 file: frames, and the series of MEASURES, at its schedule, at the start and at the end.

    exists, for a finished or unfinished run of that name: "error"; "resume" (continue the unfinished one, of the same
    configuration, formulas and series; ValueError says what differs);
    "replace" (the old file stays until the new one is complete). data: the mf.data.Dataset the flow's x
    and y come from, so that its name, origin and test set travel in the file. checkpoint_seconds: wall time between
    checkpoints; none of it changes a bit of the result. guard: called before each checkpoint and before the file is
    published; what it raises ends the run there (a lease that was lost). Schema of the file: mf.Trajectory.
    """

    def __init__(
        self, path: Any, schedule: Any, exists: str = "error", data: Dataset | None = None, checkpoint_seconds: float = 30.0,
        guard: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        if exists not in ("error", "resume", "replace"):
            raise ValueError(f'exists must be "error", "resume" or "replace"; got {exists!r}.')
        if data is not None and not isinstance(data, Dataset):
            raise TypeError(f"data must be an mf.data.Dataset; got {type(data).__name__}.")
        if not is_number(checkpoint_seconds) or not checkpoint_seconds >= 0:
            raise ValueError(
                f"checkpoint_seconds must be a number >= 0; got {checkpoint_seconds!r}."
            )
        self.path, self.schedule, self.exists = Path(path), schedules.check(schedule), exists
        self.data, self.checkpoint_seconds, self.guard = data, float(checkpoint_seconds), guard

    def __repr__(self) -> str:
        return f"Recorder({str(self.path)!r}, {self.schedule}, exists={self.exists!r})"


class Series:
    """One scalar on its own schedule, kept in .steps .times .values and in the run's file where there is a Recorder.

    function(flow, state) -> scalar; without it, name is one of MEASURES, or a registered diagnostic of one moment, such as
    kernel_drift, sign_flips or test_error, the same bits as mf.diagnose gives after the run:
    energy F = R/s² + ∫r dμ; of a network, risk R and regulariser ∫r dμ; speed2 ∫|v|² dμ; path ∫(∫|v|² dμ)^½ dt, the length
    travelled;
    displacement (∫|θ_t - θ_0|² dμ)^½; theta_max the largest |component of θ|; nonfinite the count of NaN and infinite ones;
    energy_defect |F(0) - F(t) - ∫∫|v|² dμ dt| / max(|F(0) - F(t)|, 1e-12 |F(0)|); energy_defect_motion, where σ or ℓ has kinks,
    the same with |Δθ|²/Δt over windows of steps in place of the integral (motion.py); balance_defect the largest change of
    |w|² + b² - p|a|², relative to the largest |θ_k(0)|², where homogeneity conserves it.
    """

    def __init__(
        self,
        name: str,
        schedule: Any,
        function: Callable[[GradientFlow, State], float] | None = None,
    ) -> None:
        check_series_name(name)
        if name not in (known := registry.names()) and (
            other := series_of_clock(name, [*MEASURES, *known])
        ):
            raise ValueError(
                f"{name!r} is a clock of the series {other!r} in an xarray.Dataset (<series>_t, <series>_step): "
                "choose another name."
            )
        if function is None and name not in ALONG:
            recordable(name)
        if function is not None and not callable(function):
            raise TypeError(
                f"function must be callable as function(flow, state); got {function!r}."
            )
        self.name, self.schedule, self.function = name, schedules.check(schedule), function
        self.clear()

    def clear(self) -> None:
        self.steps: list[int] = []
        self.times: list[float] = []
        self.values: list[float] = []

    def observe(self, moment: Moment) -> float:
        """Measure, keep and return the value."""
        if self.function is None:
            value = moment.measure(self.name)
        else:
            found = np.asarray(self.function(moment.flow, moment.state))
            if found.size != 1:
                raise ValueError(
                    f"series {self.name!r}: function(flow, state) must return a scalar; got shape {found.shape}."
                )
            value = float(found.reshape(()))
        self.append(moment.step, moment.t, value)
        return self.values[-1]

    def append(self, step: int, t: float, value: float) -> None:
        self.steps.append(int(step))
        self.times.append(float(t))
        self.values.append(float(value))

    def __repr__(self) -> str:
        return f"Series({self.name!r}, {self.schedule}, {len(self.values)} values)"


class StopOnNonFinite:
    """Stops at the first step after which θ or its speed is not finite: what was recorded is published with status
    "diverged", and mf.Diverged names step, time, particle and the last good frame. Without it such a run goes on and warns."""
