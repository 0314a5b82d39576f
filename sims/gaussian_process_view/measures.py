"""Ensembles of wide networks on a line, trained one by one, against the Gaussian processes of the limit.

    all layers trained   f_t is Gaussian with mean and covariance of Lee et al. (2019), eq. 16: the tangent
                         kernel Θ trains what starts with the covariance Σ. No posterior.
    the readout alone    Σ in the place of Θ: at t = ∞ the posterior of the prior N(0, Σ), whose draws
                         the trained networks are.

Both at the flow time of the runs (ntk.regression with t=). And each network against its own
linearisation at the start, ntk.KernelFlow with its own H_0: they part by O(m^(-1/2)) (Lee et al. 2019,
theorem 2.1, a bound: they may be closer).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

import meanfield as mf
import ntk

if TYPE_CHECKING:
    from . import Config

READOUT = ("readout.weight", "readout.bias")
SPAN = 1.6  # test inputs reach from -SPAN to SPAN, training inputs from -1 to 1


def dataset(config: Config) -> mf.data.Dataset:
    """n points of sin 3x on [-1, 1]; test inputs beyond, too."""
    x = np.linspace(-1.0, 1.0, config.n)[:, None]
    there = np.linspace(-SPAN, SPAN, config.points)[:, None]
    return mf.data.Dataset(x, np.sin(3 * x[:, 0]), there, np.sin(3 * there[:, 0]), name="sine")


def feature(config: Config, m: int) -> Any:
    return mf.deep(
        1, (m, m), activation=config.activation, w_std=config.w_std, b_std=config.b_std,
        readout_w_std=config.w_std, readout_b_std=config.b_std, normalise=False,
    )  # fmt: skip


def flow(config: Config, m: int, readout: bool) -> mf.GradientFlow:
    """Of ½ mean (f - y)²: all layers, or the readout alone."""
    data, particle = dataset(config), feature(config, m)
    blocks = particle.columns.names
    if readout:
        blocks = tuple(name for name in blocks if name in READOUT)
    network = mf.Network(particle, mf.NTK, trainable=blocks)
    return mf.GradientFlow(mf.EmpiricalRisk(network, data.x, data.y), backend="torch")


def theory(config: Config, readout: bool) -> tuple[np.ndarray, np.ndarray]:
    """(mean, standard deviation) of f_t at the test inputs, each (points,), at infinite width."""
    data, limit = dataset(config), feature(config, 1).limit
    pairs = ((data.x, None), (data.x_test, data.x), (data.x_test, None))
    kernels = [ntk.deep(*pair, **limit) for pair in pairs]
    priors = [sigma for sigma, _ in kernels]
    trained = priors if readout else [theta for _, theta in kernels]
    found = ntk.regression(
        trained[0], data.y, trained[1], t=config.t_end,
        nngp=(priors[0], priors[1], np.diag(priors[2])),
    )  # fmt: skip
    return found.mean, np.sqrt(np.asarray(found.covariance))


def steps(config: Config) -> int:
    """Steps of RK4, one number for all widths: dt λ_max/n = 0.4 of the limit's Θ, where 2.78 is stable."""
    theta = ntk.deep(dataset(config).x, **feature(config, 1).limit)[1]
    rate = float(np.linalg.eigvalsh(theta)[-1]) / config.n
    return int(np.ceil(config.t_end * rate / 0.4))


# in layers this small several threads wait for each other longer than they compute
@threadpool_limits.wrap(limits=1)
def trained(config: Config, m: int) -> dict[str, np.ndarray]:
    """all, readout (networks, points): f at the end on the test inputs; gap (networks,): RMS there of f
    minus that of the network linearised at its start, of all layers; moved (networks,): ‖θ - θ_0‖/‖θ_0‖.

    The readout alone is a linear model: its linearisation is the network.
    """
    data = dataset(config)
    found: dict[str, list[Any]] = {name: [] for name in ("all", "readout", "gap", "moved")}
    problem, last = flow(config, m, False), flow(config, m, True)
    for seed in range(config.networks):
        start = feature(config, m).sample(1, seed=seed)
        end = mf.simulate(
            problem, start, mf.RK4, dt=config.t_end / steps(config), n_steps=steps(config),
            progress=False,
        )  # fmt: skip
        f = problem.predict(end, data.x_test)[:, 0]
        found["all"].append(f)
        found["readout"].append(_linearised(config, last, start))
        found["gap"].append(np.sqrt(np.mean((f - _linearised(config, problem, start)) ** 2)))
        found["moved"].append(mf.displacement(start, end) / np.linalg.norm(start.theta))
    return {name: np.array(values) for name, values in found.items()}


def _linearised(config: Config, problem: mf.GradientFlow, start: mf.State) -> np.ndarray:
    """f_lin at the end on the test inputs, (points,)."""
    data = dataset(config)
    assert data.x_test is not None
    H = ntk.empirical(problem.functional.network, start, np.vstack([data.x, data.x_test]), data.x)
    f0, there = (problem.predict(start, x)[:, 0] for x in (data.x, data.x_test))
    flow = ntk.KernelFlow(H[: data.n], data.y, f0=f0, K_test=H[data.n :], f0_test=there)
    return np.asarray(flow.at(config.t_end).test)
