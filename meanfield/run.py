"""One run: its march, its observers and the loop over accepted steps. `simulation` is its public
door.
"""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from tqdm import tqdm

from .diagnostics import defects, needs
from .diagnostics.frame import Problem
from .files import genealogy, remaking
from .files.durable import array_sha256, canonical_json
from .flow import GradientFlow
from .observers import schedules, settings
from .observers.health import Health, callers, what_diverged
from .observers.moment import Moment, measures, recordable
from .observers.progress import (
    Progress,
    announce,
    say_how_it_ended,
    say_that_the_loop_compiles,
    say_what_compiles,
)
from .observers.protocol import Observer
from .observers.recorder import Recorder
from .observers.series import Series
from .processes.interruption import Interrupted, signals
from .processes.ranks import CHECKPOINT, INTERRUPT, current
from .resuming import checkpoints, identity
from .scaling import TIME_UNIT
from .state import State
from .stepping import clocks, methods
from .stepping.clocks import Diverged, Span
from .stepping.march import March
from .stepping.methods import Method
from .stepping.stretches import NOW, Ahead, Coming

# frames waiting in memory are published at this size, whatever the clock says
SEGMENT_BYTES = 64 * 2**20


class Run:
    """A march and its observers. Made before any file; `go` marches to the end. times: (dt, t_end,
    n_steps).
    """

    def __init__(
        self,
        flow: GradientFlow,
        state: State,
        method: Method,
        times: tuple[Any, float | None, int | None],
        observers: Sequence[Any] = (),
        progress: bool = False,
    ) -> None:
        self.flow, self.dt_asked, self.progress = flow, times[0], progress
        self.ranks = current()
        self.says = progress and self.ranks.rank == 0
        self.stopped = False  # by a signal to a process of the run
        self.observers = settings.check(observers)
        self._check_ranks(state, method, times)
        self.recorder = next((item for item in self.observers if isinstance(item, Recorder)), None)
        self.user_written = identity.user_written(flow) if self.recorder else []
        self.march = March(flow, state, method, *times)
        if self.says:
            self.march.before_compiling = lambda: say_that_the_loop_compiles(flow)
            if not self.march.field.compiled():
                say_what_compiles(flow, state)
        _check_velocity(self.march)

        data = self.recorder.data if self.recorder else None
        self.problem = Problem(
            flow,
            self.march.start,
            data,
            mass_varies=self.march.method.moves_masses,
            traits=self.march.method.traits,
        )
        path = self.recorder.path if self.recorder else None
        for item in self.observers:
            item.begin(self.march, self.problem, path)
        stops = any(item.name == "stop_on_nonfinite" for item in self.observers)
        self.health = Health(self.march, stops, quiet=self.ranks.rank > 0)
        self.measured: tuple[int, dict[str, float]] = -1, {}  # the last frame's step, and measures
        self.mended: list[str] = []  # of observers that raised: whoever goes on may hand in another
        self.looking_back = [item for item in self.observers if self._looks_back(item)]
        self._plan(self.march.span)

    @property
    def config(self) -> dict[str, Any]:
        """All settings, as they go into the file."""
        march, start = self.march, self.march.start
        law, seed = start.origin or (None, None)
        network, data = self.flow.network, self.problem.data
        sampled = "x" in self.flow.functional.arrays
        kept = {"name": "data", "origin": {}} if sampled else None
        return {
            "network": network.to_dict() if network else None,
            "flow": self.flow.to_dict(),
            "law": law.to_dict() if law else None,
            "seed": seed,
            "m": start.m,
            "dim": start.dim,
            "outputs": start.outputs,
            "integrator": methods.to_dict(march.method),
            "dt": self.dt_asked,
            "t_start": start.t,
            "step_start": start.step,
            "t_end": march.t_end,
            "time_unit": TIME_UNIT if network else "flow time t",
            "data": {"name": data.name, "origin": data.origin} if data else kept,
            "observers": settings.to_dict(self.observers),
        }

    def go(self, recording: Any = None, memory: dict[str, Any] | None = None) -> State:
        """March to the end. recording: a Recording, or what stands for it where several processes
        share the run; memory: that of a checkpoint to go on from.
        """
        with ExitStack() as closing:
            for item in self.observers:
                closing.callback(item.close)
            self.recording = recording
            to_see = self._start(memory)
            return self._go(to_see)

    def _go(self, to_see: list[Observer]) -> State:
        march, recording = self.march, self.recording
        stops = np.array(sorted(self._times()))
        watched = Progress(march, self.says, self.health.warn, values=self.ranks.size == 1)
        with signals() as received, watched.watching():
            try:
                self._look(to_see)
                while not (self._stop(received) or march.done):
                    march.advance(stops, *self._ahead())
                    self._log_births()
                    self._pass()
                    for then in march.seen:
                        self._look([item for item in self.looking_back if item.due(then)], then)
                    self.health.look()
                    self._look([item for item in self.observers if item.due(march)])
                    watched.step()
                    self._collect(received)
                    if self.ranks.agree(CHECKPOINT, self._checkpoint_due()):
                        recording.checkpoint(self._memory())
            except Diverged as error:
                self._collect(received, last=True, checkpoints=False)
                if self._stop(received):  # what is left is done again from the last checkpoint
                    self._interrupt(checkpoint=False)
                raise self._divergence(error) from None
            self._collect(received, last=True)
            if self._stop(received):
                self._interrupt()
        return self._conclude()

    def _stop(self, received: Sequence[int]) -> bool:
        """Whether a signal came, to whichever process: all stop at the same step."""
        self.stopped = self.stopped or self.ranks.agree(INTERRUPT, bool(received))
        return self.stopped

    def _check_ranks(self, state: State, method: Method, times: tuple[Any, ...]) -> None:
        """Raise for what several processes cannot share, and where they were not given the same."""
        if self.ranks.size == 1:
            return
        alone = [item for item in self.observers if item.later and not item.own]
        if alone:
            raise ValueError(
                f"{self.ranks.size} processes share this run, and the observer {alone[0].name!r} has values that "
                "come later (later = True), not the same on all of them: leave it out, or use one process."
            )
        arrays = [*self.flow.functional.arrays.values(), state.theta, state.mass]
        *data, theta, mass = map(array_sha256, arrays)
        told = {
            "flow or data set": [self.flow.to_dict(), data],
            "start": [theta, mass, state.step, state.t],
            "method, dt or end": [methods.to_dict(method), times],
            "list of observers": settings.to_dict(self.observers),
            "name of the run's file": [
                r.path.name for r in self.observers if isinstance(r, Recorder)
            ],
        }
        self.ranks.compare({name: canonical_json(item).encode() for name, item in told.items()})

    def _looks_back(self, item: Observer) -> bool:
        """Whether the march may pass over its moments: where frames are recorded, which are what a
        look costs. They have values that a series of every k-th step lacks, between those that the
        march gives to it all at once.
        """
        series = [other for other in self.observers if isinstance(other, Series) and other.traced]
        gaps = any(other.schedule.k > 1 for other in series)
        back = item.looks_back and item.scheduled and item not in series
        return back and self.recorder is not None and not gaps

    def _ahead(self) -> tuple[Ahead, Coming | None]:
        """The next moment at which anything looks, and those that are looked at afterwards; at every
        step, where checkpoints are asked for that often.
        """
        often = self.recorder is not None and self.recorder.checkpoint_seconds < 1.0
        if often or not self.march.stretches:
            return NOW, None
        back = self.looking_back
        ahead = Ahead.first(item.ahead(self.march) for item in self.observers if item not in back)
        return ahead, self._coming if back else None

    def _coming(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Steps and times of the next moments that are looked at afterwards, at least `count` of them."""
        found = [item.coming(self.march, count) for item in self.looking_back]
        steps, times = (np.unique(np.concatenate(each)) for each in zip(*found, strict=True))
        return steps, times

    def _start(self, memory: dict[str, Any] | None) -> list[Observer]:
        """Take up the memory of a checkpoint; returns the observers that have this moment still to
        see.
        """
        t_end = self.recording.config["t_end"] if self.recording else self.march.t_end
        # a longer run was asked for: first to the end of this one
        if memory is None and t_end != self.march.t_end:
            self.march.clock = clocks.make(
                self.march, self.march.method, self.dt_asked, t_end, None
            )
            self._plan(self.march.span)
        to_see = self._restore(memory, t_end) if memory is not None else None
        if self.says:
            announce(self.march)
        if to_see is None:
            self.health.at_start()
            to_see = [item for item in self.observers if item.due(self.march)]
        return to_see

    def _plan(self, span: Span) -> None:
        self.span = span
        for item in self.observers:
            item.plan(span)

    def _log_births(self) -> None:
        """Who is a copy of whom since the last step, into the file."""
        march = self.march
        if march.source is not None and self.recording is not None:
            self.recording.log(genealogy.rows(march.source, march.step, march.t, march.born))

    def _look(self, observers: list[Observer], march: Any = None) -> None:
        """Let these observers look at this moment, or at one that the march has passed over; their
        values go into the file.
        """
        if not observers:
            return
        march, recording = march or self.march, self.recording
        moment = Moment(march, self.problem, recording)
        for number, item in enumerate(observers):
            if isinstance(item, Recorder) and recording is None:
                continue
            try:
                values = _checked(item, item.observe(moment))
            except Exception as error:
                known = isinstance(error, Diverged) or march is not self.march
                if not known and (isinstance(item, Series) or not item.own):
                    self._say_which_raised(item, error, observers[number:])
                raise
            if item is self.recorder:
                self.measured = march.step, values
            if recording is not None:
                recording.observe_moment(march.step, march.t, values)

    def _pass(self) -> None:
        """Take the values of the steps that the march has just passed over."""
        if (over := self.march.passed) is None:
            return
        for item in self.observers:
            if isinstance(item, Series):
                steps, times, values = item.passed(over)
                if steps and self.recording is not None:
                    self.recording.observe_all(item.name, steps, times, values)

    def _collect(
        self, received: Sequence[int], last: bool = False, checkpoints: bool = True
    ) -> None:
        """Take the values that come later than their moments; last: wait for all of them."""
        for item in self.observers:
            if not item.later:
                continue
            if last and item.waiting and self.says:
                text = (
                    f"meanfield: waiting for the {type(item).__name__} of {item.waiting} snapshots"
                )
                tqdm.write(text, file=sys.stderr)
            for values in item.collect(received, last):
                if self.recording is not None:
                    for value in values:
                        self.recording.observe(*value)
                    # several processes ask each other at every step
                    if checkpoints and self.ranks.size == 1 and self._checkpoint_due():
                        self.recording.checkpoint(self._memory())
                if self.ranks.size > 1 and self._stop(received):
                    break

    def _memory(self, to_see: Iterable[Observer] = ()) -> dict[str, Any]:
        """All that the loop needs to go on. to_see: the observers that have not seen this moment."""
        observers = {
            settings.key(item): {"position": item.position, "memory": item.memory()}
            for item in self.observers
        }
        return {
            "version": checkpoints.VERSION,
            "march": self.march.memory(),
            "observers": observers,
            "span": list(self.span),
            "mended": list(self.mended),
            "observe": [settings.key(item) for item in to_see],
        }

    def _restore(self, memory: dict[str, Any], t_end: float) -> list[Observer]:
        memory = checkpoints.current(memory)
        march, kept = self.march, memory["observers"]
        by_key = {settings.key(item): item for item in self.observers}
        if missing := [name for name in by_key if name not in kept and name != "stop_on_nonfinite"]:
            raise ValueError(f"the checkpoint holds nothing of the observer {missing[0]!r}.")
        if unknown := [name for name in kept if name not in by_key]:
            raise ValueError(
                f"the checkpoint is of a run with an observer {unknown[0]!r}, which is not here."
            )

        self._check_start(memory["march"]["energy_start"])
        march.restore(memory["march"])
        self.mended = list(memory["mended"])
        self._plan(Span(*memory["span"]))
        for name, item in kept.items():
            by_key[name].restore(item["memory"])
            by_key[name].position = item["position"]
        to_see = [by_key[name] for name in memory["observe"]]

        # an extension: schedules cover the new part, whose first moment is there already
        if t_end > march.t_end:
            march.extend(t_end)
            self._plan(Span(march.step, march.t, t_end, march.dt))
            for item in self.observers:
                if item not in to_see:
                    item.due(march)
        return [item for item in to_see if item.due(march)]

    def _check_start(self, kept: float | None) -> None:
        """Raise where F of the start is not what it was: formulas go by their names alone, and
        others may have these names.
        """
        found, tolerance = self.march.energy_start, 1e-6 if self.flow.dtype == "float64" else 1e-3
        if kept is None or not math.isfinite(kept):
            return
        if not math.isclose(found, kept, rel_tol=tolerance, abs_tol=1e-6 * tolerance):
            raise ValueError(
                f"flow= is not the flow of this run: it gives F = {found:.9g} at the "
                f"start, which had F = {kept:.9g}. "
                "Its functions have the same names, but are others."
            )

    def _say_which_raised(self, item: Observer, error: Exception, to_see: list[Observer]) -> None:
        """Publish a checkpoint from which `to_see` look at this moment once more; the error says
        who it was, and how to go on.
        """
        march, recording = self.march, self.recording
        who = "series" if isinstance(item, Series) else "observer"
        where = f"The {who} {item.name!r} raised this at step {march.step}, t = {march.t:g}."
        if recording is None:
            error.add_note(
                f"{where} Nothing was recorded: with an mf.Recorder the run could go on from here."
            )
            return
        if not self.ranks.all_here(f"raised/{item.name}/{march.step}"):
            error.add_note(
                f"{where} Only process {self.ranks.rank} did, so no checkpoint of this step is published; the "
                f"run goes on from its last one with mf.resume({str(recording.path)!r}{self.needed})."
            )
            return
        built_in = isinstance(item, Series) and item.function is None
        if not built_in and item.name not in self.mended:
            self.mended.append(item.name)
        for other in to_see:
            other.rewind()
        try:
            recording.checkpoint(self._memory(to_see))
        except (
            Exception
        ) as failed:  # a full disk, or a lease that was lost: the user's error comes first
            error.add_note(f"{where} No checkpoint could be published: {failed}.")
            return
        error.add_note(
            f"{where} A checkpoint of this step is published: mend the function and go on with "
            f"mf.resume({str(recording.path)!r}{self.needed})."
        )

    def _checkpoint_due(self) -> bool:
        if self.recorder is None or self.recording is None:
            return False
        waited = time.monotonic() - self.recording.last_checkpoint_time
        return (
            self.recording.pending_bytes > SEGMENT_BYTES
            or waited > self.recorder.checkpoint_seconds
        )

    def _divergence(self, error: Diverged) -> Diverged:
        """Publish what was recorded before it; returns the error that names the last good frame."""
        last = self.recorder.last if self.recorder else None
        good = (
            f"The last good frame is step {last[0]}, t = {last[1]:g}."
            if last
            else "No frame was recorded."
        )
        message = f"the run diverged: {error} {good}"
        if self.recording is not None:
            march = self.march
            summary = {"steps": march.step - march.start.step, "t": march.t, "message": message}
            self._finish(summary, "diverged")
        return Diverged(message)

    def _interrupt(self, checkpoint: bool = True) -> None:
        march, recording = self.march, self.recording
        where = f"interrupted at step {march.step}, t = {march.t:g}"
        if recording is None:
            raise Interrupted(
                f"{where}. Nothing was recorded; the exception's .state goes on with mf.simulate.",
                march.state(),
            )
        if checkpoint:
            recording.checkpoint(self._memory())
        raise Interrupted(
            f"{where}. Continue with mf.resume({str(recording.path)!r}{self.needed})", march.state()
        )

    def _conclude(self) -> State:
        """The end of the march: what is to be said of it, and the file."""
        march, recording = self.march, self.recording
        end = march.state()
        finding = self.health.at_end()
        # made by all processes together, and not each may be asked for its progress
        wanted = recording is not None or self.progress or self.ranks.size > 1
        summary = self.summary(finding) if wanted else {}
        if recording is not None:
            sound = np.isfinite(end.theta).all()
            diverged = {} if sound else {"message": what_diverged(march)}
            self._finish({**summary, **diverged}, "diverged" if diverged else "finished")
        if self.says:
            say_how_it_ended(self.march, summary, finding)
        return end

    def _finish(self, summary: dict[str, Any], status: str) -> None:
        self.recording.finish(self._memory(), summary, status)
        if self.recorder is not None:
            self.recorder.summary = summary

    def summary(self, finding: defects.Finding | None) -> dict[str, Any]:
        """The last value of every measure, what happened on the way, and what a large energy_defect
        means.
        """
        march, moment = self.march, Moment(self.march, self.problem)
        step, seen = self.measured
        seen = seen if step == march.step else {}
        values = {
            name: seen[name] if name in seen else moment.measure(name)
            for name in measures(march, self.problem)
        }
        known: dict[str, Any] = {"steps": march.step - march.start.step, "t": march.t, **values}
        known |= {"dt": march.dt, "halvings": march.halvings}
        known["defect"] = finding.kind if finding is not None else "none"
        if known["defect"] == "sliding" and not needs.reason(
            recordable("sliding_neurons"), self.problem
        ):
            known["sliding_neurons"] = moment.measure("sliding_neurons")
        return known

    @property
    def needed(self) -> str:
        """What mf.resume has to be given of this run besides its path: what no file can hold."""
        return remaking.needed(settings.to_dict(self.observers), bool(self.user_written))

    def check_times(self) -> None:
        """Say which times of mf.at_times the run does not reach; ValueError where it reaches none
        of a schedule.
        """
        first, last = self.march.start.t, self.march.t_end
        for item in self.observers:
            if not isinstance(item.schedule, schedules.at_times):
                continue
            times = item.schedule.times
            missed = [t for t in times if not first <= t <= last * (1 + 1e-9)]
            if not missed:
                continue
            shown = ", ".join(f"{t:g}" for t in missed[:3]) + ", …" * (len(missed) > 3)
            what = (
                f"mf.at_times has {shown}, but the run goes from t = {first:g} to t_end = {last:g}"
            )
            whole = all(t == int(t) for t in missed)
            steps = " If steps were meant, write mf.at_steps." if whole else ""
            advice = f"Times are flow times, in the unit of t_end.{steps}"
            if len(missed) == len(times):
                raise ValueError(f"{what}: nothing would be seen. {advice}")
            clocks_say = f"{what}: those moments are seen only if it is extended. {advice}"
            warnings.warn(clocks_say, RuntimeWarning, stacklevel=callers())

    def _times(self) -> set[float]:
        """Of mf.at_times: step control lands on them."""
        found = [item.schedule for item in self.observers]
        return {t for item in found if isinstance(item, schedules.at_times) for t in item.times}


def _checked(item: Observer, values: Any) -> dict[str, float]:
    """What an observer returned, as numbers by its own series."""
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise TypeError(
            f"observe(moment) of the observer {item.name!r} must return a dictionary, series -> number, "
            f"or None; got {type(values).__name__}."
        )
    found = {}
    for name, value in values.items():
        if name not in item.series:
            raise ValueError(
                f"the observer {item.name!r} returned a value of {name!r}, which is not in its .series "
                f"{tuple(item.series)}."
            )
        if type(value) is float:
            found[name] = value
            continue
        if np.size(value) != 1 or np.asarray(value).dtype.kind not in "fiub":
            raise TypeError(
                f"the observer {item.name!r} must return a number for {name!r}; got {value!r:.60}."
            )
        found[name] = float(np.asarray(value).reshape(()))
    return found


def _check_velocity(march: March) -> None:
    """Raise where particles of an energy start on a singularity."""
    if march.flow.network is not None:
        return
    speed2 = march.field.mean_square(march.velocity, march.particles)
    if not math.isfinite(float(speed2)):
        raise ValueError(
            "the velocity at the start is not finite. An interaction that is singular at "
            "x = y needs self_pairs=False, and "
            "particles that do not coincide."
        )
