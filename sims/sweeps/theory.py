"""Theory's exponent of the width for a quantity of a sweep, where the settings of a line are those
it holds for.
"""

from __future__ import annotations

import functools
import json
import operator
from typing import Any

from ..lab import exponents

SAME = {  # columns of an index that go as a quantity of sims.lab.exponents
    "displacement": "displacement", "w2_lower": "w2", "w2_upper": "w2",
    "kernel_drift": "kernel_drift", "departure": "kernel_drift", "laziness": "kernel_drift",
}  # fmt: skip


def slope(line: Any, name: str, x: str) -> float | None:
    """Theory's exponent of m for this quantity on one line of a figure, at a fixed flow time; None
    where none is known.

    line: the xarray.DataArray over x and the seeds, other axes as scalar coordinates.
    sims.lab.exponents derives the exponents for γ <= 1, without a ridge and at γ' = 0; that of the
    kernel, and of what it drives, for symmetric starts of neurons with a ≠ 0 that train w.
    """
    quantity = SAME.get(name)
    if quantity is None or x != "m":
        return None
    gamma, prime, ridge = (_setting(line, key) for key in ("gamma", "gamma_prime", "ridge"))
    symmetric, a, trainable = (
        _setting(line, key) for key in ("law.symmetric", "law.a", "trainable")
    )
    fixed = all(_setting(line, key) is not None for key in ("alpha", "t_end", "activation"))
    if not fixed or gamma is None or prime != 0 or ridge != 0 or not trainable:
        return None
    if not symmetric and gamma < 0.5:  # f_0 grows with m
        return None
    if quantity == "kernel_drift" and not (symmetric and a != "zero" and "w" in trainable):
        return None
    return exponents.theory(quantity, float(gamma), str(_setting(line, "activation")))


def _setting(line: Any, name: str) -> Any:
    """The value of a setting all along the line; None where it changes along it."""
    if name not in line.coords:
        return functools.reduce(operator.getitem, name.split("."), line.attrs["base"])
    if line.coords[name].ndim:
        return None
    value = line.coords[name].item()
    try:  # as a coordinate lists and truth values are text
        return json.loads(value) if isinstance(value, str) else value
    except json.JSONDecodeError:
        return value
