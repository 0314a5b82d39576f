"""Kernels for one shard of particles, called for all of them by one thread or by numba's.

    @njit(**BY_ADDRESS)
    def kernel(shard, shards, …):             # writes to what is this shard's alone

Little work stays on the thread that asks, for waking the others would take longer.
"""

from __future__ import annotations

import os
import threading
from typing import Any

import llvmlite.binding as llvm
import numba
from numba import types
from numba.core.dispatcher import Dispatcher
from numba.np.ufunc import parallel

from ..llvm import addresses, loops
from . import launch

SMALL = 10**6  # operations in float32 that one thread does in about ten microseconds
# the loop and the address of a kernel for its first arguments, and for those of other types
_first: dict[Any, tuple[Any, int]] = {}
_others: dict[tuple[Any, ...], tuple[Any, int]] = {}
_loops: dict[tuple[Any, ...], Any] = {}
# One caller at a time, by the layer of numba's threads: its workqueue, where there is no OpenMP, ends
# a process of which two threads call it at once.
_turns: dict[str | None, Any] = {"workqueue": threading.Lock()}
if hasattr(os, "register_at_fork"):  # who has the turn is not there in a fork
    os.register_at_fork(after_in_child=lambda: _turns.update(workqueue=threading.Lock()))


def run(kernel: Any, shards: int, work: float, *given: Any) -> None:
    """kernel(shard, shards, *given) for each shard; work: operations in all.

    A compiler's error is the kernel's own, and so is what it raises. Arrays that are read-only are
    taken as others are: no kernel writes to its input.
    """
    threads = 1
    if work > SMALL and shards > 1:
        threads = numba.get_num_threads()
    share_out = _share_out() if threads > 1 else 0
    loop, address = _first.get(kernel) or _compiled(kernel, given)
    turn = _turns.get(parallel._threading_layer) if threads > 1 else None
    if turn is not None:
        turn.acquire()
    try:
        loop(share_out, threads, shards, address, *given)
    except _OtherTypes:
        key = (kernel, *map(numba.typeof, given))
        if key not in _others:
            _others[key] = _compiled(kernel, given)
        loop, address = _others[key]
        loop(share_out, threads, shards, address, *given)
    finally:
        if turn is not None:
            turn.release()


class _OtherTypes(Exception):
    """The loop is compiled for other arguments."""


def _refuse(*given: Any) -> None:
    raise _OtherTypes


def _compiled(kernel: Any, given: tuple[Any, ...]) -> tuple[Any, int]:
    if not isinstance(kernel, Dispatcher):  # plain.py
        return _in_python, kernel
    kinds = tuple(map(numba.typeof, given))
    address = addresses.address_for(kernel, (types.intp, types.intp, *map(_writable, kinds)))
    if kinds not in _loops:
        made: Any = numba.njit(**loops.OPTIONS)(loops.loop)
        made.compile((types.intp,) * 4 + (types.Tuple(kinds),))
        # without disable_compile, after which numba takes 0.7 where there was a whole number, as 0
        made._compile_for_args = _refuse
        _loops[kinds] = made
    found = _loops[kinds], address
    return _first.setdefault(kernel, found) and found


def _writable(kind: Any) -> Any:
    return kind.copy(readonly=False) if isinstance(kind, types.Array) else kind


def _in_python(share_out: int, threads: int, shards: int, kernel: Any, *given: Any) -> None:
    for shard in range(shards):
        kernel(shard, shards, *given)


_known: list[int] = []


def _share_out() -> int:
    """The address of what shares out a loop among numba's threads, which are started."""
    launch.check()
    if not _known:
        parallel._launch_threads()
        _known.append(llvm.address_of_symbol("numba_parallel_for"))
    return _known[0]
