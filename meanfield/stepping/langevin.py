"""Mean-field Langevin: methods that step dθ = v dt + √(2T) dB."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from ..particles import Particles
from .methods import Method, Step, register_method
from .runge_kutta import EULER, HEUN, RungeKutta


@dataclass(frozen=True)
class Langevin(Method):
    """A drift step, with noise of standard deviation c = √(2T dt) on the trainable columns of θ.

        euler_maruyama        θ + dt v(θ) + c ξ_n
        stochastic_heun       θ + dt/2 (v(θ) + v(θ̃)) + c ξ_n,  θ̃ = θ + dt v(θ) + c ξ_n
        leimkuhler_matthews   θ + dt v(θ) + c (ξ_n + ξ_(n+1))/2

    ξ_n = noise.normals(flow.seed, DIFFUSION, m, p, step n): a function of the seed, the particle,
    the component and the step, so that no memory is carried, and runs of different width share
    their particles' noise. T is taken in the middle of the step. Where it is 0 the step is that of
    mf.EULER or mf.HEUN, to the bit.

    Attributes
    ----------
    order : of the weak error, that of expectations at a fixed time.
    corrects : whether v is averaged over both ends of the step.
    averages : whether the noise is averaged over two steps.

    Notes
    -----
    With v = -λθ and z = λ dt the stationary variances are T/(λ(1 - z/2)), 2T dt(1 - z/2)²/(1 - (1 - z + z²/2)²) and,
    exactly, T/λ. The last method has weak order 1 at a fixed time, and order 2 for averages over the stationary law.
    The noise does not depend on θ, so Itô's and Stratonovich's integrals are the same.
    Maruyama (1955), Continuous Markov processes and stochastic equations; Kloeden and Platen, Numerical
    Solution of Stochastic Differential Equations;
    Leimkuhler and Matthews (2013), Rational construction of stochastic numerical methods for molecular sampling,
    Applied Mathematics Research eXpress.
    """

    name: str
    order: int = 1
    corrects: bool = False
    averages: bool = False

    noisy: ClassVar[bool] = True
    balances: ClassVar[bool] = False

    @property
    def drift(self) -> RungeKutta:
        """The method without noise."""
        return HEUN if self.corrects else EULER

    @property
    def stages(self) -> int:  # type: ignore[override]
        return self.drift.stages

    def step(self, field: Any, particles: Particles, dt: float) -> Step:
        T = field.temperature(particles.t + dt / 2)
        if T == 0.0:
            return self.drift.step(field, particles, dt)

        diffuse, seed, n = field.backend.diffuse, field.seed, particles.step
        size, v = math.sqrt(2.0 * T * dt), field.velocity(particles)
        if self.averages:
            moved = diffuse(particles.theta, dt, v, size / 2, seed, n)
            return Step(particles._replace(theta=diffuse(moved, 0.0, v, size / 2, seed, n + 1)), dt)

        moved = diffuse(particles.theta, dt, v, size, seed, n)
        if self.corrects:
            there = field.velocity(particles._replace(theta=moved))
            moved = field.backend.combine(moved, [-dt / 2, dt / 2], [v, there])
        return Step(particles._replace(theta=moved), dt)

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name}


EULER_MARUYAMA = Langevin("euler_maruyama")
STOCHASTIC_HEUN = Langevin("stochastic_heun", order=2, corrects=True)
LEIMKUHLER_MATTHEWS = Langevin("leimkuhler_matthews", averages=True)

for method in (EULER_MARUYAMA, STOCHASTIC_HEUN, LEIMKUHLER_MATTHEWS):
    register_method(method)
