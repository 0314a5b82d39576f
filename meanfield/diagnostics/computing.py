"""diagnose: the diagnostics of a stored run, from the cache beside it or computed, in parallel over frames where that pays."""

from __future__ import annotations

import os
import pickle
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..flow import GradientFlow
from ..nearest import hint
from ..trajectory import Trajectory
from . import needs, registry
from .cache import Cache
from .diagnosis import Bounds, Curve, Diagnosis
from .frame import evaluate
from .registry import Diagnostic
from .stored import Stored
from .workers import NoWorkers, spread

START_SECONDS = 3.0  # what a worker takes to import and to load its kernels, about
SAVE_SECONDS = 30.0  # between saves of what was computed so far
RECORDED = "recorded:"

Values = dict[str, dict[int, Any]]  # name -> frame number -> value


def diagnose(
    run: Any,
    names: Iterable[str] | None = None,
    *,
    flow: GradientFlow | None = None,
    companion: Any = None,
    workers: int | None = None,
    progress: bool = True,
    **parameters: Any,
) -> Diagnosis:
    """Diagnostics of a stored run, finished or not: mf.diagnose("run.h5", ["kernel_drift", "w2"]) -> a mapping by name.

    d["kernel_drift"] -> (steps, times, values); d.units; d.to_xarray(); print(d) lists values, what else could be computed
    and what could not and why. names=None computes nothing and lists. The run is never touched; values are kept in
    run.h5.diagnostics/ beside it, keyed by all they depend on (name, version, parameters, settings, data, start, frame): an
    extended run keeps its old values, a replaced one none. A folder that cannot be written is said, once, in a warning.

    flow: for user-written formulas, which no file can hold. companion: another run, for diagnostics that compare two.
    workers: processes, as many as there are CPUs by default; they start only where the first frames show that it pays, and the
    bits do not depend on them. parameters: of the diagnostics, such as samples=512 for the kernel or seconds=10 for w2.
    progress: a bar when stderr is a terminal.

    Raises ValueError for unknown names (with the nearest), unknown parameters, and diagnostics that this run does not allow.
    """
    if isinstance(names, str):
        raise TypeError(f"names is a list: write [{names!r}].")
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, (int, np.integer)) or workers < 1):
        raise ValueError(f"workers must be an integer >= 1; got {workers!r}.")
    asked = list(dict.fromkeys(names or ()))
    settings = _settings(asked, parameters)
    opened: list[Trajectory] = []
    try:
        stored = _opened(run, companion, flow, opened)
        recorded = stored.recorded
        why = {name: _reason(name, stored, recorded) for name in registry.names()}
        for name in asked:
            if why[name]:
                raise ValueError(f"{name!r} cannot be computed for {stored.run.path}: {why[name]}.")
        needed = [name for name in _closure(asked) if registry.get(name).kind != "curve"]
        values = _values(stored, needed, settings, workers, progress)
        found = {name: (registry.get(name), settings[name], _curve(name, stored, values)) for name in asked}
    finally:
        for trajectory in opened:
            trajectory.close()
    free = tuple(name for name, reason in why.items() if not reason and name not in asked)
    return Diagnosis(
        stored.run.path, found, stored.steps, stored.times, free, {name: reason for name, reason in why.items() if reason}
    )


@dataclass(frozen=True)
class Job:
    """What a worker process needs to answer (frame number, names) with the values."""

    path: Path
    companion: Path | None
    flow: GradientFlow | None
    diagnostics: dict[str, Diagnostic]
    settings: dict[str, dict[str, Any]]
    digest: str

    def answer(self, task: tuple[int, str, tuple[str, ...]]) -> tuple[int, dict[str, Any]]:
        number, digest, names = task
        stored = self._stored()
        if len(stored) <= number or (stored.digest, stored.frame_digest(number)) != (self.digest, digest):
            raise ValueError(f"{self.path} was replaced while its diagnostics were computed; call mf.diagnose again.")
        return number, _frame_values(stored, number, [self.diagnostics[name] for name in names], self.settings)

    def _stored(self) -> Stored:
        if self not in _OPEN:
            _OPEN[self] = _opened(self.path, self.companion, self.flow, [])
        return _OPEN[self]

    __hash__ = object.__hash__


