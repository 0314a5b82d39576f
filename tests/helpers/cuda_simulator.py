"""The checks of cuda_parity.py in CUDA's simulator, where a kernel's threads are Python threads: no
GPU, tiny sizes only.

    NUMBA_ENABLE_CUDASIM=1 python -m tests.helpers.cuda_simulator [--slow] [NAME …]

runs those whose name starts with a NAME and prints, for each, a JSON line [name, error or null]. A
process of its own, for the simulator must be asked for before numba is imported.
"""

import json
import sys
import threading
import traceback
import warnings
from functools import partial

import numpy as np

from .cuda_parity import CHECKS


def quicken_simulator():
    """Half to three quarters of the time, without what nothing here needs.

    numba's simulator looks at the threads of a block in turn, again and again, to see who waits: a
    barrier needs no looking. (All threads of a block come to every one of our barriers.) It takes
    locks around each call of a device function, for those that name numba.cuda, and wraps each array
    that a kernel is given in two others. And 128 threads that want the interpreter take it from each
    other before they have to wait.
    """
    from numba.cuda.simulator import kernel

    sys.setswitchinterval(1.0)
    kernel.FakeWithinKernelCUDAArray = lambda wrapped: wrapped._ary
    locked = kernel.FakeCUDAKernel.__call__

    def call(self, *arguments):
        plain = self._device and "cuda" not in self.fn.__code__.co_names
        return (self.fn if plain else partial(locked, self))(*arguments)

    kernel.FakeCUDAKernel.__call__ = call

    def run_block(self, grid_point, *arguments):
        barrier = threading.Barrier(self.block_state.size)

        def target():
            try:
                self._f(*arguments)
            except Exception:
                barrier.abort()
                raise

        threads = [
            kernel.BlockThread(target, self, grid_point, point, False)
            for point in np.ndindex(*self._block_dim)
        ]
        for thread in threads:
            thread.syncthreads = barrier.wait
            thread.start()
        for thread in threads:
            thread.join()
        failed = [thread.exception for thread in threads if thread.exception]
        failed.sort(key=lambda found: found[0] is threading.BrokenBarrierError)
        if failed:
            raise failed[0][0].with_traceback(failed[0][1])

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
