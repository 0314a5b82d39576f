"""Clocks: how long the next step is, and whether the one that was made counts."""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..particles import Particles
from ..processes.threads import one_thread
from .methods import Method, Step

# Where F no longer falls beyond rounding, a rise of this size (relative to the start) is noise, not
# instability.
NOISE = {"float64": 1e-12, "float32": 1e-5}
# of dt in a row, a factor of 10⁶ below the bound of stability, after which no shorter step will
# help
HALVINGS = 20
# Where σ' jumps, a particle that sits on a kink of F chatters across it, at every dt, and halving
# would never end; instability grows beyond this.
CHATTER = 0.01


class Diverged(ArithmeticError):
    """θ became NaN or infinite; the message names step, time, particle and the last good frame."""


class Span(NamedTuple):
    """What a run is about to cover: from (step, t) to t_end with steps of about dt."""

    step: int
    t: float
    t_end: float
    dt: float


class Fixed:
    """Steps of equal length: t = leg_t + (step - leg_step)·dt, computed and never accumulated.

    A leg is a stretch of constant dt; it ends at t_end exactly.
    """

    kind: ClassVar[str] = "fixed"
    SCALARS: ClassVar[tuple[str, ...]] = (
        "dt",
        "t_end",
        "dt_start",
        "leg_step",
        "leg_t",
        "leg_count",
    )

    def __init__(self, particles: Particles, dt: float, t_end: float | None, n_steps: int | None):
        self.t_start = particles.t
        self.halvings: list[dict[str, float]] = []
        self.t_end = particles.t + n_steps * dt if t_end is None else t_end  # type: ignore[operator]
        self._new_leg(particles, dt, n_steps)
        self.dt_start = self.dt

    def next(self, particles: Particles, stops: np.ndarray | None) -> float:
        """The length of the next step."""
        return self.dt

    def judge(self, march: Any, step: Step) -> float | None:
        """The time that the step leads to; None where it is to be done again with the dt that
        `next` gives.
        """
        number = march.particles.step + 1 - self.leg_step
        return self.t_end if number == self.leg_count else self.leg_t + number * self.dt

    def done(self, particles: Particles) -> bool:
        return particles.step >= self.leg_step + self.leg_count

    def steps_left(self, particles: Particles) -> float:
        """To the end, with the dt of now."""
        return self.leg_step + self.leg_count - particles.step

    def extend(self, particles: Particles, t_end: float) -> None:
        """A later end for a march that had reached its own."""
        self.t_end = t_end
        self._new_leg(particles, self.dt)

    def memory(self) -> dict[str, Any]:
        scalars = {name: getattr(self, name) for name in self.SCALARS}
        return {"kind": self.kind, "halvings": list(self.halvings), **scalars}

    def restore(self, memory: dict[str, Any]) -> None:
        self.halvings = list(memory["halvings"])
        for name in self.SCALARS:
            setattr(self, name, memory[name])

    def _new_leg(self, particles: Particles, dt: float, count: int | None = None) -> None:
        self.leg_step, self.leg_t = particles.step, particles.t
        left = self.t_end - particles.t
        self.leg_count = max(1, math.ceil(left / dt - 1e-9)) if count is None else count
        self.dt = left / self.leg_count


class Halving(Fixed):
    """dt="auto": a step that raises F, or lowers it by less than half of what it dissipated, is
    done again in a new leg of half the dt (where σ' jumps, F is allowed to lie a hundredth above
    the lowest so far).
    """

    kind = "halving"
    SCALARS = (*Fixed.SCALARS, "energy_least")

    def __init__(self, particles: Particles, dt: float, t_end: float | None, n_steps: int | None):
        super().__init__(particles, dt, t_end, n_steps)
        self.energy_least = math.inf
        self._in_a_row = 0

    def judge(self, march: Any, step: Step) -> float | None:
        self.energy_least = min(self.energy_least, march.energy)
        allowed = march.energy + NOISE[march.flow.dtype] * march.energy_start
        if march.flow.network is not None and not march.flow.network.sigma.smooth:
            allowed = max(allowed, (1 + CHATTER) * self.energy_least)
        if march.field.energy_kept(step.particles) <= allowed - 0.5 * step.dissipated:
            self._in_a_row = 0
            return super().judge(march, step)

        particles = march.particles
        tiny = self.dt < 1e-12 * max(abs(self.t_end), self.t_end - self.t_start)
        if tiny or self._in_a_row >= HALVINGS:
            raise Diverged(
                f"step {particles.step}, t = {particles.t:g}: F does not fall as |v|² "
                f"says even with dt = {self.dt:.3g}, after "
                f"{self._in_a_row} halvings in a row. Then v is not -∇F: σ' or ℓ' is not "
                "the slope of its "
                "function, or σ has a kink (mf.Activation(…, smooth=False)), or F is "
                "beyond the rounding of its dtype."
            )
        self._in_a_row += 1
        self.halvings.append({"step": particles.step, "t": particles.t, "dt": self.dt})
        self._new_leg(particles, self.dt / 2)
        return None


