"""The tangent kernel in closed form against loops over neurons, and against the products that never
form it.
"""

import naive
import numba
import numpy as np
import pytest
from sweeps import sweep

import meanfield as mf
from meanfield import tangent

SUBSETS = (("a",), ("w",), ("b",), ("a", "w"), ("a", "w", "b"))


def state_of(rng, m, dim, outputs):
    mass = rng.uniform(0.5, 1.5, m)
    return mf.State(
        rng.normal(size=(m, outputs + dim + 1)), outputs=outputs, mass=mass / mass.sum()
    )


def slow_kernel(network, state, x1, x2):
    """Σ_k p_k Σ_j ∂φ_c/∂θ_j(x) ∂φ_e/∂θ_j(x') over trainable columns j: (n1, n2, K, K)."""
    K = state.outputs
    trained = network.trainable_columns(state.dim, K)
    H = np.zeros((len(x1), len(x2), K, K))
    for k in range(state.m):
        for i in range(len(x1)):
            g1 = naive.grad_phi(state.theta[k], x1[i], network.sigma, K) * trained
            for j in range(len(x2)):
                g2 = naive.grad_phi(state.theta[k], x2[j], network.sigma, K) * trained
                H[i, j] += state.mass[k] * g1 @ g2.T
    return H[:, :, 0, 0] if K == 1 else H


@pytest.mark.parametrize("trainable", SUBSETS, ids="".join)
@pytest.mark.parametrize("outputs", [1, 3])
def test_the_kernel_is_the_sum_over_neurons_of_gradient_products(rng, outputs, trainable):
    """THEORY.md, section 1: H(x, x') = ∫ ∇φ·∇φ' dμ, K outputs as (n1, n2, K, K), unequal masses.

    Sums of m·p terms of size one in another order: 1e-13.
    """
    network = mf.Network("tanh", trainable=trainable)
    state, x1, x2 = state_of(rng, 6, 3, outputs), rng.normal(size=(4, 3)), rng.normal(size=(5, 3))
    np.testing.assert_allclose(
        tangent.kernel(network, state, x1, x2), slow_kernel(network, state, x1, x2), atol=1e-13
    )
    np.testing.assert_allclose(
        tangent.kernel(network, state, x1), slow_kernel(network, state, x1, x1), atol=1e-13
    )


def test_blocks_of_neurons_change_nothing_beyond_rounding(rng, monkeypatch):
    network, state, x = mf.Network("relu"), state_of(rng, 50, 3, 1), rng.normal(size=(4, 3))
    whole = tangent.kernel(network, state, x)
    monkeypatch.setattr(tangent, "BLOCK_ENTRIES", 4 * 7)
    np.testing.assert_allclose(tangent.kernel(network, state, x), whole, rtol=1e-13)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread")
@pytest.mark.parametrize("outputs", [1, 2])
def test_the_kernel_has_the_same_bits_with_one_thread_and_two(rng, monkeypatch, outputs):
    """Blocks of neurons are multiplied by any thread, and added one after the other."""
    network, state, x1, x2 = (
        mf.Network("tanh"),
        state_of(rng, 200, 3, outputs),
        rng.normal(size=(9, 3)),
        rng.normal(size=(7, 3)),
    )
    monkeypatch.setattr(tangent, "BLOCK_ENTRIES", 9 * 8)
    monkeypatch.setattr(tangent, "SMALL", 0)
    before, found = numba.get_num_threads(), []
    for threads in (1, 2):
        numba.set_num_threads(threads)
        try:
            found.append(
                [tangent.kernel(network, state, x1, other).tobytes() for other in (None, x2)]
            )
        finally:
            numba.set_num_threads(before)
    assert found[0] == found[1]


@pytest.mark.parametrize("outputs", sweep([1, 2]))
def test_the_kernel_times_a_vector_is_the_product_that_never_forms_it(rng, outputs):
    """`tangent_product` is a pull-back and its adjoint; `kernel` is a matrix: (H v)_ic = Σ_je
    H_ijce v_je.
    """
    network = mf.Network("relu", trainable=("a", "w", "b"))
    state, x, v = (
        state_of(rng, 40, 3, outputs),
        rng.normal(size=(6, 3)),
        rng.normal(size=(6, outputs)),
    )
    field = mf.GradientFlow(mf.EmpiricalRisk(network, x, np.zeros((6, outputs)))).on_device(state)
    H = tangent.kernel(network, state, x).reshape(6, 6, outputs, outputs)
    expected = np.einsum("ijce,je->ic", H, v)
    particles = mf.Particles.of(state, field.backend)
    np.testing.assert_allclose(field.tangent_product(particles, v), expected, atol=1e-12)
    # Lanczos iteration ends within rtol = 1e-3 of the largest eigenvalue, from below
    largest = np.linalg.eigvalsh(H.transpose(0, 2, 1, 3).reshape(6 * outputs, -1))[-1]
    found = field.tangent_eigenvalue(particles)
    assert 0.99 * largest <= found <= largest * (1 + 1e-12)


def test_the_parts_are_those_of_the_infinite_kernel(rng):
    """TRUTHS.md, section 1: unit inputs, w ~ N(0, I), a = ±1: at ρ = ½ the part of w is 1/6, both
    together .4711655572.

    m = 200 000 neurons: the standard error of each mean is below 1/√m = 0.0022; three of them.
    """
    state = mf.InitialLaw(dim=2).sample(200_000, seed=3)
    x = np.array([[1.0, 0.0], [0.5, np.sqrt(0.75)]])
    parts = tangent.kernel_parts(mf.Network("relu", trainable=("a", "w")), state, x)
    assert set(parts) == {"a", "w"}
    assert parts["w"][0, 1] == pytest.approx(1 / 6, abs=0.0066)
    assert parts["a"][0, 1] + parts["w"][0, 1] == pytest.approx(0.4711655572, abs=0.0066)


def test_the_drift_is_zero_for_the_same_state_and_quadratic_for_a_scaled_one(rng):
    """ReLU without biases, all of θ times c: σ and a scale by c, so H scales by c²."""
    network, state, x = (
        mf.Network("relu", trainable=("a", "w")),
        state_of(rng, 20, 3, 1),
        rng.normal(size=(5, 3)),
    )
    assert tangent.drift(network, state, state, x) == 0.0
    scaled = mf.State(1.1 * state.theta, mass=state.mass)
    assert tangent.drift(network, state, scaled, x) == pytest.approx(1.1**2 - 1, rel=1e-12)


def test_nothing_to_train_and_wrong_inputs_are_refused(rng):
    state, x = state_of(rng, 4, 3, 1), rng.normal(size=(5, 3))
    with pytest.raises(ValueError, match="nothing to train"):
        tangent.kernel(mf.Network("relu", trainable=()), state, x)
    with pytest.raises(ValueError, match=r"x must be \(n, 3\)"):
        tangent.kernel(mf.Network("relu"), state, x[:, :2])
