"""simulate: march a flow from a state, watch it, and lose nothing on the way; resume: go on from the file alone."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .checks import is_integer, is_number
from .diagnostics import registry
from .files.durable import array_sha256, canonical_json
from .files.provenance import provenance
from .files.recording import Recording, last_memory, unfinished
from .files.trajectory import Trajectory
from .flow import GradientFlow
from .observers import schedules
from .observers.distances import W2
from .observers.events import COUNTS, Events
from .observers.progress import say
from .observers.recorder import MEASURES, Recorder, Series, StopOnNonFinite, series_of_clock
from .processes.interruption import Interrupted
from .resuming import identity
from .resuming.settings import settings_that_differ
from .run import Run
from .state import State
from .stepping import runge_kutta
from .stepping.march import Diverged
from .stepping.runge_kutta import Adaptive, RungeKutta

__all__ = ["Diverged", "Interrupted", "resume", "simulate"]


def simulate(
    flow: GradientFlow,
    state: State,
    integrator: RungeKutta | Adaptive,
    dt: float | str | None = None,
    t_end: float | None = None,
    n_steps: int | None = None,
    observers: Sequence[Any] = (),
    progress: bool = True,
) -> State:
    """March `flow` from `state` to the flow time t_end (absolute), or by n_steps; returns the last State.

    dt: a number: n_steps = ⌈(t_end - t)/dt - 1e-9⌉ steps of equal length, the last ends at t_end exactly. "auto":
    0.1·c/(L·λ_max) with λ_max that of H_0/n (mean) or H_0 (sum), L = sup ℓ'', c the method's stability bound; a step
    that raises F is done again with half the dt (recorded in the summary). Adaptive: the first step, or None.
    observers: mf.Recorder, mf.Events and mf.W2 (at most one each), mf.Series, mf.StopOnNonFinite. progress: a bar when stderr is
    a terminal and in notebooks, elsewhere a line every ten seconds (t, share done, risk or energy, time left), and lines that
    say what runs (γ, α, initial law, time unit) and how it ended (energy_defect, …).

    Warns (RuntimeWarning, with progress=False too) of more than 10⁷ steps or an hour that no bar shows, before the first step; of
    nearly all units saturated at the start; and at the end of an energy_defect above 0.1 (defects.py).

    Raises ValueError/TypeError before any work or file; mf.Diverged; mf.Interrupted, a KeyboardInterrupt, once the
    step in hand is finished and its checkpoint published. THEORY.md, sections 1 and 2.
    """
    run = _checked(flow, state, integrator, dt, t_end, n_steps, observers, progress)
    recorder = run.recorder
    if recorder is None:
        run.check_times()
        return run.go(None, None)
    config = run.config
    if recorder.exists == "resume" and (recorder.path.is_file() or unfinished(recorder.path)):
        return _resume_same(run, config, recorder)
    run.check_times()
    arrays = _arrays(flow, recorder)
    recording = Recording.create(
        recorder.path, recorder.exists, config=config, provenance=provenance(), arrays=arrays, start=run.march.state(),
        needed=run.needed, identity=identity.of(flow, {item.name: item.function for item in run.series}, run.march.start),
    )  # fmt: skip
    recording.guard = recorder.guard
    with recording:
        return run.go(recording, None)


def resume(
    path: Any,
    t_end: float | None = None,
    flow: GradientFlow | None = None,
    functions: dict[str, Callable] | None = None,
    progress: bool = True,
    checkpoint_seconds: float = 30.0,
    guard: Callable[[], None] | None = None,
) -> State:
    """Continue an interrupted run from its file alone, to the same bits as if it had never stopped; returns the last State.

    t_end beyond the run's own extends it once finished, into a new file that takes the old one's place at the end;
    otherwise a finished run is left as it is. Schedules that divide the time, such as evenly, do so again for the part
    added. flow=, functions={series: function}: only for user-written ones, which
    no file can hold; the file keeps values and code of them, and ValueError says what differs where others of the same
    names are given. A series whose function raised may be mended. checkpoint_seconds, guard: as in mf.Recorder.
    """
    return _resume(
        path, t_end, flow, functions or {}, progress, checkpoint_seconds, guard, compare=True
    )


def _resume(
    path: Any, t_end: float | None, flow: GradientFlow | None, functions: dict[str, Callable], progress: bool,
    checkpoint_seconds: float, guard: Callable[[], None] | None, compare: bool,
) -> State:  # fmt: skip
    """resume. compare: hold what is user-written against what the file keeps of it; done once, for it may take some time."""
    path = Path(path)
    if t_end is not None and not _is_number(t_end):
        raise ValueError(
            f"t_end must be a finite flow time, or None for the run's own; got {t_end!r}."
        )
    memory: dict[str, Any] | None
    if not unfinished(path):
        with Trajectory(path) as run:
            config, last = run.config, run[-1]
            if run.status == "diverged":
                raise Diverged(f"{path} ended there: {run.summary['message']}")
            if t_end is None or t_end <= config["t_end"]:
                if (flow is not None or functions) and compare:
                    _flow_of(run, path, flow, functions, compare)
                if progress and t_end is not None and t_end < config["t_end"]:
                    reached = f"{path} has reached t = {config['t_end']:g} already, beyond t_end = {t_end:g}"
                    say(f"{reached}: run.at(t) is an earlier frame")
                return last
            _flow_of(
                run, path, flow, functions, compare
            )  # what is missing is said before there is a file
            compare = False
        recording, memory = Recording.extend(
            path, config={**config, "t_end": float(t_end)}, provenance=provenance()
        )
    else:
        recording, memory = Recording.reopen(path, provenance=provenance())
    recording.guard = guard
    with recording:
        if t_end is not None and t_end < recording.config["t_end"]:
            end = recording.config["t_end"]
            raise ValueError(
                f"the run {path} goes to t_end = {end:g} and cannot be cut to {t_end:g}; resume it without t_end."
            )
        if recording.final:
            recording.finish(memory or {}, **recording.final)
        else:
            _rebuilt(recording, flow, functions, progress, checkpoint_seconds, compare).go(
                recording, memory
            )
    with Trajectory(path) as run:
        if run.status != "diverged" and (t_end is None or t_end <= run.config["t_end"]):
            return run[-1]
    return _resume(path, t_end, flow, functions, progress, checkpoint_seconds, guard, compare=False)


def _resume_same(run: Run, config: dict[str, Any], recorder: Recorder) -> State:
    """exists="resume": continue, extend or return the run at this path, provided it is the same run."""
    with Trajectory(
        f"{recorder.path}.parts" if unfinished(recorder.path) else recorder.path
    ) as stored:
        theirs, start = stored.config, stored.start
        test_set = {name: sha for name, sha in stored.data_sha256.items() if name.endswith("_test")}
        written = _written_differently(
            stored, recorder.path, run.flow, {item.name: item.function for item in run.series}
        )
    ours, state = json.loads(canonical_json(config)), run.march.start
    differing = settings_that_differ({**ours, "t_end": None}, {**theirs, "t_end": None})
    if not (np.array_equal(state.theta, start.theta) and np.array_equal(state.mass, start.mass)):
        differing.append("the initial state")
    if test_set != {
        name: array_sha256(a)
        for name, a in _arrays(run.flow, recorder).items()
        if name.endswith("_test")
    }:
        differing.append("the test set")
    if config["t_end"] < theirs["t_end"]:
        differing.append(
            f"t_end, which is earlier ({config['t_end']:g}, in the file {theirs['t_end']:g})"
        )
    if differing := [*differing, *written]:
        raise ValueError(
            f"{recorder.path} holds another run, so it cannot be resumed; different here: {'; '.join(differing)}. "
            'Choose another name, or exists="replace"; mf.Trajectory reads the run that is there.'
        )
    functions = {item.name: item.function for item in run.series if item.function is not None}
    last = _resume(
        recorder.path, config["t_end"], run.flow, functions, run.progress, recorder.checkpoint_seconds, recorder.guard,
        compare=False,
    )  # fmt: skip
    with Trajectory(recorder.path) as stored:
        for item in run.series:
            item.clear()
            for row in zip(*stored.series(item.name), strict=True):
                item.append(*row)
        if run.beside is not None:
            run.beside.w2.clear()
            for name in run.beside.w2.names:
                for row in zip(*stored.series(name), strict=True):
                    run.beside.w2.keep(name, *row)
    return last


def _written_differently(
    stored: Trajectory, path: Path, flow: GradientFlow, functions: dict[str, Callable | None]
) -> list[str]:
    """Of user-written formulas and series, given as series -> function: what differs from those of the file."""
    if not stored.identity:
        return []
    mended = last_memory(path).get("mended", ())  # series whose functions have raised
    return identity.differing(
        identity.of(flow, functions, stored.start), stored, flow, functions, mended
    )


def _rebuilt(
    recording: Recording, flow: GradientFlow | None, functions: dict[str, Callable], progress: bool, checkpoint_seconds: float,
    compare: bool,
) -> Run:  # fmt: skip
    """The run that this file describes."""
    config = recording.config
    place = f"{recording.path}.parts"
    watch = config["observers"]
    diagnosed = [
        item["name"]
        for item in watch["series"]
        if not item["user"] and item["name"] not in MEASURES
    ]
    with Trajectory(place) as stored:
        data = stored.data if (flow is None or diagnosed) and "x" in stored.arrays else None
        flow = _flow_of(stored, recording.path, flow, functions, compare)
    if unknown := [name for name in diagnosed if name not in registry.names()]:
        more = registry.missing(unknown[0]) or " Import the module that registers it, then resume."
        raise ValueError(
            f"{recording.path} records the diagnostic {unknown[0]!r}, which is not registered here.{more}"
        )
    schedule = schedules.from_dict(watch["recorder"])
    recorder = Recorder(recording.path, schedule, data=data, checkpoint_seconds=checkpoint_seconds)
    series = [
        Series(item["name"], schedules.from_dict(item["schedule"]), functions.get(item["name"]))
        for item in watch["series"]
    ]
    events = [Events.from_dict(watch["events"])] if "events" in watch else []
    w2 = [W2.from_dict(watch["w2"])] if "w2" in watch else []
    observers = [
        recorder,
        *series,
        *events,
        *w2,
        *([StopOnNonFinite()] if watch["stop_on_nonfinite"] else []),
    ]
    method = runge_kutta.from_dict(config["integrator"])
    return _checked(
        flow, recording.start, method, config["dt"], config["t_end"], None, observers, progress
    )


def _flow_of(
    run: Trajectory,
    path: Path,
    flow: GradientFlow | None,
    functions: dict[str, Callable],
    compare: bool,
) -> GradientFlow:
    """The flow of a file's run: the one given, else made again from the file; ValueError for what no file holds."""
    config = run.config
    if flow is None:
        flow = run.flow(config["flow"]["backend"])  # its own: another device has other bits
    elif differing := settings_that_differ(
        json.loads(canonical_json(flow.to_dict())), config["flow"]
    ):
        raise ValueError(
            f"flow= is not the flow of {path}; different here: {'; '.join(differing)}."
        )
    missing = [
        item["name"]
        for item in config["observers"]["series"]
        if item["user"] and item["name"] not in functions
    ]
    if missing:
        needed = ", ".join(f"{name!r}: …" for name in missing)
        raise ValueError(f"{path} has user-written series: pass functions={{{needed}}}.")
    series = {
        item["name"]: functions[item["name"]] if item["user"] else None
        for item in config["observers"]["series"]
    }
    if compare and (differing := _written_differently(run, path, flow, series)):
        raise ValueError(
            f"flow= or functions= are not those of {path}; different here: {'; '.join(differing)}. Pass what the run began with; "
            "to change it, start a run of another name."
        )
    return flow


