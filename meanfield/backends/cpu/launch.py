"""numba's threads: how many, started without a change to anybody else's, and what a fork leaves of
them.

numba starts its threads at the first parallel kernel. Its OpenMP layer then sets OpenMP's number of
threads for the whole process, torch's with it, and ends every child of a later fork at its first
parallel kernel; multiprocessing waits for such a child for ever.
"""

from __future__ import annotations

import importlib
import os

import numba
from numba.core.caching import IndexDataCacheFile
from numba.np.ufunc import parallel

from ...processes.caches import for_numba
from ...processes.threads import openmp_threads, openmp_untouched, share_of_rank

for_numba(numba.config, IndexDataCacheFile)


def started() -> bool:
    """Whether numba's threads are there."""
    return bool(parallel._is_initialized)


def ask(threads: int) -> None:
    """For so many, where they are not there yet."""
    # for numba, should it be imported again in a process started from here
    os.environ["NUMBA_NUM_THREADS"] = str(threads)
    if not started():
        vars(numba.config)["NUMBA_NUM_THREADS"] = parallel.NUM_THREADS = threads


wanted = share_of_rank() or openmp_threads()
if "NUMBA_NUM_THREADS" not in os.environ and wanted is not None:
    ask(wanted)

_launch_threads = parallel._launch_threads


def _launch() -> None:
    """numba's own, which it calls before every parallel kernel that is compiled or loaded; it works
    at the first.
    """
    if started():
        return
    try:
        # loads OpenMP, so that its number of threads can be looked up
        importlib.import_module("numba.np.ufunc.omppool")
    except ImportError:
        pass
    with openmp_untouched():
        _launch_threads()


_lost = False


def check() -> None:
    """An error in a fork of a process whose threads do not live on in it."""
    if _lost:
        raise RuntimeError(
            "this process is a fork of one in which compiled kernels have already run on "
            "OpenMP's threads, and those do not live "
            "on in a fork. Start the processes another way: "
            'multiprocessing.get_context("spawn"), joblib, or scripts/sweep; '
            "or fork before the first run."
        )


def _after_fork_in_child() -> None:
    global _lost
    if started() and parallel._threading_layer == "omp":
        _lost = True


parallel._launch_threads = _launch
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
