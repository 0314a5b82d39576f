"""W2 beside a run: exact distances between snapshots of its particles, solved by other processes
while it goes on.

W2 (settings and values, an observer) ──Beside (the snapshots that wait, in order)──▶ series w2 and
w2_step of the run
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..checks import is_integer
from ..diagnostics.frame import Problem
from ..processes.ranks import Ranks, current
from ..processes.workers import NoWorkers, WorkerDied, Workers
from ..state import State
from ..stepping.march import March
from ..transport.couplings import NotConverged
from ..transport.distances import (
    ANNOUNCE_SECONDS,
    EXACT_DENSE_LIMIT,
    SlowSolve,
    expected_seconds,
    w2,
)
from . import schedules
from .health import callers
from .moment import Moment
from .protocol import Observer, Value

SERIES, STEP_SERIES = "w2", "w2_step"
# snapshots that may wait for their distances: they are in memory and in every checkpoint
WAITING = 16


class W2(Observer):
    """The exact distance W2(μ_0, μ_t) of a run's snapshots, as mf.w2 gives it, solved by other
    processes meanwhile.

    Parameters
    ----------
    schedule : when snapshots are taken; also at the start and at the end.
    previous : also W2(μ_t', μ_t) from the snapshot before, at t', as the series "w2_step" and in
        .step_values, from the second snapshot on.
    workers : how many processes, of one thread each; they need no __main__ guard and end with the
        run.

    Notes
    -----
    The distances are the series "w2" of the run's file, in the order of the snapshots, and are kept
    in .steps .times .values. NaN once θ is not finite. The bits are those of mf.w2 on these States,
    whatever the number of workers, kills and resumptions: a checkpoint holds the snapshots that
    wait. With more than 16 of them the stepping waits for the first, and at the end the run waits
    for all. Where each particle coupled with itself is optimal, as along nearly every run, a solve
    is a few passes over the pairs; otherwise, and where masses change, it may take seconds at
    m = 5000: above 10 s a SlowSolve warning says so before the run starts. Masses may vary, any K
    goes. Bounds are quicker: mf.diagnose(path, ["w2"]) after the run. Where several processes share
    the run (mf.ranks), the workers are those of process 0, and distances are taken up where a
    snapshot is due; all processes have the values.
    """

    def __init__(self, schedule: Any, *, previous: bool = False, workers: int = 1) -> None:
        if not isinstance(previous, (bool, np.bool_)):
            raise TypeError(f"previous must be True or False; got {previous!r}.")
        if not is_integer(workers) or workers < 1:
            raise ValueError(f"workers must be an integer >= 1; got {workers!r}.")
        self.schedule = schedules.check(schedule)
        self.previous = bool(previous)
        self.workers = int(workers)
        self.clear()

    name, rank = "w2", 2
    edges, own, later = True, True, True

    @property
    def series(self) -> tuple[str, ...]:  # type: ignore[override]
        """The series that a run with this observer has besides its others."""
        return (SERIES, STEP_SERIES) if self.previous else (SERIES,)

    @property
    def waiting(self) -> int:  # type: ignore[override]
        return self._beside.waiting

    def begin(self, march: March, problem: Problem, path: Path | None) -> None:
        self._ranks, self._seen = current(), 0
        self._beside = Beside(self, march.start, solves=self._ranks.rank == 0)
        if self._ranks.rank:
            return
        steps = None if march.method.controls_error else march.clock.steps_left(march.particles)
        self._beside.announce(self.schedule.resolve(march.span).count(steps))

    def observe(self, moment: Moment) -> None:
        self._beside.add(moment.frame.state)

    def collect(self, received: Sequence[int], last: bool) -> Iterator[list[Value]]:
        """The distances that are known; wait while more snapshots have none than may wait."""
        most = 0 if last else WAITING
        if self._ranks.size > 1:
            yield from self._shared(self._ranks, most, last)
            return
        while self.waiting and not received:
            rows = self._beside.take(0.2 if self.waiting > most else 0.0)
            if rows is None and self.waiting <= most:
                return
            if rows:
                yield rows

    def _shared(self, ranks: Ranks, most: int, last: bool) -> Iterator[list[Value]]:
        """The same on all ranks, which come to a message once a second at the least: the rows that
        rank 0 has by then, or none. Only where there is something to take up, since each time is two
        messages.
        """
        if not last and self.waiting == self._seen:
            return
        while self.waiting:
            rows = ranks.first(lambda: self._beside.take_all(most, 1.0))
            if ranks.rank:
                self._beside.told(rows)
            yield rows
            if self.waiting <= most:
                break
        self._seen = self.waiting

    def memory(self) -> dict[str, Any]:
        return self._beside.memory()

    def restore(self, memory: dict[str, Any]) -> None:
        self._beside.restore(memory)

    def read(self, run: Any) -> None:
        self.clear()
        for name in self.series:
            for row in zip(*run.series(name), strict=True):
                self.keep(name, *row)

    def close(self) -> None:
        self._beside.close()

    def clear(self) -> None:
        self.steps: list[int] = []
        self.times: list[float] = []
        self.values: list[float] = []
        self.step_values: list[float] = []

    def keep(self, name: str, step: int, t: float, value: float) -> None:
        """One value of one of its series."""
        if name == STEP_SERIES:
            self.step_values.append(float(value))
            return
        self.steps.append(int(step))
        self.times.append(float(t))
        self.values.append(float(value))

    def to_dict(self) -> dict[str, Any]:
        """Without the number of workers, which changes nothing."""
        return {"schedule": schedules.to_dict(self.schedule), "previous": self.previous}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> W2:
        return cls(**{**data, "schedule": schedules.from_dict(data["schedule"])})

    def __repr__(self) -> str:
        return (
            f"W2({self.schedule}, previous={self.previous}, workers={self.workers}, "
            f"{len(self.values)} values)"
        )


class _Solve(NamedTuple):
    """One distance to come."""

    name: str
    before: State
    after: State
    answer: Future | None  # None where another process of the run has it solved


class Solver:
    """The job of the worker processes."""

    def __init__(self, start: State) -> None:
        self.start = start

    def answer(self, task: tuple[State | None, State]) -> float:
        before, after = task
        return distance(before or self.start, after)


def distance(p: State, q: State) -> float:
    """mf.w2(p, q) without the warning that it takes long; NaN where one is not finite."""
    if not (np.isfinite(p.theta).all() and np.isfinite(q.theta).all()):
        return float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SlowSolve)
        return w2(p, q)


class Beside:
    """W2 of one run: the snapshots whose distances are not known yet, and the processes that solve
    them. solves: whether they are this process's; another one's tell it the values.
    """

    def __init__(self, w2: W2, start: State, solves: bool = True) -> None:
        self.w2, self._start, self._solves = w2, _bare(start), solves
        self._count = w2.workers
        self._workers: Workers | None = None
        self._pending: deque[list[_Solve]] = deque()
        self._known: State | None = None  # the last snapshot whose distances are known
        self._left: int | None = None  # how many processes were left when a warning last told
        w2.clear()

    def announce(self, moments: int | None) -> None:
        """Say before a run that its solves take long. moments: the number of snapshots, None where
        it is not known.
        """
        m, p = self._start.theta.shape
        seconds = expected_seconds(m, m, p)
        if seconds <= ANNOUNCE_SECONDS:
            return
        memory = f" and {39e-9 * m * m:.1g} GB" if m * m <= EXACT_DENSE_LIMIT else ""
        solves = None if moments is None else moments * len(self.w2.series)
        total = (
            f"; {solves} of them by {self._count} worker(s): "
            f"{solves * seconds / self._count / 60:.0f} min"
            if solves
            else ""
        )
        warnings.warn(
            f"mf.W2: an exact distance of {m} particles in {p} dimensions takes about "
            f"{seconds:.0f} s (within a factor of 2)"
            f"{memory}{total}, beside the run, which waits for the last one. Bounds after "
            'the run: mf.diagnose(path, ["w2"]).',
            SlowSolve,
            stacklevel=callers(),
        )

    @property
    def waiting(self) -> int:
        """How many snapshots wait for their distances."""
        return len(self._pending)

    def add(self, state: State) -> None:
        """Hand over the next snapshot."""
        state = _bare(state)
        last = self._pending[-1][0].after if self._pending else self._known
        solves = [self._asked(SERIES, None, state)]
        if self.w2.previous and last is not None:
            solves.append(self._asked(STEP_SERIES, last, state))
        self._pending.append(solves)

    def take(self, seconds: float) -> list[Value] | None:
        """The values of the first snapshot that waits; None where they are not there within so many
        seconds.
        """
        solves = self._pending[0]
        answers = [item.answer for item in solves if item.answer is not None]
        if not all(answer.done() for answer in answers) and (
            not seconds or wait(answers, seconds).not_done
        ):
            return None
        rows = []
        for item in solves:
            rows.append(Value(item.name, item.after.step, item.after.t, self._value(item)))
            self.w2.keep(*rows[-1])
        self._known = self._pending.popleft()[0].after
        return rows

    def take_all(self, most: int, seconds: float) -> list[Value]:
        """The values of those that are known, in order; while more than `most` wait, of those that
        come within so many seconds, but the first alone.
        """
        rows: list[Value] = []
        while self._pending:
            patience = seconds if self.waiting > most and not rows else 0.0
            found = self.take(patience)
            if found is None:
                break
            rows += found
        return rows

    def told(self, rows: list[Value]) -> None:
        """The values of the first snapshots that wait, from the process that has them solved."""
        for row in rows:
            self.w2.keep(*row)
            if row.name == SERIES:
                self._known = self._pending.popleft()[0].after

    def memory(self) -> dict[str, Any]:
        """All that the distances to come depend on, for a checkpoint."""
        known = [self._known] if self.w2.previous and self._known is not None else []
        pending = [solves[0].after for solves in self._pending]
        return {
            "workers": self._count,
            "known": [*map(_plain, known)],
            "pending": [*map(_plain, pending)],
        }

    def restore(self, memory: dict[str, Any]) -> None:
        """Go on from a checkpoint: what waited is solved again."""
        self._count = memory["workers"]
        known, pending = (
            [self._read(item) for item in memory[name]] for name in ("known", "pending")
        )
        self._known = known[0] if known else None
        self._pending.clear()
        for state in pending:
            self.add(state)

    def close(self) -> None:
        """End the processes, whatever they are doing."""
        if self._workers is not None:
            self._workers.close()
        self._workers = None  # one run may go on in two goes

    def _read(self, item: dict[str, Any]) -> State:
        return State.trusted(
            item["theta"], self._start.outputs, item["mass"], item["step"], item["t"], None,
            self._start.columns,
        )  # fmt: skip

    def _asked(self, name: str, before: State | None, after: State) -> _Solve:
        if not self._solves:
            return _Solve(name, before or self._start, after, None)
        if self._workers is None:
            self._workers = Workers(Solver(self._start), self._count)
        return _Solve(name, before or self._start, after, self._workers.submit((before, after)))

    def _value(self, item: _Solve) -> float:
        """The answer; solved here where its process died."""
        try:
            assert item.answer is not None
            try:
                return item.answer.result()
            except (NoWorkers, WorkerDied) as error:
                self._tell(item, error)
                return distance(item.before, item.after)
        except NotConverged as error:
            warnings.warn(
                f"{item.name} at step {item.after.step} is NaN: {error}",
                RuntimeWarning,
                stacklevel=callers(),
            )
            return float("nan")

    def _tell(self, item: _Solve, error: Exception) -> None:
        assert self._workers is not None
        if self._workers.left == self._left:
            return
        self._left = self._workers.left
        more = (
            f"{self._left} of them left"
            if self._left
            else "none is left, so the run waits for each distance to come"
        )
        warnings.warn(
            f"{item.name} at step {item.after.step} is solved in the run's own process, "
            "for the mf.W2 worker did not do it: "
            f"{error} ({more})",
            RuntimeWarning,
            stacklevel=callers(),
        )


def _bare(state: State) -> State:
    """Without its origin, which a distance does not depend on."""
    what = state.theta, state.outputs, state.mass, state.step, state.t
    return State.trusted(*what, columns=state.columns)


def _plain(state: State) -> dict[str, Any]:
    return {"theta": state.theta, "mass": state.mass, "step": state.step, "t": state.t}
