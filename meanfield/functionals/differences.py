"""Whether a user's gradient is that of the user's function: central differences at a point, in plain Python."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

STEP = 1e-5  # of the larger of 1 and |x_j|: the truncation h² f'''/6 and the rounding ε f/h are then both near 1e-11


def check_symmetry(U: Callable[..., float], x: np.ndarray, y: np.ndarray) -> None:
    """Raise where U(x, y) is not U(y, x), to 1e-9."""
    there, back = _value(U, x, y), _value(U, y, x)
    if not math.isclose(there, back, rel_tol=1e-9, abs_tol=1e-12) and math.isfinite(there):
        raise ValueError(
            f"the interaction {U.__name__} is not symmetric: {there:g} at x = {_text(x)}, y = {_text(y)}, and {back:g} with "
            "x and y exchanged. ½ ∬ U dμ dμ sees ½ (U(x, y) + U(y, x)) alone: pass that."
        )


def check_gradient(f: Callable[..., float], gradient: Callable[..., None], point: tuple[np.ndarray, ...]) -> None:
    """Raise where gradient(*point, out) is not ∂f/∂x_j at `point`, x its first entry; components at a kink of f are let pass."""
    x = point[0]
    out = np.full(x.size, np.nan)
    _call(gradient, point, out)
    value = _value(f, *point)
    for j in range(x.size):
        h = STEP * max(1.0, abs(x[j]))
        ahead, behind = (_value(f, _moved(x, j, step), *point[1:]) for step in (h, -h))
        found, bend = (ahead - behind) / (2 * h), (ahead - 2 * value + behind) / h
        if not math.isfinite(found) or not math.isfinite(value):
            continue
        if math.isnan(out[j]):
            raise ValueError(
                f"{gradient.__name__} leaves out[{j}] unset, or NaN, at {_where(point)}; each component must be assigned."
            )
        size = max(abs(found), abs(out[j]))
        if abs(found - out[j]) > 1e-4 * size + 1e-9 * (1 + abs(value)) and abs(bend) < 0.1 * size:
            raise ValueError(
                f"{gradient.__name__} is not the gradient of {f.__name__}: out[{j}] = {out[j]:.6g} at {_where(point)}, where "
                f"differences of {f.__name__} give {found:.6g}. It is the gradient itself, not minus it, in the first argument."
            )


def _call(function: Callable[..., Any], rows: tuple[np.ndarray, ...], *out: np.ndarray) -> Any:
    """function(*rows, *out), the rows read-only; whatever it raises becomes a ValueError that says where."""
    given = [row.copy() for row in rows]
    for row in given:
        row.flags.writeable = False
    try:
        return function(*given, *out)
    except (ArithmeticError, IndexError, TypeError, ValueError, AttributeError, NameError) as error:
        raise ValueError(f"{function.__name__} fails at {_where(rows)}: {type(error).__name__}: {error}.") from error


def _value(f: Callable[..., float], *rows: np.ndarray) -> float:
    value = _call(f, rows)
    if np.size(value) != 1 or np.asarray(value).dtype.kind not in "fiu":
        raise TypeError(f"{f.__name__} must return one real number; got {value!r} at {_where(rows)}.")
    return float(value)


def _moved(x: np.ndarray, j: int, step: float) -> np.ndarray:
    x = x.copy()
    x[j] += step
    return x


def _where(point: tuple[np.ndarray, ...]) -> str:
    return ", ".join(f"{name} = {_text(row)}" for name, row in zip("xy", point, strict=False))


def _text(row: np.ndarray) -> str:
    shown = ", ".join(f"{value:.6g}" for value in row[:6])
    return f"({shown}{', …' if row.size > 6 else ''})"
