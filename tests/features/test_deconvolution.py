"""Sparse deconvolution by mf.Feature: spikes on a circle, seen through a low-pass filter (Chizat and
Bach 2018).

A particle u ∈ R², with a sign that stays, is a spike ±|u|² at the angle of u: φ = ±|u|² ψ(x - arg u),
so that the ridge (λ/2)∫|u|² dμ is λ/2 times the total variation of the measure ν of spikes and the
flow minimises the convex F(ν) = (1/2n) Σ_i (∫ψ(x_i - c) dν - y_i)² + (λ/2)|ν|.
"""

from math import atan2, cos, sin

import numpy as np
import pytest

import meanfield as mf

N, SPARSITY = 16, 0.05  # samples, λ


def spike(theta, x):
    z = x[0] - atan2(theta[2], theta[1])
    filtered = 1.0 / 3.0
    for k in range(1, 5):
        filtered += cos(k * z) / 1.5
    return theta[0] * (theta[1] ** 2 + theta[2] ** 2) * filtered


def grad_spike(theta, x, out):
    z = x[0] - atan2(theta[2], theta[1])
    filtered, slope = 1.0 / 3.0, 0.0
    for k in range(1, 5):
        filtered += cos(k * z) / 1.5
        slope -= k * sin(k * z) / 1.5
    out[0] = (theta[1] ** 2 + theta[2] ** 2) * filtered
    out[1] = theta[0] * (2.0 * theta[1] * filtered + theta[2] * slope)
    out[2] = theta[0] * (2.0 * theta[2] * filtered - theta[1] * slope)


UNIT = mf.Feature(spike, grad_spike, columns={"sign": 1, "u": 2})
X = 2 * np.pi * np.arange(N) / N


def low_pass(z):
    """ψ(z) = (1/3) Σ_{|k| <= 4} e^{ikz}: (1/n) Σ_i ψ(x_i - c)² = 1, as n > 8."""
    return (1 + 2 * sum(np.cos(k * z) for k in range(1, 5))) / 3


def recovered(places, heights, t_end):
    """(spikes that stand for each true one: total height, mean place; energy; residual; |u|² that is
    nowhere near) after the flow from a ring of spikes of both signs."""
    y = low_pass(X[:, None] - places) @ heights
    network = mf.Network(UNIT, mf.MEAN_FIELD, trainable=("u",))
    flow = mf.GradientFlow(mf.EmpiricalRisk(network, X[:, None], y, ridge=SPARSITY))
    ring = 2 * np.pi * np.repeat(np.arange(16), 2) / 16 + 0.05
    signs = np.tile([1.0, -1.0], 16)
    start = UNIT.state(np.column_stack([signs, 0.1 * np.cos(ring), 0.1 * np.sin(ring)]))
    end = mf.simulate(flow, start, mf.RK4, dt=0.1, t_end=t_end, progress=False)
    np.testing.assert_array_equal(end["sign"][:, 0], signs)
    u = end["u"][:, 0] + 1j * end["u"][:, 1]
    mass, found, near = signs * abs(u) ** 2 / 32, [], np.zeros(32, dtype=bool)
    for place in places:
        off = np.angle(u * np.exp(-1j * place))
        close = abs(off) < 0.4
        near |= close
        found.append((mass[close].sum(), (mass * off)[close].sum() / mass[close].sum()))
    residual = y - flow.predict(end)[:, 0]
    return np.array(found), flow.energy(end), residual, abs(mass[~near]).sum()


@pytest.fixture(scope="module")
def equal_spikes():
    return recovered(0.3 + 2 * np.pi * np.arange(3) / 3, np.ones(3), 150.0)


def test_equal_spikes_are_found_where_they_are_with_heights_known_in_closed_form(equal_spikes):
    """Three equal spikes at equal distances: by symmetry none moves, and G(a_0 - a) = (λ/2) 1 with the
    circulant Gram matrix G of row sum Σ_j ψ(2πj/3)/3 = 1 (of |k| <= 4, 0 and ±3 stay): a = 1 - λ/2,
    F = 3λ/2 - 3(λ/2)²/2. The minimum is approached exponentially.
    """
    found, energy, _, elsewhere = equal_spikes
    np.testing.assert_allclose(found[:, 0], 1 - SPARSITY / 2, atol=1e-6)
    np.testing.assert_allclose(found[:, 1], 0, atol=1e-9)
    assert energy == pytest.approx(1.5 * SPARSITY - 1.5 * (SPARSITY / 2) ** 2, abs=1e-6)
    assert elsewhere < 1e-6


def certificate(residual):
    """max_c |(2/λn) Σ_i ψ(x_i - c) r_i|, at most 1 where ν minimises F, and only there."""
    c = np.linspace(0, 2 * np.pi, 2000)
    return abs(2 / (SPARSITY * N) * low_pass(X - c[:, None]) @ residual).max()


def test_unequal_spikes_of_both_signs_end_at_a_minimum_of_the_convex_problem(equal_spikes):
    """By convexity F is within (certificate - 1)(λ/2)|ν| of its minimum: 1e-4 proves that to 6e-6, with
    |ν| < 2.2. There G(a_0 - a) = (λ/2) sign a, were the places the true ones; they are off by
    O(λ), at which F is stationary: a to O(λ²), with a factor of 2 for the curvature of ψ.
    """
    places, heights = np.array([0.5, 2.5, 4.4]), np.array([1.0, -0.7, 0.5])
    found, _, residual, elsewhere = recovered(places, heights, 150.0)
    for left in (residual, equal_spikes[2]):
        assert certificate(left) < 1 + 1e-4
    gram = low_pass(places[:, None] - places) / 3
    biased = heights - SPARSITY / 2 * np.linalg.solve(gram, np.sign(heights))
    np.testing.assert_allclose(found[:, 0], biased, atol=2 * SPARSITY**2)
    assert abs(found[:, 1]).max() < SPARSITY and elsewhere < 2 * SPARSITY**2
