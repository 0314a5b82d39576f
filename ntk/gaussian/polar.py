"""E[σ(u + b)σ(v + b)] and the same of σ' in polar coordinates of the plane of x and x':

    u = p1 r cos φ,  v = p2 r cos(φ - ψ),  φ uniform, r ≥ 0 by its own law;  b = 0 or b ~ N(0, b_std²)

(u, v) Gaussian: r e^{-r²/2} dr. w uniform on the unit sphere of R^d: r is the length of its
projection on the plane, for r = sin θ the law (d - 2) sin θ cos^{d-3}θ dθ. The circle is cut where
u = 0, v = 0 and u = v, b (biases.py) at -u and -v, so each piece is smooth even if σ' jumps at 0.
Gauss–Legendre rules, doubled until two agree; nodes are drawn together, as t² or t²(3 - 2t), at r =
0 and at the ends of the arcs, where σ of wide arguments bends (tests: √q up to 1000).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from meanfield.formulas.activations import Activation

from . import biases, wide
from .biases import legendre

# a change by so much of √(Eσ(u)² Eσ(v)²) ends the refinement; the result is far better than the
# change
ACCEPT = 1e-11
REFUSE = 1e-9  # the largest change that passes when the finest rule is used up
ORDERS = (12, 24, 48, 96, 192, 384)
WORK = 2**25  # function values for one pair (x, x'): no finer rule is tried
SECOND = 3e7  # function values in a second, one core
ANNOUNCE = 10.0  # seconds: a rule expected to take longer says so before it starts
ENTRIES = 2**20  # function values held at once
UNSEEN = 1e5  # widths above which what σ does near 0 may fall between the nodes of all rules
RADIUS = 12.0  # of the Gaussian plane: r e^{-r²/2} = 6e-31 there, and σσ' may grow as e^{4r}

Radii = Callable[[int], tuple[np.ndarray, np.ndarray]]


class Rule(NamedTuple):
    """The law of r as order -> (nodes, weights), of b, and whether x and x' lie on one line (d = 1:
    φ is 0 or π).

    What r > tail contributes counts as error: beyond the last node there may be as much.
    """

    radii: Radii
    b_std: float = 0.0
    line: bool = False
    tail: float = np.inf


def _gaussian_radii(order: int) -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = legendre(order)
    r = RADIUS * nodes**2
    return r, 2 * RADIUS * nodes * weights * r * np.exp(-r * r / 2)


GAUSSIAN = Rule(_gaussian_radii, tail=0.9 * RADIUS)


def _spherical_radii(dim: int, order: int) -> tuple[np.ndarray, np.ndarray]:
    if dim <= 2:
        return np.ones(1), np.ones(1)
    nodes, weights = legendre(order)
    end = np.pi / 2 if dim == 3 else np.arccos(np.exp(-40.0 / (dim - 3)))  # cos^{d-3} = 4e-18 there
    theta = end * nodes
    return np.sin(theta), end * weights * (dim - 2) * np.sin(theta) * np.cos(theta) ** (dim - 3)


def sphere(dim: int, b_std: float) -> Rule:
    """w uniform on the unit sphere of R^dim: put |w| into p1 = |w||x|, p2 = |w||x'|."""
    return Rule(partial(_spherical_radii, dim), b_std, line=dim == 1)


def integrate(
    sigma: Activation, p1: np.ndarray, p2: np.ndarray, psi: np.ndarray, rule: Rule
) -> tuple[np.ndarray, np.ndarray]:
    """(E[σσ], E[σ'σ']) (2, n) and their errors (2, n) for p1, p2, ψ (n,).

    Raises where an error stays above REFUSE of √(Eσ(u)² Eσ(v)²).
    """
    _check_widths(sigma, p1, p2, rule)
    result, error, scale, tail = np.empty((4, 2, len(psi)))
    previous = np.full((2, len(psi)), np.nan)
    todo = np.arange(len(psi))
    for order in ORDERS:
        if todo.size == 0 or _size(order, sigma, rule) > WORK:
            break
        _announce(sigma, todo.size, order, rule)
        result[:, todo], scale[:, todo], tail[:, todo] = _sums(
            sigma, p1[todo], p2[todo], psi[todo], rule, order
        )
        check_finite(sigma, scale[:, todo])
        error[:, todo] = np.abs(result[:, todo] - previous[:, todo]) + tail[:, todo]
        previous[:, todo] = result[:, todo]
        todo = todo[~(error[:, todo] <= ACCEPT * scale[:, todo]).all(axis=0)]
    bad = np.union1d(
        todo[~(error[:, todo] <= REFUSE * scale[:, todo]).all(axis=0)],
        _unseen(sigma, p1, p2, scale, rule),
    )
    if bad.size:
        k = bad[0]
        raise ValueError(
            f"the dual of {sigma.name} is not found by quadrature for {bad.size} pairs of "
            f"inputs: with widths {p1[k]:g} and "
            f"{p2[k]:g} at angle {psi[k]:g} E[σσ] and E[σ'σ'] still change by "
            f"{error[0, k]:g} and {error[1, k]:g} at last. "
            "Kinks must lie at 0 (with smooth=False) and σ must not oscillate or bend on "
            "a scale far below the widths; "
            "smaller inputs or weights (mf.data has standardise) help, or a closed form "
            "in ntk.duals.TABLE."
        )
    return result, error + 4e-15 * scale