_OPEN: dict[Job, Stored] = {}  # of this worker process


def _opened(run: Any, companion: Any, flow: GradientFlow | None, opened: list[Trajectory]) -> Stored:
    """The run and its companion; those opened here are added to `opened`."""

    def trajectory(item: Any) -> Trajectory:
        if isinstance(item, Trajectory):
            return item
        opened.append(Trajectory(item))
        return opened[-1]

    beside = None
    if companion is not None:
        beside = Stored(trajectory(companion))
    stored = Stored(trajectory(run), flow, beside)
    if beside is not None:
        _check_companion(stored, beside)
    return stored


def _check_companion(stored: Stored, beside: Stored) -> None:
    ours, theirs = stored.problem, beside.problem
    if theirs.flow is None:
        raise ValueError(f"the companion {beside.run.path} cannot be evaluated: {theirs.without}.")
    if ours.flow is not None and not np.array_equal(ours.flow.functional.x, theirs.flow.functional.x):
        raise ValueError(f"the companion {beside.run.path} has other training inputs than {stored.run.path}.")


def _settings(asked: list[str], parameters: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The parameters of each diagnostic needed, defaults included."""
    diagnostics = [registry.get(name) for name in _closure(asked)]
    known = {key for diagnostic in diagnostics for key in diagnostic.parameters}
    for key in parameters:
        if key not in known:
            raise TypeError(
                f"none of the diagnostics asked for has a parameter {key!r}.{hint(key, known)} "
                f"They have: {', '.join(sorted(known)) or 'none'}."
            )
    return {item.name: {key: parameters.get(key, default) for key, default in item.parameters.items()} for item in diagnostics}


def _closure(names: Iterable[str]) -> list[str]:
    """These names and those they are made of."""
    found: dict[str, None] = {}

    def add(name: str) -> None:
        for part in registry.get(name).of:
            if not part.startswith(RECORDED):
                add(part)
        found.setdefault(name)

    for name in names:
        add(name)
    return list(found)


def _reason(name: str, stored: Stored, recorded: tuple[str, ...]) -> str:
    """Why a diagnostic, or one that it is made of, cannot be computed, or ""."""
    for part in _closure([name]):
        diagnostic = registry.get(part)
        if found := needs.reason(diagnostic, stored.problem, recorded):
            return found
        if diagnostic.kind == "step" and len(stored) < 2:
            return f"it compares consecutive frames, and there is {'one' if len(stored) else 'none'}"
        if not len(stored):
            return "the run has no frame yet"
    return ""


def _values(stored: Stored, names: list[str], settings: dict[str, dict[str, Any]], workers: int | None, progress: bool) -> Values:
    """Every value of these diagnostics, from the cache or computed; what is new is kept, also when this is interrupted."""
    cache = Cache(stored.run.path)
    diagnostics = {name: registry.get(name) for name in names}
    values: Values = {name: {} for name in names}
    keys: dict[str, dict[int, str]] = {name: {} for name in names}
    kept = {name: cache.read(name) for name in names}
    missing: dict[int, list[str]] = {}
    for number in range(len(stored)) if names else ():
        for name, diagnostic in diagnostics.items():
            if diagnostic.kind == "step" and number == 0:
                continue
            key = keys[name][number] = stored.key(diagnostic, settings[name], number)
            if key in kept[name]:
                values[name][number] = kept[name][key]
            else:
                missing.setdefault(number, []).append(name)
    if not missing:
        return values
    fresh: dict[str, dict[str, Any]] = {name: {} for name in names}
    saved = time.monotonic()

    def save() -> None:
        for name, diagnostic in diagnostics.items():
            cache.write(diagnostic, fresh[name])
            fresh[name] = {}

    job = Job(
        stored.run.path, stored.companion.run.path if stored.companion else None, stored.given,
        diagnostics, settings, stored.digest,
    )  # fmt: skip
    with tqdm(total=len(missing), desc="diagnose", disable=None if progress else True, leave=False, file=sys.stderr) as bar:
        try:
            for number, found in _computed(stored, job, missing, workers):
                for name, value in found.items():
                    values[name][number] = fresh[name][keys[name][number]] = value
                bar.update()
                if time.monotonic() - saved > SAVE_SECONDS:
                    save()
                    saved = time.monotonic()
        finally:
            save()
    return values


def _computed(
    stored: Stored, job: Job, missing: dict[int, list[str]], workers: int | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(frame number, values) of all frames: the first two here, and timed; the others by workers where that is quicker."""
    numbers = list(missing)
    seconds = 0.0
    for number in numbers[:2]:  # the first may compile; the second tells
        start = time.perf_counter()
        found = _frame_values(stored, number, [job.diagnostics[name] for name in missing[number]], job.settings)
        seconds = time.perf_counter() - start
        yield number, found
    rest = numbers[2:]
    count = min(len(rest), _cpus() if workers is None else int(workers))
    done: set[int] = set()
    if count > 1 and _portable(job) and (seconds * len(rest) * (1 - 1 / count) > START_SECONDS):
        tasks = [(number, stored.frame_digest(number), tuple(missing[number])) for number in rest]
        try:
            with closing(spread(job, tasks, count)) as answers:  # type: ignore[type-var]
                for number, found in answers:
                    done.add(number)
                    yield number, found
        except NoWorkers as error:
            warnings.warn(f"worker processes did not start ({error}); the frames are computed one after the other.", stacklevel=4)
    for number in rest:
        if number not in done:
            yield number, _frame_values(stored, number, [job.diagnostics[name] for name in missing[number]], job.settings)


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _portable(job: Job) -> bool:
    """Whether another process can have it: functions of a script or a notebook, and closures, stay here."""
    if any(item.function.__module__ == "__main__" for item in job.diagnostics.values()):
        return False
    try:
        pickle.dumps(job)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False
    return True


def _frame_values(
    stored: Stored, number: int, diagnostics: list[Diagnostic], settings: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """The values at one frame, as they are stored: floats, or [lower, upper, method, method]."""
    found: dict[str, Any] = {}
    frame = stored.frame(number)
    for item in diagnostics:
        previous = stored.frame(number - 1) if item.kind == "step" else None
        try:
            value = evaluate(item, frame, previous, **settings[item.name])
        except Exception as error:
            error.add_note(f"while computing the diagnostic {item.name!r} at frame {number} of {stored.run.path}")
            raise
        found[item.name] = list(value) if item.interval else value
    return found


def _curve(name: str, stored: Stored, values: Values) -> Curve | Bounds:
    """The result under one name."""
    if name.startswith(RECORDED):
        return Curve(stored.steps, stored.times, stored.at_frames(name.removeprefix(RECORDED)))  # type: ignore[arg-type]
    diagnostic = registry.get(name)
    if diagnostic.kind == "curve":
        made = diagnostic.function(*(_curve(part, stored, values) for part in diagnostic.of))
        clock = stored.steps, stored.times
        return Bounds(*clock, *made) if diagnostic.interval else Curve(*clock, np.asarray(made, dtype=np.float64))
    numbers = sorted(values[name])
    clock = stored.steps[numbers], stored.times[numbers]
    rows = [values[name][number] for number in numbers]
    if not diagnostic.interval:
        return Curve(*clock, np.array(rows, dtype=np.float64))
    lower, upper, lower_method, upper_method = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Bounds(*clock, np.array(lower), np.array(upper), tuple(lower_method), tuple(upper_method))
