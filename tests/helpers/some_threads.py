"""A function run with a number of numba threads, which is put back."""

import numba


def with_threads(count, work):
    before = numba.get_num_threads()
    numba.set_num_threads(count)
    try:
        return work()
    finally:
        numba.set_num_threads(before)
