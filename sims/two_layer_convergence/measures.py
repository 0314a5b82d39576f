"""What the proof of Du, Zhai, Póczos and Singh (2019) watches while a two-layer ReLU network trains:
λ_min(H_t), the neuron that is farthest from its start, and the residual.

    T_1   the first time at which a neuron is R from its start, R = ntk.bounds' radius
    T_2   the first time at which λ_min(H_t) < λ_0/2

Lemma 3.2 is T_1 <= T_2 (with probability 1 - δ), lemmas 3.3 and 3.4 that T_1 = ∞ where the bound of
the movement is at most R. The points are a regular polygon, the labels alternate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import meanfield as mf
import ntk

if TYPE_CHECKING:
    from . import Config

LAW = mf.InitialLaw(dim=2)  # a = ±1, w ~ N(0, I), b = 0, neurons independent
NETWORK = mf.Network("relu", mf.NTK, trainable=("w",))
FINER = 64  # steps into which the first is cut where T_1 lies in it


def dataset(n: int) -> mf.data.Dataset:
    """The corners of a regular polygon, y = +1, -1, +1, …"""
    angle = 2 * np.pi * np.arange(n) / n
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return mf.data.Dataset(x, (-1.0) ** np.arange(n), name="polygon")


def flow(config: Config) -> mf.GradientFlow:
    data = dataset(config.n)
    return mf.GradientFlow(mf.EmpiricalRisk(NETWORK, data.x, data.y, reduction="sum"))


def limit(config: Config) -> float:
    """λ_0, the smallest eigenvalue of H∞."""
    return float(np.linalg.eigvalsh(ntk.kernel(NETWORK, LAW, dataset(config.n).x))[0])


def statement(config: Config, start: mf.State, end: mf.State | None = None) -> Any:
    """The theorem, applied to one start."""
    data = dataset(config.n)
    return ntk.bounds.two_layer_convergence(
        NETWORK, start, data.x, data.y, [] if end is None else [end], reduction="sum",
        delta=config.delta, epsilon=config.epsilon,
    )  # fmt: skip


def allowed(theorem: Any, m: int) -> float:
    """R: the bound of the movement is ∝ m^(-1/2), and R at the width that is asked for."""
    return float(theorem["movement"].bound * np.sqrt(m / theorem.hypotheses[-1].asked))


def trained(config: Config, m: int) -> dict[str, np.ndarray]:
    """times (k,); smallest, residual, moved (seeds, k): λ_min(H_t), ‖u_t‖²/‖u_0‖², and how far the
    farthest neuron is from its start; first, second (seeds,): T_1 and T_2, inf for never.
    """
    found: dict[str, list[np.ndarray]] = {name: [] for name in ("smallest", "residual", "moved")}
    first, second, times = [], [], np.empty(0)
    half = limit(config) / 2
    for seed in range(config.seeds):
        start = LAW.sample(m, seed=seed)
        radius = allowed(statement(config, start), m)
        times, seen = _watched(config, start, config.dt, config.t_end)
        if seen["moved"][1] >= radius:
            early, closer = _watched(config, start, config.dt / FINER, config.dt)
            first.append(crossing(early, closer["moved"], radius))
        else:
            first.append(crossing(times, seen["moved"], radius))
        below = np.flatnonzero(seen["smallest"] < half)
        second.append(times[below[0]] if below.size else np.inf)
        for name, values in seen.items():
            found[name].append(values)
    every = {name: np.array(values) for name, values in found.items()}
    return {"times": times, **every, "first": np.array(first), "second": np.array(second)}


def _watched(
    config: Config, start: mf.State, dt: float, t_end: float
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    def smallest(flow: Any, state: mf.State) -> float:
        return float(np.linalg.eigvalsh(ntk.empirical(NETWORK, state, x))[0])

    def moved(flow: Any, state: mf.State) -> float:
        return float(np.linalg.norm(state.theta - start.theta, axis=1).max())

    x = dataset(config.n).x
    series = [
        mf.Series("risk", mf.every(1)),
        mf.Series("smallest", mf.every(1), smallest),
        mf.Series("moved", mf.every(1), moved),
    ]
    mf.simulate(
        flow(config), start, mf.RK4, dt=dt, t_end=t_end, observers=series, progress=False
    )  # fmt: skip
    risk, low, far = (np.array(item.values) for item in series)
    return np.array(series[0].times), {
        "smallest": low, "residual": risk / risk[0], "moved": far,
    }  # fmt: skip


def crossing(times: np.ndarray, values: np.ndarray, level: float) -> float:
    """When values first reach the level, by the line between two looks; inf for never."""
    reached = np.flatnonzero(values >= level)
    if not reached.size:
        return np.inf
    k = int(reached[0])
    if k == 0:
        return float(times[0])
    share = (level - values[k - 1]) / (values[k] - values[k - 1])
    return float(times[k - 1] + share * (times[k] - times[k - 1]))


def growth(lambda0: float, times: np.ndarray) -> np.ndarray:
    """e^{λ_0 t}, against which the residual is held."""
    return np.exp(lambda0 * times)
