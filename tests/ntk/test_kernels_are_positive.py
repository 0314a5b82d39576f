"""Kernels are symmetric and positive semi-definite at any inputs: repeated, opposite, zero, of any
size.
"""

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

import meanfield as mf
import ntk

MANY = pytest.mark.slow


@st.composite
def inputs(draw):
    """(n, d) on a grid, so that many are equal or opposite."""
    n, d = draw(st.integers(1, 6)), draw(st.integers(1, 3))
    chance = np.random.default_rng(draw(st.integers(0, 10**6)))
    return 10.0 ** draw(st.integers(-2, 2)) * chance.integers(-2, 3, (n, d))


def check(K):
    """Entries are right to 1e-10 of the largest (TRUTHS.md, section 1), so eigenvalues to n times
    that (Weyl).
    """
    slack = 1e-10 * np.abs(K).max() * len(K)
    assert np.abs(K - K.T).max() <= slack
    assert np.linalg.eigvalsh((K + K.T) / 2)[0] >= -slack
    assert (K**2 <= np.outer(np.diag(K), np.diag(K)) + slack * np.abs(K).max()).all()


@pytest.mark.parametrize("count", [12, pytest.param(500, marks=MANY)])
@pytest.mark.parametrize("activation", ["relu", "erf", pytest.param("tanh", marks=MANY)])
def test_kernels_of_infinite_width_are_positive(activation, count):
    """K = E[φ φᵀ] and H = E[∇φ ∇φᵀ]; with and without biases."""

    @examples(count)
    @given(inputs(), st.sampled_from([0.0, 1.0]))
    def holds(x, b_std):
        network, law = mf.Network(activation), mf.InitialLaw(dim=x.shape[1], b_std=b_std)
        check(ntk.nngp(network, law, x))
        check(ntk.kernel(network, law, x))

    holds()


@pytest.mark.parametrize("count", [12, pytest.param(500, marks=MANY)])
def test_deep_kernels_and_those_of_finite_networks_are_positive(count):
    @examples(count)
    @given(inputs(), st.integers(1, 4), st.integers(0, 9))
    def holds(x, depth, seed):
        for K in ntk.deep(x, depth=depth, b_std=0.5):
            check(K)
        state = mf.InitialLaw(dim=x.shape[1], b_std=1.0).sample(5, seed=seed)
        check(ntk.empirical(mf.Network("tanh"), state, x))

    holds()
