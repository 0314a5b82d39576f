"""The workers of one machine: processes that pull runs, one progress bar, an end without losses.

A process pool of a library (loky: see meanfield/processes/workers.py) does not fit: a worker is
asked to stop at a checkpoint, other machines work on the same folder, and a worker that was killed
is replaced while the others go on.
"""

from __future__ import annotations

import functools
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

import meanfield as mf
from meanfield import noise
from meanfield.processes.interruption import signals
from meanfield.processes.threads import cores
from meanfield.processes.workers import start_python
from meanfield.stepping.stretches import worth_compiling

from ..lab.config import INTERRUPTED
from ..lab.experiment import Experiment, Made, make, method, perform
from . import forks, leases, plans, workers
from .folders import SweepFolder
from .forks import Forked
from .shown import Shown
from .workers import Terms, waiting

LOOK_SECONDS = 0.2
# workers killed in a row without a run published between them: the machine kills them, not a chance
FRUITLESS = 10


class RunsFailed(ValueError):
    """Some runs of the sweep failed; the others are there."""


@dataclass
class Crew:
    """`size` worker processes on one sweep. A worker that was killed is replaced; one that cannot
    start is an error. forks: whether they may begin as forks of this process.
    """

    sweep: SweepFolder
    size: int
    terms: Terms
    threads: int  # for each
    forks: bool = False

    def __post_init__(self) -> None:
        self._at_work: dict[int, subprocess.Popen[bytes] | Forked] = {}
        self._killed, self._published = 0, 0
        self._logs = f"{socket.gethostname()}-{os.getpid()}"

    def start(self) -> None:
        """Start them all."""
        for number in range(self.size):
            self._start(number)

    def busy(self) -> bool:
        """Whether anyone is at work still; starts a worker in the place of each that was killed."""
        for number, process in list(self._at_work.items()):
            code = process.poll()
            if code is None:
                continue
            del self._at_work[number]
            if code > 0 and code != INTERRUPTED:
                raise RunsFailed(
                    f"a worker ended with exit code {code}; the end of "
                    f"{self._log(number)} says why."
                )
            if code < 0:
                there = len(self.sweep.published())
                self._killed = 1 if there > self._published else self._killed + 1
                self._published = there
                if self._killed > max(FRUITLESS, 2 * self.size):
                    raise RuntimeError(
                        f"{self._killed} workers in a row were killed (signal {-code}) "
                        "before any run was finished."
                    )
                tqdm.write(
                    f"a worker was killed (signal {-code}), another begins; a run in its hands "
                    f"goes on {self.terms.lease_seconds:g} s after its last sign of life",
                    file=sys.stderr,
                )
                self._start(number)
        return bool(self._at_work)

    def wait(self, seconds: float) -> None:
        """Until one of them has ended, at most so long."""
        with suppress(subprocess.TimeoutExpired):
            next(iter(self._at_work.values())).wait(seconds)

    def stop(self, patience: float | None = None) -> None:
        """Ask each to publish a checkpoint and end, and wait; after `patience` seconds they are
        killed.
        """
        for process in self._at_work.values():
            process.send_signal(signal.SIGTERM)
        end = None if patience is None else time.monotonic() + patience
        for process in self._at_work.values():
            try:
                process.wait(None if end is None else max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._at_work.clear()

    def _log(self, number: int) -> Path:
        return self.sweep.logs / f"{self._logs}-{number}.log"

    def _start(self, number: int) -> None:
        terms = replace(self.terms, parent=os.getpid())
        made: subprocess.Popen[bytes] | Forked
        with open(self._log(number), "ab") as log:
            if self.forks and forks.possible():
                made = forks.fork(lambda: workers.serve(self.sweep, terms), self.threads, log)
            else:
                command = ["-m", "sims.sweeps.workers", str(self.sweep.path), *terms.options()]
                made = start_python(
                    command, self.threads, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            self._at_work[number] = made


def share(workers: int) -> int:
    """Threads for each of so many workers: the cores this process may use, shared out."""
    return max(1, cores() // workers)


def supervise(
    sweep: SweepFolder, workers: int, terms: Terms, progress: bool = True, threads: int | None = None,
    hired: Callable[[Crew], None] | None = None,
) -> None:  # fmt: skip
    """Run `workers` processes until every run is there. Raises KeyboardInterrupt once a signal has
    stopped them, RunsFailed.

    threads: for each worker; None: the cores, shared out. hired(crew) is called before they start.
    """
    total, since = len(sweep.plan.runs), leases.now_ns(sweep.leases)
    # what CUDA has begun in a process it cannot go on with in a fork
    may_fork = forks.possible() and not plans.uses_gpu(sweep.plan)
    if waiting(sweep, since):
        with forks.loading():
            compile_kernels(sweep, progress, may_fork)
            if may_fork:
                load(sweep)
    crew = Crew(
        sweep,
        workers,
        Terms(terms.lease_seconds, terms.checkpoint_seconds, since),
        threads or share(workers),
        may_fork,
    )
    if hired is not None:
        hired(crew)
    with signals() as received, ExitStack() as closing:
        try:
            crew.start()  # before the bar: it has a thread, which does not live on in a fork
            shown = closing.enter_context(Shown(sweep, progress, tqdm))
            while crew.busy() and not received:
                crew.wait(LOOK_SECONDS)
                shown.update(failures(sweep, since))
        finally:
            crew.stop()
        shown.update(failures(sweep, since))
        if received:
            raise KeyboardInterrupt(
                f"stopped with {len(sweep.published())} of {total} runs finished"
            )
    report_failures(sweep)


def report_failures(sweep: SweepFolder) -> None:
    """Raises RunsFailed where some runs failed."""
    total = len(sweep.plan.runs)
    failed = [
        digest
        for digest in sweep.failures()
        if digest in sweep.plan.runs and not sweep.run(digest).exists()
    ]
    if failed:
        first = sweep.failure(failed[0])
        raise RunsFailed(
            f"{len(failed)} of {total} runs failed, the others are there; {failed[0]}: "
            f"{first.get('message')} "
            "scripts/sweep status lists them, scripts/sweep work tries them again."
        )


def compile_kernels(sweep: SweepFolder, progress: bool = False, may_fork: bool = False) -> None:
    """Compile what the runs need, once, into numba's cache on disk, from which every worker then
    loads it. may_fork: several at once, each in a fork of this process.
    """
    tasks: list[Callable[[], Any]] = []
    met = set()
    for kind, stages in plans.stages(sweep.plan):
        made = make(kind)
        stretch = worth_compiling(made.flow, made.start, method(kind), stages)
        if stretch is not None and not stretch.compiled and stretch.kind not in met:
            met.add(stretch.kind)
            tasks += stretch.compilations() if may_fork else [stretch.compile]
        if not made.flow.on_device(made.start).backend.compiled():
            tasks.append(functools.partial(_first_run, kind, made))
            if progress:
                print(
                    f"sweep: compiling the kernels for {kind.activation}, d = {made.data.d}, "
                    f"{kind.dtype}: once",
                    file=sys.stderr,
                )
    if may_fork and len(tasks) > 1:
        forks.together(tasks, cores())
    else:
        for task in tasks:
            task()


def _first_run(kind: Experiment, made: Made) -> None:
    dt = None if kind.integrator == "adaptive" else "auto"
    mf.simulate(made.flow, made.start, method(kind), dt=dt, t_end=kind.t_end, progress=False)


def load(sweep: SweepFolder) -> None:
    """Have all in memory that a run takes, for the workers that are forked from this process: by a run of
    two neurons like the first one, which nobody keeps.
    """
    kind, stages = next(iter(plans.stages(sweep.plan)))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with suppress(Exception):  # whatever it is, a run of the sweep says it
            perform(kind, Path(folder) / "run.h5")
            made = make(kind)
            if stretch := worth_compiling(made.flow, made.start, method(kind), stages):
                stretch.compile()
            if len(sweep.plan.runs) * noise.CALL > noise.FIRST:
                noise.load()


def failures(sweep: SweepFolder, since: int) -> str:
    """How many runs have failed since then, or ""."""
    failed = sum(when >= since for when in sweep.failures().values())
    return f"{failed} failed" if failed else ""