def _checked(
    flow: Any,
    state: Any,
    integrator: Any,
    dt: Any,
    t_end: Any,
    n_steps: Any,
    observers: Sequence[Any],
    progress: bool,
) -> Run:
    """The Run of these arguments, or the error that says what is wrong with them."""
    if not isinstance(flow, GradientFlow):
        raise TypeError(f"flow must be an mf.GradientFlow; got {type(flow).__name__}.")
    if not isinstance(state, State):
        advice = "Make one with mf.InitialLaw(…).sample(m) or mf.State(theta)."
        raise TypeError(f"state must be an mf.State; got {type(state).__name__}. {advice}")
    if not np.isfinite(state.theta).all():
        raise ValueError("the initial state has NaN or infinite particles.")
    integrator = runge_kutta.check(integrator)
    clock = _clock(state, integrator, dt, t_end, n_steps)
    recorder, series, events, w2, stop = _sorted(observers)
    return Run(flow, state, integrator, *clock, recorder, series, events, w2, stop, progress)


def _clock(
    state: State, integrator: Any, dt: Any, t_end: Any, n_steps: Any
) -> tuple[Any, float | None, int | None]:
    """Check what was said about time; raises for what makes no sense."""
    adaptive = isinstance(integrator, Adaptive)
    if (t_end is None) == (n_steps is None):
        raise ValueError(
            f"give either t_end (an absolute flow time) or n_steps; got t_end = {t_end}, n_steps = {n_steps}."
        )
    if t_end is not None:
        if not (_is_number(t_end) and t_end > state.t):
            raise ValueError(
                f"t_end must be a finite flow time after the state's t = {state.t:g}; got {t_end!r}."
            )
        t_end = float(t_end)
    elif adaptive:
        raise ValueError("Adaptive chooses its own steps: give t_end, not n_steps.")
    elif not is_integer(n_steps) or n_steps < 1:
        raise ValueError(f"n_steps must be an integer >= 1; got {n_steps!r}.")
    if adaptive and dt in (None, "auto"):
        return None, t_end, None
    if dt is None or (isinstance(dt, str) and dt != "auto"):
        raise ValueError(f'dt must be a positive number or "auto"; got {dt!r}.')
    if dt != "auto":
        if not (_is_number(dt) and dt > 0):
            raise ValueError(f'dt must be a positive number or "auto"; got {dt!r}.')
        dt = float(dt)
    return dt, t_end, None if n_steps is None else int(n_steps)


