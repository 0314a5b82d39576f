"""A network of two hidden layers that is multiplied by α and learns two points: its outputs and its
kernel along training.

    f_α = α (f(θ) - f(θ_0))        rate η on the mean squared error over α²: dt = 2η, s = α
    u̇ = -½ H_t u,  u = f_α - y      H_t = ∇f ∇fᵀ, (2, 2), of the network without α

The velocity of the outputs is -¼ times the gradient of uᵀH_t u: steepest descent on ellipses about
the target, whose half axes are ∝ 1/√λ along the eigenvectors of H_t. If H_t stays H_0, α has left
the equation and the trajectories for all α are one (Chizat, Oyallon, Bach 2019, section 1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

import meanfield as mf
import ntk

from ..lab.two_points import DATA as DATA
from ..lab.two_points import feature as feature
from ..lab.two_points import parameters as parameters

if TYPE_CHECKING:
    from . import Config

GRID = np.linspace(-4.0, 1.5, 111)[:, None]


def flow(config: Config, alpha: float) -> mf.GradientFlow:
    """f_α with its frozen start subtracted, one particle."""
    network = mf.Network(feature(config.width), mf.Scaling(1.0, alpha), centred=True)
    return mf.GradientFlow(mf.EmpiricalRisk(network, DATA.x, DATA.y), backend="torch")


def looks(config: Config) -> np.ndarray:
    """The steps at which it is looked, 0 and the last among them, denser at the beginning."""
    share = np.linspace(0.0, 1.0, config.looks) ** 2
    return np.unique(np.round(share * config.steps).astype(int))


# in layers this small several threads wait for each other longer than they compute
@threadpool_limits.wrap(limits=1)
def trained(config: Config, alpha: float) -> dict[str, np.ndarray]:
    """times (k,), outputs (seeds, k, 2), kernels (seeds, k, 2, 2) and functions (k, grid) of the
    first seed.
    """
    of, steps = flow(config, alpha), looks(config)
    dt, outputs, kernels, functions = 2 * config.rate, [], [], []
    for seed in range(config.seeds):
        start = feature(config.width).sample(1, seed=seed)
        seen: list[mf.State] = []

        def look(flow: Any, state: mf.State, seen: list[mf.State] = seen) -> float:
            seen.append(state)
            return state.t

        watch = mf.Series("looks", mf.at_steps(tuple(steps.tolist())), look)
        mf.simulate(
            of, start, mf.EULER, dt=dt, n_steps=config.steps, observers=[watch], progress=False
        )
        outputs.append([of.predict(state)[:, 0] for state in seen])
        kernels.append([ntk.empirical(of.network, state, DATA.x) for state in seen])
        if seed == 0:
            functions = [of.predict(state, GRID)[:, 0] for state in seen]
    return {
        "times": dt * steps, "outputs": np.array(outputs), "kernels": np.array(kernels),
        "functions": np.array(functions),
    }  # fmt: skip


def linear(kernel: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Outputs (k, 2) of the kernel that stands still, y - e^{-H_0 t/2} y."""
    values, vectors = np.linalg.eigh(kernel)
    left = np.exp(-0.5 * np.outer(times, values)) * (vectors.T @ DATA.y)
    return DATA.y - left @ vectors.T


def summary(
    times: np.ndarray, outputs: np.ndarray, kernels: np.ndarray, rate: float
) -> tuple[float, float, float, float, float]:
    """(drift, left, detour, apart, stiffness) of outputs (k, 2) and kernels (k, 2, 2); see Row.
    dt/n λ_max = 2·rate/2 λ_max.
    """
    size = float(np.linalg.norm(DATA.y))
    way = float(np.linalg.norm(np.diff(outputs, axis=0), axis=1).sum())
    apart = np.linalg.norm(outputs - linear(kernels[0], times), axis=1).max()
    return (
        ntk.drift(kernels[0], kernels[-1]),
        float(np.linalg.norm(outputs[-1] - DATA.y)) / size,
        way / float(np.linalg.norm(outputs[-1] - outputs[0])),
        float(apart) / size,
        rate * float(np.linalg.eigvalsh(kernels)[:, -1].max()),
    )
