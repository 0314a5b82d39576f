"""March: θ, its clock and its memory on the way from t_start to t_end; one accepted step at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..flow import GradientFlow
from ..functionals.protocol import Field
from ..processes.threads import one_thread
from ..state import State
from .clocks import Span
from .motion import Motion, may_slide
from .runge_kutta import Adaptive, RungeKutta, Step

# Where F no longer falls beyond rounding, a rise of this size (relative to the start) is noise, not instability.
NOISE = {"float64": 1e-12, "float32": 1e-5}
HALVINGS = 20  # of dt in a row, a factor of 10⁶ below the bound of stability, after which no shorter step will help
# Where σ' jumps, a particle that sits on a kink of F chatters across it, at every dt, and halving would never end; instability
# grows beyond this.
CHATTER = 0.01


class Diverged(ArithmeticError):
    """θ left the numbers; the message names step, time, particle and the last good frame."""


def auto_step(field: Field, theta: Any, integrator: RungeKutta) -> float:
    """dt = 0.1·c/rate: c the method's stability bound; of a risk, rate = L·λ_max(H_0) + λ (functionals/risk.py)."""
    with one_thread():
        rate = field.rate(theta)
    if not (math.isfinite(rate) and rate > 0):
        raise ValueError(
            f'dt="auto": the fastest rate at the start is {rate:g}, so no step follows from it. Give dt a number.'
        )
    return 0.1 * integrator.stability / rate


