"""Dual activations: E[σ(u)σ(v)] and E[σ'(u)σ'(v)] for (u, v) ~ N(0, [[q1, c], [c, q2]]). TRUTHS.md,
section 1.

TABLE holds closed forms by the activation's name; where it has none, ntk/gaussian/quadrature.py
integrates. A new activation needs no line here; one with a closed form adds `TABLE[name] = function
of (q1, q2, c) -> (E[σσ], E[σ'σ'])`.

Variances may be as large as float64 holds. With q → ∞ tanh and erf become sign: E[σσ] → (2/π) asin
ρ, q E[σ'σ'] → 2/(π √(1-ρ²)) times (∫σ'/2)². The correlation ρ is known to rounding alone, so above
q = LARGE directions closer than about 1e-7 count as one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from meanfield.formulas import activations
from meanfield.formulas.activations import Activation

ClosedForm = Callable[[Any, Any, Any], tuple[Any, Any]]
# variances above which closed forms are taken in normalised arguments: no product of two variances
# is formed
LARGE = 1e8
# |c| may exceed √(q1 q2) by so many units of the last place: rounding. Beyond, the matrix is no
# covariance.
ULPS = 16


class Pair(NamedTuple):
    """(E[σ(u)σ(v)], E[σ'(u)σ'(v)])."""

    value: np.ndarray
    slope: np.ndarray


def pair(activation: str | Activation, q1: Any, q2: Any, c: Any) -> Pair:
    """Both expectations for variances q1, q2 >= 0 and covariance c, numbers or arrays that
    broadcast.

    1e-10 relative to √(E[σ(u)²] E[σ(v)²]), where 1 - |ρ| < 1e-8 the slope 1e-7 (ψ = arccos ρ then
    holds half the digits of ρ); float32 arguments give float32. |c| above √(q1 q2) by rounding is
    taken as equal to it; further above raises. Raises ValueError too where an expectation overflows
    or cannot be found for variances so large.
    """
    sigma = activations.get(activation)
    q1, q2, c = (np.asarray(value) for value in (q1, q2, c))
    dtype = np.result_type(q1, q2, c)
    dtype = dtype if dtype == np.float32 else np.dtype(np.float64)
    q1, q2, c = (value.astype(dtype, copy=False) for value in (q1, q2, c))
    for name, value in (("q1", q1), ("q2", q2), ("c", c)):
        if not np.isfinite(value).all():
            raise ValueError(f"dual of {sigma.name}: {name} has NaN or infinite values.")
    if (q1 < 0).any() or (q2 < 0).any():
        raise ValueError(
            f"dual of {sigma.name}: variances must be >= 0; got {min(q1.min(), q2.min())}."
        )
    largest = np.sqrt(q1) * np.sqrt(q2)
    if (np.abs(c) > largest * (1 + ULPS * np.finfo(dtype).eps)).any():
        excess = (np.abs(c) - largest).max()
        raise ValueError(
            f"dual of {sigma.name}: |c| must not exceed √(q1 q2), or [[q1, c], [c, q2]] "
            "is no covariance; "
            f"it exceeds it by {excess:g} at most. Is c the inner product that belongs to "
            "q1 and q2?"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        found = unchecked(sigma, q1, q2, np.clip(c, -largest, largest))
    if not all(np.isfinite(part).all() for part in found):
        raise ValueError(
            f"dual of {sigma.name}: E[σσ] or E[σ'σ'] overflows for variances up to "
            f"{max(q1.max(), q2.max()):.3g}."
        )
    return found


def value(activation: str | Activation, q1: Any, q2: Any, c: Any) -> np.ndarray:
    """E[σ(u)σ(v)]; see `pair`."""
    return pair(activation, q1, q2, c).value


def slope(activation: str | Activation, q1: Any, q2: Any, c: Any) -> np.ndarray:
    """E[σ'(u)σ'(v)]; see `pair`."""
    return pair(activation, q1, q2, c).slope


def unchecked(sigma: Activation, q1: np.ndarray, q2: np.ndarray, c: np.ndarray) -> Pair:
    """`pair` without the checks: q1, q2 >= 0 that broadcast against c, all of one dtype."""
    form = closed_form(sigma)
    if form is None:
        from . import quadrature

        results = quadrature.gaussian(sigma, q1, q2, c)[:2]
    else:
        results = form(q1, q2, c)
    shape = np.broadcast_shapes(q1.shape, q2.shape, c.shape)
    return Pair(*(np.broadcast_to(np.asarray(result, dtype=c.dtype), shape) for result in results))


def closed_form(sigma: Activation) -> ClosedForm | None:
    """The TABLE's entry for this activation, or None. An own activation under a built-in's name is
    not mistaken for it.
    """
    name = sigma.name.partition("(")[0]
    if name in activations.TABLE:
        same = getattr(sigma.value, "__code__", None) is activations.TABLE[name].value.__code__
        if not same:
            return None
        if name == "leaky_relu":
            return _leaky(-sigma.value(-1.0))
    return TABLE.get(sigma.name)


def _angles(q1: Any, q2: Any, c: Any) -> tuple[Any, Any, Any]:
    """(√(q1 q2), π - ψ, sin ψ), cos ψ = c/√(q1 q2); ψ = 0 or π exactly for c = ±q1 = ±q2; a vector
    of no length ψ = π/2.
    """
    scale = np.sqrt(q1) * np.sqrt(q2)
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = np.clip(np.where((np.abs(c) == q1) & (q1 == q2), np.sign(c), c / scale), -1.0, 1.0)
    rho = np.where(scale > 0, rho, 0.0).astype(np.asarray(scale).dtype, copy=False)
    return scale, np.arccos(-rho), np.sqrt((1 - rho) * (1 + rho))


def _leaky(r: float) -> ClosedForm:
    """σ = r z + (1 - r) relu(z): (1-r)² K_relu + r c;  r² + r(1-r)(P(u>0) + P(v>0)) + (1-r)² P(u>0, v>0).

    K_relu = √(q1 q2) (sin ψ + (π-ψ) cos ψ)/2π, P(u>0, v>0) = (π-ψ)/2π; P(u > 0) = ½, but 0 for q1 =
    0, where σ'(0) = r.
    """

    def form(q1, q2, c):
        scale, opposite, sine = _angles(q1, q2, c)
        both = np.where(scale > 0, opposite, 0.0) / (2 * np.pi)
        one = 0.5 * (np.sign(q1) + np.sign(q2))
        relu_value = (scale * sine + opposite * c) / (2 * np.pi)
        return (1 - r) ** 2 * relu_value + r * c, r * r + r * (1 - r) * one + (1 - r) ** 2 * both

    return form


def _shares(q1: Any, q2: Any, c: Any, unit: float) -> tuple[Any, ...]:
    """a_i = 1/(1 + u q_i), b_i = 1 - a_i, g_i = √a_i; ĉ = u c g1 g2, Ŝ = 1 - ĉ² = a1a2 + a1b2 +
    b1a2 + b1b2(1 - ρ²); b1b2.
    """
    a1, a2 = 1 / (1 + unit * q1), 1 / (1 + unit * q2)
    b1, b2 = unit * q1 * a1, unit * q2 * a2
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = np.where((np.abs(c) == q1) & (q1 == q2), np.sign(c), c / np.sqrt(q1) / np.sqrt(q2))
    rho = np.where((q1 > 0) & (q2 > 0), rho, 0.0)
    rho = np.where(1 - np.abs(rho) <= ULPS * np.finfo(np.asarray(c).dtype).eps, np.sign(rho), rho)
    sine2 = np.maximum((1 - rho) * (1 + rho), 0.0)
    return (
        a1,
        a2,
        np.sqrt(a1),
        np.sqrt(a2),
        rho * np.sqrt(b1 * b2),
        a1 * a2 + a1 * b2 + b1 * a2 + b1 * b2 * sine2,
        b1 * b2,
    )


def _large(q1: Any, q2: Any) -> bool:
    return max(np.max(q1, initial=0.0), np.max(q2, initial=0.0)) > LARGE


def _erf(q1, q2, c):
    """(2/π) asin(2c/√((1+2q1)(1+2q2)));  (4/π)/√D, D = (1+2q1)(1+2q2) - 4c²; asin(x) = atan2(x, √(1-x²)) keeps its digits."""
    if _large(q1, q2):
        _, _, g1, g2, sine, rest, _ = _shares(q1, q2, c, 2.0)
        return 2 / np.pi * np.arctan2(sine, np.sqrt(rest)), 4 / np.pi * g1 / np.sqrt(rest) * g2
    root = np.sqrt(1 + 2 * (q1 + q2) + 4 * np.maximum(q1 * q2 - c * c, 0.0))
    return 2 / np.pi * np.arctan2(2 * c, root), 4 / np.pi / root


def _gelu(q1, q2, c):
    """c/4 + [c asin(c/√P) + (c² + q1q2 S)/(P√S)]/2π;  ¼ + asin(c/√P)/2π + c/(2π√S)·(1/S + (1 - q1q2)/P + 1);
    P = (1+q1)(1+q2), S = P - c²."""
    if _large(q1, q2):
        a1, a2, g1, g2, sine, rest, both = _shares(q1, q2, c, 1.0)
        root = np.sqrt(rest)
        angle = np.arctan2(sine, root)
        size = (sine * g1) * (sine * g2) / root + both * root / g1 / g2
        ratio = sine / root
        return c / 4 + (c * angle + size) / (2 * np.pi), 0.25 + (
            angle + ratio * (a1 * a2 / rest + a1 + a2)
        ) / (2 * np.pi)
    product = (1 + q1) * (1 + q2)
    rest = 1 + q1 + q2 + np.maximum(q1 * q2 - c * c, 0.0)
    root = np.sqrt(rest)
    angle = np.arctan2(c, root)
    value = c / 4 + (c * angle + (c * c + q1 * q2 * rest) / (product * root)) / (2 * np.pi)
    return value, 0.25 + angle / (2 * np.pi) + c / (2 * np.pi * root) * (
        1 / rest + (1 - q1 * q2) / product + 1
    )


def _waves(q1, q2, c):
    """e^{-(q1+q2)/2} (sinh c, cosh c), without overflow. It is a function of q1 + q2 - 2|c|, which
    must have its digits.
    """
    size, mean = np.abs(c), 0.5 * q1 + 0.5 * q2
    apart = np.where((size == q1) & (q1 == q2), 0.0, mean - size)
    if _large(q1, q2):
        unknown = ULPS * np.finfo(np.asarray(c).dtype).eps * mean
        lost = (apart != 0.0) & (apart < 40.0 + unknown)
        if lost.any():
            raise ValueError(
                f"dual of sin or cos: variances up to {np.max(mean):.3g} leave no digits "
                "of E[(u - v)²] = q1 + q2 - 2|c| for "
                f"{int(lost.sum())} pairs that are nearly parallel, of which it is a "
                "function; scale the inputs down."
            )
    half, ratio = 0.5 * np.exp(-apart), np.expm1(-2 * size)
    return -half * ratio * np.sign(c), half * (2 + ratio)


def _exp(q1, q2, c):
    """e^{(q1+q2)/2 + c}, both."""
    result = np.exp((q1 + q2) / 2 + c)
    return result, result


TABLE: dict[str, ClosedForm] = {
    "relu": _leaky(0.0),
    "erf": _erf,
    "gelu": _gelu,
    "sin": _waves,
    "cos": lambda q1, q2, c: _waves(q1, q2, c)[::-1],
    "exp": _exp,
    "square": lambda q1, q2, c: (q1 * q2 + 2 * c * c, 4 * c),
    "linear": lambda q1, q2, c: (c, np.ones_like(c)),
}
