"""Momentum: the heavy ball, dθ/dt = v, dv/dt = -∇ δF/δμ - friction·v."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..checks import is_number
from ..particles import Particles
from .methods import Method, Step, register_method

NESTEROV = 3.0  # friction·t


@dataclass(frozen=True)
class HeavyBall(Method):
    """Particles with momentum and friction, from rest, by Strang splitting: order 2, one velocity a
    step.

        dθ/dt = v,   dv/dt = u(θ) - friction·v,   u = -∇ δF/δμ

    A State holds no velocities: a run from the end of another starts at rest, and says so; mf.resume
    goes on with those in the file.

    Half a step of v with θ held, exact with its friction; a step of θ with v held; half a step of
    v.

    Parameters
    ----------
    friction : a number >= 0 in units of 1/t, or "nesterov": 3/t, the continuous limit of Nesterov's
        accelerated gradient.

    Raises
    ------
    ValueError : for a negative or infinite friction.

    Notes
    -----
    d/dt (F + K) = -2·friction·K with K = ½ ∫|v|² dμ, the series kinetic_energy; energy_defect compares
    what F + K lost with the friction's work, friction ∫|v|² dμ in the middle of each step. θ(friction·t)
    tends to the gradient flow at t as friction → ∞, F - F_flow as friction⁻². Stable for
    dt < 2/√λ_max without friction, and dt < 2·friction/λ_max where friction is large.
    Polyak (1964), Some methods of speeding up the convergence of iteration methods; Su, Boyd, Candès
    (2016), A differential equation for modeling Nesterov's accelerated gradient method, JMLR 17.
    """

    friction: float | str

    name: ClassVar[str] = "heavy_ball"  # type: ignore[misc]
    order: ClassVar[int] = 2  # type: ignore[misc]
    inertial: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.friction == "nesterov":
            return
        if not is_number(self.friction) or not 0 <= self.friction < math.inf:  # type: ignore[operator]
            raise ValueError(
                'HeavyBall: friction must be a number >= 0 or "nesterov" (3/t); got '
                f"{self.friction!r}."
            )
        object.__setattr__(self, "friction", float(self.friction))

    def start(self, field: Any, particles: Particles) -> Particles:
        if self.friction == "nesterov" and particles.t < 0:
            raise ValueError(f"the friction 3/t wants t >= 0; the state has t = {particles.t:g}.")
        rest = field.backend.upload(np.zeros(field.backend.download(particles.theta).shape))
        return particles._replace(memory={"momentum": rest})

    def step(self, field: Any, particles: Particles, dt: float) -> Step:
        combine, t, middle = field.backend.combine, particles.t, particles.t + dt / 2
        v, u = particles.memory["momentum"], field.velocity(particles)
        v = combine(v, self._kick(t, middle), [v, u])
        speed2 = field.mean_square(v, particles)

        moved = particles._replace(theta=combine(particles.theta, [dt], [v]))
        u = field.velocity(moved)
        last = combine(v, self._kick(middle, t + dt), [v, u])
        made = moved._replace(memory={"momentum": last})
        return Step(made, dt, (1.0,), (speed2,), resistance=self._friction(middle))

    def _friction(self, t: float) -> float:
        return NESTEROV / t if self.friction == "nesterov" else float(self.friction)

    def _kick(self, start: float, stop: float) -> list[float]:
        """(c, d) of v(stop) = v + c v + d u, the solution of dv/dt = u - friction·v with u held."""
        h = stop - start
        if self.friction == "nesterov":
            lost = (start / stop) ** 3 - 1.0
            return [lost, (stop - start * (start / stop) ** 3) / 4.0]
        x = float(self.friction) * h
        return [math.expm1(-x), -math.expm1(-x) / x * h if x else h]


register_method(HeavyBall)
