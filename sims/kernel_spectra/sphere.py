"""The tangent kernel of a ReLU network on the sphere S^(d-1): eigenvalues by degree, and the learning
curves that follow from them.

x uniform on |x| = 1, a = ±1 fixed, w trained, no bias: K = κ(⟨x, x'⟩), κ(t) = t (π - acos t)/2π.
Funk–Hecke: every harmonic of degree k is an eigenfunction, with

    λ_k = ∫ κ(cos ψ) P_k(cos ψ) sin^(d-2) ψ dψ / ∫ sin^(d-2) ψ dψ,    Σ_k N_k λ_k = κ(1) = ½

P_k Gegenbauer's polynomial with P_k(1) = 1, N_k = (2k + d - 2)/(k + d - 2) · C(k + d - 2, k) the number
of harmonics. λ_k = 0 for k = 3, 5, …; λ_k ~ k^(-d) for even k.

Kernel regression on n samples (Bordelon, Canatar and Pehlevan 2020; in the form of Simon, Dickens,
Karkada and DeWeese 2021): with κ_n > 0 from n = Σ_i L_i, L_i = λ_i/(λ_i + κ_n), the mean test error of
a target Σ_i v_i φ_i is

    E = n/(n - Σ_i L_i²) · Σ_i (1 - L_i)² v_i²
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import brentq

import meanfield as mf
import ntk

from .measures import network

if TYPE_CHECKING:
    from . import Sphere

MOST = 200  # degrees of a sum over all of them; what is beyond is small beside κ_n, and acts as a ridge


def multiplicity(dim: int, k: int) -> int:
    """N_k, harmonics of degree k on S^(d-1)."""
    if k == 0:
        return 1
    return (2 * k + dim - 2) * math.comb(k + dim - 2, k) // (k + dim - 2)


def zonal(dim: int, degrees: int, t: np.ndarray) -> np.ndarray:
    """P_0 … P_(degrees - 1) at t: (degrees, *t.shape), by the recursion
    (k + d - 2) P_(k+1) = (2k + d - 2) t P_k - k P_(k-1).
    """
    P = np.ones((degrees, *np.shape(t)))
    if degrees > 1:
        P[1] = t
    for k in range(1, degrees - 1):
        P[k + 1] = ((2 * k + dim - 2) * t * P[k] - k * P[k - 1]) / (k + dim - 2)
    return P


@lru_cache
def eigenvalues(dim: int, degrees: int) -> np.ndarray:
    """λ_0 … λ_(degrees - 1) from those of (π - acos t)/2π, μ_k: by Rodrigues' formula

        μ_0 = ¼,   μ_1 = Γ(d/2)²/(4π Γ((d + 1)/2)²),   μ_(k+2) = (k/(k + d))² μ_k for odd k,
        0 for even k >= 2;   λ_k = ((k + d - 2) μ_(k+1) + k μ_(k-1))/(2k + d - 2),

    the last from the recursion of t P_k. Sums of positive numbers: each λ_k is right to rounding, as it
    has to be beside N_k.
    """
    mu = np.zeros(degrees + 1)
    mu[0] = 0.25
    mu[1] = math.exp(2 * (math.lgamma(dim / 2) - math.lgamma((dim + 1) / 2))) / (4 * math.pi)
    for k in range(1, degrees - 1, 2):
        mu[k + 2] = mu[k] * (k / (k + dim)) ** 2
    found = np.empty(degrees)
    found[0] = mu[1]
    j = np.arange(1, degrees)
    found[1:] = ((j + dim - 2) * mu[2:] + j * mu[:-2]) / (2 * j + dim - 2)
    found.flags.writeable = False
    return found


def staircase(dim: int, count: int) -> np.ndarray:
    """The first `count` eigenvalues, largest first, each as often as it is there."""
    every = eigenvalues(dim, 60)
    times = np.array([float(multiplicity(dim, k)) for k in range(60)])
    order = np.argsort(-every)
    ends = np.cumsum(times[order])
    return every[order][np.searchsorted(ends, np.arange(count), side="right")]


def expected(dim: int, k: int, samples: int) -> float:
    """E of the text for one harmonic of degree k and variance 1."""
    values = eigenvalues(dim, MOST)
    times = np.array([float(multiplicity(dim, j)) for j in range(MOST)])
    rest = max(0.5 - float(values @ times), 0.0)  # Σ of all that is beyond

    def learnt(kappa: float) -> np.ndarray:
        return values / (values + kappa)

    kappa = brentq(lambda u: times @ learnt(math.exp(u)) + rest / math.exp(u) - samples, -60.0, 5.0)
    L = learnt(math.exp(float(kappa)))
    return float(samples / (samples - times @ L**2) * (1 - L[k]) ** 2)


def points(count: int, dim: int, seed: int) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(count, dim))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def harmonic(x: np.ndarray, k: int) -> np.ndarray:
    """√N_k P_k(x_1), of variance 1."""
    dim = x.shape[1]
    return math.sqrt(multiplicity(dim, k)) * zonal(dim, k + 1, x[:, 0])[k]


def measured(config: Sphere) -> dict[str, np.ndarray]:
    """spectrum (points,): eigenvalues of the kernel on random points over their number, largest first;
    error (targets, samples, repeats): the test error of kernel regression, t = ∞.
    """
    law, net = mf.InitialLaw(dim=config.dim), network()
    x = points(config.points, config.dim, 0)
    spectrum = np.linalg.eigvalsh(ntk.kernel(net, law, x) / config.points)[::-1]
    shape = len(config.targets), len(config.samples), config.repeats
    error = np.empty(shape)
    for r in range(config.repeats):
        x = points(max(config.samples), config.dim, 2 * r + 1)
        x_test = points(config.test, config.dim, 2 * r + 2)
        K, K_test = ntk.kernel(net, law, x), ntk.kernel(net, law, x_test, x)
        y, y_test = (
            np.stack([harmonic(z, k) for k in config.targets], axis=1) for z in (x, x_test)
        )
        for j, n in enumerate(config.samples):
            flow = ntk.KernelFlow(K[:n, :n], y[:n], K_test=K_test[:, :n])
            f = flow.at(np.inf).test
            assert f is not None  # there is a K_test
            error[:, j, r] = np.mean((f - y_test) ** 2, axis=0)
    return {"spectrum": spectrum, "error": error}
