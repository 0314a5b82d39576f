"""What is measured of the networks: how far each is from the kernel flow, in its three terms, and
how much of that is left in the mean over seeds.

With K = H∞ on the training inputs, A(K, f_0) the prediction of the kernel flow on the test inputs at
the end, and |·| the RMS over these,

    |f - A(H∞, 0)|  <=  |A(H∞, f_0) - A(H∞, 0)| + |A(H_0, f_0) - A(H∞, f_0)| + |f - A(H_0, f_0)|
                         f_0: m^(1/2-γ)           kernel: m^(-1/2)             drift: m^(2(γ-1))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

import meanfield as mf
import ntk

if TYPE_CHECKING:
    from . import Config

NUDGE = 1e-3  # of H_0 - H∞, for the part linear in it; what is cubic leaves 1e-6 of itself


class Limit(NamedTuple):
    """The data, and the kernel of infinite width on them."""

    data: mf.data.Dataset
    law: mf.InitialLaw
    K: np.ndarray  # (n, n)
    K_test: np.ndarray  # (points, n)


class Start(NamedTuple):
    """What a network's start fixes: f_0 and its kernel, minus H∞."""

    f0: np.ndarray  # (n,)
    f0_test: np.ndarray  # (points,)
    D: np.ndarray  # H_0 - H∞, (n, n)
    D_test: np.ndarray  # (points, n)


@dataclass(frozen=True)
class Row:
    """One network: RMS over the test inputs, at the end."""

    gamma: float
    m: int
    seed: int
    to_limit: float  # from the kernel flow of H∞ that starts at 0
    to_own: float  # from that which starts at the network's own f_0
    f0_term: float  # between these two
    kernel_term: float  # between the flows of H∞ and H_0, both from f_0
    drift_term: float  # from the flow of H_0

    @property
    def file(self) -> str:
        return f"networks_m{self.m:06}.npz"


@dataclass(frozen=True)
class Group:
    """Some seeds at γ = 1/2, of the distance from the kernel flow of H∞ from the network's own f_0."""

    m: int
    group: int
    rms: float  # over seeds and test inputs
    mean: float  # of the mean over seeds: RMS over test inputs, what scatter adds taken off
    plain: float  # the same, nothing taken off


def law(config: Config) -> mf.InitialLaw:
    return mf.InitialLaw(dim=config.dim, a="normal")


def network(config: Config, gamma: float) -> mf.Network:
    return mf.Network(config.activation, mf.Scaling(gamma), trainable=("a", "w"))


def limit(config: Config) -> Limit:
    """A teacher of three neurons on the sphere, and the kernel of infinite width."""
    data = mf.data.teacher_student(
        config.n,
        config.dim,
        activation=config.activation,
        inputs="sphere",
        n_test=config.test,
        seed=1,
    )
    start, net = law(config), network(config, 0.5)
    return Limit(
        data, start, ntk.kernel(net, start, data.x), ntk.kernel(net, start, data.x_test, data.x)
    )


def networks(config: Config, m: int) -> dict[str, np.ndarray]:
    """name of a Row -> (γ, seeds): networks of one width."""
    known, names = limit(config), ("to_limit", "to_own", "f0_term", "kernel_term", "drift_term")
    shape = len(config.gammas), config.seeds
    found: dict[str, np.ndarray] = {name: np.empty(shape) for name in names}
    for seed in range(config.seeds):
        state = known.law.sample(m, seed=seed)
        lazy = _start(config, known, state, 0.5)
        for number, gamma in enumerate(config.gammas):
            shrunk = m ** (0.5 - gamma)  # f_0 = s ∫φ dμ, and H_0 is that of every γ
            start = lazy._replace(f0=shrunk * lazy.f0, f0_test=shrunk * lazy.f0_test)
            f = _trained(config, known, state, gamma)
            zero = _flow(config, known, start, from_zero=True)
            own, frozen = (_flow(config, known, start, part) for part in (0.0, 1.0))
            away = (f - zero, f - own, own - zero, frozen - own, f - frozen)
            for name, difference in zip(names, away, strict=True):
                found[name][number, seed] = np.sqrt(np.mean(difference**2))
    return found


def groups(config: Config, m: int) -> dict[str, np.ndarray]:
    """name of a Group -> (groups,): many seeds of one width at γ = 1/2.

    The mean over S seeds of g = f - A(H∞, f_0) is m^(-1), its scatter m^(-1/2)/√S. What is linear in
    H_0 - H∞ has mean 0 exactly: H_0 does not change with the sign of a, f_0 does, and E H_0 = H∞. It
    is taken off before the mean is, and from the square of the mean the scatter of what is left
    over S, so that `mean` has no bias: (|ḡ|² - trace of the covariance/S), signed root.
    """
    known, size = limit(config), config.group
    found: dict[str, np.ndarray] = {
        name: np.empty(config.groups) for name in ("rms", "mean", "plain")
    }
    for group in range(config.groups):
        gaps = np.empty((size, config.test))
        rest = np.empty_like(gaps)
        for number in range(size):
            state = known.law.sample(m, seed=group * size + number)
            start = _start(config, known, state, 0.5)
            gaps[number] = _trained(config, known, state, 0.5) - _flow(config, known, start)
            up, down = (_flow(config, known, start, part) for part in (NUDGE, -NUDGE))
            rest[number] = gaps[number] - (up - down) / (2 * NUDGE)
        square = np.mean(rest.mean(axis=0) ** 2 - rest.var(axis=0, ddof=1) / size)
        found["rms"][group] = np.sqrt(np.mean(gaps**2))
        found["mean"][group] = np.sign(square) * np.sqrt(abs(square))
        found["plain"][group] = np.sqrt(np.mean(gaps.mean(axis=0) ** 2))
    return found


def steps(config: Config) -> int:
    return int(np.ceil(config.t_end / config.dt))


def _trained(config: Config, known: Limit, state: mf.State, gamma: float) -> np.ndarray:
    """f of the trained network on the test inputs, (points,)."""
    data = known.data
    flow = mf.GradientFlow(mf.EmpiricalRisk(network(config, gamma), data.x, data.y))
    dt = config.t_end / steps(config)
    end = mf.simulate(flow, state, mf.RK4, dt=dt, n_steps=steps(config), progress=False)
    return flow.predict(end, data.x_test)[:, 0]


def _start(config: Config, known: Limit, state: mf.State, gamma: float) -> Start:
    net, data = network(config, gamma), known.data
    flow = mf.GradientFlow(mf.EmpiricalRisk(net, data.x, data.y))
    f0, f0_test = (flow.predict(state, x)[:, 0] for x in (data.x, data.x_test))
    H, H_test = (ntk.empirical(net, state, x, data.x) for x in (data.x, data.x_test))
    return Start(f0, f0_test, H - known.K, H_test - known.K_test)


def _flow(
    config: Config, known: Limit, start: Start, part: float = 0.0, from_zero: bool = False
) -> np.ndarray:
    """The kernel flow of H∞ + part·(H_0 - H∞) on the test inputs at the end, (points,)."""
    f0, f0_test = (0.0, 0.0) if from_zero else (start.f0, start.f0_test)
    K, K_test = known.K + part * start.D, known.K_test + part * start.D_test
    flow = ntk.KernelFlow(0.5 * (K + K.T), known.data.y, f0, K_test, f0_test)
    return np.asarray(flow.at(config.t_end).test)
