"""E[f(p1⟨s, e⟩ + b) f(p2⟨s, e'⟩ + b)] for f = σ and f = σ', s uniform on the unit sphere of R^d,
⟨e, e'⟩ = ρ, b ~ N(0, β²).

Smooth σ: for each b the Funk–Hecke formula Σ_k c_k(p1, b) c_k(p2, b) R_k(ρ), c_k the coefficients
in the orthonormal polynomials of t = ⟨s, e⟩ (Gegenbauer's) and R_k = p_k/p_k(1), |R_k| <= 1; then
Gauss–Hermite over b. All else by polar.py.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.linalg import eigh_tridiagonal
from scipy.special import roots_hermitenorm

from meanfield.backends.cpu.elementwise import values_and_slopes
from meanfield.formulas.activations import Activation

from . import polar

LEVELS = ((16, 12), (32, 24), (64, 48), (128, 96))  # terms of the series, points for b
ENTRIES = 2**21  # function values held at once


def expectations(
    sigma: Activation, p1: np.ndarray, p2: np.ndarray, rho: np.ndarray, dim: int, b_std: float
) -> tuple[np.ndarray, np.ndarray]:
    """(2, *rho.shape) and its errors; p1, p2 >= 0 broadcast against ρ in [-1, 1]."""
    shape = rho.shape
    scales, where = np.unique(np.concatenate([p1.reshape(-1), p2.reshape(-1)]), return_inverse=True)
    i = np.broadcast_to(where[: p1.size].reshape(p1.shape), shape).reshape(-1)
    j = np.broadcast_to(where[p1.size :].reshape(p2.shape), shape).reshape(-1)
    rho = rho.reshape(-1)
    result, error = np.empty((2, 2, rho.size))
    todo = np.arange(rho.size)
    before = None
    for terms, points in LEVELS if sigma.smooth and dim > 1 else ():
        c, weight, power = _coefficients(sigma, scales, dim, b_std, terms, points if b_std else 1)
        polar.check_finite(sigma, power)
        rest = np.maximum(power - np.einsum("b,fsbk,fsbk->fs", weight, c, c), 4e-16 * power)
        if before is not None:
            rest, root = np.sqrt(rest), np.sqrt(power)
            wrong = np.abs(power - before) / np.where(power > 0, root, 1.0)
            error[:, todo] = (
                rest[:, i[todo]] * rest[:, j[todo]] + wrong[:, i[todo]] * root[:, j[todo]]
            )
            error[:, todo] += (
                root[:, i[todo]] * wrong[:, j[todo]] + 4e-15 * root[:, i[todo]] * root[:, j[todo]]
            )
            settled = (error[:, todo] <= polar.ACCEPT * root[:, i[todo]] * root[:, j[todo]]).all(
                axis=0
            )
            ready = todo[settled]
            result[:, ready] = _series(c, weight, i[ready], j[ready], rho[ready], dim)
            todo = todo[~settled]
        if not todo.size:
            break
        before = power
    if todo.size:
        psi = np.where(rho[todo] < 0, np.pi, 0.0) if dim == 1 else np.arccos(rho[todo])
        rule = polar.sphere(dim, b_std)
        result[:, todo], error[:, todo] = polar.integrate(
            sigma, scales[i[todo]], scales[j[todo]], psi, rule
        )
    return result.reshape(2, *shape), error.reshape(2, *shape)


@cache
def _gauss(dim: int, terms: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes t (2 terms,) of the law of ⟨s, e⟩, and p_k(t)·(their weight) (terms, 2 terms), by Golub
    and Welsch (1969).

    t p_k = b_{k+1} p_{k+1} + b_k p_{k-1}, b_k = ½ √(k(k + d - 3)/((k + d/2 - 1)(k + d/2 - 2))), b_1
    = d^{-1/2}.
    """
    k = np.arange(2.0, 2 * terms)
    off_diagonal = 0.5 * np.sqrt(k * (k + dim - 3) / ((k + dim / 2 - 1) * (k + dim / 2 - 2)))
    t, vectors = eigh_tridiagonal(np.zeros(2 * terms), np.concatenate([[dim**-0.5], off_diagonal]))
    return t, vectors[:terms] * vectors[0]


def _coefficients(
    sigma: Activation, scales: np.ndarray, dim: int, b_std: float, terms: int, points: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """c_k(p, b) (2, n, points, terms) for p in scales (n,), the weights of b (points,), and E f²
    (2, n).
    """
    t, basis = _gauss(dim, terms)
    nodes, weight = roots_hermitenorm(points)
    weight = weight / np.sqrt(2 * np.pi)
    c, power = np.empty((2, scales.size, points, terms)), np.empty((2, scales.size))
    step = max(1, ENTRIES // (t.size * points))
    for first in range(0, scales.size, step):
        rows = slice(first, first + step)
        z = scales[rows, None, None] * t + b_std * nodes[:, None]
        functions = np.stack(values_and_slopes(sigma, z.reshape(-1, t.size))).reshape(2, *z.shape)
        c[:, rows] = functions @ basis.T
        power[:, rows] = np.einsum("b,fsbt,t->fs", weight, np.square(functions), basis[0])
    return c, weight, power


def _series(
    c: np.ndarray, weight: np.ndarray, i: np.ndarray, j: np.ndarray, rho: np.ndarray, dim: int
) -> np.ndarray:
    """Σ_k R_k(ρ) Σ_b c_k(p_i, b) c_k(p_j, b), (k + d - 2) R_{k+1} = (2k + d - 2) ρ R_k - k R_{k-1}."""
    result = np.zeros((2, rho.size))
    before, now = np.zeros(rho.size), np.ones(rho.size)
    for k in range(c.shape[-1]):
        for total, part in zip(result, c[..., k], strict=True):
            total += ((part * weight) @ part.T)[i, j] * now
        after = rho if k == 0 else ((2 * k + dim - 2) * rho * now - k * before) / (k + dim - 2)
        before, now = now, after
    return result
