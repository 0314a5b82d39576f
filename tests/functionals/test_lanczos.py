"""λ_max by products alone, held to LAPACK's eigenvalues and to SciPy's eigsh."""

import numpy as np
import pytest
from scipy.sparse.linalg import LinearOperator, eigsh
from threadpoolctl import threadpool_limits

from meanfield.functionals.lanczos import largest_eigenvalue

rng = np.random.default_rng(0)
START = 1.0 + np.sqrt(2.0) * np.cos(np.arange(1, 1001) ** 2)  # as in lanczos.py
X = rng.normal(size=(300, 13))
MATRICES = {
    "Gram matrix": X @ X.T,
    "rank one": np.ones((300, 300)),
    "identity": np.eye(30),
    "two that are close": np.diag(np.r_[1.0, 0.9999, np.linspace(0.0, 0.9, 998)]),
    "a pair of equals": np.diag([2.0, 2.0, 1.0]),
    "size 1": np.array([[3.0]]),
    "size 2": np.array([[2.0, 1.0], [1.0, 2.0]]),
    "tiny": 1e-100 * np.diag([1.0, 2.0, 3.0]),
}


@pytest.mark.parametrize("rtol", [1e-3, 1e-8])
@pytest.mark.parametrize("name", MATRICES)
def test_it_is_the_largest_eigenvalue_to_rtol_and_no_larger(name, rtol):
    """The residual bounds the error by rtol·τ; from above rounding alone, n·ε of it."""
    H = MATRICES[name]
    exact = np.linalg.eigvalsh(H)[-1]
    estimate = largest_eigenvalue(lambda v: H @ v, len(H), rtol, steps=1000)
    assert (1 - rtol) * exact <= estimate <= exact * (1 + len(H) * 1e-15)


def test_it_needs_no_more_products_than_eigsh():
    """The reason for which it is kept: each product is a step of the flow."""
    H = MATRICES["Gram matrix"]
    count = [0]

    def product(v):
        count[0] += 1
        return H @ v

    largest_eigenvalue(product, len(H))
    ours, count[0] = count[0], 0
    operator = LinearOperator(H.shape, matvec=product, dtype=float)
    eigsh(operator, k=1, which="LA", ncv=8, tol=1e-3, v0=START[: len(H)])
    assert ours <= count[0]


def test_an_operator_that_vanishes_has_0_and_one_that_is_not_finite_has_nan():
    assert largest_eigenvalue(lambda v: 0.0 * v, 50) == 0.0
    assert np.isnan(largest_eigenvalue(lambda v: np.nan * v, 50))


def test_the_bits_do_not_depend_on_the_number_of_threads():
    """OpenBLAS cuts scalar products of more than 10 000 terms by the number of its threads."""
    size = 100_000
    diagonal = np.cos(np.arange(size)) ** 2 * np.linspace(0.2, 1.0, size)
    wave = np.sin(1.1 * np.arange(size))

    def product(v):
        return diagonal * v + 1e-5 * np.sum(wave * v) * wave

    values = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            values.append(largest_eigenvalue(product, size, rtol=1e-8))
    assert values[0] == values[1]
