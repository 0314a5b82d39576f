"""Observer: what watches a run, one protocol; recorder, series, events, distances and stopping are
five of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..stepping.clocks import Span
from ..stepping.march import March
from ..stepping.stretches import NOW, Ahead
from . import schedules
from .moment import Moment
from .schedules import Due


class Value(NamedTuple):
    """One value of one series of the run's file."""

    name: str
    step: int
    t: float
    value: float


class Observer:
    """Looks at a run when its schedule says so. One of your own derives from this class and is
    handed to mf.simulate.

        class Radius(mf.Observer):
            name, series = "radius", ("radius",)

            def observe(self, moment):
                return {"radius": float(abs(moment.state.theta).max())}

        mf.simulate(flow, state, mf.RK4, dt=0.1, t_end=5.0, observers=[Radius(mf.every(10))])

    A run calls, in this order: `begin` once, before any work; at every accepted step `due`, and
    where that is True `observe`; `collect` for values that come later; `memory` at each checkpoint
    and `restore` where a run goes on from one; `close` at the end, whatever happened.

    Attributes
    ----------
    name : what it is called in files; one run has one observer of a name.
    series : the names of the series that it writes.
    schedule : when it looks (mf.every …).
    edges : whether it looks at the start and at the end of a run too.
    """

    name: str = ""
    series: tuple[str, ...] = ()
    edges: ClassVar[bool] = False
    rank: ClassVar[int] = 1  # the order in which several look at one moment
    later: ClassVar[bool] = False  # whether `collect` has values that come after their moment
    own: ClassVar[bool] = False  # whether a file makes it again by itself
    waiting: int = 0  # of its snapshots, how many wait for their values

    def __init__(self, schedule: Any) -> None:
        self.schedule = schedules.check(schedule)

    def begin(self, march: March, problem: Any, path: Path | None) -> None:
        """A run starts: forget the last one, and raise for what makes no sense in this one.

        march : flow, start, particles and clock. problem : what diagnostics ask about. path : of
        the run's file, or None.
        """

    def plan(self, span: Span) -> None:
        """Resolve the schedule for a run, or for what is added to one."""
        self._due = self.schedule.resolve(span) if self.schedule is not None else Due()

    def due(self, march: March) -> bool:
        """Whether to look now; asked in the order of steps, of each that `ahead` does not pass
        over.
        """
        now = self._due(march.step, march.t, march.dt)
        return now or (self.edges and (march.done or march.step == march.start.step))

    def ahead(self, march: March) -> Ahead:
        """The next moment at which `due` may be True: steps before it may be made in one call, and
        `due` is not asked of them.

        The start, the end, and a step that comes to no numbers or moves nothing are always asked
        about. An observer with a `due` of its own is asked at every step.
        """
        return self._due.ahead(march.step) if self.scheduled else NOW

    @property
    def scheduled(self) -> bool:
        """Whether the schedule alone says when it looks, and no `due` of its own."""
        return type(self).due is Observer.due

    @property
    def looks_back(self) -> bool:
        """Whether it may look at a moment when the march has gone on (stepping/past.py): where it is
        `scheduled`, the march does not stop at its moments then, which `coming` tells.
        """
        return False

    def coming(self, march: March, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Steps and times of its next `count` moments, as of `ahead`."""
        return self._due.coming(march.step, count)

    def observe(self, moment: Moment) -> Mapping[str, float] | None:
        """Look. The values, by series, go into the run's file."""
        raise NotImplementedError(f"{type(self).__name__} has no method observe(moment).")

    def collect(self, received: Sequence[int], last: bool) -> Iterable[list[Value]]:
        """Values of earlier moments that are known by now, those of one moment together: no
        checkpoint comes between them. last: wait for all, unless a signal is received.
        """
        return ()

    def memory(self) -> dict[str, Any]:
        """What its future depends on, for a checkpoint: numbers, strings, lists and NumPy arrays."""
        return {}

    def restore(self, memory: dict[str, Any]) -> None:
        """Go on from a checkpoint."""

    def read(self, run: Any) -> None:
        """Take the values of a stored run, an mf.Trajectory, as if it had watched all of it."""

    def close(self) -> None:
        """Release what it holds."""

    def to_dict(self) -> dict[str, Any]:
        """Settings, for the file's configuration."""
        return {"schedule": schedules.to_dict(self.schedule)}

    @property
    def position(self) -> int:
        """How far its schedule is: all that a checkpoint holds of it."""
        return self._due.position

    @position.setter
    def position(self, position: int) -> None:
        self._due.position = position

    def rewind(self) -> None:
        """Be asked about this moment once more."""
        self._due.position = self._due.before
