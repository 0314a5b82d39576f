"""A run of a sweep as a task of dask: what a worker of dask does with it. The client's side is
dask_engine.py.

dask decides which worker takes which run, and gives the run of a worker that has gone to another.
Whatever it does, lease and link see to it that a run is published once: dask runs a task twice
where a worker is thought dead and is not. A worker that closes (the scheduler has gone, SIGTERM,
the lifetime of a job of dask-jobqueue) asks its run for a checkpoint first, and gives the lease
back, so that another goes on from there at once.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import get_worker

from meanfield.files.provenance import provenance
from meanfield.processes import interruption

from .folders import SweepFolder
from .workers import Terms, make_one

LOOK_SECONDS = 0.1

_running: set[str] = set()  # sessions of which this process makes a run
_stopped: set[str] = set()


class UnfitWorker(ValueError):
    """A worker of dask that cannot make the runs of this sweep."""


@dataclass(frozen=True)
class Session:
    """What the tasks of one client have in common. name: its own; manifest: the sha256 of the
    sweep's manifest; versions: of Python and of the packages there.
    """

    name: str
    folder: str
    manifest: str
    terms: Terms
    versions: dict[str, str | None]


def session(name: str, sweep: SweepFolder, terms: Terms) -> Session:
    """Of a client in this process."""
    folder = sweep.path.resolve()
    return Session(name, str(folder), _digest(sweep.manifest), terms, provenance()["versions"])


def make(session: Session, digest: str) -> str:
    """Make a run, on a worker of dask: what `workers.make_one` returns. Raises UnfitWorker."""
    worker = get_worker()
    check(session, worker)
    sweep = SweepFolder(session.folder)
    with interruption.signals() as received, _stoppable(session.name, worker, received):
        with _logged(sweep):
            return make_one(sweep, digest, session.terms, received)


def check(session: Session, worker: Any) -> None:
    """Raises UnfitWorker for other versions, several threads, or a folder that is not there."""
    able(session.versions, worker)
    manifest = Path(session.folder) / "manifest.json"
    if not manifest.is_file() or _digest(manifest) != session.manifest:
        found = "another sweep" if manifest.is_file() else "no sweep"
        raise UnfitWorker(
            f"{_here(worker)} finds {found} at {session.folder}; client and workers must share the folder, "
            "under one name."
        )


def able(versions: dict[str, str | None], dask_worker: Any) -> None:
    """Raises UnfitWorker for other versions, or several threads; by client.run, which names the
    worker so.
    """
    here = _here(dask_worker)
    ours = provenance()["versions"]
    if differing := {
        name: (ours.get(name), theirs)
        for name, theirs in versions.items()
        if ours.get(name) != theirs
    }:
        several = ", ".join(f"{name} {a} (here {b})" for name, (a, b) in differing.items())
        raise UnfitWorker(
            f"{here} has other versions: {several}. Start the workers from the environment of "
            "scripts/sweep."
        )
    if dask_worker.state.nthreads != 1:
        raise UnfitWorker(
            f"{here} runs {dask_worker.state.nthreads} tasks at a time; start it with --nthreads 1, "
            "and --nworkers for one a core."
        )


def _here(worker: Any) -> str:
    return f"the worker {worker.address} on {socket.gethostname()}"


def fit(session: Session, dask_worker: Any) -> None:
    """`check` by client.run, which names the worker so."""
    check(session, dask_worker)


async def stop(name: str, seconds: float) -> None:
    """On a worker of dask: ask the run of this session for a checkpoint, wait for it so long at the
    most, and begin no other one.
    """
    _stopped.add(name)
    end = time.monotonic() + seconds
    while name in _running and time.monotonic() < end:
        await asyncio.sleep(LOOK_SECONDS)


def dask_setup(worker: Any) -> None:
    """As a preload of a worker on this machine: Ctrl-C is for the client, who asks by `stop`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _stoppable(name: str, worker: Any, received: list[int]) -> Iterator[None]:
    """Ask the run in the block to end once its session is stopped or its worker closes."""
    thread, over = threading.get_ident(), threading.Event()

    def wanted() -> bool:
        return name in _stopped or worker.status.name not in ("running", "paused")

    def watch() -> None:
        while not over.wait(LOOK_SECONDS):
            if wanted():
                interruption.stop(thread)
                return

    if wanted():
        received.append(signal.SIGTERM)
    _running.add(name)
    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join()
        _running.discard(name)


@contextmanager
def _logged(sweep: SweepFolder) -> Iterator[None]:
    """What a run prints and warns of goes to this process's log in the sweep."""
    name = f"{socket.gethostname()}-{os.getpid()}-dask.log"
    with open(sweep.logs / name, "a", encoding="utf-8") as log:
        with redirect_stdout(log), redirect_stderr(log):
            yield


def _digest(manifest: Path) -> str:
    return hashlib.sha256(manifest.read_bytes()).hexdigest()
