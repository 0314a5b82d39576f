"""Nested networks of growing width at γ = 1: the first neurons of a wide one, trained alone.

With f_m the network of the first m neurons and f_M the whole one, M >= 16 m, at one flow time,

    E (f_m - f_M)² = (1/m - 1/M) V(x),      V the variance of the limit's Gaussian fluctuations,

on test points a constant over m for every t; on training points V → 0 as t → ∞, since every width
learns them. Each neuron is within O(m^(-1/2)) of itself in the wide network. W2(μ_m, μ_M) does not
see that: it falls as the W2 between independent samples of one law, m^(-1/p) for p > 4 columns, and
.244 for p = 4 (TRUTHS.md, sections 2 and 6).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import meanfield as mf

if TYPE_CHECKING:
    from . import Config

ANOTHER = 1_000_000  # added to a seed: neurons that are independent of all others here
MANY = 2_000_000  # where the seeds of the many small networks begin


def dataset(config: Config) -> mf.data.Dataset:
    """A teacher of three neurons on the sphere."""
    return mf.data.teacher_student(
        config.n, config.dim, activation="tanh", inputs="sphere", n_test=config.test, seed=1
    )


def law(config: Config) -> mf.InitialLaw:
    return mf.InitialLaw(dim=config.dim, a="normal")


def flow(config: Config) -> mf.GradientFlow:
    data = dataset(config)
    network = mf.Network("tanh", mf.MEAN_FIELD, trainable=("a", "w"))
    return mf.GradientFlow(mf.EmpiricalRisk(network, data.x, data.y))


def nested(config: Config, seed: int) -> dict[str, np.ndarray]:
    """The wide network of a seed against its own beginnings: test, train (widths, times), mean
    squares; coupled (widths,), RMS over neurons at the end; where config.w2_seeds says so, w2 and
    floor (widths,), W2 to the wide network of its own first m neurons and of m independent ones.
    """
    data, model, widths = dataset(config), flow(config), sorted(config.widths)
    wide = _path(config, model, config.wider * widths[-1], seed)
    shape = len(widths), len(config.times)
    found: dict[str, np.ndarray] = {name: np.empty(shape) for name in ("test", "train")}
    found["coupled"] = np.empty(len(widths))
    measured = seed < config.w2_seeds
    if measured:
        found |= {name: np.empty(len(widths)) for name in ("w2", "floor")}
    for row, m in enumerate(widths):
        path = _path(config, model, m, seed)
        for name, x in (("test", data.x_test), ("train", data.x)):
            gaps = [model.predict(a, x) - model.predict(b, x) for a, b in zip(path, wide, strict=True)]  # fmt: skip
            found[name][row] = [np.mean(gap**2) for gap in gaps]
        first = mf.State(wide[-1].theta[:m])
        found["coupled"][row] = mf.displacement(path[-1], first)
        if measured:
            other = _path(config, model, m, seed + ANOTHER)[-1]
            found["w2"][row] = mf.w2(_moving(path[-1]), _moving(wide[-1]))
            found["floor"][row] = mf.w2(_moving(other), _moving(wide[-1]))
    return found


def fluctuations(config: Config, m: int) -> dict[str, np.ndarray]:
    """f on the test points at the end of many independent networks of one width: f (networks,
    points).
    """
    data, model = dataset(config), flow(config)
    ends = [_path(config, model, m, MANY + seed)[-1] for seed in range(config.many)]
    return {"f": np.array([model.predict(end, data.x_test)[:, 0] for end in ends])}


def _path(config: Config, model: mf.GradientFlow, m: int, seed: int) -> list[mf.State]:
    """States at config.times of the network of m neurons."""
    state, path = law(config).sample(m, seed=seed), []
    for t in sorted(config.times):
        if t > state.t:
            state = mf.simulate(model, state, mf.RK4, dt=config.dt, t_end=t, progress=False)
        path.append(state)
    return path


def _moving(state: mf.State) -> np.ndarray:
    """a and w, (m, d + 1): b is 0 and stays."""
    return state.theta[:, :-1]
