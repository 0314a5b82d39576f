"""Values at frames: from the cache beside the run, or computed, here or by worker processes where
that is quicker.
"""

from __future__ import annotations

import errno
import os
import pickle
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Iterator
from concurrent.futures import Executor, as_completed
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from ..files.trajectory import Trajectory
from ..flow import GradientFlow
from ..functionals import protocol
from ..processes.executors import lasting
from ..processes.threads import cores
from ..processes.workers import NoWorkers, spread
from . import registry
from .frame import evaluate
from .registry import Diagnostic
from .stored import Cache, Stored

START_SECONDS = 3.0  # what a worker takes to import and to load its kernels, about
SAVE_SECONDS = 30.0  # between saves of what was computed so far

Values = dict[str, dict[int, Any]]  # name -> frame number -> value


def frame_values(
    stored: Stored,
    names: list[str],
    settings: dict[str, dict[str, Any]],
    workers: int | None,
    progress: bool,
    executor: Executor | None = None,
) -> Values:
    """Every value of these diagnostics, from the cache or computed; what is new is kept, also when
    this is interrupted.
    """
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

    companion = stored.companion.run.path if stored.companion else None
    job = Job(
        uuid.uuid4().hex, Path(os.path.abspath(stored.run.path)), companion and Path(os.path.abspath(companion)),
        stored.given, diagnostics, settings, stored.digest, dict(protocol.OTHERS),
    )  # fmt: skip
    with tqdm(
        total=len(missing),
        desc="diagnose",
        disable=None if progress else True,
        leave=False,
        file=sys.stderr,
    ) as bar:
        try:
            computed = (
                _computed(stored, job, missing, workers)
                if executor is None
                else _elsewhere(stored, job, missing, executor)
            )
            for number, found in computed:
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
    """(frame number, values) of all frames: the first two here, and timed; the others by workers
    where that is quicker.
    """
    numbers = list(missing)
    seconds = 0.0
    for number in numbers[:2]:  # the first may compile; the second tells
        start = time.perf_counter()
        found = _frame_values(
            stored, number, [job.diagnostics[name] for name in missing[number]], job.settings
        )
        seconds = time.perf_counter() - start
        yield number, found
    rest = numbers[2:]
    count = min(len(rest), cores() if workers is None else int(workers))
    done: set[int] = set()
    flow = stored.problem.flow
    if flow is not None and flow.backend != "cpu":
        count = 1  # one device is not quicker for being shared
    if count > 1 and _portable(job) and (seconds * len(rest) * (1 - 1 / count) > START_SECONDS):
        tasks = [(number, stored.frame_digest(number), tuple(missing[number])) for number in rest]
        try:
            with closing(spread(job, tasks, count)) as answers:  # type: ignore[type-var]
                for number, found in answers:
                    done.add(number)
                    yield number, found
        except NoWorkers as error:
            warnings.warn(
                f"worker processes did not start ({error}); the frames are computed one "
                "after the other.",
                stacklevel=4,
            )
    for number in rest:
        if number not in done:
            yield (
                number,
                _frame_values(
                    stored,
                    number,
                    [job.diagnostics[name] for name in missing[number]],
                    job.settings,
                ),
            )


def _elsewhere(
    stored: Stored, job: Job, missing: dict[int, list[str]], executor: Executor
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(frame number, values) of all frames, in the order in which an executor has them."""
    if not _portable(job):
        raise ValueError(
            "the processes of an executor cannot have these formulas or diagnostics: functions of a script "
            "or a notebook, or closures. Put them into a module that all import, or leave executor= out."
        )
    tasks = [(number, stored.frame_digest(number), tuple(missing[number])) for number in missing]
    asked = [executor.submit(job.answer, task) for task in tasks]
    try:
        with lasting():
            for answer in as_completed(asked):
                yield answer.result()
    finally:
        for answer in asked:
            answer.cancel()


def _portable(job: Job) -> bool:
    """Whether another process can have it: functions of a script or a notebook, and closures, stay
    here.
    """
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
            error.add_note(
                f"while computing the diagnostic {item.name!r} at frame {number} of "
                f"{stored.run.path}"
            )
            raise
        found[item.name] = list(value) if item.interval else value
    return found


@dataclass(frozen=True, eq=False)
class Job:
    """What a worker process needs to answer (frame number, names) with the values. name: its own,
    for copies of it are one job.
    """

    name: str
    path: Path
    companion: Path | None
    flow: GradientFlow | None
    diagnostics: dict[str, Diagnostic]
    settings: dict[str, dict[str, Any]]
    digest: str
    functionals: dict[str, Any]  # whose modules register themselves when a worker unpickles them

    def answer(self, task: tuple[int, str, tuple[str, ...]]) -> tuple[int, dict[str, Any]]:
        number, digest, names = task
        with _TURN:
            stored = self._stored()
            here = stored.digest, stored.frame_digest(number) if number < len(stored) else ""
            if here != (self.digest, digest):
                raise ValueError(
                    f"{self.path} was replaced while its diagnostics were computed; call "
                    "mf.diagnose again."
                )
            diagnostics = [self.diagnostics[name] for name in names]
            return number, _frame_values(stored, number, diagnostics, self.settings)

    def _stored(self) -> Stored:
        if self.name not in _OPEN:
            _OPEN.clear()
            try:
                _OPEN[self.name] = opened_run(self.path, self.companion, self.flow, [])
            except FileNotFoundError as error:
                raise FileNotFoundError(
                    errno.ENOENT,
                    "a process that was to compute diagnostics does not see this run; all of them must see "
                    "one folder, under one name",
                    error.filename,
                ) from None
        return _OPEN[self.name]


_OPEN: dict[str, Stored] = {}  # of this worker process: that of the last job
_TURN = threading.Lock()  # an executor may have threads


def opened_run(
    run: Any, companion: Any, flow: GradientFlow | None, opened: list[Trajectory]
) -> Stored:
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
    x, their_x = (
        item.flow.functional.arrays.get("x") if item.flow else None for item in (ours, theirs)
    )
    if ours.flow is not None and not np.array_equal(np.asarray(x), np.asarray(their_x)):
        raise ValueError(
            f"the companion {beside.run.path} has other training inputs than {stored.run.path}."
        )