def _announce(sigma: Activation, pairs: int, order: int, rule: Rule) -> None:
    seconds = pairs * _size(order, sigma, rule) / SECOND
    if seconds > ANNOUNCE:
        law = (
            " of w on a sphere with a bias, integrals over three variables,"
            if rule.tail == np.inf and rule.b_std
            else ""
        )
        cheaper = ' w="normal" takes the bias for one more input, two variables.' if law else ""
        warnings.warn(
            f"the dual of {sigma.name}{law} for {pairs} pairs of inputs will take about "
            f"{seconds:.0f} s on one core (within a "
            f"factor of 3).{cheaper}",
            UserWarning,
            stacklevel=2,
        )


def _check_widths(sigma: Activation, p1: np.ndarray, p2: np.ndarray, rule: Rule) -> None:
    """On a sphere of two dimensions or more: raise for widths at which no node need meet what σ
    does near 0.
    """
    widest = max(p1.max(initial=0.0), p2.max(initial=0.0))
    if (
        not rule.line
        and rule.tail == np.inf
        and sigma.homogeneity is None
        and widest > UNSEEN * max(1.0, rule.b_std)
    ):
        raise ValueError(
            f"the dual of {sigma.name} for w on a sphere is not found for |x| w_std = "
            f"{widest:.3g}, above {UNSEEN:g}: scale the "
            'inputs down, to numbers of order 1 (standardise them), or take w="normal", '
            "whose limit is found at any size."
        )


def _unseen(
    sigma: Activation, p1: np.ndarray, p2: np.ndarray, scale: np.ndarray, rule: Rule
) -> np.ndarray:
    """The Gaussian pairs so wide that no node may have met what σ does near 0: two rules then agree
    on nothing.

    √(Eσ(u)² Eσ(v)²) is held against the same by a one-dimensional rule that resolves any width.
    """
    wide_ones = np.flatnonzero(np.maximum(p1, p2) > UNSEEN)
    if rule.tail == np.inf or not wide_ones.size:
        return wide_ones[:0]
    sizes = [wide.roots(sigma, p[wide_ones]) for p in (p1, p2)]
    expected = sizes[0] * sizes[1]
    return wide_ones[~(np.abs(scale[:, wide_ones] - expected) <= 1e-8 * expected).all(axis=0)]


def check_finite(sigma: Activation, values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise ValueError(
            f"σ or σ' of {sigma.name} overflows or is not a number for arguments of the "
            "size that these inputs give."
        )


def _size(order: int, sigma: Activation, rule: Rule) -> int:
    angles = 2 if rule.line else order * (6 if rule.b_std and not sigma.smooth else 4)
    return angles * rule.radii(order)[0].size * biases.points(sigma, rule.b_std, order)


def _sums(
    sigma: Activation, p1: np.ndarray, p2: np.ndarray, psi: np.ndarray, rule: Rule, order: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rule of that order: E[f f'], √(E f² E f'²) and of the last the part of r > tail, for f =
    σ and f = σ', each (2, n).
    """
    result, scale, tail = np.zeros((3, 2, len(psi)))
    r, r_weight = rule.radii(order)
    outer = r > rule.tail
    step = max(1, ENTRIES // _size(order, sigma, rule))
    for first in range(0, len(psi), step):
        rows = slice(first, first + step)
        phi, weight = _angles(p1[rows], p2[rows], psi[rows], rule, order, kinked=not sigma.smooth)
        u = (p1[rows, None] * np.cos(phi))[:, :, None] * r
        v = (p2[rows, None] * np.cos(phi - psi[rows, None]))[:, :, None] * r
        weight = (weight[:, :, None] * r_weight).reshape(len(phi), -1)
        means = biases.means(
            sigma, u.reshape(weight.shape), v.reshape(weight.shape), rule.b_std, order
        )
        for k, products in enumerate(means):
            result[k, rows], power1, power2 = (
                np.einsum("ij,ij->i", weight, product) for product in products
            )
            scale[k, rows] = np.sqrt(power1) * np.sqrt(power2)
            if outer.any():
                far = [
                    (weight * square).reshape(len(phi), -1, len(r))[:, :, outer].sum(axis=(1, 2))
                    for square in products[1:]
                ]
                tail[k, rows] = np.sqrt(far[0]) * np.sqrt(far[1])
    return result, scale, tail


def _angles(
    p1: np.ndarray, p2: np.ndarray, psi: np.ndarray, rule: Rule, order: int, kinked: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Nodes φ (n, count) and weights that sum to 1, cut where u and v, with a bias and a kink also
    u - v, change sign.
    """
    if rule.line:
        return np.tile([0.0, np.pi], (len(psi), 1)), np.full((len(psi), 2), 0.5)
    quarter = np.full(len(psi), np.pi / 2)
    cuts = [-quarter, psi - quarter, quarter, psi + quarter, 3 * quarter]
    if rule.b_std and kinked:
        equal = np.arctan2(p1 - p2 * np.cos(psi), p2 * np.sin(psi))
        cuts += [equal, equal + np.pi]
    edges = np.sort(np.stack(cuts, axis=1), axis=1)
    nodes, weights = legendre(order)
    nodes, weights = nodes * nodes * (3 - 2 * nodes), weights * 6 * nodes * (1 - nodes)
    length = np.diff(edges, axis=1)[:, :, None]
    phi = edges[:, :-1, None] + length * nodes
    return phi.reshape(len(psi), -1), (length * weights / (2 * np.pi)).reshape(len(psi), -1)
