"""The matrix products of the blocked kernels, against exact arithmetic and against themselves."""

import numba
import numpy as np
import pytest

from meanfield.backends.llvm import products


@numba.njit
def call(multiply, rows, packed, out):
    multiply(rows, packed, out)


def product(A, B):
    out = np.full((len(A), B.shape[1] + 3), np.nan, A.dtype)
    call(products.multiplier(A.dtype.name), A, products.pack(B), out)
    assert np.isnan(out[:, B.shape[1] :]).all()  # nothing is written beyond the last column
    return out[:, : B.shape[1]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("rows", "length"), [(1, 1), (5, 13), (6, 784), (13, 20)])
@pytest.mark.parametrize("vectors", [1, 3, 4, 9])
def test_a_product_is_exact_up_to_one_rounding_a_term(dtype, rows, length, vectors):
    """A chain of `length` fused multiply-adds errs by at most length·ε·Σ|a||b| (Higham, 2002,
    section 3.1).
    """
    rng = np.random.default_rng(rows + length + vectors)
    A = rng.normal(size=(rows, length)).astype(dtype)
    B = rng.normal(size=(length, vectors * products.LANES[dtype])).astype(dtype)
    exact = A.astype(np.longdouble) @ B.astype(np.longdouble)
    bound = (
        length * np.finfo(dtype).eps * (abs(A).astype(np.longdouble) @ abs(B).astype(np.longdouble))
    )
    assert np.all(abs(product(A, B) - exact) <= bound)


def test_a_row_has_the_same_bits_in_whatever_company():
    """Rows are worked six at a time and singly: one chain of sums in one order in both cases."""
    rng = np.random.default_rng(0)
    A, B = (
        rng.normal(size=(15, 40)).astype(np.float32),
        rng.normal(size=(40, 80)).astype(np.float32),
    )
    whole = product(A, B)
    assert all(product(A[k : k + 1], B).tobytes() == whole[k : k + 1].tobytes() for k in range(15))


def test_panels_cover_every_column_once():
    for dtype, lanes in products.LANES.items():
        for vectors in range(1, 12):
            found = [
                column
                for start, count in products.panels(vectors * lanes, dtype)
                for column in range(start, start + count)
            ]
            assert found == list(range(vectors * lanes))
