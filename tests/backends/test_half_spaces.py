"""Vectors of particles: sums over the samples on one side, and rows of θ as columns, against plain
NumPy.
"""

import numpy as np
import pytest
from numba import njit

import meanfield as mf
from meanfield.backends.cpu import kinked
from meanfield.backends.llvm import half_spaces
from meanfield.formulas import activations


def sums_of(w, b, x, r, start):
    """The compiled side sums of LANES particles: w (lanes, d), b (lanes,), x (n, d), r (n, d + 1);
    start (d + 1, lanes).
    """
    d, T = x.shape[1], x.dtype.type
    side_sums = half_spaces.side_sums(d)

    @njit
    def call(weights, terms, sums):
        side_sums(weights, terms, sums)

    sums = start.copy()
    call(np.vstack([w.T, b]).astype(T, order="C"), np.hstack([x, r]), sums)
    return sums


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("d", [1, 2, 4, 10])
def test_side_sums_add_what_lies_strictly_above_the_hyperplane(rng, d, dtype):
    """Small integers, so that sums are exact and some samples lie on the hyperplane, which is not
    above.
    """
    lanes, n = half_spaces.lanes(np.dtype(dtype).itemsize), 48
    w, b, x, r = (
        rng.integers(-3, 4, shape).astype(dtype)
        for shape in ((lanes, d), lanes, (n, d), (n, d + 1))
    )
    z = w @ x.T + b[:, None]
    assert (z == 0).any() and (z > 0).any()
    start = rng.integers(-9, 9, (d + 1, lanes)).astype(float)
    np.testing.assert_array_equal(sums_of(w, b, x, r, start), start + ((z > 0) @ r.astype(float)).T)


@pytest.mark.parametrize("bad", [np.nan, -np.inf, np.inf])
def test_a_particle_that_is_not_finite_leaves_its_neighbours_alone(rng, bad):
    lanes = half_spaces.lanes(8)
    w, b, x, r = (rng.normal(size=shape) for shape in ((lanes, 2), lanes, (16, 2), (16, 3)))
    good = sums_of(w, b, x, r, np.zeros((3, lanes)))
    b[3] = bad
    found = sums_of(w, b, x, r, np.zeros((3, lanes)))
    np.testing.assert_array_equal(np.delete(found, 3, axis=1), np.delete(good, 3, axis=1))
    # all samples are above, or none
    np.testing.assert_allclose(found[:, 3], r.sum(axis=0) if bad == np.inf else 0, atol=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("p", [3, 4, 7, 12])
def test_rows_become_columns_and_come_back(rng, p, dtype):
    T = np.dtype(dtype).type
    split, join = half_spaces.transposer(p), half_spaces.transposer(p, back=True)

    @njit
    def call(rows, columns, again):
        split(rows, columns)
        join(again, columns)

    rows = rng.normal(size=(half_spaces.lanes(T().itemsize), p)).astype(dtype)
    columns, again = np.empty((p, len(rows)), dtype), np.empty_like(rows)
    call(rows, columns, again)
    np.testing.assert_array_equal(columns, rows.T)
    np.testing.assert_array_equal(again, rows)


def test_two_slopes_are_taken_only_where_they_say_all():
    """|z| with σ'(0) = 0 is homogeneous, too, but its slope at 0 is neither of the two."""
    assert kinked.slopes(activations.get("relu")) == (0.0, 1.0)
    assert kinked.slopes(activations.get("leaky_relu(0.2)")) == (0.2, 1.0)
    assert kinked.slopes(activations.get("linear")) == (1.0, 1.0)
    assert kinked.slopes(activations.get("tanh")) is None
    assert (
        kinked.slopes(mf.Activation("abs", abs, lambda z: (z > 0.0) - (z < 0.0), homogeneity=1.0))
        is None
    )
