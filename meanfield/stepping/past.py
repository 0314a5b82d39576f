"""Past: a march as it was at a moment that one of its calls has passed over, for those who look at it
afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from ..flow import GradientFlow
from ..particles import Particles
from ..state import State
from .methods import Method


@dataclass(frozen=True, eq=False)
class Past:
    """What a March says of itself, then. values: what is known of θ already, by names of diagnostics.

    march: the one that went on; what is asked of it here is the same at every moment.
    """

    march: Any
    particles: Particles
    dt: float
    path: float
    dissipated: float
    moved: float | None
    values: dict[str, float]

    done: ClassVar[bool] = False
    kinetic: ClassVar[float] = 0.0  # compiled calls know no momentum

    @property
    def step(self) -> int:
        return self.particles.step

    @property
    def t(self) -> float:
        return self.particles.t

    @property
    def energy(self) -> float:
        return self.values["energy"]

    total = energy

    @property
    def start(self) -> State:
        return self.march.start

    @property
    def flow(self) -> GradientFlow:
        return self.march.flow

    @property
    def field(self) -> Any:
        return self.march.field

    @property
    def method(self) -> Method:
        return self.march.method

    @property
    def energy_start(self) -> float:
        return self.march.energy_start

    total_start = energy_start

    def snapshot(self) -> Callable[[], State]:
        """What makes the State of then; θ is on the host, and nobody writes to it."""
        made, like = self.particles, self.start
        what = like.origin, like.columns, like.start
        return lambda: State.trusted(made.theta, like.outputs, made.mass, made.step, made.t, *what)
