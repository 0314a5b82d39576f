"""GradientFlow: the Wasserstein gradient flow of a functional, dθ_k/dt = -∇ δF/δμ(θ_k)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from . import backends
from .functionals.risk import EmpiricalRisk, RiskField, check_inputs
from .network import Network
from .state import State


class Functional(Protocol):
    """What a flow descends: mf.EmpiricalRisk, and whatever else binds itself to a device."""

    @property
    def network(self) -> Network: ...

    @property
    def x(self) -> np.ndarray: ...

    @property
    def y(self) -> np.ndarray: ...

    @property
    def loss(self) -> Any: ...

    @property
    def ridge(self) -> float: ...

    def check_state(self, state: State) -> None:
        """Raise where the state's d or K does not fit the data."""

    def on(self, backend: Any, state: State) -> RiskField:
        """Predictions, energy and velocity of device particles with the state's masses."""

    def to_dict(self) -> dict[str, Any]:
        """Settings with a "kind"; the arrays x and y travel beside it."""


@dataclass(frozen=True, eq=False)
class GradientFlow:
    """The flow of F_s = R/s² + ∫ r dμ on particles: mathematics only; `simulate` marches and watches.

    functional: mf.EmpiricalRisk, or another Functional such as ntk.linearise(…).risk(…). backend "cpu", "cuda" or "auto", which
    becomes "cuda" where a GPU can be used and "cpu" elsewhere; dtype "float64" or "float32".
    What these methods take and give is NumPy on the host. THEORY.md, section 1.
    """

    functional: Functional
    temperature: float = 0.0
    reaction: float = 0.0
    backend: str = "cpu"
    dtype: str = "float64"
    seed: int = 0

    def __post_init__(self) -> None:
        if not all(callable(getattr(self.functional, name, None)) for name in ("check_state", "on", "to_dict")):
            raise TypeError(f"functional must be an mf.EmpiricalRisk; got {type(self.functional).__name__}.")
        for name in ("temperature", "reaction"):
            if getattr(self, name) != 0:
                found = getattr(self, name)
                raise ValueError(f"{name} must be 0: noisy and unbalanced flows are not part of this version; got {found!r}.")
        object.__setattr__(self, "backend", backends.check(self.backend, self.dtype))

    @property
    def network(self) -> Any:
        return self.functional.network

    def on_device(self, state: State) -> RiskField:
        """The flow bound to its device and to the state's masses: what an integrator steps."""
        self.functional.check_state(state)
        backend = backends.make(self.backend, self.network, state.dim, state.outputs, self.dtype)
        return self.functional.on(backend, state)

    def predict(self, state: State, x: Any = None) -> np.ndarray:
        """f(x) = s ∫ φ(θ; x) dμ: (n, K), at the training inputs or at x (n, d)."""
        field = self.on_device(state)
        if x is not None:
            field.samples = field.backend.samples(check_inputs(x, state.dim))
        return field.predictions(field.backend.upload(state.theta)).copy()

    def risk(self, state: State) -> float:
        """R(f_μ)."""
        field = self.on_device(state)
        return field.value(field.backend.upload(state.theta))

    def energy(self, state: State) -> float:
        """F_s(μ) = R/s² + ∫ r dμ."""
        field = self.on_device(state)
        return field.energy(field.backend.upload(state.theta))

    def first_variation(self, state: State) -> np.ndarray:
        """δF/δμ(θ_k): (m,)."""
        field = self.on_device(state)
        return field.first_variation(field.backend.upload(state.theta))

    def velocity(self, state: State) -> np.ndarray:
        """v(θ_k) = -∇ δF/δμ(θ_k): (m, p), zero on frozen columns."""
        field = self.on_device(state)
        return field.backend.download(field.velocity(field.backend.upload(state.theta)))

    def to_dict(self) -> dict[str, Any]:
        return {
            "functional": self.functional.to_dict(), "temperature": self.temperature, "reaction": self.reaction,
            "backend": self.backend, "dtype": self.dtype, "seed": self.seed,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, data: dict[str, Any], x: np.ndarray, y: np.ndarray) -> GradientFlow:
        kind = data["functional"]["kind"]
        if kind != "EmpiricalRisk":
            raise ValueError(f"a flow of {kind} is not made from settings alone.")
        settings = {key: data[key] for key in ("temperature", "reaction", "backend", "dtype", "seed")}
        return cls(EmpiricalRisk.from_dict(data["functional"], x, y), **settings)
