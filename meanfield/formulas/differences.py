"""Whether a slope or a gradient that a user wrote is that of the user's function: differences at
several steps, in plain Python.

A function has no scale that is known beforehand, so no single step is right: too long, it leaves
the curvature of f behind; too short, the rounding of f is all it sees. Central differences C(h) are
taken on a ladder of steps, each four times the one before. Four of them in a row that agree decide,
the shortest first, for a derivative is a limit; where none agree nothing is said.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

EPS = float(np.finfo(float).eps)
LARGEST = 1e300  # step
FACTOR, ROW = 4.0, 4  # of the ladder; steps that must agree
SHORTEST = 1e-8  # step, of the shortest scale
AGREE = 1e-4  # of the slope: what four differences may lie apart
# of the slope: what a slope may be off, beside ten times what the differences lie apart
TOLERANCE = 1e-4
# of a formula outside its domain, where compiled code has NaN or infinity
UNABLE = (
    ArithmeticError,
    ValueError,
)
MANY = 16  # coordinates up to which each is looked at


def number(value: Any) -> float:
    """A real number that a formula returned, NaN for a complex one; TypeError for what is no
    number.
    """
    kind = np.asarray(value).dtype.kind
    if np.size(value) != 1 or kind not in "fiubc":
        raise TypeError(f"must return one real number; got {value!r}")
    return math.nan if kind == "c" else float(value)


def plain(f: Callable[..., Any], *arguments: Any) -> float:
    """f(*arguments) in plain Python: NaN outside its domain, where Python raises and compiled code
    does not.
    """
    try:
        with np.errstate(all="ignore"):
            return number(f(*arguments))
    except UNABLE:
        return math.nan


def slope_at(
    f: Callable[[float], float],
    at: float,
    given: float,
    scales: Sequence[float],
    floor: float = 0.0,
) -> tuple[bool, float | None]:
    """(whether differences of f could tell, what they give where `given` is not the slope of f at
    that point, else None).

    Where f is flat and `given` is 0 they do not tell: a wrong formula, too, may be 0 there. scales:
    lengths over which f may vary; floor: how far off a slope may be that is small beside others. At
    a kink of f any slope between those of its two sides is right.
    """
    here, constant, change = f(at), 0.0, 0.0
    step = max(SHORTEST * min(scales), 1e3 * EPS * abs(at))
    if not (math.isfinite(here) and 0.0 < step < math.inf):
        return False, None
    # Of a formula that cancels, what neighbouring numbers show is rounding alone, and much of it.
    noise = max(abs(f(at + k * float(np.spacing(at))) - here) for k in (-4, -3, -2, -1, 1, 2, 3, 4))
    noise = max(noise, abs(f(at + step) - 2 * here + f(at - step)))
    # Where f bends over shorter steps, or `given` is, over the first, more than f changes at all,
    # longer ones say nothing of a `given` that is far beyond their slopes: f may vary faster.
    bends, over_first = False, abs(given) * step
    # h, C, the slopes ahead and behind, the size of f
    row: list[tuple[float, float, float, float, float]] = []
    while step <= min(max(scales), LARGEST):
        above, below = at + step, at - step
        ahead, behind = f(above), f(below)
        step *= FACTOR
        if not (math.isfinite(ahead) and math.isfinite(behind)):
            row = []
            continue
        size = max(abs(here), abs(ahead), abs(behind))
        change = max(change, abs(ahead - here), abs(behind - here))
        slopes = (ahead - here) / (above - at), (here - behind) / (at - below)
        row = [*row[1 - ROW :], (above - at, (ahead - behind) / (above - below), *slopes, size)]
        if len(row) < ROW:
            continue
        central = [entry[1] for entry in row]
        longest, found, _, _, size = row[-1]
        spread, rounding = max(central) - min(central), 16 * max(EPS * size, noise) / longest
        counts = over_first <= 0.1 * change and not bends
        largest = max(*map(abs, central), abs(given) if counts else 0.0)
        if all(entry[2] == entry[3] == 0.0 for entry in row):
            constant = longest
            if abs(given) <= rounding + floor:
                # right, but 0 is also what a wrong gradient gives where f is flat
                return (
                    False,
                    None,
                )
        elif spread <= AGREE * largest and rounding <= AGREE * largest:
            allowed = TOLERANCE * largest + 10 * spread + rounding + floor
            if abs(given - found) <= allowed or _between_sides(row, given, largest, allowed):
                return True, None
            return True, found
        else:
            bends |= rounding <= AGREE * largest
    # What `given` would change f by must be more than what rounding may hide: a formula that
    # cancels looks flat.
    flat = constant > 0 and not abs(given) * constant <= 1e-3 * change
    return (True, 0.0) if flat else (False, None)


def _between_sides(
    row: Sequence[tuple[float, ...]], given: float, largest: float, allowed: float
) -> bool:
    """Whether f has a kink here and given is between its two slopes, which do not close with the
    step.

    Those of a smooth f come 64 times closer from the longest step to the shortest, those of |f -
    y|^1.5 next to f = y 8 times.
    """
    (_, _, ahead, behind, _), (_, _, far_ahead, far_behind, _) = row[0], row[-1]
    kink = abs(ahead - behind) > max(0.03 * abs(far_ahead - far_behind), 1e-3 * largest)
    return kink and min(ahead, behind) - allowed <= given <= max(ahead, behind) + allowed


def check_symmetry(U: Callable[..., float], x: np.ndarray, y: np.ndarray) -> None:
    """Raise where U(x, y) is not U(y, x), to 1e-9 of it and to its own rounding: how it changes
    from x to the next number.
    """
    there, back = _value(U, x, y), _value(U, y, x)
    rounding = abs(_value(U, np.nextafter(x, np.inf), y) - there)
    if not abs(there - back) > 1e-9 * max(
        abs(there), abs(back)
    ) + 16 * rounding or not math.isfinite(there + rounding):
        return
    raise ValueError(
        f"the interaction {U.__name__} is not symmetric: {there:g} at x = {_text(x)}, y = "
        f"{_text(y)}, and {back:g} with "
        "x and y exchanged. ½ ∬ U dμ dμ sees ½ (U(x, y) + U(y, x)) alone: pass that."
    )


def check_gradient(
    f: Callable[..., float],
    gradient: Callable[..., None],
    point: tuple[np.ndarray, ...],
    scales: Sequence[float],
    floor: float = 0.0,
    names: Sequence[str] = "xy",
    owner: str = "PairwiseEnergy",
) -> bool:
    """Raise where gradient(*point, out) is not ∂f/∂x_j at `point`, x its first entry; whether
    differences could tell anywhere.

    `out` is 0 before the call, as in the kernels. Of more than MANY coordinates some are looked at
    alone, and all along one line. names, owner: of the rows, and of who has check=, in messages.
    """
    x = point[0]
    out = np.zeros(x.size)
    _call(gradient, point, out, names=names)
    decided = False
    for j in np.unique(np.linspace(0, x.size - 1, min(x.size, MANY)).astype(int)):

        def along(at: float, j: int = j) -> float:
            moved = x.copy()
            moved[j] = at
            return _value(f, moved, *point[1:], names=names)

        told, found = slope_at(along, float(x[j]), float(out[j]), scales, floor)
        decided |= told
        if found is None:
            continue
        if _unset(gradient, point, j):
            raise ValueError(
                f"{gradient.__name__} leaves out[{j}] unset, or NaN, at {_where(point, names)}, "
                "and what is unset is 0: "
                f"differences of {f.__name__} give {found:.6g}. Assign each component."
            )
        given = f"out[{j}] = {out[j]:.6g}"
        raise ValueError(_wrong(f, gradient, _where(point, names), given, found, owner))
    if x.size > MANY:
        every = np.cos(1.0 + 2.4 * np.arange(x.size)) / math.sqrt(x.size)

        origin = float(np.abs(x).max())  # of t: its rounding is then that of x

        def all_at_once(t: float) -> float:
            return _value(f, x + (t - origin) * every, *point[1:], names=names)

        found = slope_at(all_at_once, origin, float(out @ every), scales, floor)[1]
        if found is not None:
            given = f"Σ_j out[j] e_j = {out @ every:.6g} along a fixed e"
            raise ValueError(_wrong(f, gradient, _where(point, names), given, found, owner))
    return decided


def _wrong(
    f: Callable, gradient: Callable, where: str, given: str, found: float, owner: str
) -> str:
    return (
        f"{gradient.__name__} is not the gradient of {f.__name__}: {given} at "
        f"{where}, where differences of "
        f"{f.__name__} give {found:.6g}. It is the gradient itself, not minus it, in the "
        "first argument. "
        f"({owner}(…, check=False) takes it so.)"
    )


def steepest(
    gradient: Callable[..., None],
    points: Sequence[tuple[np.ndarray, ...]],
    names: Sequence[str] = "xy",
) -> float:
    """max |out_j| at the points, of those that are finite."""
    found = 0.0
    for point in points:
        out = np.zeros(point[0].size)
        _call(gradient, point, out, names=names)
        found = max(found, float(np.abs(out[np.isfinite(out)]).max(initial=0.0)))
    return found


def _unset(gradient: Callable[..., None], point: tuple[np.ndarray, ...], j: int) -> bool:
    out = np.full(point[0].size, np.nan)
    _call(gradient, point, out)
    return math.isnan(out[j])


def _call(
    function: Callable[..., Any],
    rows: tuple[np.ndarray, ...],
    *out: np.ndarray,
    names: Sequence[str] = "xy",
) -> Any:
    """function(*rows, *out), the rows read-only; NaN outside its domain; what else it raises
    becomes an error that says where.
    """
    given = [row.copy() for row in rows]
    for row in given:
        row.flags.writeable = False
    try:
        with np.errstate(all="ignore"):
            return function(*given, *out)
    except ArithmeticError:
        return math.nan
    except (IndexError, TypeError, ValueError, AttributeError, NameError) as error:
        if isinstance(error, ValueError) and "math domain" in str(error):
            return math.nan
        raise ValueError(
            f"{function.__name__} fails at {_where(rows, names)}: {type(error).__name__}: {error}."
        ) from error


def _value(f: Callable[..., float], *rows: np.ndarray, names: Sequence[str] = "xy") -> float:
    value = _call(f, rows, names=names)
    try:
        return number(value)
    except TypeError as error:
        raise TypeError(f"{f.__name__} {error} at {_where(rows, names)}.") from None


def _where(point: tuple[np.ndarray, ...], names: Sequence[str]) -> str:
    return ", ".join(f"{name} = {_text(row)}" for name, row in zip(names, point, strict=False))


def _text(row: np.ndarray) -> str:
    shown = ", ".join(f"{value:.6g}" for value in row[:6])
    return f"({shown}{', …' if row.size > 6 else ''})"
