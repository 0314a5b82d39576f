"""Gaussian-process regression and likelihood, against the textbook formulas, matrix exponentials
and sampled ensembles.
"""

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.stats import multivariate_normal

import ntk
from ntk.learning.gaussian_process import cholesky


@pytest.fixture
def kernels(rng):
    """Train, test-train and test-test blocks of two positive definite kernels on 6 + 3 inputs, and
    labels.
    """
    found = []
    for _ in range(2):
        J = rng.normal(size=(9, 14)) / 3
        whole = J @ J.T
        found.append((whole[:6, :6], whole[6:, :6], whole[6:, 6:]))
    return *found, rng.normal(size=6)


def test_the_log_density_has_the_n_dimensional_normalisation():
    """TRUTHS.md, section 0: n = 3, H = 2I, y = 0: -3.796536."""
    assert ntk.log_marginal_likelihood(2 * np.eye(3), np.zeros(3)) == pytest.approx(
        -3.796536, abs=5e-7
    )


@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_the_log_density_is_that_of_the_multivariate_normal(kernels, rng, ridge):
    K, y = kernels[0][0], kernels[2]
    normal = multivariate_normal(cov=K + ridge * np.eye(6))
    assert ntk.log_marginal_likelihood(K, y, ridge) == pytest.approx(normal.logpdf(y), rel=1e-11)
    Y = rng.normal(size=(6, 2))
    assert ntk.log_marginal_likelihood(K, Y, ridge) == pytest.approx(
        normal.logpdf(Y.T).sum(), rel=1e-11
    )
    jittered = multivariate_normal(cov=K + (ridge + 0.1 * np.trace(K) / 6) * np.eye(6))
    assert ntk.log_marginal_likelihood(K, y, ridge, jitter=0.1) == pytest.approx(
        jittered.logpdf(y), rel=1e-11
    )


def test_a_singular_kernel_has_no_density_and_no_jitter_hides_it(rng):
    J = rng.normal(size=(5, 2))
    K = J @ J.T
    with pytest.raises(ValueError, match=r"lambda_min\(K\) = .*needs ridge >"):
        ntk.log_marginal_likelihood(K, np.zeros(5))
    with pytest.raises(ValueError, match=r"lambda_min\(K\) = -0.5"):
        ntk.log_marginal_likelihood(np.diag([1.0, -0.5]), np.zeros(2))
    assert np.isfinite(ntk.log_marginal_likelihood(K, np.zeros(5), ridge=1e-6))
    assert np.isfinite(ntk.log_marginal_likelihood(K, np.zeros(5), jitter=1e-6))
    L = cholesky(K, ridge=0.1)
    np.testing.assert_allclose(L @ L.T, K + 0.1 * np.eye(5), atol=1e-14)
    np.testing.assert_array_equal(L, np.tril(L))


@pytest.mark.parametrize("ridge", [0.0, 0.4])
def test_at_infinity_the_posterior_is_the_textbooks(kernels, ridge):
    """h (K + λ)⁻¹ y and K_** - h (K + λ)⁻¹ hᵀ (Rasmussen and Williams 2006, eqs. 2.25, 2.26), to
    the rounding of a solve.
    """
    (K, h, own), _, y = kernels
    inverse = np.linalg.inv(K + ridge * np.eye(6))
    found = ntk.regression(K, y, h, own, ridge=ridge)
    np.testing.assert_allclose(found.mean, h @ inverse @ y, atol=1e-11)
    np.testing.assert_allclose(found.covariance, own - h @ inverse @ h.T, atol=1e-11)
    variances = ntk.regression(K, y, h, np.diag(own), ridge=ridge).covariance
    np.testing.assert_allclose(variances, np.diag(found.covariance), atol=1e-13)
    assert ntk.regression(K, y, h, ridge=ridge).covariance is None


def test_at_time_t_the_readout_has_contracted_twice_as_fast_in_variance(kernels):
    """Lee et al. (2019): training the readout alone, covariance K_** - h K⁻¹ (I - e^{-2Kt}) hᵀ,
    from K_** to the posterior.
    """
    (K, h, own), _, y = kernels
    for t in (0.0, 0.7, 30.0):
        found = ntk.regression(K, y, h, own, t=t, reduction="sum")
        expected = own - h @ np.linalg.solve(K, (np.eye(6) - expm(-2 * K * t)) @ h.T)
        np.testing.assert_allclose(found.covariance, expected, atol=1e-11)
        np.testing.assert_allclose(
            found.mean, ntk.KernelFlow(K, y, K_test=h, reduction="sum").at(t).test, atol=1e-12
        )


