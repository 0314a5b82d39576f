"""Stretches: the steps of a march up to the next moment at which anything looks, in one compiled
call where that pays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from ..particles import Particles
from .clocks import CHATTER, NOISE
from .past import Past

FEW = 1  # steps at least of a call; what the field makes a stretch with may want more
# the first steps of a march, made one by one: they compile kernels, and compare formulas with what
# was compiled
ALONE = 2
SAVED = 2e-5  # seconds of Python that a stretch saves for each stage


class Ahead(NamedTuple):
    """The next moment at which anything looks: the first step from `step` on, or with a time from
    `t` on.
    """

    step: float = math.inf
    t: float = math.inf

    @classmethod
    def first(cls, moments: Iterable[Ahead]) -> Ahead:
        """The first of several; never, of none."""
        step = t = math.inf
        for moment in moments:
            step, t = min(step, moment.step), min(t, moment.t)
        return cls(step, t)


NOW = Ahead(0, -math.inf)
# the next moments, as many as asked for, that somebody looks at afterwards: steps, and times
Coming = Callable[[int], tuple[np.ndarray, np.ndarray]]


class Passed(NamedTuple):
    """The steps that one call has passed over, all but its last: their numbers and times (r,), and
    by name what is known of each, (r,) or longer.
    """

    steps: np.ndarray
    times: np.ndarray
    values: dict[str, np.ndarray]


def worth_compiling(flow: Any, state: Any, method: Any, stages: float) -> Any:
    """What makes many steps in one call, `compiled` or to be compiled by compile(), where runs like this
    one, of so many stages in all, gain more by it than it takes: none of them alone might. Else None.
    """
    field = flow.on_device(state)
    made = field.stretch(method, Particles.of(state, field.backend), math.inf)
    return made if made is not None and made.pays(SAVED * stages) else None


class Stretches:
    """Makes the steps of one march many at a time. The march is the same one to the last bit."""

    def __init__(self, march: Any) -> None:
        self.march = march
        self._made = 0
        self._compiled: Any = None  # what the field makes a stretch with
        self._begun = self._refused = False
        self.traces = False  # whether `passed` is asked for
        self.passed: Passed | None = None  # of the last call, where it has passed over steps
        self.seen: list[Past] = []  # moments of the last call that somebody wants to look at

    @property
    def compiled(self) -> Any:
        return self._compiled or None

    @property
    def possible(self) -> bool:
        """Whether steps may be made many at a time, so that it pays to ask who looks when."""
        return self._compiled is not False

    def advance(self, ahead: Ahead, stops: np.ndarray | None, coming: Coming | None) -> bool:
        """Steps until `ahead`, or for a twentieth of a second. False: none was made, the next step
        is to be made alone.
        """
        self._made += 1
        self.passed, self.seen = None, []
        if ahead is NOW or self._compiled is False:
            self._refused = False
            return False

        march = self.march
        last = self._last_step(ahead)
        left = min(last - march.step, (ahead.t - march.t) / march.dt)
        if self._refused or self._made <= ALONE or left <= FEW - 1:
            self._refused = False
            return False
        if self._compiled is None:
            seconds = SAVED * march.method.stages * march.clock.steps_left(march.particles)
            self._compiled = march.field.stretch(march.method, march.particles, seconds) or False
        if not self._compiled or left <= self._compiled.least - 1:
            self._refused = False
            return False
        if not self._begun:
            self._begin()

        if coming is not None:
            most = self._compiled.most_looks
            steps, times = coming(most + 1)
            self._compiled.look_at(steps, times)
            # more than one call takes, many of them maybe within one step: the last ends it
            last = int(min([last, *steps[most : most + 1]]))
            ahead = ahead._replace(t=min([ahead.t, *times[most : most + 1]]))
        state = self._state(ahead, stops, last)
        velocity = march.field.known(march.particles).get("velocity")
        if march.motion is not None:
            self._compiled.start = march.motion.theta
        theta = self._compiled.run(march.particles.theta, state, velocity)
        self._refused = bool(state["refused"][0])
        return self._take(theta, state)

    def _begin(self) -> None:
        """Before the first call, which compiles what no cache has."""
        march = self.march
        if march.before_compiling is not None and not self._compiled.compiled:
            march.before_compiling()
        self._compiled.begin(march.start.theta)
        self._begun = True

    def _last_step(self, ahead: Ahead) -> int:
        """The step before which nothing looks and after which somebody may."""
        march = self.march
        steps = [ahead.step, march.step + 2**40]
        if march.clock.kind != "error control":
            steps.append(march.clock.leg_step + march.clock.leg_count)
        return int(min(steps))

    def _state(self, ahead: Ahead, stops: np.ndarray | None, last: int) -> np.ndarray:
        """What the compiled call goes on with: a record of the names of clocks.py and march.py."""
        march, clock, method = self.march, self.march.clock, self.march.method
        given: dict[str, Any] = {
            "step": march.step, "t": march.t, "dt": clock.dt, "t_end": clock.t_end,
            "target": math.inf, "until": ahead.t, "last_step": last,
            "path": march.path, "dissipated": march.dissipated,
            "half": -1, "window": -1,
            "traces": self.traces, "watches_size": march.watches_size, "still": march.still, "sound": march.sound,
        }  # fmt: skip
        if march.motion is not None:
            given |= march.motion.ahead(march.step)
        if clock.kind == "error control":
            given |= {"rtol": method.rtol, "atol": method.atol, "size2": float(march.size2)}
            given |= {"target": clock.next_stop(march.particles, stops)}
            given |= {"span": clock.t_end - clock.t_start}
        else:
            given |= {name: getattr(clock, name) for name in ("leg_step", "leg_t", "leg_count")}
        if clock.kind == "halving":
            network = march.flow.network
            given |= {"energy": march.energy, "energy_least": clock.energy_least}
            given |= {"noise": NOISE[march.flow.dtype] * march.energy_start, "chatter": 1 + CHATTER}
            given |= {"kinked": network is not None and not network.sigma.smooth}
        return self._compiled.state(clock.kind, given)

    def _take(self, theta: Any, states: np.ndarray) -> bool:
        """Go on from where the compiled call has stopped; whether it has come anywhere."""
        march, clock, state = self.march, self.march.clock, states[0]
        steps = int(state["step"]) - march.step
        known = {}
        if clock.kind == "error control":
            clock.dt = float(state["dt"])
        if clock.kind == "halving":
            clock.energy_least = float(state["energy_least"])
        if self.traces or clock.kind == "halving":
            known["energy"] = float(state["energy"])
        if march.watches_size or clock.kind == "error control":
            known["size2"] = float(state["size2"])
        if not steps:
            self._refused = False  # the step that follows is made alone
            return False

        windows = self._compiled.windows(states) if march.motion is not None else []
        self.seen = self._seen(int(state["step"]), windows, states)
        march.path, march.dissipated = float(state["path"]), float(state["dissipated"])
        march.still = bool(state["still"])
        step, t = int(state["step"]), float(state["t"])
        if self.traces and steps > 1:
            times, values = self._compiled.traced(states)
            self.passed = Passed(np.arange(march.step + 1, step), times[:-1], values)
        particles = march.particles._replace(theta=theta, step=step, t=t)
        if (features := self._compiled.features) is not None:
            march.field.known(particles)["features"] = features
        march.arrived(particles, known)
        if march.motion is not None:
            start = self._compiled.start if windows else None
            march.motion.passed(steps, windows, start, float(state["path_half"]))
        return True

    def _seen(self, end: int, windows: list[list[float]], states: np.ndarray) -> list[Past]:
        """The moments before the last step of this call that were to be seen on its way."""
        march = self.march
        found = [item for item in self._compiled.seen(states) if item[0].step < end]
        looks, moved = [look for look, *_ in found], [None] * len(found)
        if march.motion is not None:
            moved = list(march.motion.along(march.step, looks, windows))
        return [
            Past(
                march,
                march.particles._replace(theta=theta, step=look.step, t=look.t),
                look.dt,
                look.path,
                look.dissipated,
                then,
                values,
            )
            for (look, theta, values), then in zip(found, moved, strict=True)
        ]
