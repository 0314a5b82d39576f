"""mf.diagnose: the diagnostics of a stored run, and the mapping in which it hands them out."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor
from typing import Any, NamedTuple

import numpy as np

from .. import checks
from ..checks import hint, is_integer
from ..files import tables
from ..files.labelled import frames_to_xarray
from ..files.trajectory import Trajectory
from ..flow import GradientFlow
from . import needs, registry
from .jobs import Values, frame_values, opened_run
from .registry import RECORDED, Diagnostic
from .stored import Stored, folder_of, names_kept


class Curve(NamedTuple):
    """One scalar at each frame (from the second on for what is measured between frames): step, flow
    time, value.
    """

    steps: np.ndarray
    times: np.ndarray
    values: np.ndarray


class Bounds(NamedTuple):
    """lower <= value <= upper at each frame, and the method that gave each bound."""

    steps: np.ndarray
    times: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    lower_method: tuple[str, ...]
    upper_method: tuple[str, ...]


class Diagnosis(Mapping[str, Any]):
    """A mapping name -> Curve (steps, times, values) or Bounds (steps, times, lower, upper,
    lower_method, upper_method).

    units, meanings: by name. parameters: what each was computed with. recorded: names whose values
    are the run's own series. available: names that could be computed of this run, too; unavailable:
    name -> why not. device: says it where another was used than during the run, "" else.
    to_xarray() for labelled arrays; print(diagnosis) shows first and last values, or, where nothing
    was asked for, what each name means.
    """

    def __init__(
        self, path: Any, found: dict[str, tuple[Diagnostic, dict[str, Any], Curve | Bounds]], steps: np.ndarray,
        times: np.ndarray, available: tuple[str, ...], unavailable: dict[str, str], device: str = "",
    ) -> None:  # fmt: skip
        self.path, self.steps, self.times = path, steps, times
        self.available, self.unavailable, self.device = available, unavailable, device
        self._curves = {name: curve for name, (_, _, curve) in found.items()}
        self.units = {name: diagnostic.unit for name, (diagnostic, _, _) in found.items()}
        self.meanings = {name: diagnostic.meaning for name, (diagnostic, _, _) in found.items()}
        self.parameters = {name: parameters for name, (_, parameters, _) in found.items()}
        series = {
            name
            for name, (item, _, _) in found.items()
            if item.of and all(part.startswith(RECORDED) for part in item.of)
        }
        self.recorded = tuple(name for name in found if name in series)

    def __getitem__(self, name: str) -> Any:
        if name not in self._curves:
            why = self.unavailable.get(name)
            more = (
                f" It is not available here: {why}."
                if why
                else f" Ask for it: mf.diagnose(run, [{name!r}])."
            )
            raise KeyError(
                f"{name!r} was not computed; there is: {', '.join(self) or 'nothing'}.{more}"
            )
        return self._curves[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._curves)

    def __len__(self) -> int:
        return len(self._curves)

    def to_xarray(self) -> Any:
        """An xarray.Dataset over the frames: coordinates step and t, attributes units and meaning;
        Bounds as _lower, _upper.
        """
        curves = {}
        for name, curve in self.items():
            about = {"units": self.units[name], "long_name": self.meanings[name]}
            if isinstance(curve, Curve):
                curves[name] = curve.steps, curve.values, about
            else:
                curves |= {
                    f"{name}_{side}": (curve.steps, getattr(curve, side), about)
                    for side in ("lower", "upper")
                }
        return frames_to_xarray(curves, self.steps, self.times, str(self.path))

    def __repr__(self) -> str:
        span = f", t = {self.times[0]:g} … {self.times[-1]:g}" if len(self.times) else ""
        head = (
            f"Diagnosis of {self.path}: {len(self.times)} frames{span}"
            + f" ({self.device})" * bool(self.device)
        )
        return "\n".join([head, *(self._values() if self._curves else self._listing())])

    def _repr_html_(self) -> str:
        """The same for a notebook: a table of values, or the list of what could be asked for."""
        caption = str(self).splitlines()[0]
        if self._curves:
            values = [
                (name, *_ends(curve), self.units[name], self.meanings[name])
                for name, curve in self.items()
            ]
            return tables.html_table(
                values, ("diagnostic", "first", "last", "unit", "meaning"), caption
            )
        known = [registry.get(name) for name in self.available]
        rows = [(item.name, item.unit, item.meaning) for item in known]
        rows += [(name, "-", f"not available: {why}") for name, why in self.unavailable.items()]
        return tables.html_table(rows, ("diagnostic", "unit", "meaning"), caption)

    def _values(self) -> list[str]:
        """First and last values, where they come from, and what else there is."""
        rows = [(name, *_ends(curve), self.units[name]) for name, curve in self.items()]
        table = tables.text_table([("diagnostic", "first", "last", "unit"), *rows])
        more = (
            [("note", f"{', '.join(self.recorded)}: the run's own series, which count every step")]
            if self.recorded
            else []
        )
        more += [("also", ", ".join(self.available))] if self.available else []
        more += [("not", f"{', '.join(names)}: {why}") for why, names in self._reasons().items()]
        return [
            table,
            *(
                textwrap.fill(text, 118, initial_indent=f"{kind:5}", subsequent_indent=" " * 5)
                for kind, text in more
            ),
        ]

    def _listing(self) -> list[str]:
        """What the run allows, with unit and meaning, and what it does not, and why."""
        width = max(map(len, self.available), default=0)
        known = [registry.get(name) for name in self.available]
        kept = sorted(set(names_kept(self.path)) & {*self.available, *self.unavailable})
        lines = [
            f"{'nothing asked for' if kept else 'nothing computed yet'}; ask by name for what there "
            "is, unit in brackets"
        ]
        if kept:
            folder = folder_of(self.path).name
            text = f"values of the same frames kept in {folder}/ are not computed again: {', '.join(kept)}"
            lines += textwrap.wrap(text, 120, subsequent_indent="  ")
        lines += _columns({item.name: f"[{item.unit}] {item.meaning}" for item in known}, width)
        if self.unavailable:
            lines += ["", "not available for this run"]
        for why, names in self._reasons().items():
            lines += textwrap.wrap(
                ", ".join(names), 116, initial_indent="  ", subsequent_indent="  "
            )
            lines += textwrap.wrap(why, 112, initial_indent="      ", subsequent_indent="      ")
        return lines

    def _reasons(self) -> dict[str, list[str]]:
        """Why diagnostics are not available, each with their names."""
        reasons: dict[str, list[str]] = {}
        for name, why in self.unavailable.items():
            reasons.setdefault(why, []).append(name)
        return reasons


def _columns(rows: Mapping[str, str], width: int) -> list[str]:
    """Names, and beside them what is said of each, wrapped."""
    space = " " * (width + 4)
    return [
        line
        for name, text in rows.items()
        for line in textwrap.wrap(
            text, 120, initial_indent=f"  {name.ljust(width)}  ", subsequent_indent=space
        )
    ]


def _ends(curve: Curve | Bounds) -> tuple[str, str]:
    if not len(curve.steps):
        return "-", "-"
    if isinstance(curve, Curve):
        return f"{curve.values[0]:.5g}", f"{curve.values[-1]:.5g}"
    first, last = (_bounds(curve.lower[i], curve.upper[i]) for i in (0, -1))
    return first, last


def _bounds(lower: float, upper: float) -> str:
    return (
        f"{lower:.4g} … {upper:.4g}" if abs(upper - lower) > 1e-6 * abs(upper) else f"{upper:.5g}"
    )


def diagnose(
    run: Any,
    names: Iterable[str] | None = None,
    *,
    flow: GradientFlow | None = None,
    companion: Any = None,
    workers: int | None = None,
    progress: bool = True,
    executor: Executor | None = None,
    **parameters: Any,
) -> Diagnosis:
    """Diagnostics of a stored run, finished or not: mf.diagnose("run.h5", ["kernel_drift", "w2"]).

    Parameters
    ----------
    run : path or Trajectory; it is never touched.
    names : of diagnostics. None computes nothing and lists them, with meanings.
    flow : for user-written formulas, which no file can hold.
    companion : another run, for diagnostics that compare two.
    workers : processes, as many as there are CPUs by default; they start only where the first
        frames show that it pays, and the bits do not depend on them.
    progress : a bar when stderr is a terminal.
    executor : in place of workers, what computes the frames, one a task: client.get_executor() of
        dask, or another concurrent.futures.Executor. Its processes see the run under the same name,
        and have these versions. The same bits.
    parameters : of the diagnostics, such as samples=512 for the kernel or seconds=10 for w2.

    Returns
    -------
    A mapping by name: d["kernel_drift"] is (steps, times, values). d.units; d.to_xarray(); print(d)
    lists values, what else could be computed, and what could not and why.

    Raises
    ------
    ValueError : for unknown names (with the nearest), unknown parameters, and diagnostics that this
        run does not allow.

    Notes
    -----
    Values are kept in run.h5.diagnostics/ next to the run, keyed by all they depend on (name,
    version, parameters, settings, data, start, frame): an extended run keeps its old values, a
    replaced one none. A folder that cannot be written is said, once, in a warning. Sums over every
    step, path and energy_defect, are those the run recorded, and d.recorded names them; from the
    frames alone they can only be bracketed: path_frames, energy_defect_frames.
    """
    if isinstance(names, str):
        raise TypeError(f"names is a list: write [{names!r}].")
    if workers is not None and (not is_integer(workers) or workers < 1):
        raise ValueError(f"workers must be an integer >= 1; got {workers!r}.")
    if executor is not None:
        checks.executor(executor)
        if workers is not None:
            raise ValueError("workers= counts processes of this machine; give it or executor=.")
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
        values = frame_values(stored, needed, settings, workers, progress, executor)
        found = {
            name: (registry.get(name), settings[name], _curve(name, stored, values))
            for name in asked
        }
    finally:
        for trajectory in opened:
            trajectory.close()
    made_on = (stored.run.config.get("flow") or {}).get("backend")
    computed_on = getattr(stored.problem.flow, "backend", None)
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
                f"diagnostic {name!r} must return one value for each of the "
                f"{len(curve.steps)} moments of {diagnostic.of[0]!r}; "
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
