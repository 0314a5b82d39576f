"""Pairwise energies whose flows are known exactly (tests/TRUTHS.md, sections 0 and 3)."""

import numpy as np
import pytest
import scipy.linalg
from pair_formulas import COULOMB, KINK, QUADRATIC, SPRING

import meanfield as mf


def march(energy, theta, dt, t_end, mass=None):
    """RK4: a local error (λ dt)⁵/120 of a mode of rate λ, in all t λ (λ dt)⁴/120 of it."""
    flow, start = mf.GradientFlow(energy), mf.State(np.asarray(theta, dtype=np.float64), 0, mass)
    return start, mf.simulate(flow, start, mf.RK4, dt=dt, t_end=t_end, progress=False)


def moments(state):
    mean = state.mass @ state.theta
    return mean, (state.mass[:, None] * (state.theta - mean)).T @ (state.theta - mean)


def cloud(rng, m=60, shift=0.0):
    mass = rng.uniform(0.5, 1.5, m)
    return shift + rng.normal(size=(m, 2)) @ np.array([[1.0, 0.3], [0.0, 0.5]]), mass / mass.sum()


def test_a_quadratic_well_contracts_mean_covariance_and_the_w2_of_two_translates(rng):
    """TRUTHS 3.4 at T = 0, λ = 1: e^{-t}, e^{-2t} Σ_0, e^{-t}. dt = 0.02: 2 t (0.02)⁴/120 = 3e-9."""
    theta, mass = cloud(rng)
    energy, shift = mf.PairwiseEnergy(QUADRATIC), np.array([1.0, -2.0])
    start, end = march(energy, theta, 0.02, 1.0, mass)
    other, moved = march(energy, theta + shift, 0.02, 1.0, mass)
    for found, at_start, rate in zip(moments(end), moments(start), (1.0, 2.0), strict=True):
        np.testing.assert_allclose(found, np.exp(-rate) * at_start, rtol=1e-8, atol=1e-10)
    assert mf.w2(start, other) == pytest.approx(np.linalg.norm(shift), rel=1e-9)
    assert mf.w2(end, moved) == pytest.approx(np.exp(-1.0) * np.linalg.norm(shift), rel=1e-8)


def test_a_spring_contracts_the_cloud_at_rate_one_and_keeps_its_mean(rng):
    """TRUTHS 0: F = ½∬ ½|x - y|² has the first variation ∫ ½|x - y|² dμ, so v = -(x - mean) and the
    std falls as e^{-t}, not e^{-2t}. dt = 0.02: 1e-9.
    """
    theta, mass = cloud(rng, shift=3.0)
    start, end = march(mf.PairwiseEnergy(interaction=SPRING), theta, 0.02, 1.0, mass)
    mean, covariance = moments(start)
    np.testing.assert_allclose(moments(end)[0], mean, rtol=1e-12)
    np.testing.assert_allclose(end.theta, mean + np.exp(-1.0) * (theta - mean), rtol=1e-8)
    np.testing.assert_allclose(
        np.sqrt(np.diag(moments(end)[1])), np.exp(-1.0) * np.sqrt(np.diag(covariance)), rtol=1e-8
    )


def test_repelling_particles_in_a_well_come_to_rest_at_the_zeros_of_a_hermite_polynomial():
    """TRUTHS 3.5: v_i = -x_i + (1/N) Σ_{j≠i} 1/(x_i - x_j) rests at the zeros of H_N over √N. There
    the rates are 1, 2, …, N: dt = 0.1 is stable for N = 12, and the slowest mode has e^{-25} =
    1e-11 left. hermgauss gives the zeros to 1e-14.
    """
    N = 12
    _, end = march(
        mf.PairwiseEnergy(QUADRATIC, COULOMB, self_pairs=False),
        np.linspace(-1, 1, N)[:, None],
        0.1,
        25.0,
    )
    zeros = np.polynomial.hermite.hermgauss(N)[0] / np.sqrt(N)
    np.testing.assert_allclose(np.sort(end.theta[:, 0]), zeros, atol=1e-9)


def test_attraction_that_turns_into_repulsion_spreads_particles_evenly(rng):
    """TRUTHS 3.5: W = ½x² - |x| rests at x_i = (2i - N - 1)/N about the mean. While the order is
    kept, every distance relaxes as e^{-t}: dt = 0.05 over t = 25 leaves 25 (0.05)⁴/120 = 1e-6 of
    what is left, e^{-25}.
    """
    N = 15
    start = np.sort(rng.normal(size=N))
    _, end = march(mf.PairwiseEnergy(interaction=KINK), start[:, None], 0.05, 25.0)
    expected = (2 * np.arange(1, N + 1) - N - 1) / N
    np.testing.assert_allclose(np.sort(end.theta[:, 0]), start.mean() + expected, atol=1e-9)


def test_quadratic_neurons_follow_the_riccati_solution(rng):
    """TRUTHS 3.2: V(w) = -2 wᵀM*w, U = 2⟨w, w'⟩², M = WᵀW/m: M' = 4(M*M + MM*) - 8M², solved in
    closed form. Rates up to 16: dt = 0.002 over t = 0.25 leaves 4 (0.03)⁴/120 = 3e-8.
    """
    a, b, c = 0.9, 0.3, 0.5
    target = np.array([[a, b], [b, c]])

    def teacher(w):
        return -2.0 * (a * w[0] * w[0] + 2.0 * b * w[0] * w[1] + c * w[1] * w[1])

    def grad_teacher(w, out):
        out[0] = -4.0 * (a * w[0] + b * w[1])
        out[1] = -4.0 * (b * w[0] + c * w[1])

    def overlap(w, v):
        return 2.0 * (w[0] * v[0] + w[1] * v[1]) ** 2

    def grad_overlap(w, v, out):
        z = 4.0 * (w[0] * v[0] + w[1] * v[1])
        out[0] = z * v[0]
        out[1] = z * v[1]

    energy = mf.PairwiseEnergy((teacher, grad_teacher), (overlap, grad_overlap))
    m, t = 50, 0.25
    W = rng.normal(size=(m, 2))
    _, end = march(energy, W, 0.002, t)
    M0 = W.T @ W / m
    root = scipy.linalg.sqrtm(M0).real
    # ∫_0^t e^{8M*s} ds = (e^{8M*t} - I)(8M*)^{-1}, M* invertible
    integral = (scipy.linalg.expm(8 * target * t) - np.eye(2)) @ np.linalg.inv(8 * target)
    grown = scipy.linalg.expm(4 * target * t) @ root
    expected = grown @ np.linalg.inv(np.eye(2) + 8 * root @ integral @ root) @ grown.T
    np.testing.assert_allclose(end.theta.T @ end.theta / m, expected, atol=1e-7)
