"""Series: one number of a run on its own schedule."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import checks
from ..diagnostics import registry
from ..diagnostics.frame import Problem
from ..files.schema import check_series_name
from ..flow import GradientFlow
from ..state import State
from ..stepping.march import March
from ..stepping.stretches import Ahead, Passed
from . import schedules
from .moment import (
    ALONG,
    MEASURES,
    SEEN_LATER,
    Moment,
    recordable,
    series_of_clock,
    unrecordable,
)
from .protocol import Observer

TRACED = ("risk", "energy")


class Series(Observer):
    """One number on its own schedule, kept in .steps .times .values, and in the run's file where
    there
    is a Recorder.

    Parameters
    ----------
    name : without a function, one of the measures below, or a registered diagnostic of one moment,
        such as kernel_drift, sign_flips or test_error: the same bits as mf.diagnose gives after the
        run.
    schedule : when to look (mf.every …). Of a measure that a Recorder beside it writes too, the file
        has one series, with the moments of both.
    function : function(flow, state) -> scalar, a real number.

    Notes
    -----
    energy F = R/s² + ∫r dμ, without the entropy of a flow with noise; of a network, risk R and
    regulariser ∫r dμ; speed2 ∫|v|² dμ; path ∫(∫|v|² dμ)^½ dt, the length travelled; displacement
    (∫|θ_t - θ_0|² dμ)^½; theta_max the largest |component of θ|; nonfinite the count of NaN and
    infinite ones; energy_defect |F(0) - F(t) - ∫∫|v|² dμ dt| / max(|F(0) - F(t)|, 1e-12 |F(0)|);
    energy_defect_motion, where σ or ℓ has kinks, the same with |Δθ|²/Δt over windows of steps in
    place of the integral (stepping/motion.py); balance_defect the largest change of |w|² + b² -
    p|a|², relative to the largest |θ_k(0)|², where homogeneity conserves it. kinetic_energy ½ ∫|v|² dμ
    of a method with momentum, whose energy_defect is about F + K. One that does not
    apply to a run raises ValueError with the reason.
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
                f"{name!r} is a clock of the series {other!r} in an xarray.Dataset "
                "(<series>_t, <series>_step): "
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

    own = True

    @property
    def series(self) -> tuple[str, ...]:  # type: ignore[override]
        return (self.name,)

    def clear(self) -> None:
        self.steps: list[int] = []
        self.times: list[float] = []
        self.values: list[float] = []

    def begin(self, march: March, problem: Problem, path: Path | None) -> None:
        self.clear()
        if self.function is None and (why := unrecordable(self.name, march, problem)):
            raise ValueError(f"series {self.name!r} cannot be recorded in this run: {why}.")
        if self.traced:
            march.trace()

    def observe(self, moment: Moment) -> dict[str, float]:
        """Measure and keep the value."""
        if self.function is None:
            value = moment.measure(self.name)
        else:
            found = self.function(moment.flow, moment.frame.state)
            value = checks.scalar(f"series {self.name!r}: function(flow, state)", found)
        self.append(moment.step, moment.t, value)
        return {self.name: value}

    @property
    def built_in(self) -> bool:
        """Whether it measures by its name alone, and in no other way."""
        return self.function is None and type(self).observe is _observe

    @property
    def traced(self) -> bool:
        """Whether a march that makes many steps in one call gives the values of those it passes
        over (`passed`), so that it need not stop for them.
        """
        return self.built_in and self.name in TRACED and isinstance(self.schedule, schedules.every)

    def ahead(self, march: March) -> Ahead:
        return Ahead() if self.traced else super().ahead(march)

    @property
    def looks_back(self) -> bool:
        return self.built_in and self.name in SEEN_LATER

    def passed(self, over: Passed) -> tuple[list[int], list[float], list[float]]:
        """Steps, times and values of the moments that a march has passed over."""
        if not self.traced:
            return [], [], []
        wanted = slice(-int(over.steps[0]) % self.schedule.k, len(over.steps), self.schedule.k)
        steps, times = over.steps[wanted].tolist(), over.times[wanted].tolist()
        values = over.values[self.name][wanted].tolist()
        self.steps += steps
        self.times += times
        self.values += values
        return steps, times, values

    def read(self, run: Any) -> None:
        self.clear()
        for row in zip(*run.series(self.name), strict=True):
            self.append(*row)

    def append(self, step: int, t: float, value: float) -> None:
        self.steps.append(int(step))
        self.times.append(float(t))
        self.values.append(float(value))

    def __repr__(self) -> str:
        return f"Series({self.name!r}, {self.schedule}, {len(self.values)} values)"


_observe = Series.observe  # of a subclass, or another in its place, nothing is known
