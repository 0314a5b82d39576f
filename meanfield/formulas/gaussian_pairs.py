"""K_σ(w, v) = E[σ(⟨w,x⟩) σ(⟨v,x⟩)], x ~ N(0, I), and ∇_w K in scalars, arranged so that a pair
costs little.

All that depends on one vector is prepared once, for every activation in the same way. With q =
|w|², c = ⟨w, v⟩:

    w' = μ(q_w) w,  v' = μ(q_v) v,  ρ = ⟨w', v'⟩;   a source v of amplitude A counts with Ã = weight(q_v) A
    V = Σ Ã along v',  F = Σ Ã first,  X = Σ Ã second,      (along, first, second) = pair(ρ, x_w, x_v)
    Σ A K(w, v)    = value + κ(q_w) ⟨w, T⟩,                 T = Σ A v
    Σ A ∇_w K(w, v) = on_w w' + on_V V + κ(q_w) T,          (value, on_w, on_V) = finish(q_w, ⟨w', V⟩, F, X)

Closed forms: TRUTHS.md, section 1; Cho and Saul (2009) for relu, Williams (1997) for erf. The slope
at 0 is σ'(0) of activations.py, so a relu neuron with w = 0 stays.

Error of one pair, in units ε of rounding of the dtype (measured against 50 digits by
tests/formulas/test_gaussian_pairs.py): relu and leaky_relu a few ε|w||v| in K and ε|v| in ∇_w K,
parallel and opposite vectors included: there ψ holds half the digits only, but sin ψ is computed
from the same rounded ρ, and in sin ψ w/|w| - ψ v/|v| the two errors cancel. erf, gelu: 1 - ρ² is
bounded below by its value for parallel vectors, so no pair divides by less. sin: ε(1 + |w|² +
|v|²).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, expm1, sqrt

from .special import angle, angle_absolute

INV_TWO_PI = 0.15915494309189535
TWO_OVER_PI = 0.6366197723675814


@dataclass(frozen=True)
class GaussianPair:
    """The four scalar functions of the text above; plain Python, compiled elsewhere for every
    device and dtype.

    prepare q -> (μ, weight, x);  pair (ρ, x_w, x_v) -> (along, first, second);  finish (q, D, F, X) -> (value, on_w, on_V);
    linear q -> κ.  sums says how many of F and X there are: with 1, `second` and X are 0; with 0, K = κ c and no pair is visited.
    """

    prepare: Callable[[float], tuple[float, float, float]]
    pair: Callable[[float, float, float], tuple[float, float, float]]
    finish: Callable[[float, float, float, float], tuple[float, float, float]]
    linear: Callable[[float], float]
    sums: int = 1


def nothing(q):
    return 0.0 * q


def leaky_relu(r: float) -> GaussianPair:
    """σ(z) = z for z > 0, r z otherwise: K = (1+r)²/4 c + (1-r)² |w||v| (sin ψ + cos ψ · (π/2 -
    ψ))/2π, ρ = cos ψ.

    ∇_w K = (1+r)²/4 v + (1-r)² |v| (sin ψ w' + (π/2 - ψ) v')/2π;  at w = 0, where σ' = r, it is r (1+r)/2 v.
    """
    both, at_zero, factor = (1 + r) ** 2 / 4, r * (1 + r) / 2, (1 - r) ** 2 * INV_TWO_PI

    def prepare(q):
        length = sqrt(q)
        return (1.0 / length if length > 0.0 else 0.0), factor * length, 0.0

    def pair(rho, x_w, x_v):
        sine = sqrt(abs(1.0 - rho * rho))  # |ρ| may exceed 1 by rounding
        return angle_absolute(rho, sine), sine, 0.0

    def finish(q, D, F, X):
        return sqrt(q) * (F + D), F, 1.0

    def linear(q):
        return both if q > 0.0 else at_zero

    return GaussianPair(prepare, pair, finish, linear)


def erf_prepare(q):
    p = 1.0 / (1.0 + 2.0 * q)
    return sqrt(2.0 * p), TWO_OVER_PI, p


def erf_pair(rho, x_w, x_v):
    """K = (2/π) asin ρ; 1 - ρ² >= p + p' - p p' with p = 1/(1 + 2q), equal for parallel vectors."""
    rest, least = 1.0 - rho * rho, x_w + x_v - x_w * x_v
    root = sqrt(least if rest < least else rest)
    return 1.0 / root, angle(rho, root), 0.0


def erf_finish(q, D, F, X):
    mu = sqrt(2.0 / (1.0 + 2.0 * q))
    return F, -mu * D, mu


def gelu_prepare(q):
    p = 1.0 / (1.0 + q)
    return sqrt(p), INV_TWO_PI * sqrt(1.0 + q), (p if q > 1.0 else -q * p)


def gelu_pair(rho, x_w, x_v):
    """TRUTHS.md's K in ρ = c √(p p'), p = 1/(1+q):  √(p p') (K - c/4) 2π = ρ asin ρ + p p' ρ²/√(1-ρ²) + (1-p)(1-p') √(1-ρ²).

    x is p for q > 1 and p - 1 for others, so that p and t = 1 - p have all their digits.
    """
    p_w, t_w = (x_w if x_w > 0.0 else 1.0 + x_w), (1.0 - x_w if x_w > 0.0 else -x_w)
    p_v, t_v = (x_v if x_v > 0.0 else 1.0 + x_v), (1.0 - x_v if x_v > 0.0 else -x_v)
    both, square = p_w * p_v, rho * rho
    rest, least = 1.0 - square, p_w + p_v - both
    root = sqrt(least if rest < least else rest)
    r = 1.0 / root
    asin, r2 = angle(rho, root), r * r
    along = asin + rho * r * (both * r2 + p_w + p_v)
    first = rho * asin + both * square * r + t_w * t_v * root
    second = r * (t_v * (1.0 + p_w) - square * (1.0 + 2.0 * p_w + both * r2))
    return along, first, second


def gelu_finish(q, D, F, X):
    return sqrt(1.0 + q) * F, X, 1.0


def sin_prepare(q):
    return 1.0, 1.0, 0.5 * q


def sin_pair(rho, x_w, x_v):
    """K = e^{-(q+q')/2} sinh c and ∂K/∂c = e^{-(q+q')/2} cosh c, without overflow and without
    cancellation at small c.
    """
    size = abs(rho)
    e, r = exp(size - (x_w + x_v)), expm1(-2.0 * size)
    half = 0.5 * e * r
    return e + half, (half if rho < 0.0 else -half), 0.0


def sin_finish(q, D, F, X):
    return F, -F, 1.0


def square_prepare(q):
    return 1.0, 1.0, q


def square_pair(rho, x_w, x_v):
    return 4.0 * rho, x_v, 0.0


def square_finish(q, D, F, X):
    return q * F + 0.5 * D, 2.0 * F, 1.0


def linear_pair(rho, x_w, x_v):
    return 0.0, 0.0, 0.0


def linear_finish(q, D, F, X):
    return 0.0, 0.0, 0.0


def quarter(q):
    return 0.25 + 0.0 * q


def one(q):
    return 1.0 + 0.0 * q


RELU = leaky_relu(0.0)
ERF = GaussianPair(erf_prepare, erf_pair, erf_finish, nothing)
GELU = GaussianPair(gelu_prepare, gelu_pair, gelu_finish, quarter, sums=2)
SIN = GaussianPair(sin_prepare, sin_pair, sin_finish, nothing)
SQUARE = GaussianPair(square_prepare, square_pair, square_finish, nothing)
LINEAR = GaussianPair(square_prepare, linear_pair, linear_finish, one, sums=0)