@pytest.mark.parametrize("t", [1.3, np.inf])
def test_an_ensemble_trained_with_the_tangent_kernel_has_lees_covariance(kernels, t):
    """Lee et al. (2019), eq. 16: 𝒦_** + A 𝒦 Aᵀ - (A h_𝒦ᵀ + h_𝒦 Aᵀ), A = h Θ⁻¹ (I - e^{-Θt/n})."""
    (K, h, _), prior, y = kernels
    A = h @ np.linalg.solve(K, np.eye(6) - (expm(-K * t / 6) if np.isfinite(t) else 0))
    found = ntk.regression(K, y, h, nngp=prior, t=t)
    expected = prior[2] + A @ prior[0] @ A.T - A @ prior[1].T - prior[1] @ A.T
    np.testing.assert_allclose(found.mean, A @ y, atol=1e-11)
    np.testing.assert_allclose(found.covariance, expected, atol=1e-11)
    np.testing.assert_array_equal(found.covariance, found.covariance.T)


def test_the_law_is_that_of_networks_drawn_and_trained(kernels, rng):
    """20 000 draws of f_0 trained by KernelFlow: mean and covariance within 4 standard errors,
    √(C_ii C_jj + C_ij²)/√N.
    """
    (K, h, _), prior, y = kernels
    N, t = 20_000, 2.0
    joint = np.block([[prior[0], prior[1].T], [prior[1], prior[2]]])
    draws = np.linalg.cholesky(joint) @ rng.normal(size=(9, N))
    ends = ntk.KernelFlow(K, np.repeat(y[:, None], N, axis=1), draws[:6], h, draws[6:]).at(t).test
    mean, C = ntk.regression(K, y, h, nngp=prior, t=t)
    variances = np.diag(C)
    assert (np.abs(ends.mean(axis=1) - mean) <= 4 * np.sqrt(variances / N)).all()
    assert (
        np.abs(np.cov(ends) - C) <= 4 * np.sqrt((np.outer(variances, variances) + C**2) / N)
    ).all()


def test_null_modes_are_never_fitted_and_outputs_are_columns(rng):
    J = rng.normal(size=(8, 3))
    K, h, own, Y = J[:6] @ J[:6].T, J[6:] @ J[:6].T, J[6:] @ J[6:].T, rng.normal(size=(6, 2))
    found = ntk.regression(K, Y, h, own)
    np.testing.assert_allclose(found.mean, h @ np.linalg.pinv(K, rcond=1e-10) @ Y, atol=1e-11)
    # six inputs determine a function of three parameters: nothing is left to vary, √ε of
    # cancellation aside
    np.testing.assert_allclose(found.covariance, 0, atol=1e-10)
    np.testing.assert_allclose(
        ntk.regression(np.zeros((6, 6)), Y, np.zeros((2, 6)), own).covariance, own
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"K": np.diag([1.0, -1.0])}, "lambda_min = -1"),
        ({"K": np.zeros((2, 2, 2, 2)), "y": np.zeros((2, 2))}, "one Gaussian process"),
        ({"y": np.zeros(3)}, r"y must be \(2,\)"),
        ({"K_test": np.zeros((2, 3))}, r"K_test must be \(n_test, 2\)"),
        ({"K_test": np.full((1, 2), np.nan)}, "K_test has NaN"),
        ({"K_test_test": np.eye(3)}, r"test inputs must be \(1, 1\)"),
        (
            {"K_test": [[3.0, 0.0]], "K_test_test": [[1.0]]},
            "variance at test input 0 comes out as -8 < 0",
        ),
        ({"ridge": -1.0}, "ridge must be"),
        ({"t": -1.0}, "t must be a flow time"),
        ({"reduction": "max"}, "reduction must be"),
        ({"nngp": (np.eye(3), np.zeros((1, 3)), np.eye(1))}, r"nngp\[0\] must be \(2, 2\)"),
        ({"nngp": (np.eye(2), np.zeros((2, 2)), np.eye(2))}, "between the same inputs"),
        (
            {"nngp": (-np.eye(2), np.zeros((1, 2)), np.eye(1))},
            "not positive semi-definite: lambda_min = -1",
        ),
        (
            {"nngp": (np.eye(2), np.zeros((1, 2)), np.eye(1)), "K_test_test": np.eye(1)},
            "K_test_test is not needed",
        ),
    ],
)
def test_bad_input_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        ntk.regression(**({"K": np.eye(2), "y": np.zeros(2), "K_test": np.zeros((1, 2))} | change))
    with pytest.raises(ValueError, match="jitter must be"):
        cholesky(np.eye(2), jitter=-1.0)
