"""E[σ(u)σ(v)] and E[σ'(u)σ'(v)] by quadrature with an error estimate, where no closed form is
known.

Smooth σ and Gaussian (u, v): Mehler's series Σ_k ρ^k c_k(√q1) c_k(√q2) in Hermite coefficients,
whose remainder the Cauchy–Schwarz inequality bounds. All else (a kink at 0, wide arguments with |ρ|
near 1): polar.py. In arrays (2, …) index 0 is the value, index 1 the slope.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from meanfield.backends.cpu.elementwise import values_and_slopes
from meanfield.formulas.activations import Activation

from . import polar, wide

TERMS = (32, 128, 512)
FEW = 200  # pairs that are left to polar coordinates sooner than take the longest series
# of the integrals of the coefficients: e^{-z²/4} = 7e-36 there, room for σ = e^{2z}
HALF_WIDTH = 18.0
# of the trapezoidal rule, first and last; its error falls exponentially for an analytic σ
POINTS = (
    128,
    8192,
)
ENTRIES = 2**21  # function values held at once
ENTRYWISE = 2**12  # pairs at a time, where every pair has variances of its own


class Estimate(NamedTuple):
    """E[σσ], E[σ'σ'] and the absolute error of each."""

    value: np.ndarray
    slope: np.ndarray
    value_error: np.ndarray
    slope_error: np.ndarray


def gaussian(sigma: Activation, q1: np.ndarray, q2: np.ndarray, c: np.ndarray) -> Estimate:
    """(u, v) ~ N(0, [[q1, c], [c, q2]]), |c| <= √(q1 q2); q1, q2 broadcast against c (n1 + n2
    integrals for (n1, 1), (1, n2)).

    Raises where the estimated error stays above polar.REFUSE of √(Eσ(u)² Eσ(v)²).
    """
    q1, q2, c = (np.asarray(array, dtype=np.float64) for array in (q1, q2, c))
    shape = np.broadcast_shapes(q1.shape, q2.shape, c.shape)
    if not shape:
        return Estimate(
            *(array[0] for array in gaussian(sigma, *(array.reshape(1) for array in (q1, q2, c))))
        )
    if max(q1.size, q2.size) > ENTRYWISE and max(q1.size, q2.size) == np.prod(shape):
        flat = [np.broadcast_to(array, shape).reshape(-1) for array in (q1, q2, c)]
        pieces = [
            gaussian(sigma, *(f[i : i + ENTRYWISE] for f in flat))
            for i in range(0, flat[0].size, ENTRYWISE)
        ]
        return Estimate(
            *(np.concatenate(parts).reshape(shape) for parts in zip(*pieces, strict=True))
        )
    s1, s2 = np.sqrt(q1), np.sqrt(q2)
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = np.where((np.abs(c) == q1) & (q1 == q2), np.sign(c), c / (s1 * s2))
    rho = np.broadcast_to(np.where(s1 * s2 > 0, np.clip(rho, -1.0, 1.0), 0.0), shape)
    far = np.broadcast_to(np.maximum(s1, s2) > wide.WIDE, shape)
    if far.any() and sigma.smooth and (lines := wide.tails(sigma)) is not None:
        found = np.empty((4, *shape))
        p1, p2 = (np.broadcast_to(s, shape)[far] for s in (s1, s2))
        found[:2, far], found[2:, far] = wide.gaussian(sigma, lines, p1, p2, rho[far])
        if not far.all():
            found[:, ~far] = gaussian(
                sigma, *(np.broadcast_to(array, shape)[~far] for array in (q1, q2, c))
            )
        return Estimate(*found)
    if sigma.smooth:
        result, error, scale = mehler(sigma, s1, s2, rho)
        settled = (error <= polar.ACCEPT * scale).all(axis=0)
    else:
        result = np.empty((2, *shape))
        error = np.empty((2, *shape))
        settled = np.zeros(shape, dtype=bool)
    if not settled.all():
        p1, p2 = (np.broadcast_to(s, shape)[~settled] for s in (s1, s2))
        result[:, ~settled], error[:, ~settled] = polar.integrate(
            sigma, p1, p2, np.arccos(rho[~settled]), polar.GAUSSIAN
        )
    return Estimate(*result, *error)


def hermite(
    sigma: Activation, s: np.ndarray, terms: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """c_k(s) = E[f(s z) he_k(z)], he_k = He_k/√k!, k < terms, of f = σ and f = σ': (2, n, terms)
    for s (n,), by the trapezoidal rule; E f(s z)² (2, n); and the error of the coefficients (2, n),
    in norm: what the last halving of the step changed, and what lies beyond the ends as judged by
    f² there.
    """
    points, coefficients, power = POINTS[0], np.zeros((2, s.size, terms)), np.zeros((2, s.size))
    while True:
        halved = points > POINTS[0]  # then the midpoints are all that is new
        z = np.linspace(-HALF_WIDTH, HALF_WIDTH, points + 1)[
            1 if halved else 0 :: 2 if halved else 1
        ]
        basis = np.empty((terms, z.size))  # he_k(z) e^{-z²/4}
        basis[0] = np.exp(-z * z / 4)
        basis[1] = z * basis[0]
        for k in range(1, terms - 1):
            basis[k + 1] = (z * basis[k] - np.sqrt(k) * basis[k - 1]) / np.sqrt(k + 1)
        weight = basis[0] * (2 * HALF_WIDTH / points / np.sqrt(2 * np.pi))
        new = np.empty((2, s.size, terms))
        new_power = np.empty((2, s.size))
        ends = np.empty((2, s.size))
        step = max(1, ENTRIES // z.size)
        for first in range(0, s.size, step):
            rows = slice(first, first + step)
            functions = np.stack(values_and_slopes(sigma, s[rows, None] * z))
            new[:, rows] = (functions * weight) @ basis.T
            new_power[:, rows] = np.square(functions) @ (basis[0] * weight)
            ends[:, rows] = np.square(functions[:, :, [0, -1]]).sum(axis=-1) * np.exp(
                -(z[0] ** 2) / 2
            )
        error = np.linalg.norm(new - coefficients / 2, axis=-1)
        coefficients, power = new + coefficients / 2, new_power + power / 2
        if halved and (points >= POINTS[1] or not (error > 1e-13 * np.sqrt(power)).any()):
            return coefficients, power, error + np.sqrt(ends)
        points *= 2


def mehler(
    sigma: Activation, s1: np.ndarray, s2: np.ndarray, rho: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Σ_{k<N} ρ^k c_k(s1) c_k(s2); the rest is at most |ρ|^N √(r1 r2), r = E f² - Σ_{k<N} c_k². ->
    (result, error, scale).
    """
    scales, where = np.unique(np.concatenate([s1.reshape(-1), s2.reshape(-1)]), return_inverse=True)
    where1, where2 = where[: s1.size].reshape(s1.shape), where[s1.size :].reshape(s2.shape)
    shape = rho.shape
    result, error, scale = np.empty((3, 2, rho.size))
    rows, columns, rho = (
        np.broadcast_to(array, shape).reshape(-1) for array in (where1, where2, rho)
    )
    todo = np.arange(rho.size)
    for terms in TERMS:
        if terms == TERMS[-1] and todo.size < FEW:
            break
        coefficients, power, wrong = hermite(sigma, scales, terms)
        polar.check_finite(sigma, power)
        rest = np.sqrt(np.maximum(power - np.square(coefficients).sum(axis=-1), 4e-16 * power))
        root = np.sqrt(power)
        i, j, r = rows[todo], columns[todo], rho[todo]
        scale[:, todo] = root[:, i] * root[:, j]
        bound = np.abs(r) ** terms * (rest[:, i] * rest[:, j])
        bound += wrong[:, i] * root[:, j] + root[:, i] * wrong[:, j] + 2e-15 * scale[:, todo]
        total = np.zeros((2, todo.size))
        for k in range(terms - 1, -1, -1):
            c = np.ascontiguousarray(coefficients[:, :, k])
            total *= r
            total += c[:, i] * c[:, j]
        same = (i == j) & (r == 1.0)  # E f² itself needs no series
        result[:, todo] = np.where(same, power[:, i], total)
        error[:, todo] = np.where(
            same, 2 * wrong[:, i] * root[:, i] + 2e-15 * scale[:, todo], bound
        )
        todo = todo[(error[:, todo] > polar.ACCEPT * scale[:, todo]).any(axis=0)]
        if not todo.size:
            break
    return tuple(array.reshape(2, *shape) for array in (result, error, scale))
