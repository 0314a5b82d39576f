"""The norm of the second derivative of a two-layer network in its parameters, neuron by neuron,
without forming it.

Neurons do not meet in ∇²f: it is block diagonal, and with the metric ∫|v|² dμ of the flow (mass p_k
on neuron k)

    ‖∇²f‖ = s max_k ‖∇²φ(θ_k)‖,     ‖∇²φ‖ = sup_{|u| = |v| = 1} |∇²φ[u, v]|,   a vector over samples i and outputs c:

    ∇²φ_ic[u, v] = σ'(z_i) (α_c t'_i + α'_c t_i) + a_c σ''(z_i) t_i t'_i,   u = (α, ω), v = (α', ω'), t = ⟨ω, x̃_i⟩, x̃ = (x, 1).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from meanfield.backends.cpu import elementwise
from meanfield.formulas.activations import Activation
from meanfield.network import Network
from meanfield.state import State

BLOCK_ENTRIES = 2**20  # neurons times samples times outputs in work at once
SWEEPS = 300  # of the alternating maximisation, at most
LOOK, FEW = 6, 32  # sweeps for every neuron; those whose maximum is then sought to the end
SMALL_SIDE = 128  # Gram matrices up to this side are diagonalised, one for each neuron
STEP = 1e-5  # of the difference that gives σ'' from σ': h² σ''''/6 and ε/h are both about 1e-11


class Norm(NamedTuple):
    """lower <= ‖∇²f‖ <= upper: reached by two vectors, and a closed form."""

    lower: float
    upper: float


class _Block(NamedTuple):
    """Some neurons on all samples: a (m, K), first = σ'(z) and second = σ''(z), (m, n)."""

    a: np.ndarray
    first: np.ndarray
    second: np.ndarray


