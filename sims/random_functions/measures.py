"""Networks 1 – m – m – 1 at random: their functions on a line, and their covariance given the hidden
layers.

With h the last hidden layer, f(x) = v √(c/m) Σ_k a_k σ(h_k(x)) + β b is Gaussian for given h: its
covariance K_m(x, x') is the part of the readout in the tangent kernel, and tends to ntk.deep's Σ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import meanfield as mf
import ntk

if TYPE_CHECKING:
    from . import Config

READOUT = ("readout.weight", "readout.bias")


def points(config: Config) -> np.ndarray:
    return np.linspace(-config.span, config.span, config.points)[:, None]


def data(config: Config) -> mf.data.Dataset:
    return mf.data.Dataset(points(config), np.zeros(config.points), name="line")


def feature(config: Config, m: int) -> Any:
    return mf.deep(
        1, (m, m), activation=config.activation, w_std=config.w_std, b_std=config.b_std,
        readout_w_std=config.w_std, readout_b_std=config.b_std, normalise=False,
    )  # fmt: skip


def covariance(config: Config) -> np.ndarray:
    """Σ of infinite width, (points, points)."""
    return ntk.deep(points(config), **feature(config, 1).limit)[0]


def deviation(config: Config) -> np.ndarray:
    """The standard deviation of f(x) at infinite width, (points,)."""
    return np.sqrt(np.diag(covariance(config)))


def drawn(config: Config, m: int) -> dict[str, np.ndarray]:
    """f (networks, points), and off (networks,): ‖K_m - K‖/‖K‖, Frobenius."""
    x, K = points(config), covariance(config)
    particle = feature(config, m)
    blocks = tuple(name for name in READOUT if name in particle.columns.names)
    network = mf.Network(particle, trainable=blocks)
    flow = mf.GradientFlow(mf.EmpiricalRisk(network, x, np.zeros(len(x))), backend="torch")
    functions, off = [], []
    for seed in range(config.networks):
        state = particle.sample(1, seed=seed)
        functions.append(flow.predict(state)[:, 0])
        off.append(np.linalg.norm(ntk.empirical(network, state, x) - K) / np.linalg.norm(K))
    return {"f": np.array(functions), "off": np.array(off)}
