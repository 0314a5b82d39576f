"""Whether σ' and ℓ' that a user wrote are the slopes of σ and ℓ: at some points, in plain Python,
where they are first used.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .differences import plain, slope_at

if TYPE_CHECKING:
    from .activations import Activation
    from .losses import Loss

# Where σ is looked at: on both sides of 0, small, of order 1 and large; short in binary, so that
# float32 holds them exactly, and no round numbers, which are where formulas have their kinks.
POINTS = (
    -9.28125,
    -3.15625,
    -1.53125,
    -0.71875,
    -0.21875,
    -0.0390625,
    0.0546875,
    0.28125,
    0.78125,
    1.34375,
    2.90625,
    10.15625,
)
# What is added to a label: some times the labels' size, and some near, where a loss has a width of
# its own.
FAR = (-3.15625, -0.21875, 0.28125, 2.90625)
NEAR = (-0.71875, -0.0390625, 0.00390625, 0.0546875, 0.78125)
OUTPUTS = 5  # of a sample, of which a coupled loss is looked at


def written_here(*functions: Callable | None) -> bool:
    """Whether all are formulas of this package, which its tests compare with others'."""
    return all(
        f is None or str(getattr(f, "__module__", "")).startswith("meanfield.") for f in functions
    )


def check_activation(sigma: Activation) -> None:
    """Raise where σ' is not the slope of σ, or the joint formula not both; for functions that fail
    or return no number.
    """
    if not sigma.check or written_here(sigma.value, sigma.slope, sigma.value_and_slope):
        return
    who = f"activation {sigma.name!r}"
    values = _at_points(f"{who}: σ", sigma.value, [(z,) for z in POINTS])
    slopes = _at_points(f"{who}: σ'", sigma.slope, [(z,) for z in POINTS])
    findings = []
    for z, slope in zip(POINTS, slopes, strict=True):
        if math.isfinite(slope):
            found = slope_at(lambda u: plain(sigma.value, u), z, slope, (1.0,))[1]
            findings.append((z, slope, slope if found is None else found))
    if wrong := _worst(findings):
        z, slope, found = wrong
        raise ValueError(
            f"σ' of {sigma.name!r} at z = {z:g}: given {slope:.6g}, differences of σ give "
            f"{found:.6g}. Mend the slope, or, if it "
            "is meant so, say mf.Activation(…, check=False)."
        )
    for z, value, slope in zip(POINTS, values, slopes, strict=True):
        if sigma.homogeneity is not None and abs(z * slope - sigma.homogeneity * value) > 1e-6 * (
            abs(z * slope) + abs(value)
        ):
            raise ValueError(
                f"{sigma.name!r} is not homogeneous of degree {sigma.homogeneity:g}: at z "
                f"= {z:g}, z σ'(z) = {z * slope:.6g} and "
                f"{sigma.homogeneity:g} σ(z) = {sigma.homogeneity * value:.6g}. Leave "
                "homogeneity out."
            )
    if sigma.value_and_slope is not None:
        _check_joint(sigma, values, slopes)


def _check_joint(sigma: Activation, values: list[float], slopes: list[float]) -> None:
    both = sigma.value_and_slope
    assert both is not None
    for part, expected in enumerate((values, slopes)):

        def one_of(z: float, part: int = part) -> Any:
            return both(z)[part]

        found = _at_points(
            f"activation {sigma.name!r}: value_and_slope", one_of, [(z,) for z in POINTS]
        )
        size = max((abs(v) for v in expected if math.isfinite(v)), default=0.0)
        for z, one, other in zip(POINTS, found, expected, strict=True):
            if abs(one - other) > 1e-6 * max(abs(one), abs(other)) + 1e-9 * size:
                raise ValueError(
                    f"value_and_slope of {sigma.name!r} at z = {z:g} gives "
                    f"{('σ', 'σ′')[part]} = {one:.6g}, and "
                    f"{('value', 'slope')[part]} gives {other:.6g}. The two must be the "
                    "same function."
                )


def check_loss(loss: Loss, points: list[tuple[Any, Any]]) -> None:
    """Raise where ℓ' is not ∂ℓ/∂f at the points (prediction, label); for functions that fail or
    return no number.
    """
    if not loss.check or written_here(loss.value, loss.slope):
        return
    who = f"loss {loss.name!r}"
    _at_points(f"{who}: ℓ", loss.value, points)
    if loss.coupled:
        _check_coupled(loss, points)
        return
    slopes = _at_points(f"{who}: ℓ'", loss.slope, points)
    findings = []
    for (f, label), slope in zip(points, slopes, strict=True):
        if math.isfinite(slope):

            def along(at: float, label: float = label) -> float:
                return plain(loss.value, at, label)

            found = slope_at(along, f, slope, (1.0, max(1.0, abs(f))))[1]
            findings.append((f"f = {f:g}, y = {label:g}", slope, slope if found is None else found))
    if wrong := _worst(findings):
        raise ValueError(_wrong(loss, *wrong))


