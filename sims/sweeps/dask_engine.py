"""The runs of a sweep as tasks of dask: a scheduler that is there, or one on this machine.

scripts/sweep work FOLDER --engine dask [--scheduler tcp://host:8786]. What is done is read from the
folder alone; what dask says of a task decides only whether the run is given out again. That is
why no setting of the scheduler matters: dask gives up a task once four workers were lost
("distributed.scheduler.allowed-failures", a setting of the scheduler; retries= has no say in it,
and tasks that merely waited on such a worker count too). Here the run is a new task then. A run
that kills its workers is given up by its lease, see workers.DEATHS.
"""

from __future__ import annotations

import heapq
import logging
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Any

from tqdm.auto import tqdm

from meanfield.files.provenance import provenance
from meanfield.processes.interruption import signals
from meanfield.processes.threads import cores
from meanfield.processes.workers import THREADS

from . import leases
from .folders import SweepFolder
from .local_workers import FRUITLESS, LOOK_SECONDS, compile_kernels, report_failures
from .shown import Shown
from .workers import Terms, tidy, waiting
from .workplaces import Place

CONNECT_SECONDS = 10.0
STOP_SECONDS = 60.0  # for the checkpoints of the runs in hand
UNSEEN_SECONDS = 90.0  # a file server may show a new name so late


class SchedulerGone(ConnectionError):
    """No scheduler of dask answers."""


@contextmanager
def connected(scheduler: str = "", workers: int | None = None) -> Iterator[Any]:
    """A client of dask: of the scheduler at this address, or of one that is started here with
    `workers` processes of one thread (None: one a core) and ends with the block.

    It is nobody's default: what other code asks of dask stays where it was, see
    findings/dask_clients_leave_their_scheduler_set.sh.

    Raises ImportError without distributed, SchedulerGone where nobody answers, ValueError for an
    address that is none.
    """
    distributed = _distributed()
    if not scheduler:
        import dask

        # LocalCluster lets go of a worker that is not back so soon after it was killed, 15 s by
        # default, for ever: on busy cores the last one goes so, and nobody is left to work
        patient = dask.config.set({"distributed.deploy.lost-worker-timeout": "365 days"})
        with (
            patient,
            distributed.LocalCluster(
                n_workers=workers or cores(),
                threads_per_worker=1,
                memory_limit=0,  # a run is refused before it needs what the machine has not
                dashboard_address=None,
                silence_logs=logging.CRITICAL,  # a worker that was killed is no news
                env=dict.fromkeys(THREADS, "1"),
                preload=["sims.sweeps.dask_tasks"],
            ) as cluster,
        ):
            with distributed.Client(cluster, set_as_default=False) as client:
                yield client
        return
    try:
        client = distributed.Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
    except OSError as error:
        raise SchedulerGone(
            f"no scheduler of dask answers at {scheduler} ({error}); start one with `dask "
            "scheduler`, or leave --scheduler out for one on this machine."
        ) from error
    except ValueError as error:
        raise ValueError(
            f"--scheduler must be an address such as tcp://host:8786; got {scheduler!r} ({error})."
        ) from error
    try:
        yield client
    finally:
        with suppress(Exception):  # of a scheduler that has gone
            client.close(timeout=1)


def executor(sweep: SweepFolder, client: Any) -> Any:
    """A concurrent.futures.Executor of the workers that are there, each looked at. Raises
    UnfitWorker, and ValueError where there is none.
    """
    from . import dask_tasks

    return _hands(client, dask_tasks.fit, dask_tasks.session(uuid.uuid4().hex, sweep, Terms()))


def hands(client: Any) -> Any:
    """The same of workers that need not see a sweep."""
    from . import dask_tasks

    return _hands(client, dask_tasks.able, provenance()["versions"])


def _hands(client: Any, look: Any, given: Any) -> Any:
    if not client.run(look, given):
        raise ValueError("the scheduler has no workers yet; start them first (dask worker).")
    return client.get_executor(pure=False)


def supervise(sweep: SweepFolder, client: Any, terms: Terms, progress: bool = True) -> None:
    """Have every run made that is missing. Raises KeyboardInterrupt once a signal has stopped
    them, SchedulerGone, UnfitWorker, RunsFailed.
    """
    total, since = len(sweep.plan.runs), leases.now_ns(sweep.leases)
    left = waiting(sweep, since)
    if left:
        compile_kernels(sweep, progress)
    dealer = Dealer(sweep, client, replace(terms, since=since))
    with signals() as received, Shown(sweep, progress, tqdm) as shown:
        try:
            for digest in left:
                dealer.submit(digest)
            while dealer.left and not received:
                dealer.wait(LOOK_SECONDS)
                shown.update(dealer.says())
        finally:
            if dealer.left:
                dealer.stop()
        if received:
            raise KeyboardInterrupt(
                f"stopped with {len(sweep.published())} of {total} runs finished"
            )
    tidy(sweep, terms.lease_seconds)
    report_failures(sweep)