def _is_number(value: Any) -> bool:
    return is_number(value) and math.isfinite(value)


def _sorted(
    observers: Sequence[Any],
) -> tuple[Recorder | None, list[Series], Events | None, W2 | None, bool]:
    known = (Recorder, Series, Events, W2, StopOnNonFinite)
    if isinstance(observers, known):
        raise TypeError("observers is a list: write observers=[…].")
    unknown = [item for item in observers if not isinstance(item, known)]
    if unknown:
        raise TypeError(
            f"observers are mf.Recorder, mf.Series, mf.Events, mf.W2 and mf.StopOnNonFinite; got {unknown[0]!r}."
        )
    recorders = [item for item in observers if isinstance(item, Recorder)]
    series = [item for item in observers if isinstance(item, Series)]
    events = [item for item in observers if isinstance(item, Events)]
    distances = [item for item in observers if isinstance(item, W2)]
    if len(distances) > 1:
        raise ValueError(
            "one run has one mf.W2: join the schedules; previous=True adds the distances between its snapshots."
        )
    if len(events) > 1:
        raise ValueError("one run has one mf.Events: join the probes, and the schedules.")
    if len(recorders) > 1:
        raise ValueError(
            "one run has one Recorder; for other scalars add mf.Series(name, schedule)."
        )
    names = [item.name for item in series]
    taken = {
        item.name
        for item in series
        if names.count(item.name) > 1 or (item.function is not None and item.name in MEASURES)
    }
    if taken:
        raise ValueError(
            f"each series needs a name of its own, not that of another or of a built-in: {', '.join(sorted(taken))}."
        )
    if clocks := [(name, other) for name in names if (other := series_of_clock(name, names))]:
        raise ValueError(
            "{!r} is a clock of the series {!r} in an xarray.Dataset: rename one of them.".format(
                *clocks[0]
            )
        )
    if events and (counted := sorted(set(names) & set(COUNTS))):
        raise ValueError(
            f"mf.Events writes series of these names itself: {', '.join(counted)}. Give yours another name."
        )
    if distances and (written := sorted(set(names) & set(distances[0].names))):
        raise ValueError(
            f"mf.W2 writes series of these names itself: {', '.join(written)}. Give yours another name."
        )
    for item in series:
        item.clear()
    stop = any(isinstance(item, StopOnNonFinite) for item in observers)
    return (
        recorders[0] if recorders else None, series, events[0] if events else None, distances[0] if distances else None, stop
    )  # fmt: skip


def _arrays(flow: GradientFlow, recorder: Recorder) -> dict[str, np.ndarray]:
    """The data that go into the file: what the flow was given, and the test set beside it."""
    arrays, data = dict(flow.functional.arrays), recorder.data
    if data is not None:
        if "x" not in arrays:
            raise ValueError(
                f"Recorder(data=…) is for training samples, and a {type(flow.functional).__name__} has none."
            )
        if not np.array_equal(data.x, arrays["x"]):
            raise ValueError("Recorder(data=…) is not the data set whose x the flow was given.")
        if data.x_test is not None and data.y_test is not None:
            arrays |= {"x_test": data.x_test, "y_test": data.y_test}
    return arrays
