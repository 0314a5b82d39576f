"""Two curves between clouds of particles, and functionals along them.

    mixture         μ_t = (1 - t) μ_0 + t μ_1                mass fades here and appears there
    displacement    μ_t = ((1 - t) id + t T)_# μ_0           every particle goes to its partner

With T optimal the second is the geodesic of W2, of constant speed: W2(μ_0, μ_t) = t W2(μ_0, μ_1). The
first is no curve of finite length: W2(μ_0, μ_t) ~ t^(1/2), since mass t has to go a way O(1).

d²F/dt² along the mixture is ∬ U dσdσ for F = ∫V dμ + ½∬U dμdμ, σ = μ_1 - μ_0, and mean (f_1 - f_0)² for
the squared loss of networks at γ = 1: a risk is convex on mixtures, and need not be so along geodesics
(McCann 1997 for the functionals that are). Along displacements with z = T - id it is E|z|² for V = ½|x|², and
½E|z - z'|² = E|z|² - |E z|² for U = ½|x - y|².
"""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING, Any

import numpy as np

import meanfield as mf

if TYPE_CHECKING:
    from . import Config

X = np.linspace(-2.0, 2.0, 20)[:, None]
DATA = mf.data.Dataset(X, np.sin(2.0 * X[:, 0]), name="sine")
LAW = mf.InitialLaw(dim=1, b_std=1.0)
T_END, STEP = 50.0, 0.5  # flow time after which a network is called trained, and its step
EPSILONS = 10.0 ** np.arange(-4.0, 0.0, 0.5)
NAMES = ("potential", "attraction", "repulsion", "risk")
WAYS = ("mixture", "displacement")


def V(x):
    return 0.5 * (x[0] * x[0] + x[1] * x[1])


def grad_V(x, out):
    out[0] = x[0]
    out[1] = x[1]


def attract(x, y):
    return 0.5 * ((x[0] - y[0]) ** 2 + (x[1] - y[1]) ** 2)


def grad_attract(x, y, out):
    out[0] = x[0] - y[0]
    out[1] = x[1] - y[1]


def twice(x, y):
    return (x[0] - y[0]) ** 2 + (x[1] - y[1]) ** 2


def grad_twice(x, y, out):
    out[0] = 2.0 * (x[0] - y[0])
    out[1] = 2.0 * (x[1] - y[1])


def repel(x, y):
    return exp(-0.5 * ((x[0] - y[0]) ** 2 + (x[1] - y[1]) ** 2))


def grad_repel(x, y, out):
    value = exp(-0.5 * ((x[0] - y[0]) ** 2 + (x[1] - y[1]) ** 2))
    out[0] = -(x[0] - y[0]) * value
    out[1] = -(x[1] - y[1]) * value


FLOWS = {
    "potential": mf.GradientFlow(mf.PairwiseEnergy(potential=(V, grad_V))),
    "attraction": mf.GradientFlow(mf.PairwiseEnergy(interaction=(attract, grad_attract))),
    "repulsion": mf.GradientFlow(mf.PairwiseEnergy(interaction=(repel, grad_repel))),
    "risk": mf.GradientFlow(mf.EmpiricalRisk(mf.Network("tanh", mf.MEAN_FIELD), DATA.x, DATA.y)),
    # F = ∬ W with W = ½|x - y|², without the ½ before the integral: U = 2W
    "without ½": mf.GradientFlow(mf.PairwiseEnergy(interaction=(twice, grad_twice))),
}


def clouds(config: Config) -> tuple[mf.State, mf.State]:
    """N((-d/2, 0), I) and N((d/2, 0), s² I), `n` particles each."""
    rng = np.random.default_rng(config.seed)
    shift = np.array([config.distance / 2, 0.0])
    first, second = rng.normal(size=(2, config.n, 2))
    return mf.State(first - shift, outputs=0), mf.State(config.spread * second + shift, outputs=0)


def networks(config: Config) -> tuple[mf.State, mf.State]:
    """An untrained network and, from other neurons, a trained one."""
    first, second = (LAW.sample(config.n, seed=config.seed + k) for k in (0, 1))
    end = mf.simulate(FLOWS["risk"], second, mf.RK4, dt=STEP, t_end=T_END, progress=False)
    return first, end


