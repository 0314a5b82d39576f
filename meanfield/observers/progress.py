"""How far a run is: a bar on a terminal and in notebooks, elsewhere a line every ten seconds; and a
warning of very long runs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

from ..backends.cpu.elementwise import threads
from ..diagnostics.defects import Finding
from ..particles import Particles
from ..processes.ranks import current
from ..state import State
from ..stepping.march import March

SECONDS = 10.0  # between two lines
MANY = 10**7  # steps of a very long run
LONG = 3600.0  # seconds of one that nobody watches
# steps; of fewer the time is not measured before the first, which would cost as much as some of
# them
WORTH = 1000
SETTLED = 100  # steps after which Adaptive has found its dt
LAYOUT = "{desc}{percentage:3.0f}%|{bar}| t = {n:.4g} of {total:.4g} [{elapsed}<{remaining}]"


class Progress:
    """Looks at a march after each accepted step. warn(kind, message) is called once for each kind.
    values: whether to say the risk or energy, which wants all processes of a run.
    """

    def __init__(
        self,
        march: March,
        shown: bool,
        warn: Callable[[str, str], None],
        values: bool = True,
    ) -> None:
        self.march, self.shown, self.warn, self.values = march, shown, warn, values
        self.first, self.begun = march.step, time.monotonic()
        self.last = self.before = self.begun
        self.dt = march.dt
        self.counted, self.compiled = march.step, _compiled(march)
        self.bar: Any = None

    @contextmanager
    def watching(self) -> Iterator[Progress]:
        """The bar, where there is somebody to look at one; a run that will be very long is warned
        of before its first step.
        """
        with _bar(self.march.t_end - self.march.start.t, self.shown) as self.bar:
            counted = not self.march.method.controls_error
            if counted and steps_left(self.march) >= WORTH:
                self._foretell(_seconds_a_step(self.march))
            self.begun = self.last = time.monotonic()
            yield self

    def step(self) -> None:
        """One accepted step was made."""
        march, now = self.march, time.monotonic()
        self.bar.update(march.t - march.start.t - self.bar.n)
        # kernels may have been compiled meanwhile: time is measured from here on
        most, compiled = 2 * (now - self.before) > now - self.begun, _compiled(march)
        another = compiled is not self.compiled
        self.before, self.compiled = now, compiled
        if march.step - self.first == 1 or (another and most):
            self.begun, self.counted = now, march.step
            return
        if march.dt != self.dt and (
            march.step - self.first >= SETTLED or not march.method.controls_error
        ):
            self.dt = march.dt
            self._foretell(self._seconds(now))
        if now - self.last >= SECONDS:
            self.last = now
            self._tick(now)

    def _seconds(self, now: float) -> float:
        """Of a step: the mean of those since nothing was compiled."""
        return (now - self.begun) / (self.march.step - self.counted)

    def _tick(self, now: float) -> None:
        """What is said now and then where there is no bar."""
        march, seconds = self.march, self._seconds(now)
        self._foretell(seconds)
        if self.bar.disable and self.shown:
            left = steps_left(march) * seconds
            value = _value(march) if self.values else ""
            share = (march.t - march.start.t) / (march.t_end - march.start.t)
            say(
                f"t = {march.t:.4g} of {march.t_end:.4g} ({share:.0%}){value}, about "
                f"{duration(left)} left"
            )

    def _foretell(self, seconds: float) -> None:
        """Warn of very many steps, and of long ones that nobody watches. seconds: of one step."""
        left = steps_left(self.march)
        if left > MANY or (self.bar.disable and left * seconds > LONG):
            steps = f"{left:.2g} steps of dt = {self.march.dt:.2g} to t = {self.march.t_end:g}"
            self.warn(
                "long",
                f"this run takes {steps}, about {duration(left * seconds)}. {_advice(self.march)}",
            )


def _compiled(march: March) -> Any:
    return getattr(march, "compiled", None)  # of what only resembles a march nothing is


def steps_left(march: March) -> float:
    """To the end, with the dt of now."""
    return march.clock.steps_left(march.particles)


def duration(seconds: float) -> str:
    """In the unit that fits."""
    for unit, size, most in (
        ("s", 1.0, 120),
        ("min", 60.0, 120),
        ("hours", 3600.0, 72),
        ("days", 86400.0, 800),
    ):
        if seconds < most * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 31557600:.3g} years"


def unscaled(flow: Any) -> str:
    """What is to be said of training inputs far from the size 1, or ""."""
    x = flow.functional.arrays.get("x") if flow.network is not None else None
    if x is None:
        return ""
    largest = np.abs(x).max(axis=0)
    sizes = largest * np.sqrt(np.mean((x / np.where(largest > 0, largest, 1.0)) ** 2, axis=0))
    if not sizes.max() > 10:
        return ""
    columns = f"{sizes.min():.3g} … {sizes.max():.3g}" if len(sizes) > 1 else f"{sizes[0]:.3g}"
    return (
        f"The inputs are not scaled (root mean squares of the columns of x: {columns}): "
        "use mf.data.load(…, standardise=True) or "
        "mf.data.prepare(data, standardise=True)."
    )


def say(text: str) -> None:
    """A line of the run for its user."""
    print(f"meanfield: {text}", file=sys.stderr)


def say_what_compiles(flow: Any, state: State) -> None:
    """Before a run whose kernels are in no cache."""
    name = flow.network.sigma.name if flow.network else type(flow.functional).__name__
    say(
        f"compiling the kernels for {name}, d = {state.dim}, {flow.dtype}: once, then "
        "they come from the cache on disk"
    )


def say_that_the_loop_compiles(flow: Any) -> None:
    """In a run, before the call that makes many steps is compiled; where there is a bar, above it."""
    from tqdm.auto import tqdm

    tqdm.write(
        f"meanfield: compiling the loop over steps, {flow.dtype}: once, then it comes from the cache on disk",
        file=sys.stderr,
    )


def announce(march: March) -> None:
    """What runs: γ, α, the initial law, the time unit, the device."""
    flow, start = march.flow, march.start
    law = start.origin[0].describe() if start.origin else "initial state given"
    if flow.network:
        say(flow.network.scaling.describe(start.m, march.dt))
    else:
        say(f"{flow.functional}, m = {start.m}, dt = {march.dt:g}")
    flow_time = f"flow time t = {march.t:g} … {march.t_end:g}"
    say(f"{law}; {flow_time}; {flow.backend}, {flow.dtype}")
    if (size := current().size) > 1:
        count = threads()
        rows = f"{'about ' * bool(start.m % size)}{start.m // size} particles"
        each = f"{rows} and {count} thread{'s' * (count > 1)} each"
        found = getattr(march.field.backend, "way", "")
        way = f"; their sums go {found}" * bool(found)
        say(f"{size} processes share the run, {each}{way}; the first one writes")
    if not (temperature := march.field.temperature).zero:
        without = "energy is without the entropy T ∫ log μ dμ, free_energy has it estimated"
        say(f"temperature T = {temperature}, {march.method.name}, seed {flow.seed}; {without}")
    if march.method.inertial and march.step == start.step > 0:
        say(
            f"{march.method.name} starts at rest: the State of step {start.step} holds no velocities. To go on "
            "with those of a recorded run: mf.resume(path, t_end=…)"
        )
    if flow.reaction:
        jumps = f"particles are killed and duplicated, seed {flow.seed}"
        equal = f", made equal below {flow.resample:g} m" if flow.resample else ""
        say(f"reaction ρ = {flow.reaction:g}: {jumps if flow.jumps else f'masses move{equal}'}")
    if more := flow.functional.describe(march.dt):
        say(more)


def say_how_it_ended(march: March, summary: dict[str, Any], finding: Finding | None) -> None:
    """The last measures, and neurons that slide along kinks."""
    risk = "risk" if march.flow.network else "energy"
    shown = (risk, "energy_defect", "balance_defect", "displacement", "path")
    values = ", ".join(f"{name} {summary[name]:.3g}" for name in shown if name in summary)
    times = len(march.halvings)
    halved = f", dt halved {times} times to {march.dt:.3g}" if times else ""
    say(f"t = {march.t:g} after {summary['steps']} steps: {values}{halved}")
    if finding is not None and finding.kind == "sliding":
        share = summary.get("sliding_neurons")
        at_end = "" if share is None else f" At the end {share:.0%} slide."
        say(f"{finding.text}{at_end}")


def _advice(march: March) -> str:
    if found := unscaled(march.flow):
        return found
    if march.method.controls_error:
        return (
            "Its dt is held there by the stability of a stiff flow, or by kinks of σ, "
            "and not by what changes: use a larger "
            'rtol, or mf.RK4 with dt="auto", which counts its steps before the first.'
        )
    if march.halvings:
        return (
            f"dt was halved {len(march.halvings)} times: the flow has become that stiff. "
            "End at an earlier t, or stop it here."
        )
    return "Use a larger dt if the flow allows it, or an earlier end."


def _seconds_a_step(march: March) -> float:
    """The shortest of three velocities, for each stage; the first of them compiles the kernels."""
    seconds = []
    for _ in range(3):
        field = march.field
        # a new array, of which nothing is kept
        particles = Particles.of(march.state(), field.backend)
        begun = time.perf_counter()
        float(field.mean_square(field.velocity(particles), particles))
        seconds.append(time.perf_counter() - begun)
    return min(seconds) * march.method.stages


def _value(march: March) -> str:
    """Risk or energy, where the functional knows one."""
    terms = march.flow.functional.terms
    if "risk" in terms:
        return f", risk {march.field.value(march.particles):.3g}"
    return f", energy {march.energy:.3g}" if "energy" in terms else ""


@contextmanager
def _bar(total: float, shown: bool) -> Iterator[Any]:
    if shown or "tqdm.auto" in sys.modules:
        from tqdm.auto import tqdm
    else:  # that loads asyncio, which takes a twentieth of a process that makes one short run
        from tqdm import tqdm

    with (tqdm if shown else _unseen(tqdm))(
        total=total,
        disable=None if shown else True,
        bar_format=LAYOUT,
        leave=False,
        file=sys.stderr,
    ) as bar:
        yield bar


@cache
def _unseen(kind: Any) -> Any:
    """tqdm would start a thread even for a bar that nobody sees."""
    return type("Unseen", (kind,), {"monitor_interval": 0})
