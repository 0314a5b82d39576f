"""Diagnosis: what mf.diagnose found, by name, with units; and what else could be asked of the run."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..files import tables
from ..files.labelled import frames_to_xarray
from . import registry
from .registry import RECORDED, Diagnostic


class Curve(NamedTuple):
    """One scalar at each frame (from the second on for what is measured between frames): step, flow time, value."""

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
    """A mapping name -> Curve (steps, times, values) or Bounds (steps, times, lower, upper, lower_method, upper_method).

    units, meanings: by name. parameters: what each was computed with. recorded: names whose values are the run's own series.
    available: names that could be computed of this run, too; unavailable: name -> why not. device: says it where another was used
    than during the run, "" else. to_xarray() for labelled arrays; print(diagnosis) shows first and last values, or, where nothing
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
        """An xarray.Dataset over the frames: coordinates step and t, attributes units and meaning; Bounds as _lower, _upper."""
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
        lines = ["nothing computed yet; ask by name for what there is, unit in brackets"]
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
