"""Events: what happens to single neurons in a run, as differences between consecutive samplings.

Events (settings, an observer) ──Watch (the last sampling)──▶ rows and counts ──▶ the run's file, or
Events.table
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..backends.cpu import patterns
from ..checks import is_integer, is_number
from ..diagnostics.frame import Problem
from ..files.event_table import DEAD, KINDS, EventTable, joined
from ..files.pieces import SeriesData
from ..files.trajectory import Trajectory
from ..flow import GradientFlow
from ..formulas.activations import Activation
from ..functionals.samples import check_inputs
from ..state import State
from ..stepping.march import March
from . import schedules
from .moment import Moment
from .protocol import Observer

# At m = 10⁴ a sampling takes 1 to 4 % of 20 Euler steps, about 1 % of 20 RK4 steps (n = 64 … 256, d
# = 2 … 10).
OFTEN = schedules.every(20)
COUNTS = (*KINDS.values(), DEAD)  # the series that a watched run has besides its others


class Events(Observer):
    """The log of neurons: flips, deaths, revivals, merges and splits of directions.

    Parameters
    ----------
    probe : inputs x, (n <= 64, d); None: the first 64 training inputs, or as many as there are.
    schedule : when to sample; also at the start and at the end.
    degrees : two directions closer than this are merged.
    tracked : of so many first neurons all pairs are watched.
    limit : rows of each kind in one sampling (of the lowest neurons), so that a file grows by no
        more than 165·limit bytes a sampling, 33 a row. The rest are counted: series flips, deaths,
        revivals, merges, splits (events at each sampling) and dead (neurons) are exact.

    Notes
    -----
    A sampling holds for each neuron k its pattern over the probe samples, bits [⟨w_k, x_i⟩ + b_k >
    0], and for each pair of the first `tracked` neurons whether their input directions (w, b)/|(w,
    b)| enclose at most `degrees`. An event is a difference between two consecutive samplings, dated
    by the later one: what comes and goes in between is not seen, and a neuron that crosses a sample
    twice has not flipped.

        flip      its bit for sample i has changed; other = i, value 1 now active, 0 now inactive
        death     was active on some samples, and is on none; other = -1, value: samples lost
        revival   was active on none, and is on some; other = -1, value: samples won
        merge     the pair k < l was not within `degrees`, and is; other = l, value: degrees now
        split     the pair k < l was within `degrees`, and is not; other = l, value: degrees now

    A death comes with its flips. Deaths and revivals are defined for σ = 0 on z <= 0 (relu) only,
    where a neuron that is inactive on all training inputs does not move; on a probe of some of
    them, "dead" is a statement about these samples. Other activations (leaky_relu, the smooth ones)
    have flips, merges and splits. A pair that is close from the start is no event; (w, b) = 0 has
    no direction. Nothing is sampled any more once θ or its speed is not finite.

    Time: 64·m·d for the patterns, tracked²·d/2 for the pairs. Read it as
    mf.Trajectory(path).events, or without a Recorder as .table: an EventTable.
    """

    def __init__(
        self,
        probe: Any = None,
        schedule: Any = OFTEN,
        *,
        degrees: float = 2.0,
        tracked: int = 128,
        limit: int = 1000,
    ) -> None:
        self.probe = None if probe is None else check_inputs(probe)
        if self.probe is not None and not 1 <= len(self.probe) <= patterns.WORD:
            raise ValueError(
                f"probe must hold 1 … {patterns.WORD} samples, one bit each; got "
                f"{len(self.probe)}. Choose some of them: x[:64]."
            )
        if not is_number(degrees) or not 0 < degrees <= 90:
            raise ValueError(f"degrees must be a number in (0, 90]; got {degrees!r}.")
        for name, value in (("tracked", tracked), ("limit", limit)):
            if not is_integer(value) or value < 1:
                raise ValueError(f"{name} must be an integer >= 1; got {value!r}.")
        self.schedule: Any = schedules.check(schedule)
        self.degrees: float = float(degrees)
        self.tracked: int = int(tracked)
        self.limit: int = int(limit)
        self.clear(None)

    name, series, rank = "events", COUNTS, 3
    edges, own = True, True

    def begin(self, march: March, problem: Problem, path: Path | None) -> None:
        if march.method.replaces:
            raise ValueError(
                "mf.Events follows each neuron from step to step, and with jumps or resampling its place "
                "is taken by copies of others: leave it out. Who descends from whom: run.ancestors()."
            )
        self._watch = Watch(self, march.flow, march.start)
        self.clear(path)

    def observe(self, moment: Moment) -> dict[str, int]:
        """The counts of what has changed since the last sampling; its rows go into the file, or
        into .table.
        """
        if not moment.march.sound:
            return {}
        rows, counts = self._watch.sample(moment.frame.state)
        if moment.recording is not None:
            moment.recording.log(rows)
        else:
            self.keep(moment.step, moment.t, rows, counts)
        return counts

    def memory(self) -> dict[str, Any]:
        return self._watch.memory()

    def restore(self, memory: dict[str, Any]) -> None:
        self._watch.restore(memory)

    def clear(self, path: Path | None) -> None:
        """Forget the last run; path: the file of the one that starts."""
        self._path = path
        self._rows: list[dict[str, np.ndarray]] = []
        self._counts: list[tuple[int, float, dict[str, int]]] = []

    def keep(
        self, step: int, t: float, rows: dict[str, np.ndarray], counts: dict[str, int]
    ) -> None:
        """One sampling of a run without a file."""
        self._rows.append(rows)
        self._counts.append((step, t, counts))

    @property
    def table(self) -> EventTable:
        """The events of the last run: from its file where there is one (up to the last checkpoint),
        else kept here.
        """
        if self._path is not None:
            with Trajectory(self._path) as run:
                return run.events
        steps, times = (
            np.array([row[i] for row in self._counts], dtype)
            for i, dtype in ((0, np.int64), (1, np.float64))
        )
        found = [
            name for name, series in KINDS.items() if self._counts and series in self._counts[0][2]
        ]
        counts = {
            name: np.array([row[2][KINDS[name]] for row in self._counts], np.float64)
            for name in found
        }
        return EventTable(
            joined(self._rows),
            {name: SeriesData(steps, times, values) for name, values in counts.items()},
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "probe": None if self.probe is None else self.probe.tolist(), "schedule": schedules.to_dict(self.schedule),
            "degrees": self.degrees, "tracked": self.tracked, "limit": self.limit,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Events:
        return cls(**{**data, "schedule": schedules.from_dict(data["schedule"])})

    def __repr__(self) -> str:
        probe = "the first training inputs" if self.probe is None else f"{len(self.probe)} samples"
        return (
            f"Events({probe}, {self.schedule}, degrees={self.degrees:g}, "
            f"tracked={self.tracked}, limit={self.limit})"
        )


class Watch:
    """Events of one run: its probe, and the last sampling, which is all that a checkpoint has to
    keep.
    """

    def __init__(self, events: Events, flow: GradientFlow, state: State) -> None:
        self.events = events
        if flow.network is None:
            raise ValueError(
                "mf.Events watches the neurons of a network; a "
                f"{type(flow.functional).__name__} has none."
            )
        if flow.network.feature is not None:
            raise ValueError(
                f"mf.Events watches neurons a σ(⟨w, x⟩ + b); {flow.network.feature!r} has none. "
                "mf.Series records a number of yours along the run."
            )
        samples = flow.functional.arrays.get("x")
        if events.probe is None and samples is None:
            kind = type(flow.functional).__name__
            raise ValueError(
                f"a {kind} has no training inputs to probe: write mf.Events(probe=x) with "
                f"some inputs x (n, {state.dim})."
            )
        x = (
            samples[: patterns.WORD]
            if events.probe is None
            else check_inputs(events.probe, state.dim)
        )
        self._mortal = mortal(flow.network.sigma)
        self._sampler = patterns.Sampler(
            x,
            state.outputs,
            np.dtype(flow.dtype),
            events.tracked,
            events.degrees,
            events.limit,
            self._mortal,
        )
        self._counted = [kind for kind in KINDS if self._mortal or kind not in ("death", "revival")]
        self._last: patterns.Sampling | None = None

    def memory(self) -> dict[str, np.ndarray]:
        return {} if self._last is None else self._last._asdict()

    def restore(self, memory: dict[str, np.ndarray]) -> None:
        self._last = patterns.Sampling(**memory) if memory else None

    def sample(self, state: State) -> tuple[dict[str, np.ndarray], dict[str, int]]:
        """The rows of what has changed since the last sampling, and the count of each series."""
        now = self._sampler.sample(state.theta)
        found = self._sampler.differences(now if self._last is None else self._last, now)
        self._last = now
        totals = dict(zip(KINDS, found.totals, strict=True))
        counts = {KINDS[kind]: totals[kind] for kind in self._counted}
        if self._mortal:
            counts[DEAD] = found.silent
        when = {
            "step": np.full(len(found.kind), state.step, np.int64),
            "time": np.full(len(found.kind), state.t),
        }
        return {
            **when,
            "kind": found.kind,
            "neuron": found.neuron,
            "other": found.other,
            "value": found.value,
        }, counts


def mortal(sigma: Activation) -> bool:
    """Whether σ = σ' = 0 on z <= 0, so that a neuron inactive on all inputs is dead: relu, not
    leaky_relu or gelu.
    """
    return not sigma.smooth and all(
        sigma.value(z) == sigma.slope(z) == 0 for z in (0.0, -1e-3, -1.0, -1e3)
    )
