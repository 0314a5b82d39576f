"""Moment: a run at one accepted step, and the measures that every run records of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ..diagnostics import needs, registry
from ..diagnostics.defects import energy_defect
from ..diagnostics.frame import Frame, Problem, evaluate
from ..flow import GradientFlow
from ..processes.ranks import current
from ..state import State
from ..stepping.march import March


class Moment:
    """The run at one accepted step: its clock, and the Frame that diagnostics see (its State is
    built when first asked for).
    """

    def __init__(self, march: March, problem: Problem, recording: Any = None) -> None:
        self.march, self.recording = march, recording
        self.step, self.t, self.dt = march.step, march.t, march.dt
        self._asked = False
        self.frame = Frame(problem, march.snapshot(), march, march.dt)

    @property
    def flow(self) -> GradientFlow:
        return self.march.flow

    @property
    def state(self) -> State:
        """For observers of a user's: several processes make it together, and one that asks alone is
        told. Where all are known to ask it is frame.state.
        """
        if not self._asked and current().size > 1:
            current().expect_all(f"moment.state at step {self.step}")
        self._asked = True
        return self.frame.state

    def measure(self, name: str) -> float:
        """One of MEASURES, or another diagnostic of one frame, at this moment."""
        if name in self.march.values:
            return self.march.values[name]
        if name in ALONG:
            return float(ALONG[name](self.march))
        diagnostic = registry.get(name)
        return float(evaluate(diagnostic, self.frame, **diagnostic.parameters))


def _energy_defect_motion(march: March) -> float:
    moved = march.moved
    return math.nan if moved is None else energy_defect(march, moved)


# What every run can carry, by name: diagnostics of one frame (diagnostics/library/measures.py), and
# three sums along the way.
MEASURES = (
    "energy", "risk", "regulariser", "speed2", "path", "displacement", "theta_max", "nonfinite", "energy_defect",
    "energy_defect_motion", "balance_defect", "kinetic_energy", "effective_sample_size",
)  # fmt: skip
ALONG: dict[str, Callable[[March], float]] = {
    "path": lambda march: march.path, "energy_defect": lambda march: energy_defect(march, march.dissipated),
    "energy_defect_motion": _energy_defect_motion,
    "kinetic_energy": lambda march: march.kinetic,
}  # fmt: skip


# of a moment that compiled steps have passed over: what they give, and what θ alone is asked for
SEEN_LATER = frozenset(MEASURES) - {"kinetic_energy", "effective_sample_size"}


def measures(march: March, problem: Problem) -> list[str]:
    """The MEASURES that make sense for this run."""
    return [name for name in MEASURES if not unrecordable(name, march, problem)]


def unrecordable(name: str, march: March, problem: Problem) -> str:
    """Why this measure or diagnostic of one moment cannot be recorded in this run, or ""."""
    if name not in ALONG:
        return needs.reason(recordable(name), problem)
    if name == "kinetic_energy":
        return "" if march.method.inertial else f"{march.method.name!r} has no momentum"
    for need in registry.get(name).needs:
        if not need.startswith("recorded ") and (found := needs.missing(need, problem)):
            return found
    if name == "energy_defect_motion" and march.motion is None:
        return "no kink here along which neurons could slide. Record energy_defect"
    return ""


def recordable(name: str) -> registry.Diagnostic:
    """The diagnostic of that name; ValueError where it is none, or not one number of one moment of
    one run.
    """
    if name not in (known := registry.names()):
        names = [item for item in known if item in ALONG or _of_one_moment(registry.get(item))]
        more = f"Known: {', '.join(names)}; or pass function(flow, state)."
        raise ValueError(f"no built-in series {name!r}.{registry.missing(name)} {more}")
    diagnostic = registry.get(name)
    if not _of_one_moment(diagnostic):
        beside = " beside the run: mf.W2(…);" * (name == "w2")
        raise ValueError(
            f"{name!r} is not one number of one moment, so it cannot be recorded;{beside} after "
            f"the run: mf.diagnose(path, [{name!r}])."
        )
    return diagnostic


def _of_one_moment(item: registry.Diagnostic) -> bool:
    return item.kind == "frame" and not item.interval and "companion" not in item.needs


def series_of_clock(name: str, names: Sequence[str]) -> str:
    """The one of `names` whose times or steps are called `name` in an xarray.Dataset; "" where
    there is none.
    """
    for suffix in ("_t", "_step"):
        other = name.removesuffix(suffix)
        if other != name and other in names:
            return other
    return ""
