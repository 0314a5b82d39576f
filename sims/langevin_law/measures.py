"""Runs of mean-field Langevin with linear features, and what theory says of them.

Neurons w_k in the plane, f(x) = ⟨w̄, x⟩ with w̄ their mean, F = ½ mean (f - y)² + ½ λ ∫|w|² dμ + T Ent. With
H = XᵀX/n, w* = (H + λ)⁻¹ Xᵀy/n and W the deviation of a neuron from w̄ (TRUTHS.md, 3.4 and 3.6):

    the law for m → ∞     mean w*, covariance (T/λ) I
    on the way            w̄ - w* = e^{-(H + λ)t} (w̄_0 - w*),  Var W = e^{-2λt} Var W_0 + (T/λ)(1 - e^{-2λt})
    m neurons             w̄ - w* ~ N(0, (T/m)(H + λ)⁻¹), so E R = R(w*) + c/m, c = (T/2) tr H(H + λ)⁻¹
    steps dt, z = λ dt    λ Var W/T as in `inflation`
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import meanfield as mf

if TYPE_CHECKING:
    from . import Config

METHODS = {
    "euler_maruyama": mf.EULER_MARUYAMA,
    "stochastic_heun": mf.STOCHASTIC_HEUN,
    "leimkuhler_matthews": mf.LEIMKUHLER_MATTHEWS,
}
DIM = 2
BURN = 10.0  # of flow time times λ: what the start leaves is e^-20 of it
TARGET = (1.0, -0.5)
NOISE = 0.3  # of the labels


def dataset(config: Config) -> mf.data.Dataset:
    """x ~ N(0, I) in the plane, y = ⟨TARGET, x⟩ and noise."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(config.n, DIM))
    y = x @ np.array(TARGET) + NOISE * rng.normal(size=config.n)
    return mf.data.Dataset(x, y, name="linear")


def flow(config: Config, seed: int, temperature: float | None = None) -> mf.GradientFlow:
    """seed: of the noise."""
    data = dataset(config)
    network = mf.Network("linear", mf.MEAN_FIELD, trainable=("w",))
    risk = mf.EmpiricalRisk(network, data.x, data.y, ridge=config.ridge)
    T = config.temperature if temperature is None else temperature
    return mf.GradientFlow(risk, temperature=T, seed=seed)


def start(config: Config, m: int, seed: int) -> mf.State:
    """a = 1, w ~ N(0, start² I)."""
    theta = mf.InitialLaw(dim=DIM, w_std=config.start).sample(m, seed=seed).theta.copy()
    theta[:, 0] = 1.0
    return mf.State(theta)


def curvature(config: Config) -> tuple[np.ndarray, np.ndarray]:
    """H (d, d) and w* (d,)."""
    data = dataset(config)
    H = data.x.T @ data.x / data.n
    return H, np.linalg.solve(H + config.ridge * np.eye(DIM), data.x.T @ data.y / data.n)


def excess(config: Config) -> float:
    """c of E R = R(w*) + c/m."""
    H = curvature(config)[0]
    return float(
        config.temperature / 2 * np.trace(H @ np.linalg.inv(H + config.ridge * np.eye(DIM)))
    )


def inflation(method: str, z: Any) -> Any:
    """λ Var/T at stationarity, z = λ dt."""
    z = np.asarray(z, dtype=float)
    if method == "euler_maruyama":
        return 1 / (1 - z / 2)
    if method == "stochastic_heun":
        # 2z(1 - z/2)²/(1 - q²), q = 1 - z + z²/2, with z taken out of both
        return 2 * (1 - z / 2) ** 2 / ((1 - z / 2) * (2 - z + z**2 / 2))
    return np.ones_like(z)


def relaxation(config: Config) -> dict[str, np.ndarray]:
    """times (k,); mean (seeds, k, d), variance (seeds, k) on the way; covariance (seeds, d, d) and
    the cloud (m, d) of seed 0 at the end.
    """
    found: dict[str, list[Any]] = {"mean": [], "variance": [], "covariance": []}
    cloud, times = np.empty(0), np.empty(0)
    steps = round(config.t_end / config.dt)
    for seed in range(config.seeds):
        observers = [
            mf.Series("mean_1", mf.every(config.thin), lambda flow, state: state.w[:, 0].mean()),
            mf.Series("mean_2", mf.every(config.thin), lambda flow, state: state.w[:, 1].mean()),
            mf.Series("variance", mf.every(config.thin), _variance),
        ]
        end = mf.simulate(
            flow(config, seed), start(config, config.m, seed), mf.LEIMKUHLER_MATTHEWS, dt=config.dt,
            n_steps=steps, observers=observers, progress=False,
        )  # fmt: skip
        times = np.array(observers[0].times)
        found["mean"].append(np.stack([item.values for item in observers[:2]], axis=1))
        found["variance"].append(observers[2].values)
        found["covariance"].append(np.cov(end.w.T))
        cloud = end.w if seed == 0 else cloud
    return {"times": times, "cloud": cloud, **{name: np.array(found[name]) for name in found}}


def variances(config: Config, method: str) -> dict[str, np.ndarray]:
    """λ Var W/T after BURN, averaged over `looks` moments half a relaxation time apart: ratio
    (seeds, steps).
    """
    ratio = np.empty((config.seeds, len(config.steps)))
    for column, z in enumerate(config.steps):
        dt = z / config.ridge
        apart = int(np.ceil(0.5 / z))
        burn = int(np.ceil(BURN / z))
        for seed in range(config.seeds):
            series = mf.Series("variance", mf.every(apart), _variance)
            mf.simulate(
                flow(config, seed), start(config, config.m, seed), METHODS[method], dt=dt,
                n_steps=burn + apart * config.looks, observers=[series], progress=False,
            )  # fmt: skip
            late = np.array(series.values)[np.array(series.steps) > burn]
            ratio[seed, column] = config.ridge * late.mean() / config.temperature
    return {"ratio": ratio}


def risks(config: Config, m: int) -> dict[str, np.ndarray]:
    """½ (w̄ - w*)ᵀH(w̄ - w*), averaged over `moments`, one every 1/λ: excess (seeds,).

    R - R(w*) is that and ⟨∇R(w*), w̄ - w*⟩, whose mean is 0 exactly. The step is coarse: with a
    linear force the averaged noise has the stationary law for every stable step.
    """
    H, best = curvature(config)
    found = np.empty(config.seeds)
    apart = max(1, round(1 / config.ridge / config.coarse))
    for seed in range(config.seeds):

        def quadratic(flow: Any, state: mf.State) -> float:
            away = state.w.mean(axis=0) - best
            return float(0.5 * away @ H @ away)

        series = mf.Series("quadratic", mf.every(apart), quadratic)
        mf.simulate(
            flow(config, seed), start(config, m, seed), mf.LEIMKUHLER_MATTHEWS, dt=config.coarse,
            n_steps=apart * (int(BURN) + config.moments), observers=[series], progress=False,
        )  # fmt: skip
        found[seed] = np.mean(series.values[int(BURN) + 1 :])
    return {"excess": found}


def _variance(flow: Any, state: mf.State) -> float:
    """(1/d) trace of the unbiased covariance over neurons."""
    return float(state.w.var(axis=0, ddof=1).mean())
