"""Activations: plain scalar functions σ and σ', compiled elsewhere for every device and dtype.

A new activation is two scalar functions and one line in TABLE. The functions call exp, log1p, tanh,
erf, sin and cos by bare name: `backends/compiler.py` binds those names to fast accurate versions.
`special.py` has decay, gaussian and mills. They must let NaN through (write `0.0 if z < 0.0 else
z`, not `z if z > 0.0 else 0.0`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from math import cos, erf, log1p, sin, tanh
from typing import Any

import numpy as np

from ..checks import hint, real
from . import gaussian_pairs
from .gaussian_pairs import GaussianPair
from .special import decay, gaussian, mills

TWO_OVER_SQRT_PI = 1.1283791670955126
INV_SQRT_2PI = 0.3989422804014327


@dataclass(frozen=True)
class Activation:
    """σ: R → R and its derivative, as scalar Python functions of one float.

    Parameters
    ----------
    name : in files and messages.
    value, slope : z -> σ(z), z -> σ'(z): plain Python on numbers, with exp, log, sqrt, tanh, … of
        `math`.
    value_and_slope : z -> (σ(z), σ'(z)), optional: it saves work where the two share a term.
    homogeneity : p with σ(cz) = c^p σ(z) for c > 0: then |w|² + b² - p|a|² is conserved by the flow
        (THEORY.md, section 2).
    smooth : False says that σ' jumps, so integrators lose order there.
    pair : E[σ(⟨w,x⟩)σ(⟨v,x⟩)] in closed form where one is known (gaussian_pairs.py):
        mf.PopulationRisk needs it.
    check : a Network of it looks at σ' by differences of σ at twelve points (any slope between its
        two sides is right at a kink) and at the other fields; False takes them as they are (a
        surrogate slope of a step, say).

    Raises
    ------
    ValueError, TypeError : by mf.Network; and by the first use, for what does not compile, or where
        the compiled σ is not the Python function.
    """

    name: str
    value: Callable[[float], float]
    slope: Callable[[float], float]
    value_and_slope: Callable[[float], tuple[float, float]] | None = None
    homogeneity: float | None = None
    smooth: bool = True
    pair: GaussianPair | None = None
    check: bool = field(default=True, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise TypeError(f"Activation: name must be a non-empty string; got {self.name!r}.")
        for part in ("value", "slope"):
            if not callable(getattr(self, part)):
                raise TypeError(
                    f"Activation {self.name!r}: {part} must be a scalar function of z; "
                    f"got {getattr(self, part)!r}."
                )
        if self.homogeneity is not None:
            if isinstance(self.homogeneity, bool) or not isinstance(
                self.homogeneity, (int, float, np.number)
            ):
                raise TypeError(
                    f"Activation {self.name!r}: homogeneity must be a number or None; got "
                    f"{self.homogeneity!r}."
                )
            object.__setattr__(self, "homogeneity", float(self.homogeneity))
        for part in ("smooth", "check"):
            if not isinstance(getattr(self, part), (bool, np.bool_)):
                raise TypeError(
                    f"Activation {self.name!r}: {part} must be True or False; got "
                    f"{getattr(self, part)!r}."
                )
            object.__setattr__(self, part, bool(getattr(self, part)))

    def __repr__(self) -> str:
        return f"Activation({self.name!r})"


def relu(z):
    return 0.0 if z < 0.0 else z


def relu_slope(z):
    return 1.0 if z > 0.0 else 0.0


def tanh_value(z):
    return tanh(z)


def tanh_slope(z):
    t = tanh(z)
    return 1.0 - t * t


def tanh_both(z):
    t = tanh(z)
    return t, 1.0 - t * t


def tanh_slope_of(t):
    return 1.0 - t * t


def erf_value(z):
    return erf(z)


def erf_slope(z):
    return TWO_OVER_SQRT_PI * decay(z * z)


def sigmoid(z):
    e = decay(abs(z))  # never overflows; keeps relative accuracy in the left tail
    return (e if z < 0.0 else 1.0) / (1.0 + e)


def sigmoid_slope(z):
    e = decay(abs(z))
    return e / ((1.0 + e) * (1.0 + e))


def sigmoid_both(z):
    e = decay(abs(z))
    above = 1.0 / (1.0 + e)  # σ(|z|)
    below = e * above
    return (below if z < 0.0 else above), below - below * below


def softplus(z):
    return (0.0 if z < 0.0 else z) + log1p(decay(abs(z)))


def softplus_both(z):
    e = decay(abs(z))
    return (0.0 if z < 0.0 else z) + log1p(e), (e if z < 0.0 else 1.0) / (1.0 + e)


def normal_below(z):
    """Φ(z), with relative accuracy in the left tail."""
    tail = gaussian(z) * mills(abs(z))
    return tail if z < 0.0 else 1.0 - tail


def gelu(z):
    return z * normal_below(z)


def gelu_slope(z):
    return normal_below(z) + INV_SQRT_2PI * z * gaussian(z)


def gelu_both(z):
    e = gaussian(z)
    tail = e * mills(abs(z))
    below = tail if z < 0.0 else 1.0 - tail
    return z * below, below + INV_SQRT_2PI * z * e


def sin_value(z):
    return sin(z)


def sin_slope(z):
    return cos(z)


def square(z):
    return z * z


def square_slope(z):
    return 2.0 * z


def linear(z):
    return z


def linear_slope(z):
    return 1.0 + 0.0 * z


def leaky_relu(slope: float = 0.01) -> Activation:
    """σ(z) = z for z > 0, slope·z otherwise; by name: "leaky_relu" (slope 0.01) or
    "leaky_relu(0.2)".
    """
    r = real("leaky_relu: slope", slope)

    def leaky(z):
        return r * z if z < 0.0 else z

    def leaky_slope(z):
        return 1.0 if z > 0.0 else r

    name = "leaky_relu" if r == 0.01 else f"leaky_relu({r!r})"
    return Activation(
        name, leaky, leaky_slope, homogeneity=1.0, smooth=False, pair=gaussian_pairs.leaky_relu(r)
    )


TABLE: dict[str, Activation] = {
    activation.name: activation
    for activation in (
        Activation(
            "relu", relu, relu_slope, homogeneity=1.0, smooth=False, pair=gaussian_pairs.RELU
        ),
        leaky_relu(),
        Activation("tanh", tanh_value, tanh_slope, tanh_both),
        Activation("erf", erf_value, erf_slope, pair=gaussian_pairs.ERF),
        Activation("sigmoid", sigmoid, sigmoid_slope, sigmoid_both),
        Activation("softplus", softplus, sigmoid, softplus_both),
        Activation("gelu", gelu, gelu_slope, gelu_both, pair=gaussian_pairs.GELU),
        Activation("sin", sin_value, sin_slope, pair=gaussian_pairs.SIN),
        Activation("square", square, square_slope, homogeneity=2.0, pair=gaussian_pairs.SQUARE),
        Activation("linear", linear, linear_slope, homogeneity=1.0, pair=gaussian_pairs.LINEAR),
    )
}

# By the formulas of an Activation: σ'(z) as a function of σ(z), to the last bit, where it is one.
# Kernels that keep σ spare a second evaluation. Sigmoid's σ (1 - σ) would lose its relative
# accuracy on the right.
SLOPE_OF_VALUE: dict[Any, Callable[[float], float]] = {
    (tanh_value, tanh_slope, tanh_both): tanh_slope_of
}

_LEAKY = re.compile(r"leaky_relu\(([^)]+)\)")


def get(activation: str | Activation) -> Activation:
    """The Activation of that name (see TABLE), or the one given. Unknown names raise with the
    nearest.
    """
    if isinstance(activation, Activation):
        return activation
    if not isinstance(activation, str):
        raise TypeError(f"activation must be a name or an mf.Activation; got {activation!r}.")
    if activation in TABLE:
        return TABLE[activation]
    if match := _LEAKY.fullmatch(activation):
        try:
            return leaky_relu(float(match[1]))
        except ValueError:
            raise ValueError(
                f'the slope in {activation!r} is not a number; write for example "leaky_relu(0.2)".'
            ) from None
    known = f"Known: {', '.join(TABLE)}; or pass an mf.Activation(name, value, slope)."
    raise ValueError(f"unknown activation {activation!r}.{hint(activation, TABLE)} {known}")
