"""E[σ(u)σ(v)] and E[σ'(u)σ'(v)] where an argument is wide: u has a standard deviation p1 far above
1, where σ bends.

For σ that is linear on both sides of 0, σ = A + d with A(z) = α± z + β± (z ≷ 0) and d gone at |z| =
40 (tanh, sigmoid, softplus, gelu, erf and their like). Given v = p2 z the other argument is
Gaussian, u ~ N(m, τ²) with m = ρ p1 z, τ = p1 √(1 - ρ²), so that

    E[σ(u)σ(v)] = ∫ φ(z) σ(p2 z) G(z) dz,     G(z) = E[A(m + τζ)] + ∫ d(y) N(y; m, τ²) dy,     ζ ~ N(0, 1)

The first part of G is in closed form, the second a moment series (τ wide), a sum over y (τ of order
1), or G is taken whole by Gauss–Hermite (τ small). z is taken on panels that halve towards 0, down
to 1/p1: every scale is resolved. σ' alike.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import erf, roots_hermitenorm

from meanfield.backends.cpu.elementwise import values_and_slopes
from meanfield.formulas.activations import Activation

from .biases import legendre

WIDE = 1000.0  # standard deviation above which the pair is taken here
REACH = 40.0  # where d has gone: e^{-40} = 4e-18
END = 10.0  # of z: e^{-50} = 2e-22
ORDER = 20  # of Gauss–Legendre on a panel, which is as wide as its distance from 0
# τ below the first: Gauss–Hermite; above the second: TERMS moments of d, (40/200)^16 (e/16)^8 =
# 5e-18
NARROW, FLAT = 0.5, 200.0
TERMS = 16
HERMITE = 64
ENTRIES = 2**20  # function values held at once
# of √(Eσ(u)² Eσ(v)²), by comparison with closed forms and with adaptive quadrature (tests)
ERROR = 1e-11
# 1 - |ρ| up to this is rounding: the arguments are multiples of each other
PARALLEL = 8 * np.finfo(np.float64).eps


class Tails(NamedTuple):
    """A(z) = a0 z + b0 sign z + a1 |z| + b1, and its derivative as the same four numbers."""

    value: tuple[float, float, float, float]
    slope: tuple[float, float, float, float]


def tails(sigma: Activation) -> Tails | None:
    """The lines that σ is beyond ±40, to rounding; None where it is none there: it grows faster,
    oscillates, or decays slowly.
    """
    far = np.array([REACH, 50.0, 64.0, 100.0, 1e3, 1e6, 1e12])
    near = np.linspace(-REACH, REACH, 161)
    try:
        with np.errstate(all="ignore"):
            size, size_slope = (float(np.abs(f).max()) for f in _both(sigma, near))
            sides = [(z, *_both(sigma, z)) for z in (far, -far)]
    except (ArithmeticError, ValueError):
        return None
    lines = []
    for z, value, slope in sides:
        alpha = float(slope[-1])
        beta = float(value[2] - alpha * z[2])
        room = 1e-15 * (np.abs(alpha * z) + size)
        if (
            not (np.abs(value - alpha * z - beta) <= room).all()
            or not (np.abs(slope - alpha) <= 1e-15 * size_slope).all()
        ):
            return None
        lines.append((alpha, beta))
    (right, above), (left, below) = lines
    a0 = (right + left) / 2
    a1 = (right - left) / 2
    b0 = (above - below) / 2
    b1 = (above + below) / 2
    return Tails((a0, b0, a1, b1), (0.0, a1, 0.0, a0))


def gaussian(
    sigma: Activation, lines: Tails, p1: np.ndarray, p2: np.ndarray, rho: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(E[σσ], E[σ'σ']) (2, n) and bounds of their errors (2, n) for deviations p1, p2 and
    correlations ρ, (n,); smooth σ.
    """
    p1, p2 = np.maximum(p1, p2), np.minimum(p1, p2)
    rho = np.where(1.0 - np.abs(rho) <= PARALLEL, np.sign(rho), rho)
    sine = np.sqrt((1.0 - rho) * (1.0 + rho))
    result, square = np.empty((2, 2, len(rho)))
    order = np.argsort(p1)
    first = 0
    while first < len(order):
        rows = order[first : first + max(1, ENTRIES // _nodes(p1[order[first]])[0].size)]
        first += len(rows)
        z, weight = _nodes(p1[rows[-1]])
        at_v = _both(sigma, p2[rows, None] * z)
        at_u = _given(sigma, lines, p1[rows], rho[rows], sine[rows], z)
        own = _both(sigma, p1[rows, None] * z)
        for k in (0, 1):
            # what overflows is refused by who asked
            with np.errstate(over="ignore", invalid="ignore"):
                result[k, rows] = (at_v[k] * at_u[k]) @ weight
                square[k, rows] = np.sqrt(np.square(own[k]) @ weight) * np.sqrt(
                    np.square(at_v[k]) @ weight
                )
    return result, ERROR * square


def roots(sigma: Activation, p: np.ndarray) -> np.ndarray:
    """√E f(p z)² for f = σ and σ': (2, n) for p (n,), z ~ N(0, 1)."""
    widths, where = np.unique(p, return_inverse=True)
    found = np.empty((2, len(widths)))
    for row, width in enumerate(widths):
        z, weight = _nodes(max(float(width), 1.0))
        with np.errstate(all="ignore"):
            found[:, row] = [np.sqrt(np.square(f) @ weight) for f in _both(sigma, width * z)]
    return found[:, where]


def _both(sigma: Activation, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(σ, σ') of an array of any shape."""
    values, slopes = values_and_slopes(sigma, np.atleast_2d(z))
    return values.reshape(z.shape), slopes.reshape(z.shape)


def _nodes(p: float) -> tuple[np.ndarray, np.ndarray]:
    """z on both sides of 0 and weights φ(z) dz, resolved down to 1/p."""
    count = int(np.ceil(np.log2(END * 128.0 * p)))
    edges = np.concatenate([[0.0], END * 0.5 ** np.arange(count, -1, -1.0)])
    z, weight = _panels(edges, ORDER)
    weight = weight * np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    return np.concatenate([-z[::-1], z]), np.concatenate([weight[::-1], weight])


def _panels(edges: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = legendre(order)
    length = np.diff(edges)[:, None]
    return (edges[:-1, None] + length * nodes).ravel(), (length * weights).ravel()


def _bend() -> tuple[np.ndarray, np.ndarray]:
    """y over -40 … 40 and weights dy, cut at 0, where d jumps."""
    y, weight = _panels(np.concatenate([np.arange(0.0, 8.0), np.arange(8.0, REACH + 1, 2.0)]), 16)
    return np.concatenate([-y[::-1], y]), np.concatenate([weight[::-1], weight])


def _line(form: tuple[float, float, float, float], z: np.ndarray) -> np.ndarray:
    a0, b0, a1, b1 = form
    return a0 * z + b0 * np.sign(z) + a1 * np.abs(z) + b1


def _given(
    sigma: Activation,
    lines: Tails,
    p1: np.ndarray,
    rho: np.ndarray,
    sine: np.ndarray,
    z: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """E[f(u) | v = p2 z] for f = σ and σ': (n, nodes) each."""
    tau, m = p1 * sine, (rho * p1)[:, None] * z
    found = np.empty((2, *m.shape))
    narrow = tau < NARROW
    if narrow.any():
        nodes, weight = roots_hermitenorm(HERMITE)
        weight = weight / np.sqrt(2 * np.pi)
        for row in np.flatnonzero(narrow):
            if tau[row] == 0.0:
                found[:, row] = _both(sigma, m[row])
            else:
                found[:, row] = [
                    f @ weight for f in _both(sigma, m[row][:, None] + tau[row] * nodes)
                ]
    rows = np.flatnonzero(~narrow)
    if not rows.size:
        return found[0], found[1]
    y, dy = _bend()
    bends = [
        (f - _line(form, y)) * dy
        for f, form in zip(_both(sigma, y), (lines.value, lines.slope), strict=True)
    ]
    width = tau[rows, None]
    at = (rho[rows] / sine[rows])[:, None] * z  # m/τ
    bell, sign = np.exp(-0.5 * at * at), erf(at / np.sqrt(2.0))
    for k, (form, bend) in enumerate(zip((lines.value, lines.slope), bends, strict=True)):
        a0, b0, a1, b1 = form
        line = (
            a0 * m[rows]
            + b0 * sign
            + a1 * (m[rows] * sign + width * np.sqrt(2 / np.pi) * bell)
            + b1
        )
        found[k, rows] = line + _smeared(bend, y, tau[rows], at, bell)
    return found[0], found[1]


def _smeared(
    bend: np.ndarray, y: np.ndarray, tau: np.ndarray, at: np.ndarray, bell: np.ndarray
) -> np.ndarray:
    """∫ d(y) N(y; m, τ²) dy, m = τ·at, summed over y or as e^{-m²/2τ²}/(√(2π) τ) Σ_j (m/τ)^j/j! ∫
    d(y) (y/τ)^j e^{-y²/2τ²} dy.
    """
    total = np.zeros(at.shape)
    flat = tau >= FLAT
    if flat.any():
        scaled = y / tau[flat, None]
        moment = np.exp(-0.5 * scaled * scaled) * bend
        power = np.ones_like(at[flat])
        for j in range(TERMS):
            total[flat] += power * moment.sum(axis=1, keepdims=True)
            power = power * at[flat]
            moment = moment * scaled / (j + 1)
        total[flat] *= bell[flat]
    for row in np.flatnonzero(~flat):
        total[row] = np.exp(-0.5 * np.square(y / tau[row] - at[row][:, None])) @ bend
    return total / (np.sqrt(2 * np.pi) * tau[:, None])
