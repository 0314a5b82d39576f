"""The tangent kernel H(x, x') = ∫ ∇φ(θ; x)·∇φ(θ; x') dμ of a state in closed form, its products H·v, its largest eigenvalue."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

from .backends import elementwise
from .functionals.risk import check_inputs
from .network import Network
from .state import State

BLOCK_ENTRIES = 2**22  # neurons times samples in work at once: 32 MB for each array of them


def kernel_parts(network: Network, state: State, x1: Any, x2: Any = None) -> dict[str, np.ndarray]:
    """H of a state, split by what is trained: {"a": …, "w": …, "b": …}, only the trainable ones. THEORY.md, section 1.

    z_k = ⟨w_k, x⟩ + b_k:  a: δ_cc' Σ_k p_k σ(z_k) σ(z'_k);  b: Σ_k p_k a_kc a_kc' σ'(z_k) σ'(z'_k);  w: ⟨x, x'⟩ times that of b.
    x1 (n1, d), x2 (n2, d) or None for x1 -> (n1, n2) for K = 1, (n1, n2, K, K) for more outputs; float64.
    O(m n1 n2 K²) by matrix products over blocks of neurons: no (n, m p) Jacobian is formed.
    """
    x1 = check_inputs(x1, state.dim)
    x2 = x1 if x2 is None else check_inputs(x2, state.dim)
    n1, n2, K = len(x1), len(x2), state.outputs
    theta = state.theta.astype(np.float64, copy=False)
    values, slopes = np.zeros((n1, n2)), np.zeros((n1, n2, K, K))
    size = max(1, BLOCK_ENTRIES // max(n1, n2))
    for first in range(0, state.m, size):
        rows = theta[first : first + size]
        a, mass = rows[:, :K], state.mass[first : first + size, None]
        value1, slope1 = _features(network, rows, K, x1)
        value2, slope2 = (value1, slope1) if x2 is x1 else _features(network, rows, K, x2)
        if "a" in network.trainable:
            values += (mass * value1).T @ value2
        if {"w", "b"} & set(network.trainable):
            for c in range(K):
                for e in range(c, K):
                    slopes[:, :, c, e] += (mass * a[:, c, None] * a[:, e, None] * slope1).T @ slope2
    for c in range(K):
        for e in range(c):
            slopes[:, :, c, e] = slopes[:, :, e, c]
    parts = {
        "a": values[:, :, None, None] * np.eye(K),
        "w": (x1 @ x2.T)[:, :, None, None] * slopes,
        "b": slopes,
    }
    return {name: part[:, :, 0, 0] if K == 1 else part for name, part in parts.items() if name in network.trainable}


def kernel(network: Network, state: State, x1: Any, x2: Any = None) -> np.ndarray:
    """H(x1, x2) of a state over the trainable columns, (n1, n2) or (n1, n2, K, K): the sum of `kernel_parts`."""
    parts = kernel_parts(network, state, x1, x2)
    if not parts:
        raise ValueError("the tangent kernel of a network with nothing to train is zero: trainable is ().")
    return reduce(np.add, parts.values())


def drift(network: Network, start: State, end: State, x: Any) -> float:
    """‖H_t - H_0‖ / ‖H_0‖, Frobenius norms of the kernels of two states on x (n, d)."""
    H0 = kernel(network, start, x)
    return float(np.linalg.norm(kernel(network, end, x) - H0) / np.linalg.norm(H0))


def _features(network: Network, rows: np.ndarray, K: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return elementwise.values_and_slopes(network.sigma, rows[:, K:-1] @ x.T + rows[:, -1:])


def product(field: Any, theta: Any, v: np.ndarray) -> np.ndarray:
    """H·v on the training inputs, v (n, K) -> (n, K), by one pull-back and its adjoint: no kernel is formed."""
    backend = field.backend
    return backend.push_forward(theta, field.weight, field.samples, backend.pull_back(theta, field.samples, v))


def largest_eigenvalue(field: Any, theta: Any, rtol: float = 1e-3, steps: int = 200) -> float:
    """λ_max(H) by power iteration from a fixed start; a lower estimate, converged to rtol. THEORY.md, section 1.

    H is positive semi-definite, so the Rayleigh quotient grows, in the end by changes δ_i in geometric progression: what is
    still missing is δ_i q/(1 - q), q = δ_i/δ_(i-1). A small δ_i alone may be a plateau at a lower eigenvalue.
    0 for a kernel that vanishes.
    """
    shape = (field.samples.n, field.backend.outputs)
    # Half constant, as leading eigenvectors of kernels tend to be, half without any symmetry; the same on every machine.
    v = 1.0 + np.sqrt(2.0) * np.cos(np.arange(1, np.prod(shape) + 1, dtype=float) ** 2).reshape(shape)
    v /= np.linalg.norm(v)
    value = change = 0.0
    for i in range(steps):
        Hv = product(field, theta, v)
        estimate = float(np.vdot(v, Hv))
        norm = np.linalg.norm(Hv)
        if norm == 0.0 or not np.isfinite(norm):
            return estimate
        v = Hv / norm
        last, change = change, abs(estimate - value)
        if i > 1 and change * change <= rtol * estimate * (last - change):  # δ q/(1 - q) <= rtol λ
            return float(norm)
        value = estimate
    return float(norm)
