"""March: the particles and what is summed on the way from t_start to t_end; one accepted step at a
time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from ..backends.protocol import Backend
from ..flow import GradientFlow
from ..particles import Particles
from ..processes.ranks import current
from ..state import State
from ..temperature import Temperature
from . import clocks, reaction
from .clocks import Diverged, Span
from .methods import Method, Step, check_start, check_step
from .motion import Motion, may_slide
from .stretches import NOW, Ahead, Coming, Passed, Stretches

__all__ = ["Diverged", "March"]


class March:
    """Marches one flow from one state: a method makes steps, a clock says how long they are and
    which count.

    What a step must know of the device (∫|v|² dμ of the stages, F, the error) is read at its end,
    all in one; watches_size: ∫|θ|² dμ too.
    """

    values: ClassVar[Mapping[str, float]] = {}  # of diagnostics, where they are known: past.py

    def __init__(
        self,
        flow: GradientFlow,
        state: State,
        method: Method,
        dt: Any,
        t_end: float | None,
        n_steps: int | None,
        watches_size: bool = False,
    ) -> None:
        self._foreign = not type(method).__module__.startswith(
            "meanfield."
        )  # its steps are checked
        self.flow, self.method = flow, (method := reaction.of(method, flow))
        self.field = flow.on_device(state, current())
        self.particles = Particles.of(state, self.field.backend)
        self.start = state
        if state.theta.dtype != flow.dtype:  # in the flow's dtype: what a file would give back
            self.start = self.particles.state(self.field.backend, state)
        if flow.network is not None and flow.network.centred:
            self.start = self.start.centred()

        check_needs(method, flow, dt)
        check_temperature(method, flow)
        self.field.temperature.check_times(state.t, _end(state, dt, t_end, n_steps))
        self.has_energy = "energy" in flow.functional.terms
        deterministic = flow.functional.deterministic
        self.balances = self.has_energy and method.balances and deterministic
        self.particles = check_start(method, method.start(self.field, self.particles))
        self.path = self.dissipated = 0.0
        other = method.inertial or method.moves_masses or method.projects
        slides = self.balances and not other and may_slide(flow)
        self.motion = Motion(self.particles) if slides else None
        self.still = False  # whether the last step moved nothing at all
        self.source: Any = None  # of the last step, where it replaced particles
        self.born = 0  # copies made so far
        self.watches_size = watches_size or not self.balances
        self._known: dict[str, Any] = {}  # of the particles of now
        self.energy_start = self.energy if self.has_energy else math.nan
        self.kinetic_start = self.kinetic
        self.clock = clocks.make(self, method, dt, t_end, n_steps)
        self.before_compiling: Callable[[], None] | None = None  # the call that makes many steps
        self._stretches = Stretches(self)

    @property
    def step(self) -> int:
        return self.particles.step

    @property
    def t(self) -> float:
        return self.particles.t

    @property
    def dt(self) -> float:
        """The length of the next step, as far as it is known."""
        return self.clock.dt

    @property
    def t_end(self) -> float:
        return self.clock.t_end

    @property
    def halvings(self) -> list[dict[str, float]]:
        """The steps that were done again, by "step", "t" and the "dt" that was too long."""
        return self.clock.halvings

    @property
    def span(self) -> Span:
        return Span(self.start.step, self.start.t, self.t_end, self.clock.dt_start)

    @property
    def done(self) -> bool:
        return self.clock.done(self.particles)

    @property
    def velocity(self) -> Any:
        """v(θ), computed once for each θ: the first stage of the next step."""
        return self.field.velocity(self.particles)

    @property
    def energy(self) -> float:
        """F(μ), computed once."""
        return self._of_now("energy", self.field.energy_kept)

    @property
    def kinetic(self) -> float:
        """K = ½ ∫|v|² dμ of a method with momentum, else 0."""
        if not self.method.inertial:
            return 0.0
        return self._of_now("kinetic", self._kinetic)

    def _kinetic(self, particles: Particles) -> float:
        return 0.5 * float(self.field.mean_square(particles.memory["momentum"], particles))

    @property
    def total(self) -> float:
        """F + K: what only dissipation changes."""
        return self.energy + self.kinetic

    @property
    def total_start(self) -> float:
        return self.energy_start + self.kinetic_start

    @property
    def size2(self) -> Any:
        """∫|θ|² dμ, a number of the backend, computed once."""
        return self._of_now("size2", self.field.size2)

    @property
    def sound(self) -> bool:
        """Whether the last step came to numbers: finite speeds, and where it is watched a finite θ."""
        finite = math.isfinite(self.dissipated)
        return finite and (not self.watches_size or math.isfinite(self.size2))

    @property
    def moved(self) -> float | None:
        """∫∫|u|² dμ dt of the motion that took place; None where it is not measured."""
        if self.motion is None:
            return None
        return self.motion.dissipated(self.field, self.particles, self.path)

    def advance(
        self, stops: np.ndarray | None = None, ahead: Ahead = NOW, coming: Coming | None = None
    ) -> None:
        """One accepted step, or several where they are compiled together: none of those before the
        last is at `ahead`. coming: moments that may be passed over and are looked at afterwards
        (`seen`).
        """
        if self._stretches.advance(ahead, stops, coming):
            return
        t = None
        while t is None:
            dt = self.clock.next(self.particles, stops)
            step = self.method.step(self.field, self.particles, dt)
            if self._foreign:
                check_step(self.method, self.particles, dt, step)
            t = self.clock.judge(self, step)
        self._accept(step, t)

    @property
    def stretches(self) -> bool:
        """Whether `advance` has a use for `ahead`."""
        return self._stretches.possible

    @property
    def compiled(self) -> Any:
        """What makes many steps in one call; None where nothing does, or before it was asked for."""
        return self._stretches.compiled

    def trace(self) -> None:
        """From now on `passed` is wanted."""
        self._stretches.traces = True

    @property
    def passed(self) -> Passed | None:
        """The steps that the last `advance` has made before its last one, with their risk and
        energy.
        """
        return self._stretches.passed

    @property
    def seen(self) -> list[Any]:
        """The moments asked for that the last `advance` has passed over: of each a Past, which stands
        for the March of then.
        """
        return self._stretches.seen

    @property
    def like(self) -> State:
        """What a State of now shares with the start, its origin unless particles were replaced."""
        copies = self.method.replaces and self.step > self.start.step
        return self.start.without_origin() if copies else self.start

    def state(self) -> State:
        return self.particles.state(self.field.backend, self.like)

    def snapshot(self) -> Callable[[], State]:
        """What makes the State of now, also when the march has gone on."""
        particles, like, backend = self.particles, self.like, self.field.backend
        return lambda: particles.state(backend, like)

    def memory(self) -> dict[str, Any]:
        """All that the future depends on, for a checkpoint."""
        backend, particles = self.field.backend, self.particles
        masses = {"mass": particles.mass} if self.method.moves_masses else {}
        births = {"born": self.born} if self.method.replaces else {}
        motion = {} if self.motion is None else {"motion": self.motion.memory(backend)}
        sums = {name: getattr(self, name) for name in ("path", "dissipated", "energy_start")}
        return {
            "particles": {
                "theta": backend.download(particles.theta),
                "step": particles.step,
                "t": particles.t,
                **masses,
            },
            "method": {name: _plain(backend, value) for name, value in particles.memory.items()},
            "clock": self.clock.memory(),
            **sums,
            **motion,
            **births,
        }

    def restore(self, memory: dict[str, Any]) -> None:
        """Go on from a checkpoint of the same march."""
        backend, kept = self.field.backend, memory["particles"]
        if set(memory["method"]) != set(self.particles.memory):
            known, found = (
                ", ".join(sorted(names)) or "nothing"
                for names in (self.particles.memory, memory["method"])
            )
            raise ValueError(
                "the checkpoint is of another version of the method "
                f"{self.method.name!r}: it holds {found}, and the method "
                f"carries {known}."
            )
        self.particles = Particles(
            backend.upload(kept["theta"]),
            kept.get("mass", self.particles.mass),
            {
                name: _uploaded(backend, value, self.particles.memory[name])
                for name, value in memory["method"].items()
            },
            kept["step"],
            kept["t"],
        )
        self.clock.restore(memory["clock"])
        self.born = memory.get("born", 0)
        for name in ("path", "dissipated", "energy_start"):
            setattr(self, name, memory[name])
        if self.motion is not None and "motion" in memory:
            self.motion.restore(backend, memory["motion"])
        else:  # of a version that did not measure it: the rest of the run does without, as its beginning did
            self.motion = None
        self._known = {}

    def extend(self, t_end: float) -> None:
        """A later end for a march that had reached its own."""
        self.field.temperature.check_times(self.t, t_end)
        self.clock.extend(self.particles, t_end)

    def arrived(self, particles: Particles, known: dict[str, Any]) -> None:
        """Accepted steps have led to these particles, of which something is known; path and
        dissipated are up to date.
        """
        self.particles = particles
        self._known = known

    def _of_now(self, name: str, make: Any) -> Any:
        if name not in self._known:
            self._known[name] = make(self.particles)
        return self._known[name]

    def _accept(self, step: Step, t: float) -> None:
        before, made = self.particles, step.particles
        self.particles = Particles(made.theta, made.mass, made.memory, before.step + 1, t)
        self._known = {}
        if self.watches_size:
            _ = self.size2  # started before the step's own numbers are waited for
        self.still = made.theta is before.theta and made.mass is before.mass
        self.source = step.source
        if step.source is not None:
            self.born += int(np.count_nonzero(step.source != np.arange(len(step.source))))
        if step.speeds:
            dissipated = step.dissipated
            self.dissipated += dissipated
            self.still = dissipated == 0.0 and not self.method.inertial
            self.path += step.length
        if self.motion is not None:
            self.motion.after(self.field, self.particles, self.path)


def check_needs(method: Method, flow: GradientFlow, dt: Any) -> None:
    """Raise where the functional lacks what the method or dt="auto" needs."""
    functional = flow.functional
    has = {
        "energy": "energy" in functional.terms,
        "network": functional.network is not None,
        "samples": functional.samples is not None,
        "deterministic": functional.deterministic,
    }
    kind = type(functional).__name__
    for need in method.needs:
        if not has[need]:
            if need == "deterministic":
                raise ValueError(
                    f"the method {method.name!r} wants the same velocity at the same "
                    f"particles: a {kind} is not deterministic, "
                    f"so its steps err by its noise, whatever their order. Use mf.EULER."
                )
            raise ValueError(
                f"the method {method.name!r} needs a functional with {need!r}: a {kind} "
                f"has no {need}."
            )
    if method.controls_error and not has["deterministic"]:
        raise ValueError(
            f"the method {method.name!r} chooses dt by its error, and a {kind} is not "
            "deterministic: use mf.EULER with a dt."
        )
    if dt == "auto" and method.inertial:
        raise ValueError(
            'dt="auto" does a step again where F has not fallen, and with the momentum '
            f"of {method.name!r} F may rise. "
            "Give dt a number, or use mf.RK4 without momentum."
        )
    if dt == "auto" and method.noisy:
        raise ValueError(
            'dt="auto" does a step again where F has not fallen, and the steps of '
            f"{method.name!r} are noisy: F may rise. "
            "Give dt a number, or use mf.RK4 without noise."
        )
    if dt == "auto" and not (has["energy"] and has["deterministic"] and method.balances):
        raise ValueError(
            'dt="auto" does a step again where F has not fallen, which the method '
            f"{method.name!r} on a {kind} does not "
            "promise. Give dt a number."
        )


def check_temperature(method: Method, flow: GradientFlow) -> None:
    """Raise where a flow with noise meets a method, or a choice of dt, that knows none."""
    if Temperature.of(flow.temperature).zero:
        return
    if not method.noisy:
        raise ValueError(
            f"the flow has temperature {flow.temperature!r}, and the method "
            f"{method.name!r} draws no noise: use "
            "mf.EULER_MARUYAMA, mf.STOCHASTIC_HEUN or mf.LEIMKUHLER_MATTHEWS with a number for dt."
        )


def _end(state: State, dt: Any, t_end: float | None, n_steps: int | None) -> float:
    """The flow time at which a run is to end; inf where that is known later."""
    if t_end is not None:
        return t_end
    return state.t + n_steps * dt if n_steps is not None and dt != "auto" else math.inf


def _plain(backend: Backend, value: Any) -> Any:
    """One thing that a method remembers, as a file holds it."""
    return value if isinstance(value, (bool, int, float, str)) else backend.download(value)


def _uploaded(backend: Backend, value: Any, example: Any) -> Any:
    """The inverse: device arrays go back to the device."""
    on_host = isinstance(example, (bool, int, float, str))
    return value if on_host else backend.upload(value)
