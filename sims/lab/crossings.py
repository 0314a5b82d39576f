"""Where a measured quantity passes a threshold: at which γ a network leaves the lazy regime, and
how sure that is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from meanfield.checks import is_number

from .fits import students_t

SIGNS = {"gamma": "γ", "alpha": "α", "gamma_prime": "γ′"}


@dataclass(frozen=True)
class Crossing:
    """A quantity passes `threshold` at x = `at`. `find_crossing` makes it.

    at is None where the threshold is not bracketed. low … high: Student's t interval over the seeds
    at `level`; None for one seed, and where some seeds do not pass the threshold. between: the
    neighbouring values of x around `at`.
    """

    threshold: float
    at: float | None
    low: float | None
    high: float | None
    between: tuple[float, float] | None
    rises: bool  # from below the threshold to above it as x grows
    level: float
    seeds: int
    crossed: int  # seeds that pass the threshold
    # how far a parabola through three neighbours moves the crossing: the error of the interpolation
    bend: float | None
    note: str  # why there is no crossing or no interval, or what else a reader must know; else ""

    def __str__(self) -> str:
        if self.between is None:
            return self.note
        near = f"between {self.between[0]:g} and {self.between[1]:g}"
        place, inside = self._parts()
        seeds = (
            [] if self.low is None else [f"{self.seeds} seeds", *([self.note] if self.note else [])]
        )
        return f"{place} ({'; '.join([inside[0], *seeds, near, *inside[1:]])})"

    @property
    def brief(self) -> str:
        """Place and interval, or why there is none: "0.813 (95 %: 0.811 … 0.815)"; the
        interpolation's error where larger.
        """
        if self.at is None:
            return self.note
        place, inside = self._parts()
        return f"{place} ({'; '.join(inside)})"

    def _parts(self) -> tuple[str, list[str]]:
        """The place, and the interval with the error of the interpolation where that is larger."""
        if self.low is None or self.high is None:
            return f"{self.at:.3g}", [self.note]
        half = (self.high - self.low) / 2
        digits = 3 if half == 0 else min(6, max(0, math.ceil(-math.log10(half / 1.5))))
        bent = (
            [f"interpolation ± {self.bend:.1g}"]
            if self.bend is not None and self.bend > max(half, 1e-9)
            else []
        )
        return f"{self.at:.{digits}f}", [
            f"{100 * self.level:g} %: {self.low:.{digits}f} … {self.high:.{digits}f}",
            *bent,
        ]

    def sentence(self, axis: str, quantity: str) -> str:
        """What it says of laziness, without a full stop: "leaves the lazy regime (kernel drift 0.1)
        at γ = 0.83 (95 %: …)".
        """
        name = SIGNS.get(axis, axis)
        if self.at is None:
            return (
                f"{quantity} does not pass {self.threshold:g} "
                f"({self.note.replace(' at ', f' at {name} = ')})"
            )
        does = "leaves the lazy regime" if self.rises else "becomes lazy"
        return f"{does} ({quantity} {self.threshold:g}) at {name} = {self}"


def find_crossing(
    x: Any, values: Any, threshold: float, level: float = 0.95, log_x: bool = False
) -> Crossing:
    """Where values pass the threshold as x grows, by interpolation between the values of x there
    are.

    x (k,): the axis, in any order; values (k,) or (seeds, k), positive. Each seed's log value is
    linear in x between neighbours (log_x: in log x), which is exact for a drift that goes as m^(c(γ
    - 1)) at fixed m. The crossing is the mean over seeds of the first place where the seed's curve
    passes the threshold; low … high is its Student's t interval with seeds - 1 degrees of freedom.
    It holds the scatter of the seeds, and not the error of the interpolation: `bend` estimates
    that, and `between` bounds it. Where it is the larger one, give x more values there.

    Where every seed stays on one side the crossing is not bracketed: at is None, and `note` says on
    which side and how near. Where only some seeds pass it, at is that of the geometric mean,
    without an interval. Raises ValueError for bad input.
    """
    x, logs = _checked(x, values, threshold, level, log_x)
    threshold = float(threshold)
    level = float(level)
    seeds, middle = len(logs), logs.mean(axis=0)
    place = np.log(x) if log_x else x
    rises = bool(middle[-1] >= middle[0])
    signed = logs if rises else -logs
    found = [_first(place, row) for row in signed]
    crossed = [at for at in found if at is not None]
    mean = _first(place, signed.mean(axis=0))
    at = float(np.mean(crossed)) if len(crossed) == seeds else mean

    if at is None:
        why = _one_side(x, middle, threshold)
        return Crossing(
            threshold, None, None, None, None, rises, level, seeds, len(crossed), None, why
        )
    low = high = None
    note = _several(middle)
    if len(crossed) < seeds:
        note = (
            f"{seeds - len(crossed)} of {seeds} seeds do not cross {threshold:g} here: no interval"
        )
    elif seeds == 1:
        note = "one seed: no interval" + f", {note}" * bool(note)
    else:
        error = float(np.std(crossed, ddof=1)) / math.sqrt(seeds)
        reach = students_t(level, seeds - 1) * error
        low, high = at - reach, at + reach
    right = min(max(int(np.searchsorted(place, at)), 1), len(x) - 1)
    bend = _bend(place, middle, right, at)
    if log_x:
        bend = None if bend is None else bend * math.exp(at)
        low, high = (None if end is None else math.exp(end) for end in (low, high))
        at = math.exp(at)
    around = float(x[right - 1]), float(x[right])
    return Crossing(threshold, at, low, high, around, rises, level, seeds, len(crossed), bend, note)


def _checked(
    x: Any, values: Any, threshold: float, level: float, log_x: bool
) -> tuple[np.ndarray, np.ndarray]:
    """x in rising order, and log(values/threshold) (seeds, k) in the same."""
    x, values = np.asarray(x, dtype=float), np.atleast_2d(np.asarray(values, dtype=float))
    if (
        x.ndim != 1
        or len(x) < 2
        or values.ndim != 2
        or values.shape[1] != len(x)
        or not len(values)
    ):
        raise ValueError(
            "values must be (len(x),) or (seeds, len(x)), x two or more; got x "
            f"{x.shape}, values {values.shape}."
        )
    if not np.isfinite(x).all() or len(set(x.tolist())) < len(x) or (log_x and x.min() <= 0):
        raise ValueError(
            f"x must be finite, without repetition, and positive for log_x; got {x.tolist()}."
        )
    if not (np.isfinite(values) & (values > 0)).all():
        raise ValueError(
            "values must be positive and finite to be interpolated as logarithms; leave "
            "out what is not."
        )
    if not (
        is_number(threshold) and 0 < threshold < math.inf and is_number(level) and 0 < level < 1
    ):
        raise ValueError(
            f"threshold must be positive and level between 0 and 1; got {threshold!r} and "
            f"{level!r}."
        )
    order = np.argsort(x)
    return x[order], np.log(values[:, order] / float(threshold))


def _first(place: np.ndarray, height: np.ndarray) -> float | None:
    """The first place where height passes 0 upwards; None where it begins above, or never does."""
    above = height >= 0
    if above[0] or not above.any():
        return None
    right = int(np.argmax(above))
    share = -height[right - 1] / (height[right] - height[right - 1])
    return float(place[right - 1] + share * (place[right] - place[right - 1]))


def _bend(place: np.ndarray, middle: np.ndarray, right: int, at: float) -> float | None:
    """|crossing of the parabola through the bracket and its nearer neighbour - at|; None for two
    points, or none near.
    """
    if len(place) < 3:
        return None
    third = right + 1 if right + 1 < len(place) else right - 2
    if (
        right >= 2
        and right + 1 < len(place)
        and place[right - 1] - place[right - 2] < place[right + 1] - place[right]
    ):
        third = right - 2
    chosen = [right - 1, right, third]
    roots = np.roots(np.polyfit(place[chosen] - at, middle[chosen], 2))
    inside = [
        abs(root.real)
        for root in roots
        if abs(root.imag) < 1e-12 and place[right - 1] <= root.real + at <= place[right]
    ]
    return float(min(inside)) if inside else None


def _several(middle: np.ndarray) -> str:
    times = int(np.count_nonzero(np.diff((middle >= 0).astype(int))))
    return f"the first of {times} crossings: the values are not monotone" if times > 1 else ""


def _one_side(x: np.ndarray, middle: np.ndarray, threshold: float) -> str:
    """Which side, and the nearest value."""
    nearest = int(np.argmin(np.abs(middle)))
    value = threshold * math.exp(middle[nearest])
    sides = {True: "above", False: "below"}
    side = (
        sides[bool(middle[0] >= 0)] if len(set((middle >= 0).tolist())) == 1 else "on both sides of"
    )
    return (
        f"not bracketed: {side} {threshold:g} over the whole range, nearest {value:.3g} "
        f"at {x[nearest]:g}"
    )
