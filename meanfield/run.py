"""One run: its march, its observers and the loop over accepted steps. `simulation` is its public door."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
import warnings
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from .backends.compiler import fingerprint
from .diagnostics import defects, needs
from .diagnostics.frame import Problem
from .files.recording import Recording
from .flow import GradientFlow
from .formulas import activations, losses
from .functionals import protocol
from .observers import schedules
from .observers.distances import W2, WAITING, Beside
from .observers.events import Events, Watch
from .observers.progress import Progress, say, unscaled
from .observers.recorder import ALONG, Moment, Recorder, Series, measures, recordable
from .observers.saturation import saturation
from .observers.schedules import Due, Span
from .processes.interruption import Interrupted, signals
from .state import State
from .stepping import runge_kutta
from .stepping.march import Diverged, March
from .stepping.runge_kutta import Adaptive, RungeKutta

TIME_UNIT = (
    "flow time t: one Euler step dt is gradient descent with rate dt*m/s^2, s = alpha*m^(1-gamma)"
)
SEGMENT_BYTES = (
    64 * 2**20
)  # frames waiting in memory are published at this size, whatever the clock says


class Run:
    """A march and its observers. Made before any file; `go` marches to the end."""

    def __init__(
        self, flow: GradientFlow, state: State, integrator: RungeKutta | Adaptive, dt: Any, t_end: float | None,
        n_steps: int | None, recorder: Recorder | None, series: list[Series], events: Events | None, w2: W2 | None, stop: bool,
        progress: bool,
    ) -> None:  # fmt: skip
        self.flow, self.integrator, self.dt_asked = flow, integrator, dt
        self.recorder, self.series, self.stop, self.progress = recorder, series, stop, progress
        self.user_written = user_written(flow) if recorder else []
        if progress and not flow.on_device(state).compiled():
            name = flow.network.sigma.name if flow.network else type(flow.functional).__name__
            say(
                f"compiling the kernels for {name}, d = {state.dim}, {flow.dtype}: once, then they come from the cache on disk"
            )
        self.march = March(flow, state, integrator, dt, t_end, n_steps, watches_size=stop)
        if flow.network is None and not math.isfinite(
            float(self.march.field.speed2(self.march.velocity))
        ):
            raise ValueError(
                "the velocity at the start is not finite. An interaction that is singular at x = y needs self_pairs=False, and "
                "particles that do not coincide."
            )
        self.names = measures(self.march)
        self.problem = Problem(flow, self.march.start, recorder.data if recorder else None)
        for item in series:
            if (
                item.function is None
                and item.name == "energy_defect_motion"
                and self.march.motion is None
            ):
                raise ValueError(
                    f"series {item.name!r} cannot be recorded in this run: no kink here along which neurons could slide. "
                    "Record energy_defect."
                )
            if (
                item.function is None
                and item.name not in ALONG
                and (why := needs.reason(recordable(item.name), self.problem))
            ):
                raise ValueError(f"series {item.name!r} cannot be recorded in this run: {why}.")
        self.watch = (
            Watch(events, flow, state, recorder.path if recorder else None) if events else None
        )
        self.beside = Beside(w2, self.march.start) if w2 else None
        self.last_frame: tuple[int, float] | None = None
        self._warned: set[str] = set()
        self.mended: list[
            str
        ] = []  # series whose function raised: whoever goes on may hand in another
        self._plan(self.march.span, {})
        if self.beside is not None:
            self.beside.announce(self.w2_due.count(getattr(self.march, "leg_count", None)))

    @property
    def config(self) -> dict[str, Any]:
        """All settings, as they go into the file."""
        march, recorder = self.march, self.recorder
        start = march.start
        law, seed = start.origin or (None, None)
        network, data = self.flow.network, recorder.data if recorder else None
        sampled = "x" in self.flow.functional.arrays
        return {
            "network": network.to_dict() if network else None,
            "flow": self.flow.to_dict(),
            "law": law.to_dict() if law else None,
            "seed": seed,
            "m": start.m,
            "dim": start.dim,
            "outputs": start.outputs,
            "integrator": runge_kutta.to_dict(self.integrator),
            "dt": self.dt_asked,
            "t_start": start.t,
            "step_start": start.step,
            "t_end": march.t_end,
            "time_unit": TIME_UNIT if network else "flow time t",
            "data": {"name": data.name, "origin": data.origin}
            if data
            else {"name": "data", "origin": {}}
            if sampled
            else None,
            "observers": {
                "recorder": schedules.to_dict(recorder.schedule) if recorder else None,
                "series": [
                    {
                        "name": item.name,
                        "schedule": schedules.to_dict(item.schedule),
                        "user": item.function is not None,
                    }
                    for item in self.series
                ],
                "stop_on_nonfinite": self.stop,
                **({"events": self.watch.events.to_dict()} if self.watch else {}),
                **({"w2": self.beside.w2.to_dict()} if self.beside else {}),
            },
        }

    def check_times(self) -> None:
        """Say which times of mf.at_times the run does not reach; ValueError where it reaches none of a schedule."""
        first, last = self.march.start.t, self.march.t_end
        for schedule in self._schedules():
            if not isinstance(schedule, schedules.at_times):
                continue
            missed = [t for t in schedule.times if not first <= t <= last * (1 + 1e-9)]
            if not missed:
                continue
            shown = ", ".join(f"{t:g}" for t in missed[:3]) + ", …" * (len(missed) > 3)
            what = (
                f"mf.at_times has {shown}, but the run goes from t = {first:g} to t_end = {last:g}"
            )
            steps = (
                " If steps were meant, write mf.at_steps."
                if all(t == int(t) for t in missed)
                else ""
            )
            advice = f"Times are flow times, in the unit of t_end.{steps}"
            if len(missed) == len(schedule.times):
                raise ValueError(f"{what}: nothing would be seen. {advice}")
            warnings.warn(
                f"{what}: those moments are seen only if it is extended. {advice}",
                RuntimeWarning,
                stacklevel=4,
            )

    def go(self, recording: Recording | None, memory: dict[str, Any] | None) -> State:
        """March to the end. memory: that of a checkpoint to go on from."""
        with closing(self.beside) if self.beside else nullcontext():
            return self._go(recording, memory)

    def _go(self, recording: Recording | None, memory: dict[str, Any] | None) -> State:
        march = self.march
        if memory is not None:
            self._restore(memory)
        self._announce()
        if memory is None and (said := saturation(self.flow, march.start)):
            self._warn("saturated", said)
        stops = np.array(
            sorted(
                {t for s in self._schedules() if isinstance(s, schedules.at_times) for t in s.times}
            )
        )
        watched = Progress(march, self.progress, self._warn)
        with signals() as received, watched.watching():
            if memory is None or memory.get("observe"):
                self._observe(recording)
            while not (received or march.done):
                try:
                    march.advance(stops)
                    self._check()
                except Diverged as error:
                    self._collect(recording, received, 0, checkpoints=False)
                    if received:  # what is left is done again from the last checkpoint
                        self._interrupt(recording, checkpoint=False)
                    raise self._divergence(recording, error) from None
                watched.step()
                self._observe(recording)
                self._collect(recording, received, WAITING)
                if recording is not None and self._checkpoint_due(recording):
                    recording.checkpoint(self._memory())
            self._collect(recording, received, 0)
            if received:
                self._interrupt(recording)
        end = march.state()
        finding = self._check_flow()
        summary = self.summary(finding) if recording is not None or self.progress else {}
        if recording is not None:
            diverged = {} if np.isfinite(end.theta).all() else {"message": self._what_diverged()}
            recording.finish(
                self._memory(),
                {**summary, **diverged},
                status="diverged" if diverged else "finished",
            )
        self._conclude(summary, finding)
        return end

    def summary(self, finding: defects.Finding | None) -> dict[str, Any]:
        """The last value of every measure, what happened on the way, and what a large energy_defect means."""
        moment = Moment(self.march, self.problem)
        march, values = self.march, {name: moment.measure(name) for name in self.names}
        known = {
            "steps": march.step - march.start.step,
            "t": march.t,
            **values,
            "dt": march.dt,
            "halvings": march.halvings,
        }
        known["defect"] = finding.kind if finding is not None else "none"
        if known["defect"] == "sliding" and not needs.reason(
            recordable("sliding_neurons"), self.problem
        ):
            known["sliding_neurons"] = moment.measure("sliding_neurons")
        return known

    def _schedules(self) -> list[Any]:
        watched = [self.watch.events.schedule] if self.watch else []
        watched += [self.beside.w2.schedule] if self.beside else []
        return [
            *([self.recorder.schedule] if self.recorder else []),
            *(item.schedule for item in self.series),
            *watched,
        ]

    def _plan(self, span: Span, positions: dict[str, int]) -> None:
        self.span = span
        self.frames_due = self.recorder.schedule.resolve(span) if self.recorder else Due()
        self.series_due = {item.name: item.schedule.resolve(span) for item in self.series}
        self.events_due = self.watch.events.schedule.resolve(span) if self.watch else Due()
        self.w2_due = self.beside.w2.schedule.resolve(span) if self.beside else Due()
        for name, due in (
            ("", self.frames_due), ("/events", self.events_due), ("/w2", self.w2_due), *self.series_due.items()
        ):  # fmt: skip
            due.position = positions.get(name, 0)

    def _memory(self, observed: bool = True) -> dict[str, Any]:
        """All that the loop needs to go on. observed: whether the observers have seen this moment."""
        positions = {
            "": self.frames_due.position,
            **{name: due.position for name, due in self.series_due.items()},
        }
        last = list(self.last_frame) if self.last_frame else []
        memory: dict[str, Any] = {
            "march": self.march.memory(),
            "positions": positions,
            "last_frame": last,
        }
        memory["span"] = list(self.span)
        if self.mended:
            memory["mended"] = self.mended
        if not observed:
            memory["observe"] = True
        if self.watch is not None:
            positions["/events"] = self.events_due.position
            memory["events"] = self.watch.memory()
        if self.beside is not None:
            positions["/w2"] = self.w2_due.position
            memory["w2"] = self.beside.memory()
        return memory

    def _restore(self, memory: dict[str, Any]) -> None:
        march, t_end = self.march, self.march.t_end
        self._check_start(memory["march"]["energy_start"])
        march.restore(memory["march"])
        self.names = measures(march)
        self.last_frame = tuple(memory["last_frame"]) or None
        self.mended = list(memory.get("mended", ()))
        if self.watch is not None:
            self.watch.restore(memory["events"])
        if self.beside is not None:
            self.beside.restore(memory["w2"])
        self._plan(Span(*memory["span"]), memory["positions"])
        if (
            t_end > march.t_end
        ):  # an extension: schedules cover the new part, whose first moment is there already
            march.extend(t_end)
            self._plan(Span(march.step, march.t, t_end, march.dt), {})
            if not memory.get("observe"):
                for due in (
                    self.frames_due,
                    self.events_due,
                    self.w2_due,
                    *self.series_due.values(),
                ):
                    due(march.step, march.t, march.dt)

    def _check_start(self, kept: float) -> None:
        """Raise where F of the start is not what it was: formulas go by their names alone, and others may have these names."""
        found, tolerance = self.march.energy_start, 1e-6 if self.flow.dtype == "float64" else 1e-3
        if math.isfinite(kept) and not math.isclose(
            found, kept, rel_tol=tolerance, abs_tol=1e-6 * tolerance
        ):
            raise ValueError(
                f"flow= is not the flow of this run: it gives F = {found:.9g} at the start, which had F = {kept:.9g}. "
                "Its functions have the same names, but are others."
            )

    def _observe(self, recording: Recording | None) -> None:
        """Let every observer that is due look at this moment; the Recorder, Events and W2 also at the start and the end."""
        march = self.march
        clock = march.step, march.t, march.dt
        edge = march.done or march.step == march.start.step
        frame = self.frames_due(*clock) or edge
        watch = self.watch if self.events_due(*clock) or edge else None
        beside = self.beside if self.w2_due(*clock) or edge else None
        due = [item for item in self.series if self.series_due[item.name](*clock)]
        if not due and watch is None and beside is None and not (frame and recording):
            return
        moment = Moment(march, self.problem)
        values: dict[str, float] = {}
        for item in due:
            try:
                values[item.name] = item.observe(moment)
            except Exception as error:
                self._say_which_raised(item, error, recording)
                raise
        if beside is not None:
            beside.add(moment.state)
        if watch is not None and math.isfinite(march.dissipated):
            rows, counts = watch.sample(moment.state)
            if recording is None:
                watch.events.keep(march.step, march.t, rows, counts)
            else:
                recording.log(rows)
                values |= counts
        if recording is None:
            return
        if frame:
            recording.frame(moment.state)
            self.last_frame = march.step, march.t
            values |= {name: moment.measure(name) for name in self.names if name not in values}
        for name, value in values.items():
            recording.observe(name, march.step, march.t, value)

    def _say_which_raised(
        self, item: Series, error: Exception, recording: Recording | None
    ) -> None:
        """Publish a checkpoint that looks at this moment once more; the error says which series it was, and how to go on."""
        march = self.march
        where = f"The series {item.name!r} raised this at step {march.step}, t = {march.t:g}."
        if recording is None:
            error.add_note(
                f"{where} Nothing was recorded: with an mf.Recorder the run could go on from here."
            )
            return
        if item.function is not None and item.name not in self.mended:
            self.mended.append(item.name)
        for due in (self.frames_due, self.events_due, self.w2_due, *self.series_due.values()):
            due.position = due.before
        try:
            recording.checkpoint(self._memory(observed=False))
        except (
            Exception
        ) as failed:  # a full disk, or a lease that was lost: the user's error comes first
            error.add_note(f"{where} No checkpoint could be published: {failed}.")
            return
        error.add_note(f"{where} A checkpoint of this step is published: mend the function and go on with "
                       f"mf.resume({str(recording.path)!r}{self.needed}).")  # fmt: skip

    def _collect(
        self, recording: Recording | None, received: list[int], most: int, checkpoints: bool = True
    ) -> None:
        """Take the distances that mf.W2's processes have found; wait while more than `most` snapshots have none."""
        beside = self.beside
        if beside is None:
            return
        if not most and beside.waiting and self.progress:
            tqdm.write(
                f"meanfield: waiting for the W2 of {beside.waiting} snapshots", file=sys.stderr
            )
        while beside.waiting and not received:
            rows = beside.take(0.2 if beside.waiting > most else 0.0)
            if rows is None and beside.waiting <= most:
                return
            if recording is None:
                continue
            for row in rows or ():
                recording.observe(*row)
            if checkpoints and self._checkpoint_due(recording):
                recording.checkpoint(self._memory())

    def _check(self) -> None:
        """Say it when θ leaves the numbers, or when nothing moves any more."""
        march = self.march
        sound = math.isfinite(march.dissipated) and (not self.stop or math.isfinite(march.size2))
        if not sound and self.stop:
            raise Diverged(self._what_diverged())
        if not sound:
            self._warn(
                "diverged",
                f"the run diverged: {self._what_diverged()} Add mf.StopOnNonFinite() to stop there.",
            )
        elif (
            march.still
            and self.flow.network is not None
            and self.flow.network.trainable
            and "still" not in self._warned
        ):
            if (risk := march.field.value(march.theta)) > 0:
                self._warn(
                    "still",
                    f"no particle moves any more (step {march.step}, t = {march.t:g}, risk {risk:.3g}): all units are dead, or "
                    "this is a critical point. "
                    + (
                        unscaled(self.flow)
                        or "Try a smaller dt, another seed, or biases (b_std > 0)."
                    ),
                )

    def _warn(self, kind: str, message: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            warnings.warn(message, RuntimeWarning, stacklevel=_callers())

    def _what_diverged(self) -> str:
        march = self.march
        bad = np.flatnonzero(~np.isfinite(march.field.backend.download(march.theta)).all(axis=1))
        which = (
            f"particle {bad[0]} (of {bad.size} in {march.start.m})" if bad.size else "the velocity"
        )
        return f"{which} is not finite at step {march.step}, t = {march.t:g}. {self._shorter()}"

    def _check_flow(self) -> defects.Finding | None:
        """Say it when the run was not the flow: F has risen, beyond the rounding of one that has nowhere to fall, or has lost
        another energy than was dissipated."""
        march = self.march
        first, last = march.energy_start, march.energy
        size = abs(first) + abs(last)
        finding = defects.at_end(march)
        if last - first > 1e-3 * size and march.dissipated > 1e-12 * size:
            self._warn(
                "rose",
                f"F rose from {first:.3g} to {last:.3g}, so the steps were too long. {self._shorter()}",
            )
        elif finding is not None and finding.kind != "sliding":
            self._warn("defect", finding.text)
        return finding

    def _shorter(self) -> str:
        method = "adaptive" if isinstance(self.integrator, Adaptive) else self.integrator.name
        return defects.shorter_steps(method, self.dt_asked, self.flow.network is not None)

    def _checkpoint_due(self, recording: Recording) -> bool:
        assert self.recorder is not None
        return (
            recording.pending_bytes > SEGMENT_BYTES
            or time.monotonic() - recording.last_checkpoint_time > self.recorder.checkpoint_seconds
        )

    def _divergence(self, recording: Recording | None, error: Diverged) -> Diverged:
        """Publish what was recorded before it; returns the error that names the last good frame."""
        last = self.last_frame
        good = (
            f"The last good frame is step {last[0]}, t = {last[1]:g}."
            if last
            else "No frame was recorded."
        )
        message = f"the run diverged: {error} {good}"
        if recording is not None:
            march = self.march
            summary = {"steps": march.step - march.start.step, "t": march.t, "message": message}
            recording.finish(self._memory(), summary, status="diverged")
        return Diverged(message)

    def _interrupt(self, recording: Recording | None, checkpoint: bool = True) -> None:
        march = self.march
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

    @property
    def needed(self) -> str:
        """What mf.resume has to be given of this run besides its path: what no file can hold."""
        functions = ", ".join(
            f"{item.name!r}: …" for item in self.series if item.function is not None
        )
        return ", flow=…" * bool(self.user_written) + f", functions={{{functions}}}" * bool(
            functions
        )

    def _announce(self) -> None:
        if self.progress:
            march = self.march
            law = march.start.origin[0].describe() if march.start.origin else "initial state given"
            network, m = self.flow.network, march.start.m
            say(
                network.scaling.describe(m, march.dt)
                if network
                else f"{self.flow.functional}, m = {m}, dt = {march.dt:g}"
            )
            say(
                f"{law}; flow time t = {march.t:g} … {march.t_end:g}; {self.flow.backend}, {self.flow.dtype}"
            )

    def _conclude(self, summary: dict[str, Any], finding: defects.Finding | None) -> None:
        if self.progress:
            shown = (
                "risk" if self.flow.network else "energy",
                "energy_defect",
                "balance_defect",
                "displacement",
                "path",
            )
            values = ", ".join(f"{name} {summary[name]:.3g}" for name in shown if name in summary)
            halved = (
                f", dt halved {len(self.march.halvings)} times to {self.march.dt:.3g}"
                if self.march.halvings
                else ""
            )
            say(f"t = {self.march.t:g} after {summary['steps']} steps: {values}{halved}")
            if finding is not None and finding.kind == "sliding":
                share = (
                    f" At the end {summary['sliding_neurons']:.0%} slide."
                    if "sliding_neurons" in summary
                    else ""
                )
                say(f"{finding.text}{share}")


def user_written(flow: GradientFlow) -> list[str]:
    """The formulas of a flow that no file can hold; ValueError for one that goes by the name of another, a built-in."""
    functional: Any = flow.functional
    kind = type(functional).__name__
    names = [] if kind in protocol.OWN else [kind]
    formulas: list[Any] = [(flow.network.sigma, activations.get)] if flow.network else []
    formulas += [(functional.loss, losses.get)] if hasattr(functional, "loss") else []
    for given, get in formulas:
        try:
            known = get(given.name)
        except ValueError:
            names.append(given.name)
            continue
        if any(
            fingerprint(getattr(given, part)) != fingerprint(getattr(known, part))
            for part in ("value", "slope")
        ):
            raise ValueError(
                f"{given.name!r} is a built-in, and this is another formula: give it a name of its own."
            )
    return names


def _callers() -> int:
    """The stacklevel of warnings.warn, for its caller's caller, that names the first line outside this package."""
    level, frame = 1, sys._getframe(2)
    own = (
        f"{Path(__file__).parent}{os.sep}",
        contextlib.__file__,
    )  # a wrapper in sims counts as a user's line
    while frame.f_back is not None and frame.f_code.co_filename.startswith(own):
        level, frame = level + 1, frame.f_back
    return level + 1
