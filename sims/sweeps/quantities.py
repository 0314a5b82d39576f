"""What the columns of an index are, with units and meanings; and diagnostics of each run's last
frame as further columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import meanfield as mf
import ntk  # noqa: F401  for its diagnostics
from meanfield.diagnostics import registry

from ..lab.experiment import meanings

TEXT = "text"  # the unit of what is no number
OWN = {
    "digest": (TEXT, "name of the run: the digest of its settings"),
    "status": (TEXT, "finished, diverged, failed or unfinished"),
    "message": (TEXT, "why a run diverged or failed"),
    "content_hash": (TEXT, "of all numbers in the run's file, and of its settings"),
    "steps": ("steps", "time steps made"),
    "t": ("t", "flow time reached"),
    "last_dt": ("t", "last time step"),
    "sliding": (
        "1",
        "1 where a large energy_defect is that of neurons sliding along kinks, and no "
        "fault of the steps",
    ),
    "train_risk": ("R", "R(f_t) on the training samples, at the last frame"),
    "test_risk": ("R", "R(f_t) on the test samples, at the last frame"),
    "train_error": ("1", "share of training samples with a wrong class or sign, at the last frame"),
    "test_error": ("1", "share of test samples with a wrong class or sign, at the last frame"),
    "seconds": ("s", "wall time of the worker that finished the run"),
    "host": (TEXT, "machine on which the run was finished"),
    "attempts": ("1", "workers that were at work on the run, one after the other"),
}
# what is measured along with a diagnostic, for it is the other half of the answer
WITH = {"laziness": ("kernel_drift",)}
UNITS = {"t_end": "t", "dt": "t", "m": "neurons"}  # of settings; of the others 1


def about(name: str) -> dict[str, str]:
    """The attributes of a variable of `open_sweep`: units ("θ", "R", "t", …; "1" for numbers
    without one), long_name.
    """
    if name in OWN:
        units, meaning = OWN[name]
    elif (text := meanings().get(name)) is not None:
        units, meaning = UNITS.get(name, "1"), text
    else:
        side = next((side for side in ("lower", "upper") if name.endswith(f"_{side}")), "")
        base = name.removesuffix(f"_{side}") if side else name
        if base not in registry.names():
            return {"units": "1", "long_name": name.replace("_", " ")}
        diagnostic = registry.get(base)
        units, meaning = (
            diagnostic.unit,
            f"{side} bound of: {diagnostic.meaning}" if side else diagnostic.meaning,
        )
        meaning = f"{meaning} At the last frame."
    return {"units": units, "long_name": meaning}


def known(names: Iterable[str]) -> tuple[str, ...]:
    """The names of diagnostics, each once, those of ntk included, laziness with kernel_drift.

    Raises ValueError for an unknown one, with the nearest.
    """
    if isinstance(names, str):
        raise TypeError(f"the names of diagnostics are a list: write [{names!r}].")
    every = [item for name in names for item in (name, *WITH.get(name, ()))]
    return tuple(registry.get(name).name for name in dict.fromkeys(every))


def columns(name: str) -> list[str]:
    """The columns of a diagnostic."""
    return [f"{name}_lower", f"{name}_upper"] if registry.get(name).interval else [name]


def diagnosed(
    path: Path, names: Iterable[str], workers: int | None = None
) -> tuple[dict[str, float], dict[str, str]]:
    """(columns, reasons): diagnostics of a run at its last frame, NaN where it does not allow one,
    with why.

    An interval has two columns, name_lower and name_upper. Values of all frames are kept beside the
    run, by mf.diagnose, whose `workers` these are.
    """
    names = list(names)
    reasons = (
        {name: why for name, why in mf.diagnose(path).unavailable.items() if name in names}
        if names
        else {}
    )
    free, found = [name for name in names if name not in reasons], {}
    if free:
        try:
            found = dict(mf.diagnose(path, free, workers=workers, progress=False))
        except ValueError as error:  # of one run; the others go on
            reasons |= dict.fromkeys(free, " ".join(str(error).split()))
    row = {column: math.nan for name in names for column in columns(name)}
    for name, curve in found.items():
        ends = (curve.lower, curve.upper) if registry.get(name).interval else (curve.values,)
        row |= {
            column: float(end[-1])
            for column, end in zip(columns(name), ends, strict=True)
            if len(end)
        }
    return row, reasons
