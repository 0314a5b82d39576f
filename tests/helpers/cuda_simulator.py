"""The checks of cuda_parity.py in CUDA's simulator, where a kernel's threads are Python threads: no
GPU, tiny sizes only.

    NUMBA_ENABLE_CUDASIM=1 python -m tests.helpers.cuda_simulator [--slow] [NAME …]

runs those whose name starts with a NAME and prints, for each, a JSON line [name, error or null]. A
process of its own, for the simulator must be asked for before numba is imported.
"""

import functools
import inspect
import json
import sys
import threading
import traceback
import types
import warnings
from functools import partial
from typing import ClassVar

import numpy as np
from numba.cuda.simulator import kernel, kernelapi
from numba.cuda.simulator.kernel import FakeCUDAKernel
from numba.cuda.simulator.kernelapi import Dim3

from .cuda_parity import CHECKS


class Lane(threading.Thread):
    """One thread of the blocks, kept from block to block: numba's simulator asks the current thread
    where it stands. It works in its turn, up to the next barrier, and hands the turn on.
    """

    def __init__(self):
        super().__init__(daemon=True)
        self.turn = threading.Lock()
        self.turn.acquire()
        self.start()

    def run(self):
        while True:
            self.turn.acquire()
            block = self.block
            if block.error is None:
                try:
                    block.work()
                    block.ended += 1
                except BaseException as error:
                    error.add_note(f"in thread {self.threadIdx} of block {self.blockIdx}")
                    block.error = block.error or error
            self.after_end.release()

    def syncthreads(self):
        if self.block.ended:
            raise RuntimeError("A thread of the block has ended; others come to a barrier.")
        self.at_barrier.release()
        self.turn.acquire()


class Block:
    """Threads of one block, each in its turn. The last hands the turn to the first at a barrier, to
    which all have come then, and at the end to who started them.
    """

    lanes: ClassVar[list[Lane]] = []

    def __init__(self, work, grid_point, shape):
        self.work, self.ended, self.error = work, 0, None
        points = list(np.ndindex(*shape))
        while len(self.lanes) < len(points):
            self.lanes.append(Lane())
        done = threading.Lock()
        done.acquire()
        lanes = self.lanes[: len(points)]
        for lane, following, point in zip(lanes, [*lanes[1:], lanes[0]], points, strict=True):
            lane.block = self
            lane.blockIdx, lane.threadIdx = Dim3(*grid_point), Dim3(*point)
            lane.at_barrier = lane.after_end = following.turn
        lanes[-1].after_end = done

        lanes[0].turn.release()
        done.acquire()
        if self.error is None and self.ended < len(lanes):
            self.error = RuntimeError("Some threads of the block wait at a barrier for ever.")
        if self.error is not None:
            self.lanes.clear()  # some may wait
            raise self.error


def comes_to_barriers(function):
    """Whether a kernel names cuda.syncthreads, or a device function that does."""
    code = function.__code__
    names = function.__globals__ | inspect.getclosurevars(function).nonlocals
    called = (names[name] for name in (*code.co_names, *code.co_freevars) if name in names)
    return "syncthreads" in code.co_names or any(
        comes_to_barriers(item.fn) for item in called if isinstance(item, FakeCUDAKernel)
    )


def quicken_simulator():
    """Much of the time saved, without what nothing here needs.

    numba's simulator starts new threads for each block, and looks at them again and again to see who
    waits. It takes locks around each call of a device function, for those that name numba.cuda,
    wraps each array that a kernel is given in two others, and reads the source of a line for its
    number.
    """
    # threads that want the interpreter take it from each other before they have to wait
    sys.setswitchinterval(1.0)
    kernel.FakeWithinKernelCUDAArray = lambda wrapped: wrapped._ary
    locked = FakeCUDAKernel.__call__

    def call(self, *arguments):
        plain = self._device and "cuda" not in self.fn.__code__.co_names
        return (self.fn if plain else partial(locked, self))(*arguments)

    FakeCUDAKernel.__call__ = call

    def extract_stack(frame):
        caller = frame.f_back
        return (caller.f_code.co_filename, caller.f_lineno), None

    kernelapi.traceback = types.SimpleNamespace(extract_stack=extract_stack)
    barriers = functools.cache(comes_to_barriers)

    def run_block(self, grid_point, *arguments):
        if barriers(self._f):
            Block(partial(self._f, *arguments), grid_point, self._block_dim)
            return
        thread = threading.current_thread()  # nobody waits for another: one does all their work
        thread.blockIdx = Dim3(*grid_point)
        for point in np.ndindex(*self._block_dim):
            thread.threadIdx = Dim3(*point)
            self._f(*arguments)

    kernel.BlockManager.run = run_block


def main(names):
    """Run the checks whose names start so, printing what came of each."""
    # unsigned numbers that wrap round, exp that overflows: NumPy warns, a GPU does not
    warnings.filterwarnings("ignore")
    quicken_simulator()
    slow = "--slow" in names
    prefixes = tuple(name for name in names if name != "--slow") or ("",)
    for name, (is_slow, function, arguments) in CHECKS.items():
        if is_slow != slow or not name.startswith(prefixes):
            continue
        try:
            function(*arguments)
            error = None
        except Exception:
            error = traceback.format_exc()
        print(json.dumps([name, error]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
