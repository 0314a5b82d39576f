"""GradientFlow: the Wasserstein gradient flow of a functional, dθ_k/dt = -∇ δF/δμ(θ_k)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from . import backends
from .functionals.risk import EmpiricalRisk, RiskField, check_inputs
from .state import State


@dataclass(frozen=True, eq=False)
class GradientFlow:
    """The flow of F_s = R/s² + ∫ r dμ on particles: mathematics only; `simulate` marches and watches.

    functional: mf.EmpiricalRisk. backend "cpu" or "auto"; dtype "float64" or "float32".
    What these methods take and give is NumPy on the host. THEORY.md, section 1.
    """

    functional: EmpiricalRisk
    temperature: float = 0.0
    reaction: float = 0.0
    backend: str = "cpu"
    dtype: str = "float64"
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.functional, EmpiricalRisk):
            raise TypeError(f"functional must be an mf.EmpiricalRisk; got {type(self.functional).__name__}.")
        for name in ("temperature", "reaction"):
            if getattr(self, name) != 0:
                found = getattr(self, name)
                raise ValueError(f"{name} must be 0: noisy and unbalanced flows are not part of this version; got {found!r}.")
        backends.check(self.backend, self.dtype)

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
        if x is not None:
            x = check_inputs(x, state.dim)
            backend = backends.make(self.backend, self.network, state.dim, state.outputs, self.dtype)
            s = self.network.scaling.output_scale(state.m)
            return s * backend.mean_feature(backend.upload(state.theta), backend.weights(state.mass), backend.samples(x))
        field = self.on_device(state)
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
        settings = {key: data[key] for key in ("temperature", "reaction", "backend", "dtype", "seed")}
        return cls(EmpiricalRisk.from_dict(data["functional"], x, y), **settings)
