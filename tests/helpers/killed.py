"""Runs in processes of their own that are killed (SIGKILL), and gone on with.

For each function that makes a run there is one interpreter, which imports what the run needs, loads
its kernels, and forks: a fresh interpreter would take three seconds for each process. It has opened
no file; of a run its forks know the files alone.
"""

import multiprocessing
import os
import signal
import time

from toy_run import child

from meanfield.files.recording import unfinished

SPAWNED = multiprocessing.get_context("spawn")
_forking = {}


def killed(times, work, path, *words):
    """Call work(path, *words) in one process after the other: so many are killed after their second
    checkpoint, the next one reaches the end. work(None, *words) is called once before, to load what
    a run needs.
    """
    if work not in _forking:
        here, there = SPAWNED.Pipe()
        SPAWNED.Process(target=_fork, args=(there, work), daemon=True).start()
        _forking[work] = here
    _forking[work].send((times, path, words))
    assert _forking[work].recv() == [-signal.SIGKILL] * times + [0]
    assert not unfinished(path)


def _fork(pipe, work):
    """In that interpreter: the exit codes of the processes of one run after the other."""
    import numba

    # so that a lock (of tqdm) has no name, which a killed process would leave behind
    multiprocessing.set_start_method("fork", force=True)
    numba.set_num_threads(1)
    while True:
        times, path, words = pipe.recv()
        work(None, *words)
        pipe.send([_ended(work, path, words, turn < times) for turn in range(times + 1)])


def _ended(work, path, words, shot):
    before, begun = newest_checkpoint(path), time.monotonic()
    pid = child(lambda: work(path, *words))
    while shot and newest_checkpoint(path) < before + 2 and time.monotonic() - begun < 60:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            break
        time.sleep(0.005)
    if shot:
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def newest_checkpoint(path):
    """Its number; 0 before the first."""
    names = path.with_name(f"{path.name}.parts").glob("checkpoint-*")
    return max((int(found.name.split("-")[1]) for found in names), default=0)