def hessian_norm(network: Network, state: State, x: np.ndarray, rtol: float = 1e-6) -> Norm:
    """‖∇²f(θ)‖ over the trainable parameters and the samples x (n, d).

    upper: with S1 = ‖diag(σ') X̃‖ and S2² = λ_max(Σ_i σ''_i² |x̃_i|² x̃_i x̃_iᵀ), which bounds Σ_i
    σ''_i² ⟨ω, x̃_i⟩⁴ on |ω| = 1, ‖∇²φ‖ is at most the larger eigenvalue of [[0, S1], [S1, |a| S2]];
    without a, |a| S2. It is reached where σ'' = 0 (relu) and where n = 1; for more than SMALL_SIDE
    parameters a neuron S1 and S2 are bounded by the norm of X̃. lower: alternating maximisation
    over g, u and v of Σ g_ic ∇²φ_ic[u, v], each exactly in turn, so that it never falls: a local
    maximum, of the neurons that a few sweeps of all show to be the largest.
    """
    sigma = network.sigma
    columns = [x] * ("w" in network.trainable) + [np.ones((len(x), 1))] * ("b" in network.trainable)
    if not columns:
        return Norm(0.0, 0.0)  # f is linear in a
    if not sigma.smooth and "a" not in network.trainable:
        raise ValueError(
            f"σ' of {sigma.name!r} jumps: with a frozen, ∇²f lives on the kinks alone and "
            "has no finite norm. "
            'Train a too (trainable=("a", "w")), or take a smooth activation such as "erf".'
        )
    inner, trains_a = np.hstack(columns), "a" in network.trainable
    theta, K = state.theta.astype(np.float64), state.outputs
    size = max(1, BLOCK_ENTRIES // (len(x) * K * min(inner.shape[1], SMALL_SIDE)))
    bounds = np.concatenate(
        [
            _upper(_block(sigma, theta[k : k + size], K, x), inner, trains_a)
            for k in range(0, state.m, size)
        ]
    )
    found = _search(network, theta, K, x, inner, bounds, size, rtol)
    s = network.scaling.output_scale(state.m)
    return Norm(s * found, s * max(found, float(bounds.max())))


def _search(
    network: Network,
    theta: np.ndarray,
    K: int,
    x: np.ndarray,
    inner: np.ndarray,
    bounds: np.ndarray,
    size: int,
    rtol: float,
) -> float:
    """The largest value found: a few sweeps for every neuron that could have it, then the best ones
    to the end.
    """
    trains_a = "a" in network.trainable
    order, best, numbers, values, vectors = np.argsort(-bounds, kind="stable"), 0.0, [], [], []
    for first in range(0, len(order), size):
        chosen = order[first : first + size]
        chosen = chosen[bounds[chosen] > best * (1.0 + rtol)]
        if not len(chosen):
            break
        block = _block(network.sigma, theta[chosen], K, x)
        for v in _starts(block, inner, trains_a):
            value, v = _ascend(block, inner, trains_a, v, LOOK, rtol)
            numbers.append(chosen)
            values.append(value)
            vectors.append(np.hstack(v))
            best = max(best, float(value.max()))
    top = np.argsort(-np.concatenate(values), kind="stable")[:FEW]
    outer_part, inner_part = np.split(np.vstack(vectors)[top], [K], axis=1)
    block = _block(network.sigma, theta[np.concatenate(numbers)[top]], K, x)
    return float(_ascend(block, inner, trains_a, (outer_part, inner_part), SWEEPS, rtol)[0].max())


def _block(sigma: Activation, theta: np.ndarray, K: int, x: np.ndarray) -> _Block:
    z = theta[:, K:-1] @ x.T + theta[:, -1:]
    return _Block(
        theta[:, :K], elementwise.values_and_slopes(sigma, z)[1], _second_derivative(sigma, z)
    )


def _second_derivative(sigma: Activation, z: np.ndarray) -> np.ndarray:
    """σ'' by differences of σ'; where σ' may jump the smaller of the two one-sided ones, which
    looks away from the kink.
    """
    low, here, high = (
        elementwise.values_and_slopes(sigma, z + step)[1] for step in (-STEP, 0.0, STEP)
    )
    if sigma.smooth:
        return (high - low) / (2 * STEP)
    left, right = (here - low) / STEP, (high - here) / STEP
    return np.where(np.abs(left) < np.abs(right), left, right)


def _upper(block: _Block, inner: np.ndarray, trains_a: bool) -> np.ndarray:
    """The closed form, one for each neuron."""
    lengths, a = np.linalg.norm(inner, axis=1), np.linalg.norm(block.a, axis=1)
    S1, S2 = (_operator_norms(weights, inner) for weights in (block.first, block.second * lengths))
    return 0.5 * (a * S2 + np.hypot(a * S2, 2.0 * S1)) if trains_a else a * S2


def _operator_norms(weights: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """‖diag(weights_k) X̃‖ for each row of weights (m, n): exact for few columns, else
    max|weights_k| ‖X̃‖.
    """
    n, q = inner.shape
    if q > SMALL_SIDE:
        return np.abs(weights).max(axis=1) * np.linalg.norm(inner, 2)
    products = (inner[:, :, None] * inner[:, None, :]).reshape(n, q * q)
    grams = (np.square(weights) @ products).reshape(-1, q, q)
    return np.sqrt(np.maximum(np.linalg.eigvalsh(grams)[:, -1], 0.0))


Vectors = tuple[np.ndarray, np.ndarray]  # one tangent vector for each neuron: α (m, K), ω (m, q)


def _starts(block: _Block, inner: np.ndarray, trains_a: bool) -> list[Vectors]:
    """The direction in which the samples spread most, and one without any symmetry."""
    outer_part = np.where(block.a < 0, -1.0, 1.0) * trains_a
    directions = (
        np.linalg.svd(inner, full_matrices=False)[2][0],
        1.0 + np.cos(np.arange(1.0, inner.shape[1] + 1) ** 2),
    )
    return [
        _normalised(outer_part, np.tile(v / np.linalg.norm(v), (len(outer_part), 1)))[1]
        for v in directions
    ]


def _ascend(
    block: _Block, inner: np.ndarray, trains_a: bool, v: Vectors, sweeps: int, rtol: float
) -> tuple[np.ndarray, Vectors]:
    """g, u and v in turn, each the best for the other two: values (m,) that never fall, and v."""
    u, value = v, np.zeros(len(block.a))
    for _ in range(sweeps):
        g = _bilinear(block, inner, u, v)
        g /= np.maximum(np.sqrt(np.square(g).sum(axis=(1, 2), keepdims=True)), np.finfo(float).tiny)
        u = _normalised(*_contracted(block, inner, g, v, trains_a))[1]
        before = value
        value, v = _normalised(*_contracted(block, inner, g, u, trains_a))
        if np.all(value - before <= 0.1 * rtol * value):
            break
    return value, v


def _bilinear(block: _Block, inner: np.ndarray, u: Vectors, v: Vectors) -> np.ndarray:
    """∇²φ_ic[u, v]: (m, n, K)."""
    t, t2 = u[1] @ inner.T, v[1] @ inner.T
    cross = t2[:, :, None] * u[0][:, None, :] + t[:, :, None] * v[0][:, None, :]
    return (
        block.first[:, :, None] * cross + (block.second * t * t2)[:, :, None] * block.a[:, None, :]
    )


def _contracted(
    block: _Block, inner: np.ndarray, g: np.ndarray, v: Vectors, trains_a: bool
) -> Vectors:
    """Σ_ic g_ic ∇²φ_ic[·, v]."""
    t = v[1] @ inner.T
    outer_part = (
        np.einsum("kic,ki->kc", g, block.first * t) if trains_a else np.zeros(block.a.shape)
    )
    along = block.first * np.einsum("kic,kc->ki", g, v[0]) + block.second * t * np.einsum(
        "kic,kc->ki", g, block.a
    )
    return outer_part, along @ inner


def _normalised(outer_part: np.ndarray, inner_part: np.ndarray) -> tuple[np.ndarray, Vectors]:
    """Lengths (m,), and the vectors of length 1."""
    length = np.sqrt(np.square(outer_part).sum(axis=1) + np.square(inner_part).sum(axis=1))
    divisor = np.maximum(length, np.finfo(float).tiny)[:, None]
    return length, (outer_part / divisor, inner_part / divisor)