def mixture(p: mf.State, q: mf.State, t: float) -> mf.State:
    """(1 - t) p + t q: the particles of both, with masses."""
    if t in (0.0, 1.0):
        return q if t else p
    theta, mass = np.concatenate([p.theta, q.theta]), np.r_[(1 - t) * p.mass, t * q.mass]
    return mf.State(theta, mass=mass, outputs=p.outputs)


def measured(config: Config) -> dict[str, np.ndarray]:
    """All numbers of the figure; clouds, half (the pairs half-way) and along (functional, curve, t)."""
    p, q = clouds(config)
    t = np.linspace(0.0, 1.0, config.looks)
    match = mf.match(p, q, canonical=False)
    geodesic = mf.interpolate(p, q, t.tolist())
    numbers: dict[str, Any] = {
        "t": t, "first": p.theta, "second": q.theta, "half": match.at(0.5).theta,
        "partner": match.at(1.0).theta, "origin": match.at(0.0).theta,
        "w2": mf.w2(p, q), "apart": np.linalg.norm(q.theta.mean(axis=0) - p.theta.mean(axis=0)),
    }  # fmt: skip
    inner = t[1:]
    fine = np.concatenate([EPSILONS[EPSILONS < inner[0]], inner])
    numbers["fine"] = fine
    numbers["distances"] = np.array([
        [mf.w2(p, mixture(p, q, s)) for s in fine],
        [mf.w2(p, state) for state in mf.interpolate(p, q, fine.tolist())],
    ])  # fmt: skip
    start, end = networks(config)
    numbers["gap2"] = np.mean((FLOWS["risk"].predict(end) - FLOWS["risk"].predict(start)) ** 2)
    along = []
    for name in NAMES:
        flow, (a, b) = FLOWS[name], (start, end) if name == "risk" else (p, q)
        curve = mf.interpolate(a, b, t.tolist()) if name == "risk" else geodesic
        along.append([
            [flow.energy(mixture(a, b, s)) for s in t], [flow.energy(state) for state in curve]
        ])  # fmt: skip
    return numbers | {
        "along": np.array(along),
        "quotients": np.array([
            quotients(FLOWS[name], *((start, end) if name == "risk" else (p, q)))
            for name in ("attraction", "risk", "without ½")
        ]),
        **dict(zip(("times", "stds"), contractions(config, p), strict=True)),
    }  # fmt: skip


def curvatures(numbers: dict[str, np.ndarray]) -> dict[tuple[str, str], float]:
    """d²F/dt² of those functionals and ways along which it is constant."""
    w2, apart = float(numbers["w2"]) ** 2, float(numbers["apart"]) ** 2
    x, y = numbers["first"], numbers["second"]
    inside = [np.mean(_bumps(a, b)) for a, b in ((x, x), (y, y), (x, y))]
    return {
        ("potential", "mixture"): 0.0, ("potential", "displacement"): w2,
        ("attraction", "mixture"): -apart, ("attraction", "displacement"): w2 - apart,
        ("repulsion", "mixture"): float(inside[0] + inside[1] - 2 * inside[2]),
        ("risk", "mixture"): float(numbers["gap2"]),
    }  # fmt: skip


def _bumps(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * np.sum((x[:, None] - y[None]) ** 2, axis=2))


def quotients(flow: mf.GradientFlow, p: mf.State, q: mf.State) -> np.ndarray:
    """(ε + 1,): [F((1 - ε)p + εq) - F(p)]/ε for each ε, and ∫δF/δμ d(q - p), its limit."""
    base = flow.energy(p)
    slopes = [(flow.energy(mixture(p, q, e)) - base) / e for e in EPSILONS]
    slope = q.mass @ flow.first_variation(p, at=q) - p.mass @ flow.first_variation(p)
    return np.array([*slopes, float(slope)])


def contractions(config: Config, start: mf.State) -> tuple[np.ndarray, np.ndarray]:
    """times and (2, times): the standard deviation of the cloud, 1 at the start, under ½∬W and ∬W,
    W = ½|x - y|².
    """

    def std(flow: Any, state: mf.State) -> float:
        return float(np.sqrt(state.theta.var(axis=0).sum()))

    found, times = [], np.empty(0)
    for name in ("attraction", "without ½"):
        series = mf.Series("std", mf.every(1), std)
        mf.simulate(
            FLOWS[name], start, mf.RK4, dt=config.dt, t_end=2.0, observers=[series], progress=False
        )
        times, values = np.array(series.times), np.array(series.values)
        found.append(values / values[0])
    return times, np.array(found)
