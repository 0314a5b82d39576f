"""Activation patterns on the training samples: which units are on, since when, and which are dead."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...backends.cpu import elementwise
from ...state import State
from ..frame import Frame
from ..registry import register_diagnostic

BLOCK_ENTRIES = 2**20  # neurons times samples in work at once


def pre_activations(state: State, x: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """z_ki = ⟨w_k, x_i⟩ + b_k in float64, a block of neurons at a time: (which, (neurons, n))."""
    size, K = max(1, BLOCK_ENTRIES // len(x)), state.outputs
    for first in range(0, state.m, size):
        theta = state.theta[first : first + size].astype(np.float64)
        yield slice(first, first + len(theta)), theta[:, K:-1] @ x.T + theta[:, -1:]


def _signs(frame: Frame) -> np.ndarray:
    """z_ki > 0 as bits, (m, ⌈n/8⌉)."""
    return np.concatenate(
        [np.packbits(z > 0, axis=1) for _, z in pre_activations(frame.state, frame.x)]
    )


@register_diagnostic(unit="1", needs=("network", "neurons", "data", "paired"))
def sign_flips(frame: Frame) -> float:
    """∫ (1/n) Σ_i 1[z_t(x_i) > 0 is not z_0(x_i) > 0] dμ_t, z = ⟨w, x⟩ + b: the share of (neuron,
    sample) signs that differ from the start.
    """
    before = frame.problem.keep("signs", lambda: _signs(frame.problem.origin))
    flipped = np.bitwise_count(_signs(frame) ^ before).sum(axis=1, dtype=np.int64)
    return float(frame.state.mass @ flipped) / len(frame.x)


@register_diagnostic(unit="1", needs=("network", "data", "kink"))
def dead_units(frame: Frame) -> float:
    """The share of neurons (by mass) with σ'(z) = 0 on all training samples; for σ with a kink,
    such as relu.
    """
    dead = [
        ~elementwise.values_and_slopes(frame.network.sigma, z)[1].any(axis=1)
        for _, z in pre_activations(frame.state, frame.x)
    ]
    return float(frame.state.mass[np.concatenate(dead)].sum())


@register_diagnostic(
    unit="1", needs=("network", "data", "residual", "kink", "homogeneous", "kernel", "steps")
)
def sliding_neurons(frame: Frame) -> float:
    """The share of neurons (by mass) that slide along a kink of σ: for a sample i, z = ⟨w, x_i⟩ + b
    is pushed back to 0 from both sides, ż(0+) < 0 < ż(0-), and is less than a step away, |z| <= dt
    max |ż(0±)|. Kinks are taken one at a time.

    ż = ⟨v_w, x_i⟩ + v_b; across the kink it jumps by J = -s⁻¹ ∂R/∂f(x_i)·a (σ'(0+) - σ'(0-))
    (|x_i|² + 1), the squares those of what trains. A homogeneous σ has its only kink at 0. Filippov
    (1988), section 4. dt: that of the run; in a stored run of changing steps the mean between
    frames.
    """
    flow, K = frame.flow, frame.start.outputs
    trainable, sigma = frame.network.trainable, frame.network.sigma
    tiny = 1e-200
    jump = sigma.slope(tiny) - sigma.slope(-tiny)
    size2 = np.square(frame.x).sum(axis=1) * ("w" in trainable) + 1.0 * ("b" in trainable)
    force = -flow.functional.samples.slopes(frame.predictions) / frame.network.scaling.output_scale(
        frame.start.m
    )
    velocity = frame.field.backend.download(frame.velocity).astype(np.float64)
    sliding = np.zeros(frame.state.m, dtype=bool)
    for which, z in pre_activations(frame.state, frame.x):
        v = velocity[which]
        rate = v[:, K:-1] @ frame.x.T + v[:, -1:]
        across = frame.state.theta[which, :K].astype(np.float64) @ force.T * (jump * size2)
        above = np.where(z > 0, rate, rate + across)
        below = np.where(z > 0, rate - across, rate)
        near = np.abs(z) <= frame.dt * np.maximum(np.abs(above), np.abs(below))
        sliding[which] = ((above < 0) & (below > 0) & near).any(axis=1)
    return float(frame.state.mass[sliding].sum())
