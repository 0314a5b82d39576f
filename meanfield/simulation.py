"""simulate: march a flow from a state, watch it, and lose nothing on the way; resume: go on from
the file alone.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .checks import is_integer, is_number
from .diagnostics import registry
from .files import sharing
from .files.durable import array_sha256, canonical_json
from .files.provenance import provenance
from .files.recording import Recording, unfinished
from .files.trajectory import Trajectory
from .files.verification import EXTENDS
from .flow import GradientFlow
from .limits import finite_volumes  # noqa: F401  registers its method, which files name
from .observers import settings
from .observers.health import callers
from .observers.moment import MEASURES
from .observers.progress import say
from .observers.protocol import Observer
from .observers.recorder import Recorder
from .observers.series import Series
from .processes.interruption import Interrupted
from .processes.memory import ask_memory
from .processes.ranks import current
from .resuming import identity
from .resuming.given import flow_of, written_differently
from .resuming.settings import settings_that_differ
from .run import Run
from .state import State
from .stepping import methods
from .stepping.clocks import Diverged
from .stepping.methods import Method
from .temperature import Temperature

__all__ = ["Diverged", "Interrupted", "resume", "simulate"]


def simulate(
    flow: GradientFlow,
    state: State,
    integrator: Method,
    dt: float | str | None = None,
    t_end: float | None = None,
    n_steps: int | None = None,
    observers: Sequence[Any] = (),
    progress: bool = True,
) -> State:
    """March `flow` from `state` to a flow time, and watch it on the way.

    Parameters
    ----------
    flow : the mf.GradientFlow.
    state : where it starts; its t and step count on.
    integrator : mf.EULER, mf.HEUN, mf.RK4, mf.Adaptive(rtol, atol) or another mf.Method.
    dt : the length of a step in flow time. A number: ⌈(t_end - t)/dt - 1e-9⌉ steps of equal length,
        the last of which ends at t_end exactly. "auto": 0.1·c/(L·λ_max), with λ_max that of H_0/n
        (mean) or H_0 (sum), L = sup ℓ'' and c the method's stability bound; a step that raises F is
        done again with half the dt, and the summary of the file says so. With Adaptive: the first
        step, or None.
    t_end : the flow time at which to end, absolute; or
    n_steps : the number of steps from here.
    observers : mf.Recorder, mf.Events and mf.W2 (at most one each), mf.Series, mf.StopOnNonFinite,
        or classes of yours that derive from mf.Observer.
    progress : a bar when stderr is a terminal and in notebooks, elsewhere a line every ten seconds
        (t, share done, risk or energy, time left), and lines that say what runs (γ, α, initial law,
        time unit), what is compiled, and how it ended (energy_defect, …). False: nothing; in a loop
        of short runs one may pause for ten seconds or more, once, while their steps are compiled.

    Returns
    -------
    The last State.

    Raises
    ------
    ValueError, TypeError : before any work or file.
    mf.Diverged : where mf.StopOnNonFinite stops it, or no step is short enough.
    mf.Interrupted : a KeyboardInterrupt, once the step in hand is finished and its checkpoint
        published.

    Warns
    -----
    RuntimeWarning : also with progress=False. Before the first step: of more than 10⁷ steps, or of
        an hour that no bar shows; of nearly all units saturated. At the end: of an energy_defect
        above 0.1.

    Notes
    -----
    dθ_k/dt = -∇ δF/δμ(θ_k). One Euler step dt is gradient descent on R with rate dt·m/s².
    THEORY.md, sections 1 and 2.
    """
    run = _checked(flow, state, integrator, dt, t_end, n_steps, observers, progress)
    recorder = run.recorder
    if recorder is None:
        run.check_times()
        return run.go()

    if recorder.exists == "resume" and sharing.is_there(recorder.path):
        return _resume_same(run, recorder)
    run.check_times()
    config = run.config

    def create() -> Recording:
        return Recording.create(
            recorder.path,
            recorder.exists,
            config=config,
            provenance=provenance(),
            arrays=_arrays(flow, recorder),
            start=run.march.start,
            mass_varies=run.march.method.moves_masses,
            needed=run.needed,
            identity=identity.of(flow, _functions(run), run.march.start),
        )

    recording: Any = sharing.created(create, recorder.path, config, run.march.start)
    recording.guard = recorder.guard
    with recording:
        return run.go(recording)


def resume(
    path: Any,
    t_end: float | None = None,
    flow: GradientFlow | None = None,
    functions: dict[str, Callable] | None = None,
    progress: bool = True,
    checkpoint_seconds: float = 30.0,
    guard: Callable[[], None] | None = None,
    observers: Sequence[Observer] = (),
) -> State:
    """Continue an interrupted run from its file alone, to the same bits as if it had never stopped.

    Parameters
    ----------
    path : of the run's file; an unfinished run stands in `path`.parts.
    t_end : beyond the run's own it extends the run once that is finished, into a new file that
        takes the old one's place at the end. Schedules that divide the time, such as evenly, do so
        again for the part added. Otherwise a finished run is left as it is, and a t_end before its
        own is said: a line, or a RuntimeWarning with progress=False.
    flow : only for user-written functions, which no file can hold.
    functions : {series: function}, likewise; one dict may serve several runs. The file keeps values
        and code of user-written functions, and ValueError says what differs where others of the same names are given. One
        that raised may be mended.
    observers : those of your own, by their names.
    progress : as in mf.simulate.
    checkpoint_seconds, guard : as in mf.Recorder.

    Returns
    -------
    The last State.

    Raises
    ------
    ValueError : for a t_end before that of an unfinished run, for what is missing or differs;
        InUse, one of them, while another process is writing the run.
    mf.Diverged : where the run had ended so.
    mf.Interrupted : as in mf.simulate.
    """
    path, functions = Path(path), functions or {}
    sharing.is_there(path)  # nobody changes the file while another process looks at it
    if t_end is not None and not _is_number(t_end):
        raise ValueError(
            f"t_end must be a finite flow time, or None for the run's own; got {t_end!r}."
        )
    given = flow is not None or functions or observers
    if not unfinished(path):
        with Trajectory(path) as stored:
            config, last = stored.config, stored[-1]
            if stored.status == "diverged":
                raise Diverged(f"{path} ended there: {stored.summary['message']}")
            over = t_end is None or t_end <= config["t_end"]
            if given or not over:
                # What is missing is said before there is a file.
                found = flow_of(stored, path, flow, functions, observers, compare=True)
                if t_end is not None and not over:
                    Temperature.of(found.temperature).check_times(config["t_start"], t_end)
        if over:
            if t_end is not None and t_end < config["t_end"]:
                reached = (
                    f"{path} has reached t = {config['t_end']:g} already, beyond t_end = {t_end:g}: "
                    "run.at(t) is an earlier frame"
                )
                if progress:
                    say(reached)
                elif current().rank == 0:
                    warnings.warn(reached, RuntimeWarning, stacklevel=callers())
            return last

    made: list[Run] = []
    compare = unfinished(path)  # of a finished one it has been done

    def run(recording: Any) -> Run:
        """The run that this file describes, made once."""
        if not made:
            made.append(
                _rebuilt(
                    recording, flow, functions, observers, progress, checkpoint_seconds, compare
                )
            )
        return made[0]

    return _go_on(path, t_end, run, guard)


def _go_on(
    path: Path,
    t_end: float | None,
    run: Callable[[Any], Run],
    guard: Callable[[], None] | None,
) -> State:
    """March an unfinished run to its end, and a finished one, in a new file, to t_end."""

    def again() -> tuple[Recording, dict[str, Any] | None]:
        if unfinished(path):
            return Recording.reopen(path, provenance=provenance())
        with Trajectory(path) as stored:
            longer = {**stored.config, "t_end": float(t_end)}  # type: ignore[arg-type]
            made = {**provenance(), EXTENDS: stored.config["t_end"]}
        return Recording.extend(path, config=longer, provenance=made)

    while True:
        current().meet()
        recording: Any
        recording, memory = sharing.reopened(again, path)
        recording.guard = guard
        with recording:
            end = recording.config["t_end"]
            if t_end is not None and t_end < end:
                raise ValueError(
                    f"the run {path} goes to t_end = {end:g} and cannot be cut to "
                    f"{t_end:g}; resume it without t_end."
                )
            if recording.final:
                recording.finish(memory or {}, **recording.final)
            else:
                run(recording).go(recording, memory)

        with Trajectory(path) as stored:
            if stored.status == "diverged":
                raise Diverged(f"{path} ended there: {stored.summary['message']}")
            if t_end is None or t_end <= stored.config["t_end"]:
                return stored[-1]


def _resume_same(run: Run, recorder: Recorder) -> State:
    """exists="resume": continue, extend or return the run at this path, provided it is the same
    run.
    """
    path, config = recorder.path, run.config
    going = unfinished(path)
    with Trajectory(f"{path}.parts" if going else path) as stored:
        theirs, start = stored.config, stored.start
        test_set = {name: sha for name, sha in stored.data_sha256.items() if name.endswith("_test")}
        written = written_differently(stored, path, run.flow, _functions(run))
        diverged = None if going or stored.status != "diverged" else stored.summary["message"]
    ours, state = json.loads(canonical_json(config)), run.march.start
    differing = settings_that_differ({**ours, "t_end": None}, {**theirs, "t_end": None})
    if not (np.array_equal(state.theta, start.theta) and np.array_equal(state.mass, start.mass)):
        differing.append("the initial state")
    arrays = _arrays(run.flow, recorder)
    if test_set != {
        name: array_sha256(array) for name, array in arrays.items() if name.endswith("_test")
    }:
        differing.append("the test set")
    differing += written
    what = f"{path} holds another run, so it cannot be resumed; different here: "
    if config["t_end"] < theirs["t_end"]:
        asked, reached = config["t_end"], theirs["t_end"]
        earlier = f"t_end, which is earlier ({asked:g}, in the file {reached:g})"
        if not differing:
            raise ValueError(
                f"{what}{earlier}. A run is not cut: ask for {reached:g} or more. The frame nearest to "
                f"{asked:g} is mf.Trajectory({str(path)!r}).at({asked:g})."
            )
        differing.append(earlier)
    if differing:
        raise ValueError(
            f'{what}{"; ".join(differing)}. Choose another name, or exists="replace" in Python; '
            "mf.Trajectory reads the run that is there."
        )

    if diverged is not None:
        raise Diverged(f"{path} ended there: {diverged}")
    if going or config["t_end"] > theirs["t_end"]:
        if run.says and not going:
            ends = f"ended at t = {theirs['t_end']:g}"
            say(f"{path} {ends} and is extended to t = {config['t_end']:g}")
        _go_on(path, config["t_end"], lambda recording: run, recorder.guard)
    with Trajectory(path) as stored:
        last = stored[-1]
        for item in run.observers:
            item.read(stored)
    return last


def _functions(run: Run) -> dict[str, Callable | None]:
    """series -> function, None for the built-in ones."""
    return {item.name: item.function for item in run.observers if isinstance(item, Series)}


def _rebuilt(
    recording: Any,
    flow: GradientFlow | None,
    functions: dict[str, Callable],
    observers: Sequence[Observer],
    progress: bool,
    checkpoint_seconds: float,
    compare: bool,
) -> Run:
    """The run that this file describes. compare: hold what is user-written against what the file
    keeps of it.
    """
    config, watched = recording.config, recording.config["observers"]
    names = [item["name"] for item in watched["series"] if not item["user"]]
    diagnosed = [name for name in names if name not in MEASURES]
    with Trajectory(f"{recording.path}.parts") as stored:
        with_data = (flow is None or diagnosed) and "x" in stored.arrays
        data = stored.data if with_data else None
        flow = flow_of(stored, recording.path, flow, functions, observers, compare)
    if unknown := [name for name in diagnosed if name not in registry.names()]:
        more = registry.missing(unknown[0]) or " Import the module that registers it, then resume."
        raise ValueError(
            f"{recording.path} records the diagnostic {unknown[0]!r}, which is not "
            f"registered here.{more}"
        )

    def recorder(schedule: Any) -> Recorder:
        return Recorder(recording.path, schedule, data=data, checkpoint_seconds=checkpoint_seconds)

    made = settings.from_dict(watched, functions, observers, recorder)
    method = methods.from_dict(config["integrator"])
    dt, end = config["dt"], config["t_end"]
    return _checked(flow, recording.start, method, dt, end, None, made, progress)


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
    # θ, its velocity and the next θ
    needed = 3 * state.theta.size * np.dtype(flow.dtype).itemsize
    ask_memory(needed, f"a run of m = {state.m} particles", 'Take fewer, or dtype="float32".')
    method = methods.check(integrator)
    times = _times(state, method, dt, t_end, n_steps)
    return Run(flow, state, method, times, observers, progress)


def _times(
    state: State, method: Method, dt: Any, t_end: Any, n_steps: Any
) -> tuple[Any, float | None, int | None]:
    """Check what was said about time; raises for what makes no sense."""
    adaptive = method.controls_error
    if (t_end is None) == (n_steps is None):
        raise ValueError(
            f"give either t_end (an absolute flow time) or n_steps; got t_end = {t_end}, "
            f"n_steps = {n_steps}."
        )
    if t_end is not None:
        if not (_is_number(t_end) and t_end > state.t):
            raise ValueError(
                f"t_end must be a finite flow time after the state's t = {state.t:g}; got "
                f"{t_end!r}."
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
        if t_end is not None and not (t_end - state.t) / dt < 2**53:
            raise ValueError(
                f"dt = {dt:g} is too small for t_end = {t_end:g}: the run would take "
                f"{(t_end - state.t) / dt:.1g} steps. Give a larger one."
            )
    return dt, t_end, None if n_steps is None else int(n_steps)


def _is_number(value: Any) -> bool:
    return is_number(value) and math.isfinite(value)


def _arrays(flow: GradientFlow, recorder: Recorder) -> dict[str, np.ndarray]:
    """The data that go into the file: what the flow was given, and the test set beside it."""
    arrays, data = dict(flow.functional.arrays), recorder.data
    if data is not None:
        if "x" not in arrays:
            raise ValueError(
                "Recorder(data=…) is for training samples, and a "
                f"{type(flow.functional).__name__} has none."
            )
        if not np.array_equal(data.x, arrays["x"]):
            raise ValueError("Recorder(data=…) is not the data set whose x the flow was given.")
        if data.x_test is not None and data.y_test is not None:
            arrays |= {"x_test": data.x_test, "y_test": data.y_test}
    return arrays
