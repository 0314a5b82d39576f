"""Exponents of power laws in the width, with what a reader needs to judge them: errors, local
slopes, curvature.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from meanfield.checks import is_number

WIDTHS = 3  # fewer points have no curvature to test
FACTOR = 4.0  # of the largest over the smallest m, below which a slope says little about the limit
ROUNDING = 1e-9  # of slopes of logarithms
RESAMPLES = 10_000  # of whole seeds
NO_SLOPE = "no slope from so few values"


class TooShort(ValueError):
    """The range of widths is too short for an exponent."""


@dataclass(frozen=True)
class Refused:
    """Why there is no fit; stands in a table where the fit would."""

    reason: str

    def __str__(self) -> str:
        return f"refused: {self.reason}"

    @property
    def why(self) -> str:
        """After "no exponent", or "no slope"."""
        return self.reason.removeprefix("no exponent ")


@dataclass(frozen=True)
class ExponentFit:
    """values ~ prefactor · m^slope, fitted to the mean over seeds of log values. `fit_exponent`
    makes it.
    """

    slope: float
    error: float  # standard error of the slope
    # low … high: Student's t interval of the slope at `level`, slope ± t·error; what lies in it
    # `agrees`
    low: float
    high: float
    level: float
    prefactor: float
    widths: tuple[float, ...]
    seeds: int
    dof: int  # degrees of freedom of the errors: seeds - 1, or widths - 2 for one seed
    local: tuple[float, ...]  # slopes between consecutive widths
    local_errors: tuple[float, ...]  # their standard errors; nan for one seed
    # change of the slope from the smallest to the largest width, from a quadratic in log m
    bend: float
    bend_error: float
    curvature_p: (
        float  # p-value of bend = 0 (Student's t); nan where nothing is left to test it with
    )
    # interval of the slope at `level` from whole seeds drawn again; None for one seed
    bootstrap: tuple[float, float] | None

    def __str__(self) -> str:
        local = ", ".join(
            _number(a) + ("" if np.isnan(e) else f" ± {e:.3f}")
            for a, e in zip(self.local, self.local_errors, strict=True)
        )
        # theory's exponents have three decimals at most, or are compared by `verdict`
        ends = (
            self.low,
            self.high,
        )
        digits = decimals([(end, round(end, 3)) for end in ends], max(4, self._digits))
        low, high = (_number(end, digits=digits) for end in ends)
        source = (
            f"Student's t over {self.seeds} seeds"
            if self.seeds > 1
            else "Student's t, residuals of one seed"
        )
        p = "not testable" if np.isnan(self.curvature_p) else f"p = {self.curvature_p:.2g}"
        bend = (
            f"slope changes by {_number(self.bend, '+')} over the range"
            if np.isfinite(self.bend)
            else "slope's change unknown"
        )
        interval = f"{_percent(self.level)}: {low} … {high}, {source}"
        return f"slope {self.short} ({interval}), local slopes {local}; curvature: {bend}, {p}"

    @property
    def short(self) -> str:
        """slope ± error, with three decimals, or as many as the error needs; the slope alone where
        it has no error.
        """
        return with_error(self.slope, self.error)

    @property
    def _digits(self) -> int:
        return _digits(self.error)

    @property
    def curved(self) -> bool:
        """Curvature is significant, curvature_p < 1 - level: no single exponent describes the data.
        False where not testable.
        """
        return self.curvature_p < 1 - self.level

    def predict(self, m: Any) -> np.ndarray:
        """prefactor · m^slope."""
        return self.prefactor * np.asarray(m, dtype=float) ** self.slope

    def standard_errors(self, expected: float) -> float:
        """(slope - expected) / error. Their number alone says little with few seeds: see `p_value`."""
        miss = self.slope - expected
        if abs(miss) < ROUNDING:
            return 0.0
        return miss / self.error if self.error > ROUNDING else float(np.copysign(np.inf, miss))

    def p_value(self, expected: float) -> float:
        """Two-sided p of slope = expected, Student's t with `dof` degrees of freedom; below 1 -
        level iff not in low … high.
        """
        return float(2 * special.stdtr(self.dof, -abs(self.standard_errors(expected))))

    def agrees(self, expected: float, tolerance: float = 0.0) -> bool:
        """low - tolerance <= expected <= high + tolerance: the interval holds it, or reaches that
        near.

        tolerance: what a finite width may be off the limit; 0 tests the exponent itself.
        """
        reach = tolerance + ROUNDING
        return self.low - reach <= expected <= self.high + reach

    def verdict(self, expected: float, tolerance: float = 0.0) -> str:
        """Slope beside theory in words: "agrees with −0.500 (1.2 standard errors off, p = 0.44; 95
        %: −0.522 … −0.473)".

        "agrees": expected is in low … high, both shown with the decimals that tell them apart, that
        is p >= 1 - level. With two seeds 3.2 standard errors are p = 0.19, no contradiction: the
        scatter of two says little. Where expected is outside, but the slope is within `tolerance`
        of it, that is said in place of "differs". Significant curvature is said behind.
        """
        if self.agrees(expected):
            word = "agrees with"
        else:
            near = tolerance > 0 and abs(self.slope - expected) <= tolerance + ROUNDING
            word = f"is within {tolerance:g}, but not within errors, of" if near else "differs from"
        digits = decimals([(self.low, expected), (self.high, expected)], self._digits)
        theory, low, high = (
            _number(value, digits=digits) for value in (expected, self.low, self.high)
        )
        off = (
            f"{abs(self.standard_errors(expected)):.1f} standard errors off, p = "
            f"{self.p_value(expected):.2g}"
        )
        interval = f"{_percent(self.level)}: {low} … {high}"
        curved = (
            "; a single exponent does not describe these data: curvature p = "
            f"{self.curvature_p:.2g}, "
            f"the slope changes by {_number(self.bend, '+')} over the range of widths"
        )
        return f"{word} {theory} ({off}; {interval}){curved if self.curved else ''}"


def fit_exponent(m: Any, values: Any, level: float = 0.95, axis: str = "") -> ExponentFit:
    """The exponent of values ~ m^slope with errors, interval, local slopes and a test of curvature.

    m (w,): widths, or other positive numbers, which errors call `axis`; values (w,) or (seeds, w),
    positive: for signed quantities give |·| or an RMS.
    An array is read as (seeds, w) also where it is square, as nothing tells which is which. An
    xarray.DataArray goes by its names, in any order: the dimension that is called m, or whose
    coordinate is m, is the width, "seed" the other; further ones are an error.

    Each seed's line through (log m, log values) is fitted with the same weights 1/variance, the
    variance over seeds of log values made a power law of m, since a few seeds give a poor variance
    for each width. The slope is the mean over seeds, so it is that of the geometric mean of the
    values; its error is the scatter of the seeds' slopes / √seeds. Networks of one seed share their
    first neurons, so whole seeds are what is independent. low … high is Student's t interval with
    seeds - 1 degrees of freedom. The weights come from the same seeds, which costs a little of it:
    at level .95, with 3 to 7 widths, that of 2 seeds holds the truth in 87 to 95 % of the cases, of
    3 in 91 to 95 %, of 4 in 92 to 95 % and of 8 in 93 to 96 %. One seed: equal weights, errors from
    the residuals, which hold none of the scatter over seeds. `bootstrap` assumes no normal law: the
    percentile interval of the mean over whole seeds drawn with replacement, widened for few seeds
    to Student's t (the expanded interval of Hesterberg, 2015). It cannot reach beyond the seeds'
    own slopes, so that of 3 seeds holds the truth in 75 % of the cases, of 4 in 88 %, of 8 in 94 %:
    with few, go by low … high.

    Raises TooShort for fewer than three widths, or a factor below 4 between the ends; ValueError
    for other bad input.
    """
    m, logs = _checked(m, values, level, axis)
    level = float(level)
    seeds, x = len(logs), np.log(m)
    weights = _weights(x, logs)
    # (seeds, degree + 1), highest first
    lines, parabolas = (_coefficients(x, logs, weights, degree) for degree in (1, 2))
    slope, middle = lines.mean(axis=0)
    span = float(x[-1] - x[0])
    steps = np.diff(logs, axis=1) / np.diff(x)
    if seeds > 1:
        dof = seeds - 1
        error, bend_error, *local_errors = _error_of_mean(
            np.column_stack([lines[:, 0], 2 * span * parabolas[:, 0], steps])
        )
        bend_dof = dof
    else:
        dof, bend_dof = len(m) - 2, len(m) - 3
        error = _error_of_residuals(x, logs[0], 1)
        bend_error = 2 * span * _error_of_residuals(x, logs[0], 2) if bend_dof else np.nan
        local_errors = [np.nan] * (len(m) - 1)
    reach = students_t(level, dof) * error
    bend = float(2 * span * parabolas[:, 0].mean())
    return ExponentFit(
        slope=float(slope), error=float(error), low=float(slope - reach), high=float(slope + reach), level=level,
        prefactor=float(np.exp(middle - slope * x.mean())), widths=tuple(m.tolist()), seeds=seeds, dof=dof,
        local=tuple(steps.mean(axis=0).tolist()), local_errors=tuple(float(e) for e in local_errors),
        bend=bend, bend_error=float(bend_error), curvature_p=_p_value(bend, float(bend_error), bend_dof),
        bootstrap=_bootstrap(lines[:, 0], level),
    )  # fmt: skip


def fit_or_refuse(
    m: Any, values: Any, level: float = 0.95, axis: str = ""
) -> ExponentFit | Refused:
    """`fit_exponent`, or for tables and figures the reason why there is no exponent: values must be
    usable all the same.
    """
    try:
        return fit_exponent(m, values, level, axis)
    except TooShort as error:
        return Refused(str(error))


def slope_text(m: Any, values: Any) -> str:
    """slope ± error with two decimals, for a verdict; or that there is none."""
    fit = fit_or_refuse(m, values)
    if isinstance(fit, Refused):
        return NO_SLOPE
    return f"{fit.slope:.2f} ± {fit.error:.2f}".replace("-", "−")


def different(first: Any, second: Any) -> float | None:
    """p of equal means over seeds, two samples of unequal variance (Welch's t test); None where a
    sample is one seed.

    Two standard errors would call every fifth pair of two equal settings with two seeds each
    different.
    """
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if min(len(first), len(second)) < 2:
        return None
    if np.ptp(first) == np.ptp(second) == 0:
        return float(first[0] == second[0])
    one, other = (np.var(sample, ddof=1) / len(sample) for sample in (first, second))
    share = one / (one + other)
    dof = 1 / (share**2 / (len(first) - 1) + (1 - share) ** 2 / (len(second) - 1))
    t = (first.mean() - second.mean()) / math.sqrt(one + other)
    return float(2 * special.stdtr(dof, -abs(t)))


def _checked(m: Any, values: Any, level: float, axis: str) -> tuple[np.ndarray, np.ndarray]:
    """m in rising order, and log values (seeds, w) in the same."""
    m = np.asarray(m, dtype=float)
    values = np.atleast_2d(
        np.asarray(_width_last(m, values) if hasattr(values, "dims") else values, dtype=float)
    )
    if m.ndim != 1 or values.ndim != 2 or values.shape[1] != len(m) or not len(values):
        raise ValueError(
            f"values must be (len(m),) or (seeds, len(m)); got m {m.shape} and values "
            f"{values.shape}."
        )
    if not (np.isfinite(m) & (m > 0)).all() or len(set(m.tolist())) < len(m):
        raise ValueError(
            f"m must be positive, finite and without repetition; got {m.tolist()}. Give "
            "repeats as rows of values."
        )
    if not is_number(level) or not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, 0.95 say; got {level!r}.")
    bad = np.argwhere(~(np.isfinite(values) & (values > 0)))
    if len(bad):
        row, column = bad[0]
        raise ValueError(
            f"values must be positive and finite to have an exponent; {len(bad)} are not, "
            "the first is "
            f"{values[row, column]:g} at {axis or 'm'} = {m[column]:g}, row {row}. For signed "
            "quantities give |·| or an RMS."
        )
    if len(m) < WIDTHS:
        points = "value" + "s" * (len(m) != 1) if axis else "widths"
        raise TooShort(f"no exponent from {len(m)} {points}, give {WIDTHS} at least")
    if m.max() < FACTOR * m.min():
        found = f"{axis or 'm'} = {m.min():g} … {m.max():g}, a factor {m.max() / m.min():.3g}"
        raise TooShort(f"no exponent from {found}, give a factor {FACTOR:g} at least")
    order = np.argsort(m)
    return m[order], np.log(values[:, order])


def _width_last(m: np.ndarray, values: Any) -> Any:
    """An xarray.DataArray with the width as its last dimension, known by its coordinate or its
    name.
    """
    names, coordinates = tuple(values.dims), getattr(values, "coords", {})
    at_m = [
        at.dims[0]
        for at in coordinates.values()
        if len(at.dims) == 1 and np.array_equal(np.asarray(at), m)
    ]
    same = [name for name in names if name in at_m and name != "seed"]
    width = "m" if "m" in names else next(iter(same), None)
    if width is None:
        raise ValueError(
            f"the dimension of the widths must be called m, or have m = {m.tolist()} as "
            f"its coordinate; got {names}. "
            "Rename it, say values.rename(width='m')."
        )
    if width in coordinates and width not in same:
        found = np.asarray(coordinates[width]).tolist()
        raise ValueError(f"m must be the coordinate {width} of values, {found}; got {m.tolist()}.")
    if further := [name for name in names if name not in (width, "seed")]:
        rename = (
            ""
            if "seed" in names
            else f", or rename what counts seeds: values.rename({further[0]}='seed')"
        )
        raise ValueError(
            f"values must have the dimensions {width} and seed; got {names}. "
            f"Choose along {', '.join(map(str, further))} with values.sel(…){rename}."
        )
    return values.transpose(..., width)


def _weights(x: np.ndarray, logs: np.ndarray) -> np.ndarray:
    """1/variance at each width, the variance a power law of m; equal where there is no scatter to
    measure it by.
    """
    if len(logs) < 2:
        return np.ones(len(x))
    scatter = logs.var(axis=0, ddof=1)
    if np.min(scatter) < 1e-24:  # rounding: logs are of order 1 to 10
        return np.ones(len(x))
    line = np.polyfit(x, np.log(scatter), 1)
    return np.exp(-line[0] * (x - x.mean()))


def _coefficients(x: np.ndarray, logs: np.ndarray, weights: np.ndarray, degree: int) -> np.ndarray:
    """(seeds, degree + 1): each seed's polynomial in x - mean(x) by least squares, highest power
    first.
    """
    root = np.sqrt(weights)[:, None]
    return np.linalg.lstsq(np.vander(x - x.mean(), degree + 1) * root, logs.T * root, rcond=None)[
        0
    ].T


def _error_of_mean(values: np.ndarray) -> np.ndarray:
    return values.std(axis=0, ddof=1) / np.sqrt(len(values))


def _error_of_residuals(x: np.ndarray, log: np.ndarray, degree: int) -> float:
    """Standard error of the highest coefficient, from the residuals of one seed."""
    design = np.vander(x - x.mean(), degree + 1)
    left = log - design @ np.linalg.lstsq(design, log, rcond=None)[0]
    variance = left @ left / (len(x) - degree - 1)
    return float(np.sqrt(variance * np.linalg.inv(design.T @ design)[0, 0]))


def _bootstrap(slopes: np.ndarray, level: float) -> tuple[float, float] | None:
    """Expanded percentile interval of the mean: tails Φ(-t √(S/(S-1))) rather than (1 - level)/2, S
    the number of seeds.
    """
    count = len(slopes)
    if count < 2:
        return None
    draws = np.random.default_rng(0).integers(count, size=(RESAMPLES, count))
    tail = expanded_tail(level, count)
    low, high = np.quantile(slopes[draws].mean(axis=1), [tail, 1 - tail])
    return float(low), float(high)


def students_t(level: float, dof: int) -> float:
    """Half the width of an interval of this level, in standard errors."""
    return float(special.stdtrit(dof, 0.5 + level / 2))


def expanded_tail(level: float, seeds: int) -> float:
    """Φ(-t √(S/(S-1))), what each end of an expanded percentile interval leaves out, S the number of
    seeds.
    """
    return float(special.ndtr(-students_t(level, seeds - 1) * np.sqrt(seeds / (seeds - 1))))


def _p_value(value: float, error: float, dof: int) -> float:
    """Two-sided p of value = 0; where there is no scatter at all, 1 or 0 as the value is rounding
    or not.
    """
    if dof < 1 or np.isnan(error):
        return float("nan")
    if error < 1e-12:
        return 1.0 if abs(value) < ROUNDING else 0.0
    return float(2 * special.stdtr(dof, -abs(value) / error))


def _number(value: float, sign: str = "", digits: int = 3) -> str:
    """Decimals with a true minus sign, no −0.000."""
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}".replace("-", "−")


def with_error(value: float, error: float | None, digits: int | None = None) -> str:
    """value ± error, with three decimals, as many as the error needs, or `digits`; without an error
    (None, NaN, or 0: nothing scattered, or one value) no ± stands there.
    """
    if error is None or not np.isfinite(error) or error < ROUNDING:
        return _number(value, digits=digits or 3)
    digits = digits or _digits(error)
    return f"{_number(value, digits=digits)} ± {error:.{digits}f}"


def _digits(error: float) -> int:
    return 3 if not error >= ROUNDING else min(6, max(3, math.ceil(-math.log10(error))))


def _percent(level: float) -> str:
    return f"{100 * level:g} %"


def decimals(pairs: list[tuple[float, float]], least: int) -> int:
    """How many, `least` or more, leave each of two numbers on its side of the other; equal up to
    rounding stays equal.
    """

    def order(a: float, b: float) -> int:
        return 0 if abs(a - b) < ROUNDING else (1 if a > b else -1)

    kept = (
        all(order(round(a, n), round(b, n)) == order(a, b) for a, b in pairs)
        for n in range(least, 9)
    )
    return next((n for n, yes in enumerate(kept, least) if yes), 9)
