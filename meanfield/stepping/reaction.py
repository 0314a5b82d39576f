"""Reaction: masses follow the landscape, dp_k/dt = -ρ p_k (δF/δμ(θ_k) - ∫ δF/δμ dμ), beside any
transport of the particles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import noise
from ..flow import GradientFlow
from ..particles import Particles
from ..temperature import Temperature
from .methods import Method, Step
from .replacing import kill_and_duplicate, reweighted, systematic


@dataclass(frozen=True)
class Reacting(Method):
    """The flow in the Wasserstein–Fisher–Rao metric, by Strang splitting: half a step of reaction, a
    step of transport, half a step of reaction.

        reaction over h    p ← p e^{-ρ h g}/Σ p e^{-ρ h g},  g = δF/δμ(θ; p̃),  p̃ ∝ p e^{-ρ (h/2) δF/δμ(θ; p)}

    Exact where F is linear; elsewhere of order 2, for g is taken at the masses of the middle of the
    substep. What the reaction dissipates, ρ h Var_p̃(g), is in Step.reacted.

    With `jumps` masses stay 1/m, and particles are killed and duplicated so that each has in the
    mean as many copies as its mass would be (replacing.py). With `resample`, masses are made equal
    by systematic resampling wherever the effective sample size 1/Σp² has fallen below resample·m.
    Draws are a function of (seed, place, step).

    Attributes
    ----------
    transport : the method that moves θ.
    rate : ρ in units of 1/(F t).
    jumps, resample, jitter : as in mf.GradientFlow.

    Notes
    -----
    dF/dt = -Σ_k p_k |v_k|² - ρ Var_p(δF/δμ). THEORY.md, section 5.
    """

    transport: Method
    rate: float
    jumps: bool = False
    resample: float = 0.0
    jitter: float = 0.0

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.transport.name

    @property
    def stages(self) -> int:  # type: ignore[override]
        return self.transport.stages

    @property
    def order(self) -> int:  # type: ignore[override]
        return min(2, self.transport.order)

    @property
    def stability(self) -> float:  # type: ignore[override]
        return self.transport.stability

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.transport.needs

    @property
    def noisy(self) -> bool:  # type: ignore[override]
        return self.replaces

    @property
    def moves_masses(self) -> bool:  # type: ignore[override]
        return not self.jumps

    @property
    def balances(self) -> bool:  # type: ignore[override]
        return self.transport.balances and not self.replaces

    @property
    def projects(self) -> bool:  # type: ignore[override]
        return self.transport.projects

    @property
    def replaces(self) -> bool:  # type: ignore[override]
        return self.jumps or self.resample > 0

    def start(self, field: Any, particles: Particles) -> Particles:
        m, mass = len(particles.mass), particles.mass
        if self.jumps and np.ptp(mass) > 1e-12 / m:
            raise ValueError(
                "jumps=True keeps equal masses 1/m and moves none, but the state has masses from "
                f"{mass.min():.3g} to {mass.max():.3g}. Leave jumps out, so that the masses react, or "
                "start from a state without mass=."
            )
        return self.transport.start(field, particles)

    def step(self, field: Any, particles: Particles, dt: float) -> Step:
        middle, lost, first = self._react(field, particles, dt / 2, 0)
        step = self.transport.step(field, middle, dt)
        made, more, second = self._react(field, step.particles, dt / 2, 1)
        if not self.replaces:
            return step._replace(particles=made, reacted=lost + more)

        made, third = self._resampled(field, made)
        return Step(made, dt, source=first[second[third]])

    def to_dict(self) -> dict[str, Any]:
        """That of the transport: a file has the rest in its flow."""
        return self.transport.to_dict()

    def _react(
        self, field: Any, particles: Particles, h: float, half: int
    ) -> tuple[Particles, float, np.ndarray]:
        """The particles after a reaction over h, what it dissipated, and where each came from."""
        c, mass = self.rate * h, particles.mass
        middle = reweighted(mass, field.potential(particles), c / 2)
        height = field.potential(particles._replace(mass=middle))
        new = reweighted(mass, height, c)
        if self.jumps:
            m = len(mass)
            u = noise.uniforms(field.seed, noise.REACTION, m, 4, particles.step)
            source = kill_and_duplicate(m * new, u[:, 2 * half : 2 * half + 2])
            return self._replaced(field, particles, source, half), 0.0, source

        mean = (middle * height).sum()
        lost = c * float((middle * (height - mean) ** 2).sum())
        return particles._replace(mass=new), lost, np.arange(len(mass))

    def _resampled(self, field: Any, particles: Particles) -> tuple[Particles, np.ndarray]:
        """Equal masses, where they had become too unequal."""
        mass, m = particles.mass, len(particles.mass)
        if not effective_sample_size(mass) < self.resample * m:
            return particles, np.arange(m)
        u = noise.uniforms(field.seed, noise.REACTION, 1, 5, particles.step)[0, 4]
        source = systematic(mass, float(u))
        made = self._replaced(field, particles, source, 2)
        return made._replace(mass=np.full(m, 1.0 / m)), source

    def _replaced(
        self, field: Any, particles: Particles, source: np.ndarray, which: int
    ) -> Particles:
        """Each place holds what was in source of it, memory included; copies are jittered."""
        backend = field.backend
        new = np.flatnonzero(source != np.arange(len(source)))
        if not new.size:
            return particles

        host = backend.download(particles.theta)[source]
        if self.jitter:
            theta, number = backend.upload(host), 3 * particles.step + which
            shaken = backend.diffuse(theta, 0.0, theta, self.jitter, field.seed, number)
            host[new] = backend.download(shaken)[new]
        memory = {
            name: value
            if isinstance(value, (bool, int, float, str))
            else backend.upload(backend.download(value)[source])
            for name, value in particles.memory.items()
        }
        return particles._replace(theta=backend.upload(host), memory=memory)


def effective_sample_size(mass: np.ndarray) -> float:
    """1/Σ_k p_k²: m for equal masses, 1 for one particle that has all."""
    return 1.0 / float((mass * mass).sum())


def of(method: Method, flow: GradientFlow) -> Method:
    """The method that steps this flow: itself without a reaction.

    Raises
    ------
    ValueError : for methods with noise, momentum, masses or error control of their own, for
        functionals that draw samples, and for jitter with a method that projects.
    """
    if not flow.reaction:
        return method
    who, advice = f"the flow has reaction {flow.reaction:g}, and", "Use mf.RK4, mf.HEUN or mf.EULER"
    if method.noisy or not Temperature.of(flow.temperature).zero:
        raise ValueError(
            f"{who} noise: the first variation of F + T ∫ log μ dμ has T log μ, which particles do not "
            f"know. {advice} with temperature=0, or leave reaction out."
        )
    if method.inertial:
        raise ValueError(
            f"{who} the method {method.name!r} has momentum: masses that change would change the kinetic "
            f"energy, and F + K has no balance. {advice}."
        )
    if method.moves_masses:
        raise ValueError(f"{who} the method {method.name!r} moves masses itself. {advice}.")
    if method.controls_error:
        raise ValueError(
            f"{who} the method {method.name!r} knows the error of the transport alone. {advice} with a "
            'number for dt, or with dt="auto".'
        )
    if not flow.functional.deterministic:
        kind = type(flow.functional).__name__
        raise ValueError(
            f"{who} a {kind} draws its samples: masses want δF/δμ of F itself. Use mf.EmpiricalRisk or "
            "mf.PopulationRisk."
        )
    if method.projects and flow.jitter:
        raise ValueError(
            f"the flow has jitter {flow.jitter:g}, which moves copies off where the method "
            f"{method.name!r} keeps its particles. Leave jitter out: a copy then stays with the one it is of."
        )
    return Reacting(method, flow.reaction, flow.jumps, flow.resample, flow.jitter)
