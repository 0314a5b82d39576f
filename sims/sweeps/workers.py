"""A worker: claims a run, makes it in a place of its own, publishes it, and looks for the next,
until nothing is left to do.

Any number of them, on any number of machines, share one folder. What a killed worker leaves is
taken up, from its last checkpoint, once its lease is stale. python -m sims.sweeps.workers FOLDER is
what `scripts/sweep work` starts.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import meanfield as mf
from meanfield.files.recording import last_summary
from meanfield.processes.interruption import signals, stop

from ..lab import terminal
from ..lab.config import INTERRUPTED, USAGE, code_of
from ..lab.experiment import perform
from . import leases
from .folders import SweepFolder, write_json, write_note
from .leases import Lease, LeaseLost
from .workplaces import Place, adopt, clear, places, publish

# seconds between two looks at what others are at: most are at the last run of a sweep, and end soon
SHORTEST = 0.02
LONGEST = 1.0
LOOK_SECONDS = 1.0  # for which a worker goes by what it has seen in the folder
DEATHS = 5  # owners lost in a row without a checkpoint between them: it is the run that kills them


@dataclass(frozen=True)
class Terms:
    """How a worker works. since: failures before it (ns, the folder's clock) are tried again;
    parent: whose end is ours.
    """

    lease_seconds: float = 120.0
    checkpoint_seconds: float = 30.0
    since: int = 0
    parent: int = 0

    def options(self) -> list[str]:
        """The words of a worker's command line that say the same."""
        given = dataclasses.asdict(self).items()
        return [word for name, value in given for word in (f"--{_dashed(name)}", str(value))]


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def serve(sweep: SweepFolder, terms: Terms) -> int:
    """What a worker's process does; returns its exit code."""
    # warnings of a cluster are for the one who started us
    for ignored in (
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGHUP,
    ):
        signal.signal(ignored, signal.SIG_IGN)
    return work(sweep, terms)


def work(sweep: SweepFolder, terms: Terms) -> int:
    """Make runs until all are made (0), or until a signal comes (75)."""
    pause, runs = SHORTEST, Left(sweep, terms)
    with signals() as received:
        while not received and not _orphaned(terms):
            claimed = runs.claim()
            if claimed is None:
                if not waiting(sweep, terms.since):
                    tidy(sweep, terms.lease_seconds)
                    return 0
                # others are at work, and one of them may die
                time.sleep(min(pause, terms.lease_seconds / 10))
                pause = min(2 * pause, LONGEST)
                continue
            pause = SHORTEST
            if not _attempt(sweep, *claimed, terms, received):
                break
    return INTERRUPTED


def waiting(sweep: SweepFolder, since: int) -> list[str]:
    """The runs that are neither there nor failed since then, in the manifest's order."""
    settled = sweep.published() | {
        digest for digest, when in sweep.failures().items() if when >= since
    }
    return [digest for digest in sweep.plan.runs if digest not in settled]


def tidy(sweep: SweepFolder, lease_seconds: float) -> None:
    """Remove what kills have left behind of runs that are published."""
    there = sweep.published()
    for folder in sweep.work.iterdir():
        if folder.name.split(".")[0] in there:
            clear(folder)
    for path in sweep.leases.iterdir():
        if path.name in there:  # whoever holds it still has nothing to win
            path.unlink(missing_ok=True)
    leases.remove_remains(sweep.leases, 10 * lease_seconds)


class Left:
    """The runs that are left to one worker. It looks at the folder once a second and not for each of them,
    which would take the longer the more runs there are.
    """

    def __init__(self, sweep: SweepFolder, terms: Terms) -> None:
        self._sweep, self._terms = sweep, terms
        self._seen: Iterator[str] = iter(())
        self._until = -math.inf

    def claim(self) -> tuple[str, Lease] | None:
        """A run nobody is at work on, claimed."""
        found = self._next() if time.monotonic() < self._until else None
        if found is None:
            self._seen = iter(waiting(self._sweep, self._terms.since))
            self._until = time.monotonic() + LOOK_SECONDS
            found = self._next()
        return found

    def _next(self) -> tuple[str, Lease] | None:
        sweep = self._sweep
        for digest in self._seen:
            if sweep.run(digest).exists() or sweep.failed_since(digest, self._terms.since):
                continue
            lease = leases.claim(sweep.leases / digest, self._terms.lease_seconds)
            if lease is None:
                continue
            if not sweep.run(digest).exists():  # it may have been published since we looked
                return digest, lease
            lease.release()
        return None


def make_one(sweep: SweepFolder, digest: str, terms: Terms, received: list[int]) -> str:
    """Make this run, for one whom somebody else tells which: "held" by another process, "stopped"
    by a signal after a checkpoint, or "tried": it is there, or has failed, or was lost.

    received: signals that came before it.
    """
    if received:
        return "stopped"
    if (lease := leases.claim(sweep.leases / digest, terms.lease_seconds)) is None:
        return "held"
    if sweep.run(digest).exists():
        lease.release()
        return "tried"
    return "tried" if _attempt(sweep, digest, lease, terms, received) else "stopped"


def _attempt(
    sweep: SweepFolder, digest: str, lease: Lease, terms: Terms, received: list[int]
) -> bool:
    """Make a claimed run. False when a signal has stopped it, after its checkpoint. received:
    signals that came before it.
    """
    try:
        with lease.beating():
            _make(sweep, digest, lease, terms, received)
    except KeyboardInterrupt:
        _say("interrupted", digest)
        return False
    except LeaseLost:
        _say("lost", digest)
    except Exception as error:
        # the place was cleared under a worker that had lost its run
        if sweep.run(digest).exists() or not lease.held():
            _say("lost", digest, repr(error))
        else:
            _fail(sweep, digest, error)
    finally:
        lease.release()
    return True


def _make(sweep: SweepFolder, digest: str, lease: Lease, terms: Terms, received: list[int]) -> None:
    """Go on with the run where others have left it, to its end, and publish it."""
    place, begun, checkpoints, stopping = (
        Place(sweep.work / f"{digest}.{lease.token}"),
        time.monotonic(),
        0,
        False,
    )

    def guard() -> None:
        """Before each checkpoint: is the run ours still, and shall it go on? From the second on,
        one has been published.
        """
        nonlocal checkpoints, stopping
        lease.check()
        if checkpoints:
            lease.progressed()
        checkpoints += 1
        if not stopping and (received or _orphaned(terms)):
            stopping = True
            stop()

    if lease.deaths >= DEATHS:
        raise RuntimeError(
            f"{lease.deaths} workers in a row died of this run without getting any "
            "further (memory?)."
        )
    reached = adopt(sweep, digest, place)
    _say("claimed", digest, f"from checkpoint {reached}" * (reached > 0), _after(lease.deaths))
    status, summary = "finished", dict[str, Any]()
    try:
        perform(
            sweep.plan.runs[digest].config,
            place.run,
            checkpoint_seconds=terms.checkpoint_seconds,
            guard=guard,
            summary=summary,
        )
    except mf.Diverged:
        status = "diverged"  # a result, recorded in the run's file
    lease.check()
    _say("publishing", digest)
    if publish(sweep, digest, place):
        _say("published", digest, status)
        note = {
            "status": status,
            "seconds": time.monotonic() - begun,
            "host": socket.gethostname(),
            "pid": os.getpid(),
        }
        summary = summary or last_summary(sweep.run(digest))  # the end was reached elsewhere
        note |= {name: summary.get(name) for name in ("energy_defect", "defect")}
        write_note(sweep.runs / f"{digest}.json", note)
    else:
        _say("superseded", digest)
    (sweep.failed / f"{digest}.json").unlink(missing_ok=True)
    for folder in places(sweep, digest):
        clear(folder)


def _after(deaths: int) -> str:
    return f"after {deaths} death{'s' * (deaths != 1)}" if deaths else ""


def _fail(sweep: SweepFolder, digest: str, error: Exception) -> None:
    """Record why; the next `work` tries again, from the start unless the machine is to blame."""
    message = " ".join(str(error).split())
    _say("failed", digest, f"{type(error).__name__}: {message}")
    record = {
        "kind": type(error).__name__,
        "message": message,
        "code": code_of(error) or USAGE,
        "host": socket.gethostname(),
    }
    if not isinstance(error, (OSError, MemoryError)):
        for folder in places(sweep, digest):
            clear(folder)
    write_json(sweep.failed / f"{digest}.json", record)


def _orphaned(terms: Terms) -> bool:
    return bool(terms.parent) and os.getppid() != terms.parent


def _say(event: str, digest: str, *more: str) -> None:
    """A line of this worker's log."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    print(
        " ".join(
            [now, f"{socket.gethostname()}:{os.getpid()}", event, digest, *filter(None, more)]
        ),
        flush=True,
    )


def main(argv: list[str] | None = None) -> int:
    """The command line of one worker; returns the exit code."""
    terminal.accept_all()
    parser = argparse.ArgumentParser("python -m sims.sweeps.workers", description=__doc__)
    parser.add_argument("folder", type=Path, help="the sweep")
    for field in dataclasses.fields(Terms):
        kind = type(field.default)
        parser.add_argument(f"--{_dashed(field.name)}", type=kind, default=field.default)
    options = vars(parser.parse_args(argv))
    return serve(SweepFolder(options.pop("folder")), Terms(**options))


if __name__ == "__main__":
    sys.exit(main())
