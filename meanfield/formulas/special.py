"""Functions that formulas share, as they are defined; the backends have fast and accurate versions
of them.
"""

from __future__ import annotations

from math import atan2, erfc, exp, sqrt


def decay(t):
    """e^(-t) for t >= 0."""
    return exp(-t)


def gaussian(z):
    """e^(-z²/2)."""
    return exp(-0.5 * z * z)


def mills(t):
    """½ e^(t²/2) erfc(t/√2) for t >= 0: the mass of N(0, 1) beyond t over e^(-t²/2), which falls
    like 1/(t √2π).

    With it the tail of the normal law keeps its relative accuracy, which 1 - erf loses. Constant
    beyond t = 13.
    """
    t = 13.0 if t > 13.0 else t
    return 0.5 * exp(0.5 * t * t) * erfc(t / sqrt(2.0))


def angle(sine, cosine):
    """The angle in [-π/2, π/2] of that sine and cosine >= 0, of square sum 1: asin(sine), to the
    last digits however small.
    """
    return atan2(sine, cosine)


def angle_absolute(sine, cosine):
    """The same with an absolute error of the order of rounding, for less work."""
    return atan2(sine, cosine)
