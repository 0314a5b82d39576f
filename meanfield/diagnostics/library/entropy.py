"""The entropy of a cloud by the distances of nearest neighbours, and the free energy of a flow with
noise.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ... import noise
from ..frame import Frame
from ..registry import register_diagnostic

NEIGHBOUR = 1  # k = 4 has twice the bias for normal points in p = 4, and no less scatter
LEAST = 8  # particles of each value of the frozen columns
NEEDS = ("density",)


class Entropy(NamedTuple):
    """S = -∫ log μ dμ in nats, and its error: the standard error with what halves say of the bias."""

    value: float
    error: float


@register_diagnostic(unit="nats", needs=NEEDS)
def entropy(frame: Frame) -> float:
    """S = -∫ log μ_t dμ_t over the trainable columns, estimated by nearest neighbours; its error is
    entropy_error.

    Kozachenko and Leonenko (1987): S = ψ(m) - ψ(1) + log c_p + (p/m) Σ_i log r_i, r_i the distance to
    the nearest other neuron, c_p the volume of the unit ball in R^p. -∞ where two are in one place.
    Frozen columns count by their values, each with the share of its neurons; NaN where a value has
    fewer than 8 (columns frozen at numbers drawn from a density), and for unequal masses.

    Where μ_t has no density in the trainable columns S is -∞, and the estimate a finite number that
    falls as m grows: so at frame 0 of a start with a = ±1 or b = 0 in columns that train, and at
    all times of it without noise. Refused on a sphere, and where masses change (cells among them).
    """
    return _of(frame).value


@register_diagnostic(unit="nats", needs=NEEDS)
def entropy_error(frame: Frame) -> float:
    """The error of `entropy`: √(standard error² + bias²).

    The standard error is that of the mean of p log r_i. The bias falls as m^(-2/p) for smooth
    densities (Delattre and Fournier 2017, On the Kozachenko–Leonenko entropy estimator), and is
    taken from the halves of the cloud: (S_(m/2) - S_m)/(2^(2/p) - 1). Of normal points the value is
    within three of these errors in p <= 4 columns; from 8 on it is the size of the error, no bound.
    """
    return _of(frame).error


@register_diagnostic(unit="F", needs=("free energy",))
def free_energy(frame: Frame) -> float:
    """F(μ_t) + T ∫ log μ_t dμ_t, what a flow with noise descends: `energy` is F alone. T is that of the
    time t, the integral -`entropy`, known to T·entropy_error where μ_t has a density.
    """
    T = frame.field.temperature(frame.state.t)
    return frame.energy if T == 0 else frame.energy - T * _of(frame).value


def _of(frame: Frame) -> Entropy:
    return frame.keep("entropy", lambda: _of_state(frame))


def _of_state(frame: Frame) -> Entropy:
    state, network = frame.state, frame.flow.network
    free = np.ones(state.theta.shape[1], dtype=bool)
    if network is not None:
        free = network.trainable_columns(state.dim, state.outputs)
    theta = state.theta.astype(np.float64)
    if np.ptp(state.mass) > 1e-12 or not free.any():
        return Entropy(math.nan, math.nan)

    _, of, counts = np.unique(theta[:, ~free], axis=0, return_inverse=True, return_counts=True)
    if counts.min() < LEAST:
        return Entropy(math.nan, math.nan)
    value = variance = 0.0
    for group, count in enumerate(counts):
        share = count / state.m
        part = of_cloud(theta[of.ravel() == group][:, free])
        value += share * (part.value - math.log(share))
        variance += (share * part.error) ** 2
    return Entropy(value, math.sqrt(variance))


def of_cloud(x: np.ndarray) -> Entropy:
    """The entropy of the density that x (m, p) was drawn from, m >= 8."""
    m, p = x.shape
    terms = _terms(x)
    value = float(terms.mean())
    if not math.isfinite(value):
        return Entropy(value, math.nan)
    scatter = float(terms.std(ddof=1)) / math.sqrt(m)

    order = np.argsort(noise.normals(0, noise.BOOTSTRAP, m, 1)[:, 0], kind="stable")
    halves = [float(_terms(x[rows]).mean()) for rows in (order[: m // 2], order[m // 2 :])]
    bias = abs(sum(halves) / 2 - value) / (2.0 ** (2.0 / p) - 1.0)
    return Entropy(value, math.hypot(scatter, bias))


def _terms(x: np.ndarray) -> np.ndarray:
    """ψ(m) - ψ(k) + log c_p + p log r_i, (m,): their mean is the entropy."""
    from scipy.spatial import KDTree
    from scipy.special import digamma, gammaln

    m, p = x.shape
    distances = KDTree(x).query(x, k=NEIGHBOUR + 1)[0][:, -1]
    volume = 0.5 * p * math.log(math.pi) - float(gammaln(0.5 * p + 1.0))
    with np.errstate(divide="ignore"):
        return float(digamma(m) - digamma(NEIGHBOUR)) + volume + p * np.log(distances)
