"""Kernels for one shard of particles, called for all of them by one thread or by numba's.

    @njit(nogil=True, cache=True)
    def kernel(shard, shards, …):             # writes to what is this shard's alone

Little work stays on the thread that asks, for waking the others would take longer.
"""

from __future__ import annotations

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


def run(kernel: Any, shards: int, work: float, *given: Any) -> None:
    """kernel(shard, shards, *given) for each shard; work: operations in all.

    A compiler's error is the kernel's own. Arrays that are read-only are taken as others are: no
    kernel writes to its input.
    """
    threads = 1
    if work > SMALL and shards > 1:
        threads = numba.get_num_threads()
    share_out = _share_out() if threads > 1 else 0
    loop, address = _first.get(kernel) or _compiled(kernel, given)
    try:
        loop(share_out, threads, shards, address, *given)
    except TypeError:  # of the loop, which accepts its own types alone
        key = (kernel, *map(numba.typeof, given))
        if key not in _others:
            _others[key] = _compiled(kernel, given)
        loop, address = _others[key]
        loop(share_out, threads, shards, address, *given)


def _compiled(kernel: Any, given: tuple[Any, ...]) -> tuple[Any, int]:
    if not isinstance(kernel, Dispatcher):  # plain.py
        return _in_python, kernel
    kinds = tuple(map(numba.typeof, given))
    address = addresses.address_for(kernel, (types.intp, types.intp, *map(_writable, kinds)))
    if kinds not in _loops:
        _loops[kinds] = numba.njit(**loops.OPTIONS)(loops.loop)
        _loops[kinds].compile((types.intp,) * 4 + (types.Tuple(kinds),))
        _loops[kinds].disable_compile()
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
