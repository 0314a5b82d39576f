"""When to observe: schedules are settings; `resolve` turns one into the due steps of a run when
simulate starts.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .. import checks
from ..stepping.clocks import Span
from ..stepping.stretches import Ahead


class Due:
    """Asked once for every accepted step, in order. `position` is all that a checkpoint has to keep
    of it.

    Times fire at the first step with t >= requested - 1e-9 dt; several requests in one step fire
    once.
    """

    def __init__(self, steps: Any = (), times: Any = (), period: int = 0) -> None:
        self.steps = np.unique(np.asarray(steps, dtype=np.int64))
        self.times = np.unique(np.asarray(times, dtype=np.float64))
        self.period = period
        self.position = self.before = 0  # before: the position ahead of the last question

    def count(self, steps: int | None) -> int | None:
        """About how many moments there will be in so many steps; None where that depends on the
        steps to come.
        """
        if self.period:
            return None if steps is None else steps // self.period
        return self.steps.size + self.times.size

    def ahead(self, step: int) -> Ahead:
        """When the answer will be True next, of the steps after this one."""
        if self.period:
            return Ahead(step=(step // self.period + 1) * self.period)
        steps = self.steps[self.position :]
        times = self.times[self.position :]
        if self.steps.size:
            return Ahead(step=int(steps[0])) if steps.size else Ahead()
        return Ahead(t=float(times[0])) if times.size else Ahead()

    def coming(self, step: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Steps and times of the next `count` such moments."""
        if self.period:
            steps = range((step // self.period + 1) * self.period, 2**63, self.period)
            return np.array(steps[:count], np.int64), self.times
        following = slice(self.position, self.position + count)
        if self.steps.size:
            return self.steps[following], self.times[:0]
        return self.steps, self.times[following]

    def __call__(self, step: int, t: float, dt: float) -> bool:
        if self.period:
            return step % self.period == 0
        self.before = self.position
        wanted, now = (self.steps, step) if self.steps.size else (self.times, t + 1e-9 * dt)
        while self.position < wanted.size and wanted[self.position] <= now:
            self.position += 1
        return self.position > self.before


@dataclass(frozen=True)
class every:
    """Every k-th accepted step, counted from step 0."""

    k: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", checks.integer("every: k", self.k))

    def resolve(self, span: Span) -> Due:
        return Due(period=self.k)


@dataclass(frozen=True)
class evenly:
    """`count` moments equally spaced in flow time, the first and the last included (count = 1: the
    last).
    """

    count: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "count", checks.integer("evenly: count", self.count))

    def resolve(self, span: Span) -> Due:
        return Due(
            times=np.linspace(span.t, span.t_end, self.count) if self.count > 1 else [span.t_end]
        )


@dataclass(frozen=True)
class log_spaced:
    """The start and count - 1 moments in geometric progression, from one step dt after it to the
    end.

    log_spaced(2) is the start and the end, log_spaced(1) the end.
    """

    count: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "count", checks.integer("log_spaced: count", self.count))

    def resolve(self, span: Span) -> Due:
        length = span.t_end - span.t
        later = (
            np.geomspace(min(span.dt, length), length, self.count - 1)
            if self.count > 2
            else [length]
        )
        return Due(times=span.t + np.array([*([0.0] if self.count > 1 else []), *later]))


@dataclass(frozen=True)
class at_steps:
    """These absolute steps."""

    steps: tuple[int, ...]

    def __post_init__(self) -> None:
        steps = tuple(self.steps)
        if not steps or any(not checks.is_integer(s) or s < 0 for s in steps):
            raise ValueError(f"at_steps: a non-empty list of integers >= 0; got {self.steps!r}.")
        object.__setattr__(self, "steps", tuple(sorted({int(s) for s in steps})))

    def resolve(self, span: Span) -> Due:
        return Due(steps=self.steps)


@dataclass(frozen=True)
class at_times:
    """The first step with t >= requested - 1e-9 dt, for each of these flow times; Adaptive lands on
    them.
    """

    times: tuple[float, ...]

    def __post_init__(self) -> None:
        times = np.asarray(self.times)
        if (
            times.ndim != 1
            or times.dtype.kind not in "fiu"
            or not times.size
            or not np.isfinite(times).all()
        ):
            raise ValueError(f"at_times: a non-empty list of finite times; got {self.times!r}.")
        object.__setattr__(self, "times", tuple(sorted(set(times.astype(np.float64).tolist()))))

    def resolve(self, span: Span) -> Due:
        return Due(times=self.times)


Schedule = every | evenly | log_spaced | at_steps | at_times
TABLE = {
    schedule.__name__: schedule for schedule in (every, evenly, log_spaced, at_steps, at_times)
}


def check(schedule: Any) -> Any:
    if type(schedule) in TABLE.values():
        return schedule
    raise TypeError(
        f"a schedule is one of {', '.join(f'mf.{name}(…)' for name in TABLE)}; got {schedule!r}."
    )


def to_dict(schedule: Any) -> dict[str, Any]:
    settings = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asdict(schedule).items()
    }
    return {"kind": type(schedule).__name__, **settings}


def from_dict(data: dict[str, Any]) -> Any:
    settings: Any = [
        tuple(value) if isinstance(value, list) else value
        for key, value in data.items()
        if key != "kind"
    ]
    return TABLE[data["kind"]](*settings)
