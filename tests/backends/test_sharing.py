"""A loop over shards that threads share, around a kernel that is called by its address."""

import tracemalloc

import numba
import numpy as np
import pytest

from meanfield.backends.cpu import sharing

MUCH = 10**9  # operations, so that numba's threads are asked


@numba.njit(nogil=True)
def mark(shard, shards, x, factor, out):
    """Writes to its own entries, with memory of its own."""
    n = x.size
    own = np.empty(2)
    own[0] = shard + 1
    for e in range(shard * n // shards, (shard + 1) * n // shards):
        out[e] += factor * x[e] + own[0]


def expected(x, factor, shards):
    n = x.size
    ends = [shard * n // shards for shard in range(shards + 1)]
    return factor * x + np.repeat(np.arange(1.0, shards + 1), np.diff(ends))


@pytest.mark.parametrize("work", [0, MUCH])
@pytest.mark.parametrize("shards", [0, 1, 2, 7, 64])
def test_each_shard_is_done_once_by_one_thread_and_by_two(threads, shards, work):
    x = np.arange(100.0)
    out = np.zeros(100)
    sharing.run(mark, shards, work, x, 2.0, out)
    np.testing.assert_array_equal(out, expected(x, 2.0, shards) if shards else 0.0)


def test_arguments_of_other_types_are_those_of_another_call():
    """Read-only arrays, rows that are far apart, and float32 after float64."""
    fixed = np.arange(100.0)
    fixed.flags.writeable = False
    apart, single = np.arange(200.0)[::2], np.arange(100, dtype=np.float32)
    for x in (np.arange(100.0), fixed, apart, single, fixed):
        for out in (np.zeros(100, x.dtype), np.zeros((100, 3), x.dtype)[:, 1]):
            sharing.run(mark, 7, MUCH, x, 2.0, out)
            np.testing.assert_array_equal(out, expected(x, 2.0, 7))


def test_a_kernel_may_allocate_while_memory_is_traced():
    """tracemalloc asks for Python's lock, which the thread that waits for the others must not hold."""
    x, out = np.arange(100.0), np.zeros(100)
    tracemalloc.start()
    try:
        sharing.run(mark, 64, MUCH, x, 2.0, out)
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(out, expected(x, 2.0, 64))


def test_a_function_in_plain_python_is_called_as_it_is():
    x, out = np.arange(10.0), np.zeros(10)
    sharing.run(mark.py_func, 3, MUCH, x, 2.0, out)
    np.testing.assert_array_equal(out, expected(x, 2.0, 3))


@numba.njit(nogil=True)
def tenth(shard, shards, value, out):
    if value < 0.0:
        raise ValueError("a negative number")
    out[shard] = value


@pytest.mark.parametrize("work", [0, MUCH])
def test_what_a_kernel_raises_is_raised(threads, work):
    """A formula of a user may; and np.empty, where there is no memory."""
    with pytest.raises(ValueError, match="a negative number"):
        sharing.run(tenth, 7, work, -1.0, np.zeros(7))


def test_a_number_is_never_cut_to_the_type_of_an_earlier_call():
    out = np.zeros(4)
    for value in (1, 0.7, np.float32(0.5), 0.1):
        sharing.run(tenth, 4, 0, value, out)
        np.testing.assert_array_equal(out, value)
