"""Runs of networks with two hidden layers of ReLU on two points, PyTorch's own start, one module a
particle.

Gradient descent of rate η on the mean squared error (f - y)²: dt = 2η on R = ½ mean (f - y)², s = 1
(THEORY.md, section 1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

import meanfield as mf

from ..lab.two_points import DATA as DATA
from ..lab.two_points import feature as feature
from ..lab.two_points import parameters as parameters

if TYPE_CHECKING:
    from . import Config


# in layers this small several threads wait for each other longer than they compute
@threadpool_limits.wrap(limits=1)
def trained(config: Config, width: int) -> dict[str, np.ndarray]:
    """times (k,), loss and moved (seeds, k): the mean squared error and ‖w - w_0‖/‖w_0‖ over all
    parameters every `thin` steps.
    """
    particle = feature(width)
    network = mf.Network(particle)
    flow = mf.GradientFlow(mf.EmpiricalRisk(network, DATA.x, DATA.y), backend="torch")
    found: dict[str, list[Any]] = {"loss": [], "moved": []}
    times = np.empty(0)
    for seed in range(config.seeds):
        start = particle.sample(1, seed=seed)
        size = float(np.linalg.norm(start.theta))

        def moved(flow: Any, state: mf.State, start: mf.State = start, size: float = size) -> float:
            return mf.displacement(start, state) / size

        observers = [
            mf.Series("risk", mf.every(config.thin)),
            mf.Series("moved", mf.every(config.thin), moved),
        ]
        mf.simulate(
            flow, start, mf.EULER, dt=2 * config.rate, n_steps=config.steps, observers=observers,
            progress=False,
        )  # fmt: skip
        times = np.array(observers[0].steps)
        found["loss"].append(2 * np.array(observers[0].values))
        found["moved"].append(observers[1].values)
    return {"steps": times, **{name: np.array(values) for name, values in found.items()}}
