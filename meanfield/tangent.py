"""The tangent kernel H(x, x') = ∫ ∇φ(θ; x)·∇φ(θ; x') dμ of a state: products H·v and the largest eigenvalue."""

from __future__ import annotations

from typing import Any

import numpy as np


def product(field: Any, theta: Any, v: np.ndarray) -> np.ndarray:
    """H·v on the training inputs, v (n, K) -> (n, K), by one pull-back and its adjoint: no kernel is formed."""
    backend = field.backend
    return backend.push_forward(theta, field.weight, field.samples, backend.pull_back(theta, field.samples, v))


def largest_eigenvalue(field: Any, theta: Any, rtol: float = 1e-3, steps: int = 200) -> float:
    """λ_max(H) by power iteration from a fixed start; a lower estimate, converged to rtol. THEORY.md, section 1.

    H is positive semi-definite, so the Rayleigh quotient grows; 0 for a kernel that vanishes.
    """
    shape = (field.samples.n, field.backend.outputs)
    # Not orthogonal to the leading eigenvector of any kernel met in practice, and the same on every machine.
    v = 1.0 + 0.1 * np.cos(np.arange(1, np.prod(shape) + 1, dtype=float) ** 2).reshape(shape)
    v /= np.linalg.norm(v)
    value = 0.0
    for _ in range(steps):
        Hv = product(field, theta, v)
        estimate = float(np.vdot(v, Hv))
        norm = np.linalg.norm(Hv)
        if norm == 0.0 or not np.isfinite(norm):
            return estimate
        v = Hv / norm
        if abs(estimate - value) <= rtol * estimate:
            return float(norm)
        value = estimate
    return float(norm)
