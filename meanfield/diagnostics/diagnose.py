"""diagnose: the diagnostics of a stored run, from the cache beside it or computed, in parallel over frames where that pays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..checks import hint, is_integer
from ..files.trajectory import Trajectory
from ..flow import GradientFlow
from . import needs, registry
from .diagnosis import Bounds, Curve, Diagnosis
from .jobs import Values, frame_values, opened_run
from .registry import RECORDED
from .stored import Stored


def diagnose(
    run: Any,
    names: Iterable[str] | None = None,
    *,
    flow: GradientFlow | None = None,
    companion: Any = None,
    workers: int | None = None,
    progress: bool = True,
    **parameters: Any,
) -> Diagnosis:
    """Diagnostics of a stored run, finished or not: mf.diagnose("run.h5", ["kernel_drift", "w2"]) -> a mapping by name.

    d["kernel_drift"] -> (steps, times, values); d.units; d.to_xarray(); print(d) lists values, what else could be computed
    and what could not and why. names=None computes nothing and lists, with meanings. The run is never touched; values are kept
    in run.h5.diagnostics/ beside it, keyed by all they depend on (name, version, parameters, settings, data, start, frame): an
    extended run keeps its old values, a replaced one none. A folder that cannot be written is said, once, in a warning.
    Sums over every step, path and energy_defect, are those the run recorded, and d.recorded names them; from the frames alone
    they can only be bracketed: path_frames, energy_defect_frames.

    flow: for user-written formulas, which no file can hold. companion: another run, for diagnostics that compare two.
    workers: processes, as many as there are CPUs by default; they start only where the first frames show that it pays, and the
    bits do not depend on them. parameters: of the diagnostics, such as samples=512 for the kernel or seconds=10 for w2.
    progress: a bar when stderr is a terminal.

    Raises ValueError for unknown names (with the nearest), unknown parameters, and diagnostics that this run does not allow.
    """
    if isinstance(names, str):
        raise TypeError(f"names is a list: write [{names!r}].")
    if workers is not None and (not is_integer(workers) or workers < 1):
        raise ValueError(f"workers must be an integer >= 1; got {workers!r}.")
    asked = list(dict.fromkeys(names or ()))
    settings = _settings(asked, parameters)
    opened: list[Trajectory] = []
    try:
        stored = opened_run(run, companion, flow, opened)
        recorded = stored.recorded
        why = {name: _reason(name, stored, recorded) for name in registry.names()}
        for name in asked:
            if why[name]:
                raise ValueError(f"{name!r} cannot be computed for {stored.run.path}: {why[name]}.")
        needed = [name for name in _closure(asked) if registry.get(name).kind != "curve"]
        values = frame_values(stored, needed, settings, workers, progress)
        found = {
            name: (registry.get(name), settings[name], _curve(name, stored, values))
            for name in asked
        }
    finally:
        for trajectory in opened:
            trajectory.close()
    made_on, computed_on = (
        (stored.run.config.get("flow") or {}).get("backend"),
        getattr(stored.problem.flow, "backend", None),
    )
    device = (
        f"computed on {computed_on}, the run was made on {made_on}"
        if computed_on not in (None, made_on)
        else ""
    )
    free = tuple(name for name, reason in why.items() if not reason and name not in asked)
    return Diagnosis(
        stored.run.path,
        found,
        stored.steps,
        stored.times,
        free,
        {name: reason for name, reason in why.items() if reason},
        device,
    )


def _settings(asked: list[str], parameters: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The parameters of each diagnostic needed, defaults included."""
    diagnostics = [registry.get(name) for name in _closure(asked)]
    known = {key for diagnostic in diagnostics for key in diagnostic.parameters}
    for key in parameters:
        if key not in known:
            raise TypeError(
                f"none of the diagnostics asked for has a parameter {key!r}.{hint(key, known)} "
                f"They have: {', '.join(sorted(known)) or 'none'}."
            )
    return {
        item.name: {key: parameters.get(key, default) for key, default in item.parameters.items()}
        for item in diagnostics
    }


def _closure(names: Iterable[str]) -> list[str]:
    """These names and those they are made of."""
    found: dict[str, None] = {}

    def add(name: str) -> None:
        for part in registry.get(name).of:
            if not part.startswith(RECORDED):
                add(part)
        found.setdefault(name)

    for name in names:
        add(name)
    return list(found)


def _reason(name: str, stored: Stored, recorded: tuple[str, ...]) -> str:
    """Why a diagnostic, or one that it is made of, cannot be computed, or ""."""
    for part in _closure([name]):
        diagnostic = registry.get(part)
        if found := needs.reason(diagnostic, stored.problem, recorded):
            return found
        if diagnostic.kind == "step" and len(stored) < 2:
            return (
                f"it compares consecutive frames, and there is {'one' if len(stored) else 'none'}"
            )
        if not len(stored):
            return "the run has no frame yet"
    return ""


def _curve(name: str, stored: Stored, values: Values) -> Curve | Bounds:
    """The result under one name."""
    if name.startswith(RECORDED):
        return Curve(stored.steps, stored.times, stored.at_frames(name.removeprefix(RECORDED)))  # type: ignore[arg-type]
    diagnostic = registry.get(name)
    if diagnostic.kind == "curve":
        parts = [_curve(part, stored, values) for part in diagnostic.of]
        made, clock = diagnostic.function(*parts), parts[0][:2]
        if diagnostic.interval:
            return Bounds(*clock, *made)
        curve = Curve(*clock, np.asarray(made, dtype=np.float64))
        if curve.values.shape != curve.steps.shape:
            raise ValueError(
                f"diagnostic {name!r} must return one value for each of the {len(curve.steps)} moments of {diagnostic.of[0]!r}; "
                f"got shape {curve.values.shape}."
            )
        return curve
    numbers = sorted(values[name])
    clock = stored.steps[numbers], stored.times[numbers]
    rows = [values[name][number] for number in numbers]
    if not diagnostic.interval:
        return Curve(*clock, np.array(rows, dtype=np.float64))
    lower, upper, lower_method, upper_method = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Bounds(
        *clock, np.array(lower), np.array(upper), tuple(lower_method), tuple(upper_method)
    )
