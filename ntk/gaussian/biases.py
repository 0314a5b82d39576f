"""The mean over a bias of what polar.py adds up: E_b[f(u + b) f(v + b)] for f = σ and f = σ', b ~
N(0, β²).

β = 0: the product itself. Piecewise linear σ: in closed form. Smooth σ: Gauss–Hermite. Other kinks
at 0: Gauss–Legendre between -u, -v and the ends.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.special import ndtr, roots_hermitenorm

from meanfield.backends.cpu.elementwise import values_and_slopes
from meanfield.formulas.activations import Activation

from . import duals

RADIUS = 9.0  # e^{-b²/2} = 3e-18 there
# for σ, σ': (f f', f², f'²), the factor f' that of v
Products = list[tuple[np.ndarray, np.ndarray, np.ndarray]]


@cache
def legendre(order: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(order)
    return (nodes + 1) / 2, weights / 2


def points(sigma: Activation, b_std: float, order: int) -> int:
    """How many function values the mean takes."""
    if not b_std or _linear(sigma):
        return 1
    return order if sigma.smooth else 3 * order


def means(sigma: Activation, u: np.ndarray, v: np.ndarray, b_std: float, order: int) -> Products:
    """u, v (n, count) -> the means, each (n, count)."""
    if not b_std:
        return [
            (f * g, f * f, g * g)
            for f, g in zip(values_and_slopes(sigma, u), values_and_slopes(sigma, v), strict=True)
        ]
    if _linear(sigma):
        r = -sigma.value(-1.0)
        return list(
            zip(*(_kinked(x, y, b_std, r) for x, y in ((u, v), (u, u), (v, v))), strict=True)
        )
    if sigma.smooth:
        nodes, weight = roots_hermitenorm(order)
        b, weight = b_std * nodes, weight / np.sqrt(2 * np.pi)
    else:
        b, weight = _between_kinks(u, v, b_std, order)
    flat = (len(u), -1)
    functions = [values_and_slopes(sigma, (z[..., None] + b).reshape(flat)) for z in (u, v)]
    pairs = [[f.reshape(*u.shape, -1) for f in pair] for pair in zip(*functions, strict=True)]
    return [
        tuple((x * y * weight).sum(axis=-1) for x, y in ((f, g), (f, f), (g, g))) for f, g in pairs
    ]


def _linear(sigma: Activation) -> bool:
    """relu, leaky_relu or linear: r z for z < 0, z for z > 0."""
    return (
        sigma.name.partition("(")[0] in ("relu", "leaky_relu", "linear")
        and duals.closed_form(sigma) is not None
    )


def _kinked(u: np.ndarray, v: np.ndarray, beta: float, r: float) -> tuple[np.ndarray, np.ndarray]:
    """σ(z) = r z + (1-r) z₊, with E[(u+b)(v+b); b > -t] = uv Φ + (u+v) βφ + β²(Φ - (t/β)φ), Φ and φ
    at t/β:

    r²(uv + β²) + r(1-r)(E[…; b > -u] + E[…; b > -v]) + (1-r)² E[…; b > -min(u, v)];  σ' alike with P(b > -t) = Φ.
    """

    def part(t):
        below = ndtr(t / beta)
        density = np.exp(-0.5 * (t / beta) ** 2) / np.sqrt(2 * np.pi)
        return u * v * below + (u + v) * beta * density + beta * (beta * below - t * density), below

    value_u, on_u = part(u)
    value_v, on_v = part(v)
    value_both, on_both = part(np.minimum(u, v))
    value = (
        r * r * (u * v + beta * beta)
        + r * (1 - r) * (value_u + value_v)
        + (1 - r) ** 2 * value_both
    )
    return value, r * r + r * (1 - r) * (on_u + on_v) + (1 - r) ** 2 * on_both


def _between_kinks(
    u: np.ndarray, v: np.ndarray, beta: float, order: int
) -> tuple[np.ndarray, np.ndarray]:
    """Nodes b (*u.shape, 3 order) and weights of N(0, β²), cut at -u and -v."""
    end = np.full(u.shape, RADIUS * beta)
    cuts = np.clip(
        np.stack([-end, np.minimum(-u, -v), np.maximum(-u, -v), end], axis=-1),
        -end[..., None],
        end[..., None],
    )
    nodes, weights = legendre(order)
    length = np.diff(cuts, axis=-1)[..., None]
    b = cuts[..., :-1, None] + length * nodes
    weight = length * weights * np.exp(-0.5 * (b / beta) ** 2) / (beta * np.sqrt(2 * np.pi))
    return b.reshape(*u.shape, -1), weight.reshape(*u.shape, -1)
