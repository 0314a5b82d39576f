"""Deep networks on points of a sphere with labels ±1: residual, and the smallest eigenvalue of each
layer's part of the kernel, along training.

The theorem goes by λ_0 = λ_min(K^(H)), the part of the last hidden weights (Du, Lee, Li, Wang and Zhai
2019). As the parts sum to the kernel, the slowest mode decays twice as fast as λ_min of the whole:
d‖u‖²/dt = -2 uᵀH_t u <= -2 λ_min(H_t) ‖u‖² for ½ Σ (f - y)².
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

import meanfield as mf
import ntk

if TYPE_CHECKING:
    from . import Config

DIM = 3
LOOKS = 40


def dataset(config: Config) -> mf.data.Dataset:
    """n random points of the unit sphere, y = +1, -1, +1, …"""
    x = np.random.default_rng(0).normal(size=(config.n, DIM))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return mf.data.Dataset(x, (-1.0) ** np.arange(config.n), name="sphere")


def feature(config: Config, m: int) -> Any:
    return mf.deep(DIM, (m,) * config.depth, activation=config.activation)


def flow(config: Config, m: int) -> mf.GradientFlow:
    data = dataset(config)
    network = mf.Network(feature(config, m), mf.NTK)
    risk = mf.EmpiricalRisk(network, data.x, data.y, reduction="sum")
    return mf.GradientFlow(risk, backend="torch")


def limit(config: Config) -> dict[str, np.ndarray]:
    """The kernel of infinite width, layer by layer."""
    return ntk.deep(dataset(config).x, parts=True, **feature(config, 1).limit)[1]


def last(config: Config) -> str:
    """The block of the last hidden weights."""
    return f"layer{config.depth}.weight"


def steps(config: Config) -> int:
    """Steps of RK4: dt λ_max = 0.8 of the limit's kernel, where 2.78 is stable; a multiple of LOOKS."""
    largest = float(np.linalg.eigvalsh(sum(limit(config).values()))[-1])
    return LOOKS * int(np.ceil(config.t_end * largest / 0.8 / LOOKS))


# in layers this small several threads wait for each other longer than they compute
@threadpool_limits.wrap(limits=1)
def trained(config: Config, m: int) -> dict[str, np.ndarray]:
    """times (k,); residual (seeds, k), ‖u_t‖²/‖u_0‖²; smallest of each block and of the whole (seeds, k);
    off (seeds,), ‖G^(H) - K^(H)‖/‖K^(H)‖ at the start, spectral; moved (seeds,), ‖θ - θ_0‖/‖θ_0‖.
    """
    problem, x, block = flow(config, m), dataset(config).x, last(config)
    K = limit(config)[block]
    found: dict[str, list[Any]] = {}
    times = np.empty(0)
    for seed in range(config.seeds):
        start = problem.functional.network.feature.sample(1, seed=seed)
        every = mf.every(steps(config) // LOOKS)
        layers, risk = ntk.LayerMinima(every), mf.Series("risk", every)
        end = mf.simulate(
            problem, start, mf.RK4, dt=config.t_end / steps(config), n_steps=steps(config),
            observers=[layers, risk], progress=False,
        )  # fmt: skip
        times = layers.times
        G = ntk.empirical(problem.functional.network, start, x, parts=True)[block]
        seen = {
            "residual": np.array(risk.values) / risk.values[0], **layers.values,
            "off": np.linalg.norm(G - K, 2) / np.linalg.norm(K, 2),
            "moved": mf.displacement(start, end) / np.linalg.norm(start.theta),
        }  # fmt: skip
        for name, value in seen.items():
            found.setdefault(name, []).append(value)
    return {"times": times, **{name: np.array(values) for name, values in found.items()}}


def statement(config: Config, m: int) -> Any:
    """The theorem for networks of this width: its hypotheses; the claims at the start of seed 0."""
    problem, data = flow(config, m), dataset(config)
    start = problem.functional.network.feature.sample(1, seed=0)
    return ntk.bounds.deep_convergence(
        problem.functional.network, start, data.x, data.y, reduction="sum"
    )


def kernel_flow(config: Config, times: np.ndarray) -> np.ndarray:
    """‖u_t‖²/‖u_0‖² of infinite width on average over the starts, whose residual f_0 - y has the
    covariance Σ + yyᵀ."""
    data = dataset(config)
    sigma, _ = ntk.deep(data.x, **feature(config, 1).limit)
    values, vectors = np.linalg.eigh(sum(limit(config).values()))
    size = np.einsum("ij,ik,kj->j", vectors, sigma + np.outer(data.y, data.y), vectors)
    left = np.exp(-2 * times[:, None] * values) @ size
    return left / size.sum()