class ErrorControl:
    """The method's own step control: its error stays below atol + rtol·‖θ‖_{L2(μ)}. t accumulates,
    and lands on `stops`.
    """

    kind: ClassVar[str] = "error control"
    SCALARS: ClassVar[tuple[str, ...]] = ("dt", "t_end", "dt_start")
    halvings: ClassVar[list[dict[str, float]]] = []

    def __init__(self, method: Any, particles: Particles, dt: float, t_end: float) -> None:
        self.method, self.t_start, self.t_end = method, particles.t, t_end
        self.dt = self.dt_start = dt
        self._target = t_end

    def next(self, particles: Particles, stops: np.ndarray | None) -> float:
        """A remainder shorter than a hundredth of dt is taken along; two steps to the target are
        made equal.
        """
        self._target = self.next_stop(particles, stops)
        left = self._target - particles.t
        return left if left <= 1.01 * self.dt else min(self.dt, left / 2)

    def next_stop(self, particles: Particles, stops: np.ndarray | None) -> float:
        """The time that steps land on next."""
        if stops is not None and (ahead := stops[stops > particles.t]).size:
            return min(self.t_end, float(ahead[0]))
        return self.t_end

    def judge(self, march: Any, step: Step) -> float | None:
        t, dt = march.particles.t, step.dt
        old = march.size2
        new = march.field.size2(step.particles)
        size = math.sqrt(max(float(old), float(new)))
        tolerance = self.method.atol + self.method.rtol * size
        factor = self.method.factor(step.error, tolerance)
        if step.error <= tolerance:
            self.dt = max(self.dt, dt * factor) if dt < self.dt and factor >= 1 else dt * factor
            return self._target if dt == self._target - t else t + dt

        self.dt = dt * factor
        if self.dt < 1e-14 * max(abs(t), self.t_end - self.t_start):
            raise Diverged(
                f"step {march.particles.step}, t = {t:g}: the tolerance asks for dt = "
                f"{self.dt:.3g}: θ diverges, "
                "or rtol and atol are below rounding."
            )
        return None

    def done(self, particles: Particles) -> bool:
        return particles.t >= self.t_end

    def steps_left(self, particles: Particles) -> float:
        return math.ceil((self.t_end - particles.t) / self.dt)

    def extend(self, particles: Particles, t_end: float) -> None:
        self.t_end = t_end

    def memory(self) -> dict[str, Any]:
        return {"kind": self.kind, **{name: getattr(self, name) for name in self.SCALARS}}

    def restore(self, memory: dict[str, Any]) -> None:
        for name in self.SCALARS:
            setattr(self, name, memory[name])


Clock = Fixed | Halving | ErrorControl


def make(march: Any, method: Method, dt: Any, t_end: float | None, n_steps: int | None) -> Clock:
    """The clock of a run. dt: a number, "auto", or None for a method that controls its error."""
    particles = march.particles
    if method.controls_error:
        assert t_end is not None
        first = float(dt) if isinstance(dt, (int, float)) else first_step(march, method, t_end)
        return ErrorControl(method, particles, first, t_end)
    if dt == "auto":
        return Halving(particles, auto_step(march.field, particles, method), t_end, n_steps)
    return Fixed(particles, float(dt), t_end, n_steps)


def stable_step(method: Method, rate: float) -> float:
    """dt = 0.1·c/rate: a tenth of the method's stability bound c for the fastest rate."""
    return 0.1 * method.stability / rate


def auto_step(field: Any, particles: Particles, method: Method) -> float:
    """dt="auto": of a risk, the rate is L·λ_max(H_0) + λ (functionals/risk_field.py)."""
    with one_thread():
        rate = field.rate(particles)
    if not (math.isfinite(rate) and rate > 0):
        raise ValueError(
            f'dt="auto": the fastest rate at the start is {rate:g}, so no step follows '
            "from it. Give dt a number."
        )
    return stable_step(method, rate)


def first_step(march: Any, method: Any, t_end: float) -> float:
    """An Euler step that moves θ by a hundredth of its size, and not beyond the end. Hairer,
    Nørsett, Wanner, II.4.
    """
    field, particles = march.field, march.particles
    velocity = field.velocity(particles)
    speed = math.sqrt(field.mean_square(velocity, particles))
    size = math.sqrt(march.size2)
    left = t_end - particles.t
    return min(left, 0.01 * (size + method.atol) / speed) if speed > 0 else left
