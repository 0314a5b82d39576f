"""Squares of a matrix, by rows and by columns."""

import numpy as np
import pytest
from numba import njit

from meanfield.backends.llvm import squares
from meanfield.backends.llvm.half_spaces import lanes


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_square_is_transposed_and_rows_behind_the_last_are_that_one_again(rng, dtype):
    count = lanes(np.dtype(dtype).itemsize)

    @njit
    def call(rows, first, last, column, columns):
        squares.square(rows, first, last, column, columns)

    rows = rng.normal(size=(2 * count, 3 * count)).astype(dtype)
    for first, last, column in ((0, count, 0), (3, 2 * count - 1, 5), (1, 2, count)):
        columns = np.zeros((count, 2 * count), dtype)
        call(rows, first, last, column, columns)
        some = np.minimum(first + np.arange(count), last)
        np.testing.assert_array_equal(columns[:, :count], rows[some, column : column + count].T)
        assert not columns[:, count:].any()


@pytest.mark.parametrize("size, itemsize", [(4, 8), (8, 4), (8, 8), (16, 4)])
def test_the_shuffles_transpose_vectors_of_every_width(size, itemsize):
    """Of 32 and of 64 bytes, as NumPy would shuffle them."""
    vectors = np.arange(size * size).reshape(size, size)
    found = list(vectors)
    for i, j, *orders in squares.transposed(size, itemsize):
        both = np.concatenate([found[i], found[j]])
        found[i], found[j] = (both[order] for order in orders)
    columns = dict(zip(squares.places(size, itemsize), found, strict=True))
    np.testing.assert_array_equal([columns[j] for j in range(size)], vectors.T)
