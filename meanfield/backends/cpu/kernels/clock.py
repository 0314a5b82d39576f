"""The time, in compiled code."""

import time

import numpy as np
from numba import njit, types

part = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False)
clock_gettime = types.ExternalFunction("clock_gettime", types.int32(types.int32, types.uintp))
MONOTONIC = int(time.CLOCK_MONOTONIC)


@part
def now(work, me):
    """Seconds of the clock that only goes on, asked by worker `me`."""
    clock = work.clock[me]
    clock_gettime(np.int32(MONOTONIC), np.uintp(clock.ctypes.data))
    return clock[0] + 1e-9 * clock[1]
