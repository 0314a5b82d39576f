"""The slow twins themselves: against finite differences of their own energy, and against torch
autograd.
"""

from itertools import product

import naive
import numpy as np
import pytest

pytest.importorskip("torch", reason="ours is held against torch")

from torch_twin import ACTIVATIONS, LOSSES, torch_gradient, torch_gradient_step

import meanfield as mf
from meanfield.formulas import activations, losses

SUBSETS = [("a", "w", "b"), ("a",), ("w",), ("b",), ("a", "w"), ()]


def problem(rng, loss="squared", outputs=2, m=5, n=4, d=3, masses=False):
    """A small state and labelled data in general position."""
    mass = rng.uniform(0.5, 1.5, m)
    state = mf.State(
        rng.normal(size=(m, outputs + d + 1)),
        outputs=outputs,
        mass=mass / mass.sum() if masses else None,
    )
    y = {
        "real": rng.normal(size=(n, outputs)),
        "sign": rng.choice([-1.0, 1.0], size=(n, outputs)),
        "class": rng.integers(0, outputs, n),
    }[losses.get(loss).labels]
    return state, rng.normal(size=(n, d)), y


def moved(state, k, j, by):
    """The state with θ_kj shifted; the masses stay."""
    theta = np.array(state.theta)
    theta[k, j] += by
    return mf.State(theta, outputs=state.outputs, mass=state.mass)


def test_the_twin_knows_every_activation_and_every_loss():
    assert set(ACTIVATIONS) == set(activations.TABLE)
    assert set(LOSSES) == set(losses.TABLE)


@pytest.mark.parametrize("loss", losses.TABLE)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_velocity_is_minus_the_gradient_of_the_energy_per_unit_mass(rng, loss, reduction):
    """v_k = -(1/p_k) ∂F_s/∂θ_k, with unequal masses, a scale s ≠ 1, a ridge and one frozen block."""
    network = mf.Network("tanh", scaling=mf.Scaling(gamma=0.7, alpha=1.3), trainable=("a", "w"))
    state, x, y = problem(rng, loss, masses=True)
    arguments = (x, y, loss, reduction, 0.3)
    v = naive.velocity(network, state, *arguments)
    # central differences: truncation h² = 1e-10, rounding 1e-16/h = 1e-11, each times derivatives
    # of order 10
    h = 1e-5
    for k in range(state.m):
        for j in range(state.theta.shape[1] - 1):
            difference = naive.energy(network, moved(state, k, j, h), *arguments) - naive.energy(
                network, moved(state, k, j, -h), *arguments
            )
            assert v[k, j] == pytest.approx(-difference / (2 * h) / state.mass[k], abs=1e-8)
    assert np.all(v[:, -1] == 0.0)  # b is frozen


@pytest.mark.parametrize("activation", activations.TABLE)
@pytest.mark.parametrize("outputs", [1, 3])
def test_velocity_is_m_over_s_squared_times_the_gradient_of_torch(rng, activation, outputs):
    """Uniform masses: dθ_k/dt = -(m/s²) ∂R/∂θ_k. Sums of 20 terms of order 1: 1e-12 relative leaves
    a factor of a hundred.
    """
    for trainable, scaling in product(SUBSETS, (mf.NTK, mf.Scaling(gamma=1.2, alpha=10.0))):
        network = mf.Network(activation, scaling=scaling, trainable=trainable)
        state, x, y = problem(rng, outputs=outputs)
        s = scaling.output_scale(state.m)
        v = naive.velocity(network, state, x, y, "squared", "mean", 0.1)
        expected = (
            -state.m
            / s**2
            * torch_gradient(state.theta, x, y, activation, "squared", scaling, trainable, 0.1)
        )
        np.testing.assert_allclose(
            v, expected, rtol=1e-12, atol=1e-12 * max(1.0, np.abs(expected).max())
        )


@pytest.mark.parametrize("loss", losses.TABLE)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_one_euler_step_is_gradient_descent_with_rate_dt_m_over_s_squared(rng, loss, reduction):
    network = mf.Network("gelu", scaling=mf.Scaling(gamma=0.7, alpha=2.0))
    state, x, y = problem(rng, loss, outputs=3)
    dt = 0.1
    step = naive.euler_step(
        lambda theta: naive.velocity(network, mf.State(theta, 3), x, y, loss, reduction, 0.2),
        state.theta,
        dt,
    )
    rate = network.scaling.learning_rate(dt, state.m)
    expected = torch_gradient_step(
        state.theta, x, y, "gelu", loss, network.scaling, ("a", "w", "b"), 0.2, reduction, rate
    )
    np.testing.assert_allclose(step, expected, rtol=1e-13, atol=1e-13)


