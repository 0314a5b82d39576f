"""What goes wrong in a run: said once, or, with mf.StopOnNonFinite, a reason to stop."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ..diagnostics import defects
from ..diagnostics.frame import Problem
from ..particles import Particles
from ..stepping import clocks
from ..stepping.clocks import Diverged
from ..stepping.march import March
from ..stepping.stretches import Ahead
from .moment import Moment
from .progress import unscaled
from .protocol import Observer
from .saturation import saturation


class StopOnNonFinite(Observer):
    """Stops at the first step after which θ or its speed is not finite: what was recorded is
    published with status "diverged", and mf.Diverged names step, time, particle and the last good
    frame. Without it such a run goes on and warns.
    """

    name = "stop_on_nonfinite"
    own, rank = True, 0

    def __init__(self) -> None:
        self.schedule = None

    def begin(self, march: March, problem: Problem, path: Path | None) -> None:
        march.watches_size = True

    def due(self, march: March) -> bool:
        return not march.sound

    def ahead(self, march: March) -> Ahead:
        return Ahead()  # steps made together end where one is not sound

    def observe(self, moment: Moment) -> None:
        raise Diverged(what_diverged(moment.march))


class Health:
    """Warns of a run, once for each kind of trouble. stops: whether it stops where θ becomes NaN or
    infinite; quiet: whether another process says it.
    """

    def __init__(self, march: March, stops: bool, quiet: bool = False) -> None:
        self.march, self.stops, self.quiet = march, stops, quiet
        self._warned: set[str] = set()

    def at_start(self) -> None:
        if said := saturation(self.march.flow, self.march.start):
            self.warn("saturated", said)

    def look(self) -> None:
        """After each accepted step."""
        march = self.march
        if not self.stops and not march.sound:
            self.warn(
                "diverged",
                f"the run diverged: {what_diverged(march)} Add mf.StopOnNonFinite() to stop there.",
            )
        elif march.still and "still" not in self._warned:
            self._look_at_rest()

    def _look_at_rest(self) -> None:
        march, flow = self.march, self.march.flow
        if (
            flow.network is None
            or not flow.network.trainable
            or "risk" not in flow.functional.terms
            or not flow.functional.deterministic  # the next samples may move it
        ):
            return
        if (risk := march.field.value(march.particles)) > 0:
            advice = unscaled(flow) or "Try a smaller dt, another seed, or biases (b_std > 0)."
            self.warn(
                "still",
                f"no particle moves any more (step {march.step}, t = {march.t:g}, risk "
                f"{risk:.3g}): all units are dead, or "
                f"this is a critical point. {advice}",
            )

    def at_end(self) -> defects.Finding | None:
        """Whether the run was the flow: F may have risen, beyond the rounding of one that has
        nowhere to fall, or have lost another energy than was dissipated.
        """
        march = self.march
        if not march.balances:
            return None
        first, last = march.total_start, march.total
        size = abs(first) + abs(last)
        finding = defects.at_end(march)
        if last - first > 1e-3 * size and march.dissipated > 1e-12 * size:
            rose = f"F rose from {first:.3g} to {last:.3g}, so the steps were too long."
            self.warn("rose", f"{rose} {shorter(march)}")
        elif finding is not None and finding.kind != "sliding":
            self.warn("defect", finding.text)
        return finding

    def warn(self, kind: str, message: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            if self.quiet:
                return
            warnings.warn(message, RuntimeWarning, stacklevel=callers())


def what_diverged(march: March) -> str:
    """Which particle is not finite, in which component, when, and what to do."""
    theta, start = march.field.backend.download(march.particles.theta), march.start
    wrong = ~np.isfinite(theta)
    bad = np.flatnonzero(wrong.any(axis=1))
    which = "the velocity"
    if bad.size:
        column = int(wrong[bad[0]].argmax())
        name = start.labels[column]
        which = f"{name} of particle {bad[0]} (of {bad.size} in {start.m})"
    said = f"{which} is not finite at step {march.step}, t = {march.t:g}. {shorter(march)}"
    return f"{said} {longest}" if (longest := _stable(march)) else said


def shorter(march: March) -> str:
    """What to do about steps that are too long."""
    if march.method.noisy or march.method.inertial or not march.flow.functional.deterministic:
        return "Use a smaller dt."  # dt="auto" is not for them
    asked: Any = "auto" if march.clock.kind == "halving" else march.dt
    return defects.shorter_steps(march.method.name, asked, march.flow.network is not None)


def _stable(march: March) -> str:
    """The dt="auto" of the start where the run's was longer; "" where it is not known."""
    try:
        start = Particles.of(march.start, march.field.backend)
        dt = clocks.auto_step(march.field, start, march.method)
    except ValueError:  # a flow or a method without dt="auto"
        return ""
    return f"At the start dt = {dt:.2g} is stable." if dt < march.dt else ""


def callers() -> int:
    """The stacklevel of warnings.warn, for its caller's caller, that names the first line outside
    this package.
    """
    level, frame = 1, sys._getframe(2)
    package = f"{Path(__file__).parents[1]}{os.sep}"
    own = (package, contextlib.__file__)  # a wrapper in sims counts as a user's line
    while frame.f_back is not None and frame.f_code.co_filename.startswith(own):
        level, frame = level + 1, frame.f_back
    return level + 1