class March:
    """Marches one flow from one state. dt is fixed (a number), "auto", or left to Adaptive.

    Fixed dt: t = t0 + (step - step0)·dt, computed and never accumulated, in legs of constant dt. "auto": a step that
    raises F, or lowers it by less than half of what it dissipated, is done again in a new leg of half the dt (where σ'
    jumps, F is allowed to lie a hundredth above the lowest so far).
    Adaptive: t accumulates its own steps and lands on `stops`.
    What a step must know of the device (∫|v|² dμ of the stages, F, the error) is read at its end, all in one; watches_size:
    ∫|θ|² dμ too.
    """

    def __init__(
        self,
        flow: GradientFlow,
        state: State,
        integrator: RungeKutta | Adaptive,
        dt: Any,
        t_end: float | None,
        n_steps: int | None,
        watches_size: bool = False,
    ) -> None:
        self.flow, self.integrator = flow, integrator
        self.field = flow.on_device(state)
        self.theta = self.field.backend.upload(state.theta)
        self.start = state
        if state.theta.dtype != flow.dtype:  # in the flow's dtype: what a file would give back
            theta = self.field.backend.download(self.theta)
            self.start = State.trusted(
                theta, state.outputs, state.mass, state.step, state.t, state.origin
            )
        self.step, self.t = state.step, state.t
        self.automatic = dt == "auto"
        self.path = self.dissipated = 0.0
        self.motion = Motion(self.theta, self.t) if may_slide(flow) else None
        self.still = False  # whether the last step moved nothing at all
        self.halvings: list[dict[str, float]] = []
        self.watches_size = watches_size
        self._velocity: Any = None
        self._energy: float | None = None
        self._size2: Any = None
        self.energy_start = self.energy_least = self.energy
        if isinstance(integrator, Adaptive):
            assert t_end is not None
            self.t_end, self.dt = (
                t_end,
                float(dt) if isinstance(dt, (int, float)) else self._first_step(integrator, t_end),
            )
            self.dt_start = self.dt
            return
        size = auto_step(self.field, self.theta, integrator) if self.automatic else float(dt)
        self.t_end = state.t + n_steps * size if t_end is None else t_end  # type: ignore[operator]
        self._new_leg(size, n_steps)
        self.dt_start = self.dt

    @property
    def span(self) -> Span:
        return Span(self.start.step, self.start.t, self.t_end, self.dt_start)

    @property
    def done(self) -> bool:
        return (
            self.t >= self.t_end
            if isinstance(self.integrator, Adaptive)
            else self.step >= self.leg_step + self.leg_count
        )

    @property
    def velocity(self) -> Any:
        """v(θ), computed once for each θ: the first stage of the next step."""
        if self._velocity is None:
            self._velocity = self.field.velocity(self.theta)
        return self._velocity

    @property
    def energy(self) -> float:
        """F(θ), computed once for each θ."""
        if self._energy is None:
            self._energy = self.field.energy(self.theta)
        return self._energy

    @property
    def moved(self) -> float | None:
        """∫∫|u|² dμ dt of the motion that took place; None where it is not measured."""
        return (
            None
            if self.motion is None
            else self.motion.dissipated(self.field, self.theta, self.t, self.path)
        )

    @property
    def size2(self) -> Any:
        """∫|θ|² dμ, a number of the backend, computed once for each θ."""
        if self._size2 is None:
            self._size2 = self.field.speed2(self.theta)
        return self._size2

    def advance(self, stops: np.ndarray | None = None) -> None:
        """One accepted step."""
        if isinstance(self.integrator, Adaptive):
            self._advance_adaptively(self.integrator, stops)
            return
        step, energy = self.integrator.step(self.field, self.theta, self.velocity, self.dt), None
        if self.automatic:
            self.energy_least = min(self.energy_least, self.energy)
            allowed = self.energy + NOISE[self.flow.dtype] * self.energy_start
            if self.flow.network is not None and not self.flow.network.sigma.smooth:
                allowed = max(allowed, (1 + CHATTER) * self.energy_least)
            before = len(self.halvings)
            while not (energy := self.field.energy(step.theta)) <= allowed - 0.5 * step.dissipated:
                tiny = self.dt < 1e-12 * max(abs(self.t_end), self.t_end - self.start.t)
                if tiny or len(self.halvings) - before >= HALVINGS:
                    raise Diverged(
                        f"step {self.step}, t = {self.t:g}: F does not fall as |v|² says even with dt = {self.dt:.3g}, after "
                        f"{len(self.halvings) - before} halvings in a row. Then v is not -∇F: σ' or ℓ' is not the slope of its "
                        "function, or σ has a kink (mf.Activation(…, smooth=False)), or F is beyond the rounding of its dtype."
                    )
                self.halvings.append({"step": self.step, "t": self.t, "dt": self.dt})
                self._new_leg(self.dt / 2)
                step = self.integrator.step(self.field, self.theta, self.velocity, self.dt)
        t = self.leg_t + (self.step + 1 - self.leg_step) * self.dt
        self._accept(
            step, self.t_end if self.step + 1 == self.leg_step + self.leg_count else t, energy
        )

    def memory(self) -> dict[str, Any]:
        """All that the future depends on, for a checkpoint."""
        scalars = {name: getattr(self, name) for name in self._SCALARS if hasattr(self, name)}
        motion = {} if self.motion is None else {"motion": self.motion.memory(self.field)}
        return {
            "theta": self.field.backend.download(self.theta),
            "halvings": list(self.halvings),
            **scalars,
            **motion,
        }

    def restore(self, memory: dict[str, Any]) -> None:
        """Go on from a checkpoint of the same march."""
        self.theta = self.field.backend.upload(memory["theta"])
        self.halvings = list(memory["halvings"])
        for name in self._SCALARS:
            if name in memory:
                setattr(self, name, memory[name])
        if self.motion is not None and "motion" in memory:
            self.motion.restore(self.field, memory["motion"])
        else:  # of a version that did not measure it: the rest of the run does without, as its beginning did
            self.motion = None
        self._velocity = self._energy = self._size2 = None

    def extend(self, t_end: float) -> None:
        """A later end for a march that had reached its own."""
        self.t_end = t_end
        if not isinstance(self.integrator, Adaptive):
            self._new_leg(self.dt)

    def state(self) -> State:
        theta = self.field.backend.download(self.theta)
        return State.trusted(
            theta, self.start.outputs, self.start.mass, self.step, self.t, self.start.origin
        )

    _SCALARS = (
        "step", "t", "dt", "t_end", "dt_start", "path", "dissipated", "energy_start", "energy_least", "leg_step", "leg_t",
        "leg_count",
    )  # fmt: skip

    def _new_leg(self, dt: float, count: int | None = None) -> None:
        self.leg_step, self.leg_t = self.step, self.t
        self.leg_count = (
            max(1, math.ceil((self.t_end - self.t) / dt - 1e-9)) if count is None else count
        )
        self.dt = (self.t_end - self.t) / self.leg_count

    def _advance_adaptively(self, method: Adaptive, stops: np.ndarray | None) -> None:
        target = self.t_end
        if stops is not None and (ahead := stops[stops > self.t]).size:
            target = min(target, float(ahead[0]))
        while True:
            # A remainder shorter than a hundredth of dt is taken along; two steps to the target are made equal.
            left = target - self.t
            dt = left if left <= 1.01 * self.dt else min(self.dt, left / 2)
            step = method.tableau.step(self.field, self.theta, self.velocity, dt)
            old, new = self.size2, self.field.speed2(step.theta)
            size = math.sqrt(max(float(old), float(new)))
            factor = method.factor(step.error, method.atol + method.rtol * size)
            if step.error <= method.atol + method.rtol * size:
                self.dt = max(self.dt, dt * factor) if dt < self.dt and factor >= 1 else dt * factor
                self._accept(step, target if dt == left else self.t + dt, size2=new)
                return
            self.dt = dt * factor
            if self.dt < 1e-14 * max(abs(self.t), self.t_end - self.start.t):
                where = f"step {self.step}, t = {self.t:g}"
                raise Diverged(
                    f"{where}: the tolerance asks for dt = {self.dt:.3g}: θ diverges, or rtol and atol are below rounding."
                )

    def _accept(self, step: Step, t: float, energy: float | None = None, size2: Any = None) -> None:
        self.theta, self._velocity, self._energy, self._size2 = (
            step.theta,
            step.velocity,
            energy,
            size2,
        )
        if self.watches_size:
            self._size2 = self.size2  # under way before the step's own numbers are waited for
        self.step, self.t = self.step + 1, t
        dissipated = step.dissipated
        self.dissipated += dissipated
        self.still = dissipated == 0.0
        self.path += step.length
        if self.motion is not None:
            self.motion.after(self.field, self.theta, self.t, self.path)

    def _first_step(self, method: Adaptive, t_end: float) -> float:
        # Hairer, Nørsett, Wanner, II.4: an Euler step that moves θ by a hundredth of its size, and not beyond the end.
        speed, size = math.sqrt(self.field.speed2(self.velocity)), math.sqrt(self.size2)
        return (
            min(t_end - self.t, 0.01 * (size + method.atol) / speed)
            if speed > 0
            else t_end - self.t
        )
