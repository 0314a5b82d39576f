"""Two functions that activations share, as they are defined; the backends have fast and accurate versions of them."""

from __future__ import annotations

from math import erfc, exp, sqrt


def gaussian(z):
    """e^(-z²/2)."""
    return exp(-0.5 * z * z)


def mills(t):
    """½ e^(t²/2) erfc(t/√2) for t >= 0: the mass of N(0, 1) beyond t over e^(-t²/2), which falls like 1/(t √2π).

    With it the tail of the normal law keeps its relative accuracy, which 1 - erf loses. Constant beyond t = 13.
    """
    t = 13.0 if t > 13.0 else t
    return 0.5 * exp(0.5 * t * t) * erfc(t / sqrt(2.0))
