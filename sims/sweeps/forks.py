"""Workers that begin as forks of the process that supervises them, with all that it has imported and
loaded: a fresh interpreter does that again, which takes as long as a hundred small runs.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from pathlib import Path
from typing import IO, Any

from threadpoolctl import threadpool_limits

from meanfield.backends.cpu import launch
from meanfield.processes.workers import THREADS

PR_SET_PDEATHSIG = 1  # of Linux's prctl: the signal that comes when the parent ends


class Forked:
    """What a crew asks of a worker's process; as of a subprocess.Popen."""

    def __init__(self, process: Any) -> None:
        self._process, self.pid, self.sentinel = process, process.pid, process.sentinel

    @property
    def returncode(self) -> int | None:
        """The exit code, minus the signal's number of one that was killed; None of one at work."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The same of one that has ended; raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        if (code := self.returncode) is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """Nothing, to one that has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def possible() -> bool:
    """Whether this process may be forked: nothing runs in it beside its main thread, and no kernel
    has started numba's threads, which do not live on in a fork. On macOS system libraries forbid it.
    """
    return sys.platform == "linux" and threading.active_count() == 1 and not launch.started()


@contextmanager
def loading() -> Iterator[None]:
    """While this process loads what its forks are to have. Python does not look through it for garbage:
    all of that stays, and to look, several times, takes as long as four small runs.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.unfreeze()  # it counts as old now, and is not looked through at once
        if enabled:
            gc.enable()


def fork(work: Callable[[], int], threads: int, log: IO[bytes]) -> Forked:
    """A process of so many threads that does `work`, whose exit code it returns, and says all that
    it says to `log`. As one of `start_python`'s it has a session of its own.
    """
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_do, args=(work, threads, log), daemon=True)  # ends with us
    process.start()
    return Forked(process)


def _do(work: Callable[[], int], threads: int, log: IO[bytes]) -> None:
    _begin(threads, log)
    raise SystemExit(work())


def together(tasks: Sequence[Callable[[], Any]], count: int) -> None:
    """Do all of them, so many at once, each in a fork of one thread that ends with this process, however
    that ends; for what they leave on the disk. One that does not end well there is done again here, and
    raises what it has to.
    """
    here, waiting = os.getpid(), list(tasks)
    at_work: dict[Any, tuple[Forked, Callable[[], Any]]] = {}  # by sentinel
    with open(os.devnull, "ab") as nowhere:
        try:
            while waiting or at_work:
                while waiting and len(at_work) < count:
                    task = waiting.pop(0)
                    process = fork(functools.partial(_done, task, here), 1, nowhere)
                    at_work[process.sentinel] = process, task
                for sentinel in wait(list(at_work)):
                    process, task = at_work.pop(sentinel)
                    if process.wait():
                        task()
        finally:
            for process, _ in at_work.values():
                process.kill()
                process.wait()


def _done(task: Callable[[], Any], parent: int) -> int:
    # one that is killed has no time to end us
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == parent:  # it may have ended before
        task()
    return 0


def _begin(threads: int, log: IO[bytes]) -> None:
    """What a fresh interpreter would have from its start."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with open(Path(os.devnull), "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    sys.stdout = open(1, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)
    sys.stderr = sys.stdout
    gc.freeze()  # what is there already: no collection in this process need look through it
    os.environ.update(dict.fromkeys(THREADS, str(threads)))
    launch.ask(threads)
    threadpool_limits(threads, "blas")
