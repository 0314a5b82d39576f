"""DrawnField: what functionals share whose velocity is that of samples drawn for the step."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..particles import Particles
from ..state import State
from .protocol import NetworkField
from .risk import EmpiricalRisk, RiskField


class DrawnField(NetworkField):
    """The velocity is that of a batch; R, F, δF/δμ and predictions are those of the whole.

    A batch is a function of the step alone, so the stages of one step, and a run that goes on, see
    the same one. A subclass has `_draw`, which puts the samples of a step into `batch`, and
    `whole`.
    """

    def __init__(self, risk: EmpiricalRisk, backend: Any, state: State) -> None:
        super().__init__(backend, deterministic=False)
        self.batch = RiskField(risk, backend, state, draws=True)
        self.s = self.batch.s
        self._held: int | None = None  # the step whose samples are in `batch`

    @property
    def whole(self) -> Any:
        """The field of the functional whose velocity this one has in the mean; None where F is not
        known.
        """
        raise NotImplementedError(f"{type(self).__name__} has no field of the whole.")

    def _draw(self, step: int) -> None:
        """Put the samples of a step into `batch`."""
        raise NotImplementedError(f"{type(self).__name__} has no method _draw(step).")

    def _velocity(self, particles: Particles) -> Any:
        if particles.step != self._held:
            self._draw(particles.step)
            self._held = particles.step
        return self.batch._velocity(particles)

    def mean_velocity(self, particles: Particles) -> Any:
        """-∇ δF/δμ of the whole; the velocity of the step where F is not known."""
        return self.velocity(particles) if self.whole is None else self.whole.velocity(particles)

    def energy(self, particles: Particles) -> float:
        return self._whole_for("F").energy(particles)

    def value(self, particles: Particles) -> float:
        return self._whole_for("R").value(particles)

    def regulariser(self, particles: Particles) -> float:
        return self._whole_for("∫ r dμ").regulariser(particles)

    def potential(self, particles: Particles, at: Any = None) -> np.ndarray:
        return self._whole_for("δF/δμ").potential(particles, at)

    def force(self, particles: Particles, at: Any) -> np.ndarray:
        return self._whole_for("-∇ δF/δμ").force(particles, at)

    def compiled(self) -> bool:
        return self.batch.compiled()

    def _whole_for(self, what: str) -> Any:
        if self.whole is None:
            raise ValueError(
                f"{what} of these samples is not known in closed form. Draw some, and "
                "take that of an mf.EmpiricalRisk on them."
            )
        return self.whole
