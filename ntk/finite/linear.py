"""The linearised network: f_lin(x; θ) = f_0(x) + s ∫ ∇φ(θ_0; x)·(θ - θ_0) dμ, for the engine's own
integrators.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from meanfield import tangent
from meanfield.backends.protocol import Backend
from meanfield.flow import GradientFlow
from meanfield.formulas.losses import Loss
from meanfield.functionals.of_risk import OfRisk
from meanfield.functionals.risk import EmpiricalRisk, RiskField
from meanfield.functionals.samples import check_inputs
from meanfield.network import PARAMETERS, Network
from meanfield.particles import Particles
from meanfield.state import State

from ..learning.dynamics import KernelFlow


@dataclass(frozen=True, eq=False)
class Linearised:
    """A network in its first-order expansion at a state θ_0. `linearise` makes it; THEORY.md,
    section 3.
    """

    network: Network
    start: State

    def risk(
        self,
        x: Any,
        y: Any,
        loss: str | Loss = "squared",
        reduction: str = "mean",
        ridge: float = 0.0,
        weights: Any = None,
    ) -> LinearisedRisk:
        """The empirical risk of f_lin: hand it to mf.GradientFlow. Arguments as for
        mf.EmpiricalRisk.
        """
        return LinearisedRisk(
            EmpiricalRisk(self.network, x, y, loss, reduction, ridge, weights), self.start
        )

    def predict(self, state: State, x: Any) -> np.ndarray:
        """f_lin(x; θ) of a state of the same particles, (n, K)."""
        x = check_inputs(x, self.start.dim)
        risk = self.risk(x, np.zeros((len(x), self.start.outputs)))
        return GradientFlow(risk, backend=self.network.home).predict(state)

    def gap(
        self, risk: EmpiricalRisk | LinearisedRisk, x: Any = None
    ) -> Callable[[GradientFlow, State], float]:
        """The function (flow, state) -> RMS_i |f(x_i; θ_t) - f_lin(x_i; t)| for mf.Series: the gap
        as a curve in the file.

        f_lin(·; t) is its own gradient flow on `risk` from θ_0, by KernelFlow with H_0 on the n
        training inputs; x (n', d): where to look, the training inputs by default. The ridge must be
        0.
        """
        if risk.ridge:
            raise ValueError(
                "the gap needs a risk without ridge, which H_0 alone cannot carry; got "
                f"ridge = {risk.ridge:g}."
            )
        (risk.risk if isinstance(risk, LinearisedRisk) else risk).refuse_weights(
            "the gap to the linearised network"
        )
        x = risk.x if x is None else check_inputs(x, self.start.dim)
        H = tangent.kernel(self.network, self.start, risk.x)
        h = tangent.kernel(self.network, self.start, x, risk.x)
        whole = GradientFlow(
            EmpiricalRisk(self.network, risk.x, risk.y, risk.loss, risk.reduction),
            backend=self.network.home,
        )
        f0, f0_test = whole.predict(self.start), whole.predict(self.start, x)
        linear = KernelFlow(H, risk.y, f0, h, f0_test, risk.reduction, risk.loss)

        def gap(flow: GradientFlow, state: State) -> float:
            expected = linear.at(max(0.0, state.t - self.start.t)).test
            return float(np.sqrt(np.square(flow.predict(state, x) - expected).sum(axis=1).mean()))

        return gap


def linearise(network: Network, state: State) -> Linearised:
    """The network linearised at a state: f and f_lin start from the same particles and the same
    function.

    Parameters
    ----------
    network : an mf.Network.
    state : θ_0, an mf.State of its neurons.

    Returns
    -------
    A Linearised: .risk(x, y, …) is what a flow descends; .predict(state, x) f_lin of moved
    particles; .gap(risk, x=None) a function for mf.Series, so that |f - f_lin| is a curve in the
    file of a run.

    Raises
    ------
    TypeError : for anything else.

    Notes
    -----

        linear = ntk.linearise(network, state)
        flow = mf.GradientFlow(linear.risk(x, y))
        mf.simulate(flow, state, …)

    f_lin(x; θ) = f_0(x) + s ∫ ∇φ(θ_0; x)·(θ - θ_0) dμ. THEORY.md, section 3.
    """
    if not isinstance(network, Network):
        raise TypeError(f"network must be an mf.Network; got {type(network).__name__}.")
    if not isinstance(state, State) or state.outputs == 0:
        raise TypeError(f"state must be an mf.State of a network's neurons; got {state!r}.")
    return Linearised(network, state)


@dataclass(frozen=True, eq=False)
class LinearisedRisk(OfRisk):
    """R(f_lin)/s² + (λ/2)∫|θ|² dμ as a functional of the particles θ_k, whose features stay those
    of θ_0.

    risk: what is minimised; start: θ_0. A flow of it moves the particles that θ_0 names: the same m
    and masses. A file makes it again where `ntk` is imported and θ_0 is the start of the run;
    otherwise pass flow=.
    """

    risk: EmpiricalRisk
    start: State

    def __post_init__(self) -> None:
        self.risk.check_state(self.start)

    @property
    def linearised_at(self) -> State:
        return self.start

    @property
    def x(self) -> np.ndarray:
        return self.risk.x

    @property
    def y(self) -> np.ndarray:
        return self.risk.y

    @property
    def loss(self) -> Any:
        return self.risk.loss

    @property
    def reduction(self) -> str:
        return self.risk.reduction

    def check_state(self, state: State) -> None:
        """Raise where the state's particles are not those of θ_0."""
        self.risk.check_state(state)
        if state.theta.shape != self.start.theta.shape or not np.array_equal(
            state.mass, self.start.mass
        ):
            raise ValueError(
                f"this risk is linearised at {self.start!r}; the state {state!r} has "
                "another width or other masses. "
                "Linearise at the state the run starts from."
            )

    def __repr__(self) -> str:
        return f"LinearisedRisk({self.risk}, at {self.start})"

    def on(self, backend: Backend, state: State) -> LinearisedField:
        """This risk on a device."""
        return LinearisedField(self.risk, FrozenFeatures(backend, self.start), state)

    def to_dict(self) -> dict[str, Any]:
        """Settings and hashes: of the data, and of θ_0 with its masses."""
        digest = hashlib.sha256(self.start.theta.tobytes() + self.start.mass.tobytes()).hexdigest()
        return {
            "kind": "LinearisedRisk",
            "risk": self.risk.to_dict(),
            "start": {"m": self.start.m, "sha256": digest},
        }

    @classmethod
    def from_dict(
        cls, data: dict[str, Any], arrays: Mapping[str, np.ndarray], start: State
    ) -> LinearisedRisk:
        """The inverse of to_dict; θ_0 must be handed in again."""
        made = cls(EmpiricalRisk.from_dict(data["risk"], arrays), start)
        if made.to_dict()["start"] != data["start"]:
            raise ValueError("this risk was linearised at another state than `start`.")
        return made


class FrozenFeatures:
    """A backend whose features are linear in θ: φ(θ_0) + ∇φ(θ_0)·(θ - θ_0); all else is the wrapped
    backend's.

    Its pull-back at any θ is that at θ_0. Columns that do not train have not moved, so they need no
    care.
    """

    def __init__(self, backend: Backend, start: State) -> None:
        self.backend = backend
        self.theta0 = backend.upload(start.theta)
        self.weight0 = backend.weights(start.mass)
        self._f0: tuple[Any, Any] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def mean_feature(self, theta: Any, weight: Any, samples: Any, keep: bool = False) -> Any:
        """∫ φ(θ_0; x) + ∇φ(θ_0; x)·(θ - θ_0) dμ, (n, K); the first part is computed once for a set
        of samples.
        """
        if self._f0 is None or self._f0[0] is not samples:
            self._f0 = samples, self.backend.mean_feature(self.theta0, self.weight0, samples, keep)
        moved = self.backend.push_forward(self.theta0, weight, samples, self.moved(theta))
        return self.backend.combine(self._f0[1], [1.0], [moved])

    def moved(self, theta: Any) -> Any:
        """θ - θ_0."""
        return self.backend.combine(theta, [-1.0], [self.theta0])

    def push_forward(self, theta: Any, weight: Any, samples: Any, move: Any) -> Any:
        return self.backend.push_forward(self.theta0, weight, samples, move)

    def pull_back(self, theta: Any, samples: Any, slopes: Any, decay: float = 0.0) -> Any:
        """Σ_i slopes_i · ∇φ(θ_0k; x_i) - decay·θ_k."""
        g = self.backend.pull_back(self.theta0, samples, slopes, decay)
        return self.backend.combine(g, [-decay], [self.moved(theta)]) if decay else g


class LinearisedField(RiskField):
    """The field of the linearised risk: everything as in RiskField on frozen features, but for the
    particles' own share.
    """

    def potential(self, particles: Particles, at: Any = None) -> np.ndarray:
        """s⁻¹ Σ_i ∂R/∂f(x_i) [φ(θ_0k; x_i) + ∇φ(θ_0k; x_i)·(θ_k - θ_0k)] + (λ/2)|θ_k|²: (m,) on the
        host.

        Another neuron, of `at` (q, p), is linearised at itself: it has φ(θ; x_i) in the brackets.
        """
        frozen: Any = self.backend  # FrozenFeatures
        K = frozen.outputs
        slopes = self.slopes(particles)
        if at is not None:
            return self._heights(frozen.backend, at, slopes)

        network = self.risk.network
        names = PARAMETERS if network.feature is None else network.feature.columns.names
        everything = frozen.for_network(replace(network, trainable=names))
        gradient = everything.pull_back(frozen.theta0, self.samples, slopes)
        g = frozen.download(gradient).astype(np.float64)
        theta0 = frozen.download(frozen.theta0).astype(np.float64)
        now = frozen.download(particles.theta).astype(np.float64)

        columns = network.trainable_columns(frozen.dim, K)
        if network.feature is None:
            height = (g[:, :K] * theta0[:, :K]).sum(axis=1)
        else:
            height = frozen.heights(frozen.theta0, self.samples, slopes)
        share = height + (g * (now - theta0)).sum(axis=1)
        return share + 0.5 * self.risk.ridge * np.square(now[:, columns]).sum(axis=1)

    def force(self, particles: Particles, at: Any) -> np.ndarray:
        """-s⁻¹ Σ_i ∂R/∂f(x_i) ∇φ(θ; x_i) - λθ at other neurons (q, p), each linearised at itself as
        in `potential`; on the host.
        """
        frozen: Any = self.backend  # FrozenFeatures
        slopes = self.slopes(particles, -1.0)
        pulled = frozen.backend.pull_back(at, self.samples, slopes, decay=self.risk.ridge)
        return frozen.download(pulled)
