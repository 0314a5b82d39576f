"""The norm of the second derivative of a network of any feature, by alternating maximisation: three
products with ∇²φ in turn, none of which forms it.

Particles do not meet in ∇²f, so with the metric ∫|v|² dμ of the flow ‖∇²f‖ = s max_k ‖∇²φ(θ_k)‖, as for
neurons (curvature.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from meanfield.backends import make
from meanfield.network import Network
from meanfield.state import State

from .curvature import Norm

SWEEPS, LOOK = 300, 6  # of the maximisation, at most; for every particle
FEW = 4  # particles whose maximum is then sought to the end
# entries of (particles, samples, P) in work at once
ENTRIES = 2**22


def hessian_norm(network: Network, state: State, x: np.ndarray, rtol: float = 1e-6) -> Norm:
    """‖∇²f(θ)‖ over the trainable blocks and the samples x (n, d): what was reached, and ∞, for no
    bound from above is known.

    sup_{|g| = |u| = |v| = 1} Σ_ic g_ic ∇²φ_ic[u, v] for each particle, g, u and v each exactly in
    turn, so that it never falls: a local maximum, from two starts.
    """
    backend: Any = make(network.home, network, state.dim, state.outputs, "float64")
    samples, free = backend.samples(x), network.trainable_columns(state.dim, state.outputs)
    m, p = state.theta.shape
    size = max(1, ENTRIES // (len(x) * state.outputs + p))
    starts = [free * v for v in (np.ones(p), 1.0 + np.cos(np.arange(1.0, p + 1) ** 2))]

    found = []
    for first in range(0, m, size):
        rows = np.ascontiguousarray(state.theta[first : first + size], dtype=np.float64)
        for start in starts:
            v = np.tile(start / np.linalg.norm(start), (len(rows), 1))
            value, v = _ascend(backend, samples, rows, v, free, LOOK, rtol)
            found += [(value[k], first + k, v[k]) for k in range(len(rows))]

    best = sorted(found, key=lambda item: -item[0])[:FEW]
    rows = np.ascontiguousarray(state.theta[[k for _, k, _ in best]], dtype=np.float64)
    v = np.array([direction for *_, direction in best])
    value, _ = _ascend(backend, samples, rows, v, free, SWEEPS, rtol)
    s = network.scaling.output_scale(m)
    return Norm(s * float(value.max()), np.inf)


def _ascend(
    backend: Any, samples: Any, theta: np.ndarray, v: np.ndarray, free: np.ndarray, sweeps: int,
    rtol: float,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """g, u and v in turn, each the best for the other two: values (m,) that never fall, and v."""
    at, u, value = backend.upload(theta), v, np.zeros(len(theta))
    for _ in range(sweeps):
        g = np.asarray(backend.second(at, samples, u, v), dtype=np.float64)
        g /= np.maximum(np.sqrt(np.square(g).sum(axis=(1, 2), keepdims=True)), np.finfo(float).tiny)
        u = _normalised(free * backend.second_times(at, samples, g, v))[1]
        before = value
        value, v = _normalised(free * backend.second_times(at, samples, g, u))
        if np.all(value - before <= 0.1 * rtol * value):
            break
    return value, v


def _normalised(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lengths (m,), and the rows with length 1."""
    length = np.linalg.norm(rows, axis=1)
    return length, rows / np.maximum(length, np.finfo(float).tiny)[:, None]
