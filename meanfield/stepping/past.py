"""Past: a march as it was at a moment that one of its calls has passed over, for those who look at it
afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..particles import Particles
from ..state import State


class Past:
    """What a March says of itself, then. march: the one that went on. values: what is known of θ
    already, by names of diagnostics, "energy" among them.
    """

    done, kinetic = False, 0.0  # compiled calls know no momentum

    def __init__(
        self, march: Any, particles: Particles, dt: float, path: float, dissipated: float,
        moved: float | None, values: dict[str, float],
    ) -> None:  # fmt: skip
        self.flow, self.field, self.method = march.flow, march.field, march.method
        self.start, self.energy_start = march.start, march.energy_start
        self.total_start = march.total_start
        self.particles, self.step, self.t, self.dt = particles, particles.step, particles.t, dt
        self.path, self.dissipated, self.moved, self.values = path, dissipated, moved, values
        self.energy = self.total = values["energy"]

    def snapshot(self) -> Callable[[], State]:
        """What makes the State of then; θ is on the host, and nobody writes to it."""
        made, like = self.particles, self.start
        what = like.origin, like.columns, like.start
        return lambda: State.trusted(made.theta, like.outputs, made.mass, made.step, made.t, *what)
