"""Which σ are linear on either side of 0: they have a pull-back of their own, kernels/kinked.py."""

from __future__ import annotations

from ...formulas.activations import Activation


def slopes(sigma: Activation) -> tuple[float, float] | None:
    """(σ'(-1), σ'(1)) where σ is positively homogeneous, σ(z) = z σ'(z), and at 0 has the slope
    from below; else None.
    """
    if sigma.homogeneity != 1.0 or sigma.slope(0.0) != sigma.slope(-1.0):
        return None
    return float(sigma.slope(-1.0)), float(sigma.slope(1.0))