def _check_coupled(loss: Loss, points: list[tuple[Any, Any]]) -> None:
    findings = []
    for row, label in points:
        out = np.zeros(row.size)
        _call(f"loss {loss.name!r}: ℓ'", loss.slope, (row, label, out))
        for c in range(min(row.size, OUTPUTS)):

            def along(at: float, row: np.ndarray = row, label: int = label, c: int = c) -> float:
                moved = row.copy()
                moved[c] = at
                return plain(loss.value, moved, label)

            slope = float(out[c])
            found = slope_at(
                along, float(row[c]), slope, (1.0, max(1.0, float(np.abs(row).max())))
            )[1]
            where = f"f = {row.round(4).tolist()}, y = {label}, output {c}"
            findings.append((where, slope, slope if found is None else found))
    if wrong := _worst(findings):
        raise ValueError(_wrong(loss, *wrong))


def _worst(findings: list[tuple[Any, float, float]]) -> tuple[Any, float, float] | None:
    """The (where, given, found) that are the farthest apart, if not by what is rounding beside the
    slopes elsewhere.
    """
    if not findings:
        return None
    size = max(max(abs(given), abs(found)) for _, given, found in findings)
    worst = max(
        findings, key=lambda entry: math.inf if math.isnan(entry[1]) else abs(entry[1] - entry[2])
    )
    return None if abs(worst[1] - worst[2]) <= 1e-8 * size else worst


def _wrong(loss: Loss, where: str, given: float, found: float) -> str:
    half = (
        " (A squared loss that is (f-y)² has the slope 2 (f-y).)"
        if math.isclose(found, 2 * given, rel_tol=1e-6)
        else ""
    )
    return (
        f"ℓ' of {loss.name!r} at {where}: given {given:.6g}, differences of ℓ give "
        f"{found:.6g}.{half} Mend the slope, or, if it "
        "is meant so, say mf.Loss(…, check=False)."
    )


def label_points(loss: Loss, y: np.ndarray, outputs: int) -> list[tuple[Any, Any]]:
    """Some pairs (prediction, label) as the loss takes them, the labels some of the data's own."""
    if loss.coupled:
        rows = [
            np.array([POINTS[(3 * c + 5 * k) % len(POINTS)] / 4 for c in range(outputs)])
            for k in range(4)
        ]
        classes = y if loss.labels == "class" else [*range(min(outputs, 3))]
        return [(row, int(c)) for row in rows for c in some(np.unique(classes)[:, None], 3)[:, 0]]
    labels = some(np.unique(y)[:, None], 3)[:, 0]
    size = max(1.0, float(np.abs(labels).max()))
    moves = [*(size * z for z in FAR), *NEAR]
    return [(float(label) + move, float(label)) for label in labels for move in moves] + [
        (0.0, float(labels[0]))
    ]


def some(rows: np.ndarray, count: int = 4) -> np.ndarray:
    """`count` rows at equal distances, the first and the last among them, in float64."""
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, count).astype(int))].astype(np.float64)
    chosen.flags.writeable = False
    return chosen


def _at_points(who: str, f: Callable[..., Any], points: list[tuple[Any, ...]]) -> list[float]:
    """f at the points: NaN outside its domain, but not everywhere."""
    values = [_number(who, f, point) for point in points]
    if all(map(math.isnan, values)):
        try:
            reason = f"{f(*points[0])!r}"
        except (ArithmeticError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
        raise ValueError(
            f"{who} is a number at none of {len(points)} points, such as "
            f"{_text(points[0])}: {reason}"
        )
    return values


def _number(who: str, f: Callable[..., Any], point: tuple[Any, ...]) -> float:
    return _call(who, lambda *given: plain(f, *given), point)


def _call(who: str, f: Callable[..., Any], point: tuple[Any, ...]) -> Any:
    try:
        return f(*point)
    except ArithmeticError:
        return math.nan
    except (TypeError, NameError, AttributeError, LookupError) as error:
        said = (
            str(error)
            if str(error).startswith("must return")
            else f"fails: {type(error).__name__}: {error}"
        )
        raise TypeError(f"{who} {said}, at {_text(point)}.") from error


def refuse_other_arguments(who: str, f: Callable[..., Any], point: tuple[Any, ...]) -> None:
    try:
        signature = inspect.signature(f)
    except (TypeError, ValueError):  # some functions written in C do not say
        return
    only_by_name = any(item.kind is item.KEYWORD_ONLY for item in signature.parameters.values())
    try:
        if only_by_name:
            raise TypeError
        signature.bind(*point)
    except TypeError:
        wanted = {1: "z", 2: "(f, y)", 3: "(f, y, out)"}[len(point)]
        raise TypeError(
            f"{who} must be a function of {wanted}; {f.__name__} takes {signature}."
        ) from None


def _text(point: tuple[Any, ...]) -> str:
    names = ("z",) if len(point) == 1 else ("f", "y")
    return ", ".join(f"{name} = {value}" for name, value in zip(names, point, strict=False))
