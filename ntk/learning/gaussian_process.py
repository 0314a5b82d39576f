"""Gaussian processes of wide networks: the law of f_t over initialisations, exact regression, the
marginal likelihood.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg

from meanfield.checks import is_number
from meanfield.tangent import as_matrix

from .matrices import Modes, checked, columns, factor, one_kernel


class Posterior(NamedTuple):
    """mean (n_test,) or (n_test, C); covariance (n_test, n_test), (n_test,) variances for a
    diagonal, None without a prior.
    """

    mean: np.ndarray
    covariance: np.ndarray | None


def regression(
    K: Any, y: Any, K_test: Any, K_test_test: Any = None, *,
    ridge: float = 0.0, t: float = math.inf, nngp: tuple[Any, Any, Any] | None = None, reduction: str = "mean",
) -> Posterior:  # fmt: skip
    """Mean and covariance at test inputs of f_t, a Gaussian process at the start, trained with K to
    flow time t.

    Parameters
    ----------
    K : (n, n); K_test: h, (n_test, n); K_test_test: (n_test, n_test), or (n_test,) for variances
        alone.
    y : (n,) or (n, C), columns independent.
    ridge : λ, the variance of the labels' noise, in units of K; each network is fitted to labels
        with noise of its own under ½λ|θ - θ_0|².
    t : flow time, ∞ allowed.
    nngp : (𝒦, h_𝒦, 𝒦_**), the law of f_0, with K the tangent kernel: an ensemble of networks (Lee
        et al. 2019, eq. 16). Without it 𝒦 = K: the readout alone is trained, and t = ∞ is the
        Bayesian posterior h (K + λ)⁻¹ y, K_** - h (K + λ)⁻¹ hᵀ.
    reduction : c = 1/n for "mean", 1 for "sum".

    Returns
    -------
    A Posterior.

    Raises
    ------
    ValueError : for shapes that do not match and for kernels that are not positive semi-definite,
        with λ_min.

    Notes
    -----

        A = h V (1 - e^{-c(Λ+λ)t})/(Λ+λ) Vᵀ        K = VΛVᵀ
        mean = A y,   covariance = 𝒦_** - A h_𝒦ᵀ - h_𝒦 Aᵀ + A (𝒦 + λ) Aᵀ

    Null modes of K (ridge 0) are never fitted, at t = ∞ too: their variance stays.
    """
    modes = Modes(K)
    n = len(modes.kernel)
    if modes.kernel.ndim != 2:
        raise ValueError(
            "K must be (n, n): one Gaussian process, shared by independent outputs; got "
            f"{modes.kernel.shape}."
        )
    labels, ridge = columns(y, modes.kernel, "y"), _ridge(ridge)
    if not is_number(t) or not t >= 0:
        raise ValueError(f"t must be a flow time >= 0, np.inf allowed; got {t!r}.")
    h = _cross(K_test, n, "K_test")
    rates = modes.values + ridge
    fitted = rates > 0
    safe = np.where(fitted, rates, 1.0)
    # null modes: h has nothing there
    gain = np.where(fitted, -np.expm1(-factor(reduction, n) * safe * t) / safe, 0.0)
    A = ((h @ modes.vectors) * gain) @ modes.vectors.T
    mean = (A @ labels).reshape(len(h), *np.shape(y)[1:])
    if nngp is not None:
        if K_test_test is not None or len(nngp) != 3:
            raise ValueError(
                "nngp must be (train, test-train, test-test) of the law of f_0; then "
                "K_test_test is not needed."
            )
        prior, cross, own = _prior(nngp[0], n), _cross(nngp[1], n, "nngp[1]"), nngp[2]
    else:
        prior, cross, own = modes.kernel, h, K_test_test
    if own is None:
        return Posterior(mean, None)
    if cross.shape != h.shape:
        raise ValueError(
            f"K_test {h.shape} and nngp[1] {cross.shape} must be between the same inputs."
        )
    return Posterior(mean, _covariance(own, A, cross, prior + ridge * np.eye(n)))


def log_marginal_likelihood(K: Any, y: Any, ridge: float = 0.0, jitter: float = 0.0) -> float:
    """log N(y; 0, K + λI) = -½ yᵀ(K + λ)⁻¹y - ½ log det(K + λ) - (n/2) log 2π, by Cholesky.

    Parameters
    ----------
    K : (n, n).
    y : (n,), or (n, C): summed over independent columns.
    ridge : λ, the variance of the labels' noise.
    jitter : see `cholesky`.

    Raises
    ------
    ValueError : with λ_min, for a K + λ that is not positive definite: a singular Gaussian has no
        density.

    Notes
    -----
    -3.796536 for n = 3, K = 2I, y = 0. TRUTHS.md, section 0.
    """
    L = cholesky(K, ridge, jitter)
    labels = columns(y, checked(K), "y")
    white = scipy.linalg.solve_triangular(L, labels, lower=True)
    n, outputs = labels.shape
    log_det = 2.0 * float(np.log(np.diag(L)).sum())
    return -0.5 * float(np.square(white).sum()) - outputs * (
        0.5 * log_det + 0.5 * n * math.log(2 * math.pi)
    )


def cholesky(K: Any, ridge: float = 0.0, jitter: float = 0.0) -> np.ndarray:
    """The lower L with L Lᵀ = K + (ridge + jitter·tr K/n) I, (n, n).

    Jitter is never added unless asked for: it changes log det by as much as it pleases. Where the
    factorisation fails, or succeeds with the digits gone, the ValueError has λ_min and the ridge
    that would do.
    """
    K = as_matrix(checked(K))
    if not is_number(jitter) or not 0 <= jitter < math.inf:
        raise ValueError(
            f"jitter must be a finite number >= 0, in units of the mean diagonal; got {jitter!r}."
        )
    n = len(K)
    shift = _ridge(ridge) + float(jitter) * float(np.trace(K)) / n
    A = 0.5 * (K + K.T) + shift * np.eye(n)
    tolerance = n * np.finfo(np.float64).eps * float(np.abs(A).max())
    try:
        L = scipy.linalg.cholesky(A, lower=True)
    except scipy.linalg.LinAlgError:
        L = np.zeros((1, 1))
    # squared pivots are variances given the inputs before
    if np.square(np.diag(L)).min() > tolerance:
        return L
    values = np.linalg.eigvalsh(K)
    raise ValueError(
        f"K + {shift:g} I is not positive definite to working precision: lambda_min(K) = "
        f"{values[0]:.6g} beside "
        f"lambda_max = {values[-1]:.6g}. A Gaussian density needs ridge > "
        f"{max(0.0, -values[0]) + n * tolerance:.2g}."
    )


def _covariance(own: Any, A: np.ndarray, cross: np.ndarray, noisy: np.ndarray) -> np.ndarray:
    """𝒦_** - A h_𝒦ᵀ - h_𝒦 Aᵀ + A (𝒦 + λ) Aᵀ, or its diagonal; variances negative by rounding are 0,
    others raise.
    """
    own = np.asarray(one_kernel(own, "K_test_test"), dtype=np.float64)
    if own.shape not in ((len(A),), (len(A), len(A))) or not np.isfinite(own).all():
        raise ValueError(
            f"the kernel of the test inputs must be ({len(A)}, {len(A)}) or its diagonal, "
            f"finite; got {own.shape}."
        )
    variance = own if own.ndim == 1 else np.diag(own)
    variance = (
        variance - 2.0 * np.einsum("ij,ij->i", A, cross) + np.einsum("ij,ij->i", A @ noisy, A)
    )
    if variance.min(initial=0.0) < -math.sqrt(np.finfo(np.float64).eps) * np.abs(own).max(
        initial=0.0
    ):
        raise ValueError(
            f"the variance at test input {int(variance.argmin())} comes out as "
            f"{variance.min():.4g} < 0: the kernels of the "
            "training, test-training and test inputs are not blocks of one positive "
            "semi-definite kernel."
        )
    variance = np.maximum(variance, 0.0)
    if own.ndim == 1:
        return variance
    covariance = checked(own, "K_test_test") - A @ cross.T - cross @ A.T + A @ noisy @ A.T
    covariance = 0.5 * (covariance + covariance.T)
    np.fill_diagonal(covariance, variance)
    return covariance


def _prior(K: Any, n: int) -> np.ndarray:
    modes = Modes(K, "nngp[0]")
    if modes.kernel.shape != (n, n):
        raise ValueError(f"nngp[0] must be ({n}, {n}), like K; got {modes.kernel.shape}.")
    return modes.kernel


def _cross(K: Any, n: int, name: str) -> np.ndarray:
    K = np.asarray(one_kernel(K, name), dtype=np.float64)
    if K.ndim != 2 or K.shape[1] != n:
        raise ValueError(
            f"{name} must be (n_test, {n}), test inputs by training inputs; got {K.shape}."
        )
    if not np.isfinite(K).all():
        raise ValueError(f"{name} has NaN or infinite values.")
    return K


def _ridge(ridge: Any) -> float:
    if not is_number(ridge) or not 0 <= ridge < math.inf:
        raise ValueError(f"ridge must be a finite variance >= 0; got {ridge!r}.")
    return float(ridge)
