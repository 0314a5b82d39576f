"""Data collapse: whether curves of several widths are one curve of a scaling variable, and where
its critical point is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize
from scipy.interpolate import PchipInterpolator

from .fits import expanded_tail, with_error

Function = Callable[[np.ndarray], np.ndarray]


def spread(curves: Sequence[tuple[Any, Any]]) -> float:
    """How far curves (x, y) are from being one: RMS of y_i - E_p(x_i) over the standard deviation
    of all y.

    Every point of every curve is held against every other curve p whose range has its x; E_p is p's
    monotone cubic interpolation. 0: one curve; about √2: curves that have nothing to do with each
    other. The measure of Bhattacharjee and Seno (2001), J. Phys. A 34, 6375, with q = 2 and a
    normalisation. Each x must rise; ValueError where no ranges overlap.
    """
    xs, ys = _checked(curves)
    return _spread(xs, ys, [PchipInterpolator(x, y) for x, y in zip(xs, ys, strict=True)])


@dataclass(frozen=True)
class CriticalPoint:
    """γ_c of a collapse in (γ - γ_c) log m. `critical_point` makes it."""

    value: float
    error: float  # bootstrap standard error over seeds
    low: float  # low … high: interval at `level`
    high: float
    level: float
    spread: float  # what is left of the spread at γ_c
    spread_before: float  # the spread of the same curves against γ itself
    # γ_c from consecutive pairs of widths: a drift shows what a wider range would change
    local: tuple[float, ...]
    seeds: int

    def __str__(self) -> str:
        interval = f" ({self.level:.0%}: {self.low:.3f} … {self.high:.3f})".replace("%", " %")
        local = ", ".join(f"{value:.3f}" for value in self.local)
        found = f"{with_error(self.value, self.error, 3)}{interval if self.seeds > 1 else ' (one seed: no error)'}"
        return (
            f"γ_c = {found}, from pairs of widths {local}; spread {self.spread:.3f}, "
            f"against γ itself {self.spread_before:.3f}"
        )


def critical_point(
    gamma: Any, m: Any, values: Any, level: float = 0.95, resamples: int = 200
) -> CriticalPoint:
    """The γ_c for which values, against (γ - γ_c) log m, depend on m as little as possible: the
    least `spread`.

    gamma (g,) and m (w,) in rising order; values (seeds, w, g): log of a quantity that goes with
    m^(γ - γ_c), say; their mean over seeds is collapsed. No exponent ν: a variable m^(γ - γ_c)
    leaves none to choose. Networks of one seed share their first neurons, so the bootstrap draws
    whole seeds; its percentiles are widened for few seeds to Student's t (Hesterberg 2015). One
    seed: no error, no interval (NaN). Raises ValueError for wrong shapes, and where fewer than two
    of the gammas lie on each side of γ_c.
    """
    gamma = np.asarray(gamma, float)
    logs = np.log(np.asarray(m, float))
    values = np.asarray(values, float)
    if (
        values.ndim != 3
        or values.shape[1:] != (len(logs), len(gamma))
        or len(logs) < 2
        or len(gamma) < 4
    ):
        raise ValueError(
            "values must be (seeds, widths, gammas) with two widths and four gammas at least; "
            f"got {values.shape} for {len(logs)} widths and {len(gamma)} gammas."
        )
    if np.any(np.diff(logs) <= 0) or np.any(np.diff(gamma) <= 0) or not np.isfinite(values).all():
        raise ValueError("gamma and m must rise, and values must be finite.")
    seeds, mean = len(values), values.mean(axis=0)
    best, left = _least(gamma, logs, mean)
    if not gamma[1] <= best <= gamma[-2]:
        raise ValueError(
            f"the curves collapse best with γ_c = {best:g}, at an end of the gammas "
            f"{gamma[0]:g} … {gamma[-1]:g}: "
            "two of them must lie on each side of γ_c."
        )
    local = tuple(_least(gamma, logs[i : i + 2], mean[i : i + 2])[0] for i in range(len(logs) - 1))
    error = low = high = float("nan")
    if seeds > 1:
        draws = np.random.default_rng(0).integers(seeds, size=(resamples, seeds))
        found = np.array([_least(gamma, logs, values[draw].mean(axis=0))[0] for draw in draws])
        tail = expanded_tail(level, seeds)
        low, high = (float(value) for value in np.quantile(found, [tail, 1 - tail]))
        error = float(found.std() * np.sqrt(seeds / (seeds - 1)))
    before = spread([(gamma, y) for y in mean])
    return CriticalPoint(best, error, low, high, level, left, before, local, seeds)


def _least(gamma: np.ndarray, logs: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """(γ_c, spread) where the spread is least: the best of a grid, then Brent's method between its
    neighbours, if it has two.
    """
    functions = [PchipInterpolator(gamma, y) for y in values]

    def at(centre: float) -> float:
        xs = [(gamma - centre) * log for log in logs]
        scaled = [
            _rescaled(function, centre, log) for function, log in zip(functions, logs, strict=True)
        ]
        return _spread(xs, list(values), scaled)

    grid = np.linspace(gamma[0], gamma[-1], 2 * len(gamma) + 1)
    index = int(np.argmin([at(centre) for centre in grid]))
    if index in (0, len(grid) - 1):
        return float(grid[index]), at(grid[index])
    found = optimize.minimize_scalar(
        at, bounds=(grid[index - 1], grid[index + 1]), method="bounded"
    )
    return float(found.x), float(found.fun)


def _rescaled(function: Function, centre: float, log: float) -> Function:
    """A function of γ as one of x = (γ - γ_c) log m."""
    return lambda x: function(centre + x / log)


def _spread(
    xs: Sequence[np.ndarray], ys: Sequence[np.ndarray], functions: Sequence[Function]
) -> float:
    x, y = np.concatenate(xs), np.concatenate(ys)
    owner = np.repeat(np.arange(len(xs)), [len(part) for part in xs])
    total, count = 0.0, 0
    for p, function in enumerate(functions):
        inside = (owner != p) & (x >= xs[p][0]) & (x <= xs[p][-1])
        total += float(np.square(y[inside] - function(x[inside])).sum())
        count += int(inside.sum())
    if not count:
        raise ValueError("no two curves overlap in x: their spread is undefined.")
    scale = float(y.std())
    return float(np.sqrt(total / count)) / scale if scale > 0 else 0.0


def _checked(curves: Sequence[tuple[Any, Any]]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    if len(curves) < 2:
        raise ValueError(f"a spread needs two curves at least; got {len(curves)}.")
    xs, ys = ([np.asarray(curve[part], dtype=float) for curve in curves] for part in (0, 1))
    for x, y in zip(xs, ys, strict=True):
        if x.ndim != 1 or x.shape != y.shape or len(x) < 2 or np.any(np.diff(x) <= 0):
            raise ValueError(
                "a curve is x (n,), rising, and y (n,) of two points at least; got "
                f"{x.shape} and {y.shape}."
            )
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise ValueError("a curve has NaN or infinite values.")
    return xs, ys