def test_first_variation_is_the_derivative_of_the_energy_in_the_mass_of_a_particle(rng):
    """F((1-ε)μ + ε δ_{θ_k}) - F(μ) = ε (δF/δμ(θ_k) - ∫ δF/δμ dμ) + O(ε²), at fixed s."""
    network = mf.Network("softplus", scaling=mf.Scaling(gamma=0.5))
    state, x, y = problem(rng, masses=True)
    variation = naive.first_variation(network, state, x, y, ridge=0.4)
    mean = float(state.mass @ variation)
    h = 1e-6  # central differences of a function quadratic in ε are exact up to rounding, 1e-16/h
    for k in range(state.m):
        change = [
            naive.energy(
                network,
                mf.State(state.theta, 2, (1 - e) * state.mass + e * np.eye(state.m)[k]),
                x,
                y,
                ridge=0.4,
            )
            for e in (h, -h)
        ]
        assert (change[0] - change[1]) / (2 * h) == pytest.approx(variation[k] - mean, abs=1e-8)


def test_push_forward_is_the_derivative_of_the_mean_feature_and_the_adjoint_of_pull_back(rng):
    state, x, _ = problem(rng, masses=True)
    sigma, u, slopes = (
        activations.get("sin"),
        rng.normal(size=state.theta.shape),
        rng.normal(size=(4, 2)),
    )
    pushed = naive.push_forward(state.theta, state.mass, x, u, sigma, 2)
    h = 1e-5
    difference = naive.mean_feature(
        state.theta + h * u, state.mass, x, sigma, 2
    ) - naive.mean_feature(state.theta - h * u, state.mass, x, sigma, 2)
    np.testing.assert_allclose(pushed, difference / (2 * h), atol=1e-8)  # h² and 1e-16/h, as above
    pulled = naive.pull_back(state.theta, x, slopes, sigma, 2)
    assert np.sum(slopes * pushed) == pytest.approx(
        np.sum(state.mass[:, None] * pulled * u), rel=1e-12
    )


@pytest.mark.parametrize("outputs", [1, 2])
def test_the_prediction_moves_by_the_tangent_kernel(rng, outputs):
    """df/dt(x') = -Σ_i H(x', x_i) ∂R/∂f(x_i), from s · push_forward of the velocity."""
    network = mf.Network("erf", scaling=mf.NTK, trainable=("a", "b"))
    state, x, y = problem(rng, outputs=outputs, masses=True)
    x2 = rng.normal(size=(3, 3))
    v = naive.velocity(network, state, x, y)
    s = network.scaling.output_scale(state.m)
    rate = s * naive.push_forward(state.theta, state.mass, x2, v, network.sigma, outputs)
    H = naive.tangent_kernel(network, state, x2, x).reshape(3, 4, outputs, outputs)
    slopes = naive.loss_slopes(naive.predict(network, state, x), y, "squared", "mean")
    np.testing.assert_allclose(rate, -np.einsum("jicd,id->jc", H, slopes), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("step", "order"), [(naive.euler_step, 1), (naive.heun_step, 2), (naive.rk4_step, 4)]
)
def test_a_step_agrees_with_the_exponential_to_its_order(step, order):
    """dθ/dt = -θ: one step is the Taylor polynomial of e^{-dt}; the error is
    dt^(order+1)/(order+1)! to leading order.
    """
    dt = 0.01
    error = abs(step(lambda theta: -theta, np.ones((1, 1)), dt)[0, 0] - np.exp(-dt))
    factorial = {1: 2, 2: 6, 4: 120}[order]
    assert error == pytest.approx(dt ** (order + 1) / factorial, rel=0.01, abs=1e-15)


def test_w2_is_zero_on_a_permutation_and_the_length_of_a_shift(rng):
    cloud = rng.normal(size=(6, 2))
    assert naive.w2(cloud, cloud[::-1]) == 0.0
    assert naive.w2(cloud, cloud + [3.0, 4.0]) == pytest.approx(5.0, rel=1e-14)
    assert naive.displacement(cloud, cloud + [3.0, 4.0], np.full(6, 1 / 6)) == pytest.approx(
        5.0, rel=1e-14
    )
