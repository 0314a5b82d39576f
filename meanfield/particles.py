"""Particles: a State on its device, the one value that travels through a step."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from .state import State

REPLACES = "replaces particles"  # what a file says of a method whose steps do so
NOTHING: Mapping[str, Any] = MappingProxyType({})


class Particles(NamedTuple):
    """μ = Σ_k p_k δ_{θ_k} on a device, and what a method remembers of the way there. State is its
    twin on the host.

    Nothing in it is ever written to: a step makes a new one, `particles._replace(theta=…)`. So what
    a field computed of θ may be kept for as long as the array is the same one.

    Attributes
    ----------
    theta : the device's array of θ, (m, p).
    mass : p_k, (m,) float64 on the host, with sum 1.
    memory : what the method carries from step to step, by name: device arrays (m, p), numbers or
        strings. Checkpoints hold it.
    step, t : the number of accepted steps and the flow time.
    """

    theta: Any
    mass: np.ndarray
    memory: Mapping[str, Any] = NOTHING
    step: int = 0
    t: float = 0.0

    @classmethod
    def of(cls, state: State, backend: Any) -> Particles:
        """The particles of a state, uploaded."""
        return cls(backend.upload(state.theta), state.mass, NOTHING, state.step, state.t)

    def at(self, theta: Any) -> Particles:
        """The same with another θ; quicker than _replace, for every stage of every step."""
        return Particles(theta, self.mass, self.memory, self.step, self.t)

    def state(self, backend: Any, like: State) -> State:
        """The State of these particles, downloaded, with the columns and the origin of another."""
        theta, what = backend.download(self.theta), (like.origin, like.columns, like.start)
        return State.trusted(theta, like.outputs, self.mass, self.step, self.t, *what)