class Dealer:
    """Gives runs out as tasks until each is in the folder, finished or failed. left: those that
    are not, with how often each was given out without being made.
    """

    def __init__(self, sweep: SweepFolder, client: Any, terms: Terms) -> None:
        from . import dask_tasks

        self.sweep, self.client, self.terms = sweep, client, terms
        self.left: dict[str, int] = {}
        self._unseen: dict[str, float] = {}
        self.session = dask_tasks.session(uuid.uuid4().hex, sweep, terms)
        self._tasks = dask_tasks
        self._futures: dict[str, Any] = {}
        self._ended: SimpleQueue[str] = SimpleQueue()
        self._later: list[tuple[float, str]] = []
        self._lost, self._reached = 0, 0
        self._looked, self._workers = -1e9, 0

    def submit(self, digest: str) -> None:
        """Give a run out, as a task of a new name: dask keeps count of the deaths of a name."""
        self.left.setdefault(digest, 0)
        name = f"run-{digest}-{uuid.uuid4().hex}"
        future = self.client.submit(self._tasks.make, self.session, digest, key=name, pure=False)
        self._futures[digest] = future
        future.add_done_callback(lambda _: self._ended.put(digest))

    def wait(self, seconds: float) -> None:
        """See what has ended, for so long at the most, and give out again what must be."""
        if self.client.status != "running":
            raise self._gone()
        with suppress(Empty):
            self._settle(self._ended.get(timeout=seconds))
            while True:
                self._settle(self._ended.get_nowait())
        while self._later and self._later[0][0] <= time.monotonic():
            self.submit(heapq.heappop(self._later)[1])

    def says(self) -> str:
        """Of the bar: how many workers there are, and how many runs have failed."""
        if time.monotonic() - self._looked > 2.0:
            with suppress(Exception):  # of a scheduler that has gone: `wait` says so
                self._workers = len(self.client.nthreads())
            self._looked = time.monotonic()
        failed = sum(when >= self.terms.since for when in self.sweep.failures().values())
        workers = f"{self._workers} workers" if self._workers else "waiting for workers of dask"
        return f"{failed} failed, {workers}" if failed else workers

    def stop(self) -> None:
        """Take back what has not begun, and wait for the checkpoints of what has."""
        with suppress(Exception):  # a worker, or the scheduler, that has gone
            self.client.cancel(list(self._futures.values()), force=True)
        with suppress(Exception):
            asked = self._tasks.stop, self.session.name, STOP_SECONDS
            self.client.run(*asked, on_error="ignore")

    def _settle(self, digest: str) -> None:
        """One task has ended, however it did."""
        future = self._futures.pop(digest)
        if self._settled(digest):
            del self.left[digest]
            return
        if future.status == "finished":
            self._again(digest, future.result())
        elif future.status == "error":
            self._broken(digest, future.exception())
        elif self.client.status != "running":
            raise self._gone()
        else:  # another client of the scheduler has cancelled it
            self.submit(digest)

    def _again(self, digest: str, how: str) -> None:
        """A task that has ended without its run being there."""
        if how == "tried":  # since when (monotonic) it is said to be made
            since = self._unseen.setdefault(digest, time.monotonic())
            if time.monotonic() - since > UNSEEN_SECONDS:
                raise self._tasks.UnfitWorker(
                    f"a worker says that it has made the run {digest}, which is not in "
                    f"{self.sweep.runs}; client and workers must share the folder."
                )
        # "held": by a worker that is about to end, or a dead one until its lease is stale, or by
        # another process that makes it
        self.left[digest] += 1
        pause = min(self.terms.lease_seconds / 10, LOOK_SECONDS * 2 ** min(self.left[digest], 30))
        heapq.heappush(self._later, (time.monotonic() + pause, digest))

    def _broken(self, digest: str, error: BaseException) -> None:
        """A task that has raised: of its workers, or of dask."""
        if not isinstance(error, _distributed().scheduler.KilledWorker):
            if isinstance(error, ImportError):
                raise self._tasks.UnfitWorker(
                    f"a worker of dask cannot import what a run needs ({error}); start the workers "
                    "from the environment of scripts/sweep."
                ) from error
            raise error
        places = [Place(folder).reached() + 1 for folder in self.sweep.work.iterdir()]
        reached = len(self.sweep.published()) + sum(places)
        self._lost = 1 if reached != self._reached else self._lost + 1
        self._reached = reached
        if self._lost > FRUITLESS:
            raise RuntimeError(
                f"{self._lost} tasks in a row lost their workers before any run got further "
                f"({error})."
            )
        self.submit(digest)

    def _settled(self, digest: str) -> bool:
        if self.sweep.run(digest).exists():
            return True
        with suppress(FileNotFoundError):
            failed = (self.sweep.failed / f"{digest}.json").stat().st_mtime_ns
            return failed >= self.terms.since
        return False

    def _gone(self) -> SchedulerGone:
        there, total = len(self.sweep.published()), len(self.sweep.plan.runs)
        return SchedulerGone(
            f"the scheduler of dask has gone; {there} of {total} runs are there. The same command, "
            "with a scheduler, goes on from here."
        )


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise ImportError(
            f'--engine dask needs distributed: pip install -e ".[cluster]" ({error}).'
        ) from error
    return distributed
