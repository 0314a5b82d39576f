"""Observers: a schedule and an action each. What they look at is a Moment of the march."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from . import schedules
from .dataset import Dataset
from .flow import GradientFlow
from .functionals.risk import EmpiricalRisk
from .marching import March
from .nearest import hint
from .state import State


class Moment:
    """The run at one accepted step: its clock, its State (built when first asked for) and what can be measured."""

    def __init__(self, march: March) -> None:
        self.march, self.step, self.t, self.dt = march, march.step, march.t, march.dt

    @property
    def flow(self) -> GradientFlow:
        return self.march.flow

    @cached_property
    def state(self) -> State:
        return self.march.state()

    def measure(self, name: str) -> float:
        """One of MEASURES, at this moment."""
        return float(MEASURES[name](self))


def _displacement(moment: Moment) -> float:
    field = moment.march.field
    start = field.backend.upload(moment.march.start.theta)
    return math.sqrt(field.speed2(field.backend.combine(moment.march.theta, [-1.0], [start])))


def _energy_defect(moment: Moment) -> float:
    march = moment.march
    fall = march.energy_start - march.energy
    scale = max(abs(fall), 1e-12 * abs(march.energy_start))
    return abs(fall - march.dissipated) / scale if scale != 0 else 0.0


def _balance_defect(moment: Moment) -> float:
    now, start = (_invariants(state, moment.flow) for state in (moment.state, moment.march.start))
    scale = np.square(moment.march.start.theta.astype(np.float64)).sum(axis=1).max()
    return float(np.abs(now - start).max() / scale) if scale > 0 else 0.0


def _invariants(state: State, flow: GradientFlow) -> np.ndarray:
    p = flow.network.sigma.homogeneity
    theta = state.theta.astype(np.float64)
    K = state.outputs
    return (theta[:, K:] ** 2).sum(axis=1) - p * (theta[:, :K] ** 2).sum(axis=1)


def balanced(flow: GradientFlow, start: State) -> bool:
    """Whether |w|² + b² - p|a|² is conserved for each neuron: σ p-homogeneous, a and w trained, b trained or zero, no ridge."""
    trained = flow.network.trainable
    bias_is_fine = "b" in trained or not start.b.any()
    homogeneous = flow.network.sigma.homogeneity is not None and isinstance(flow.functional, EmpiricalRisk)
    return homogeneous and {"a", "w"} <= set(trained) and bias_is_fine and flow.functional.ridge == 0


def _nonfinite(moment: Moment) -> float:
    return float(np.count_nonzero(~np.isfinite(moment.state.theta)))


# What every run can carry, by name. Units: F and R as in THEORY.md, section 1; lengths are those of θ.
MEASURES: dict[str, Callable[[Moment], float]] = {
    "energy": lambda moment: moment.march.energy,
    "risk": lambda moment: moment.march.field.value(moment.march.theta),
    "regulariser": lambda moment: moment.march.field.regulariser(moment.march.theta),
    "speed2": lambda moment: moment.march.field.speed2(moment.march.velocity),
    "path": lambda moment: moment.march.path,
    "displacement": _displacement,
    "theta_max": lambda moment: float(np.abs(moment.state.theta).max()),
    "nonfinite": _nonfinite,
    "energy_defect": _energy_defect,
    "balance_defect": _balance_defect,
}


def measures(flow: GradientFlow, start: State) -> list[str]:
    """The MEASURES that make sense for this flow and start."""
    return [name for name in MEASURES if name != "balance_defect" or balanced(flow, start)]


class Recorder:
    """Records the run to an HDF5 file: frames, and the series of MEASURES, at its schedule, at the start and at the end.

    exists, for a finished or unfinished run of that name: "error"; "resume" (continue the unfinished one, of the same
    configuration); "replace" (the old file stays until the new one is complete). data: the mf.data.Dataset the flow's x
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
        if not isinstance(checkpoint_seconds, (int, float)) or not checkpoint_seconds >= 0:
            raise ValueError(f"checkpoint_seconds must be a number >= 0; got {checkpoint_seconds!r}.")
        self.path, self.schedule, self.exists = Path(path), schedules.check(schedule), exists
        self.data, self.checkpoint_seconds, self.guard = data, float(checkpoint_seconds), guard

    def __repr__(self) -> str:
        return f"Recorder({str(self.path)!r}, {self.schedule}, exists={self.exists!r})"


class Series:
    """One scalar on its own schedule, kept in .steps .times .values and in the run's file where there is a Recorder.

    function(flow, state) -> scalar; without it, name is one of MEASURES:
    energy F = R/s² + ∫r dμ; risk R; regulariser ∫r dμ; speed2 ∫|v|² dμ; path ∫(∫|v|² dμ)^½ dt, the length travelled;
    displacement (∫|θ_t - θ_0|² dμ)^½; theta_max the largest |component of θ|; nonfinite the count of NaN and infinite ones;
    energy_defect |F(0) - F(t) - ∫∫|v|² dμ dt| / max(|F(0) - F(t)|, 1e-12 |F(0)|); balance_defect the largest change of
    |w|² + b² - p|a|², relative to the largest |θ_k(0)|², where homogeneity conserves it.
    """

    def __init__(self, name: str, schedule: Any, function: Callable[[GradientFlow, State], float] | None = None) -> None:
        if not isinstance(name, str) or not name or "/" in name:
            raise ValueError(f"a series needs a name without a slash; got {name!r}.")
        if function is None and name not in MEASURES:
            raise ValueError(
                f"no built-in series {name!r}.{hint(name, MEASURES)} Known: {', '.join(MEASURES)}; or pass function(flow, state)."
            )
        if function is not None and not callable(function):
            raise TypeError(f"function must be callable as function(flow, state); got {function!r}.")
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
                raise ValueError(f"series {self.name!r}: function(flow, state) must return a scalar; got shape {found.shape}.")
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
