"""prepare: split by seed, corrupt labels, treat constant columns, standardise on the training rows,
normalise; all of it recorded.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import noise
from ..checks import is_integer, is_number
from .corruption import check_share, corrupted
from .dataset import Dataset, inputs

SPLIT = 3  # the `step` of the split's random numbers; tasks.py has 0, 1, 2, corruption.py 4, 5
CONSTANT = ("error", "drop", "keep")
NORMALISE = (None, "rows", "sqrt_d")


def prepare(
    data: Dataset,
    *,
    test_fraction: float = 0.0,
    seed: int = 0,
    n: int | None = None,
    corrupt: float = 0.0,
    standardise: bool = False,
    standardise_y: bool = False,
    constant: str = "error",
    normalise: str | None = None,
) -> Dataset:
    """A new Dataset; origin["preparation"] records arguments and constants, so `transform` can
    treat further inputs alike.

    In this order, every statistic from the training rows alone:
    test_fraction: round(test_fraction·n) rows, at least one, are drawn for the test by the permutation of `seed`; the
        others stay in the permuted order, so that their first n are a random subset. 0 keeps order and test rows as given.
    n: keep the first n training rows only (default: all).
    corrupt: this share of the training labels, drawn by `seed`, is replaced: a class by another class, a real target by a
        normal number of the same mean and variance. Test labels stay. The made Dataset's .corrupted has the rows.
    constant: columns with one value on all training rows are an "error", or "drop", or "keep" (at zero if standardised).
    standardise: x_j ← (x_j - mean_j)/std_j, population standard deviation;  standardise_y: the same for y.
    normalise: "rows" x_i ← x_i/|x_i|;  "sqrt_d" x ← x/√d, so that |x|² is 1 on average after standardisation.
    """
    _check_options(test_fraction, standardise, standardise_y, constant, normalise)
    check_share(corrupt)
    if "preparation" in data.origin:
        raise ValueError(
            f"{data.name!r} is prepared already: prepare the raw data once, with all options."
        )
    x, y, x_test, y_test = data.x, data.y, data.x_test, data.y_test
    if test_fraction > 0:
        if x_test is not None:
            raise ValueError(f"{data.name!r} has test samples of its own: use test_fraction=0.")
        train, test = split(data.n, test_fraction, seed)
        x, y, x_test, y_test = x[train], y[train], x[test], y[test]
    if n is not None:
        if not is_integer(n) or not 1 <= n <= len(x):
            raise ValueError(
                f"n must be an integer from 1 to {len(x)}, the number of training rows; got {n!r}."
            )
        x, y = x[:n], y[:n]
    replaced: dict[str, Any] = {}
    if corrupt > 0:
        y, rows, by = corrupted(y, y_test, corrupt, seed)
        replaced = {"share": float(corrupt), "by": by, "rows": rows.tolist()}

    record: dict[str, Any] = {
        "test_fraction": float(test_fraction),
        "seed": int(seed),
        "n": len(x),
        "constant": constant,
    }
    if replaced:
        record["corrupt"] = replaced
    kept, flat = _columns(x, constant, data.origin.get("columns"))
    record |= {"columns_in": data.d, "kept": kept.tolist(), "normalise": normalise}
    if standardise:
        mean, std = _mean_std(x[:, kept])
        # kept constants become exact zeros
        mean, std = np.where(flat[kept], x[0, kept], mean), np.where(flat[kept], 1.0, std)
        record |= {"mean": mean.tolist(), "std": std.tolist()}
    if standardise_y:
        y, y_test, record["y_mean"], record["y_std"] = _standardise_targets(y, y_test)
    return Dataset(
        _apply(record, "x", x),
        y,
        None if x_test is None else _apply(record, "x_test", x_test),
        y_test,
        data.name,
        {**data.origin, "preparation": record},
    )


def transform(data: Dataset, x: Any) -> np.ndarray:
    """Further inputs x (n', columns before preparation) treated as those of `data` were -> (n', d)
    float64.
    """
    record = data.origin.get("preparation")
    if record is None:
        raise ValueError(f"{data.name!r} was not prepared: its inputs are used as they are.")
    x = inputs("x", x)
    d = record["columns_in"]
    if x.shape[1] != d:
        raise ValueError(
            f"x must have the {d} columns that {data.name!r} had before its preparation; "
            f"got {x.shape[1]}."
        )
    return _apply(record, "x", x)


def split(n: int, test_fraction: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Indices (train, test): a partition of 0 … n-1 by the permutation that sorts n uniform numbers
    of `seed`.
    """
    if not is_number(test_fraction) or not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction must lie in (0, 1) for a split; got {test_fraction!r}.")
    n_test = max(1, round(test_fraction * n))
    if n_test >= n:
        raise ValueError(
            f"test_fraction = {test_fraction:g} of {n} samples leaves none to train on."
        )
    order = np.argsort(noise.uniforms(seed, noise.DATA, n, 1, step=SPLIT)[:, 0], kind="stable")
    return order[n_test:], order[:n_test]


def _check_options(
    test_fraction: Any, standardise: Any, standardise_y: Any, constant: Any, normalise: Any
) -> None:
    number = is_number(test_fraction)
    if not number or not 0 <= test_fraction < 1:
        raise ValueError(f"test_fraction must be a number in [0, 1); got {test_fraction!r}.")
    for name, flag in (("standardise", standardise), ("standardise_y", standardise_y)):
        if not isinstance(flag, (bool, np.bool_)):
            raise TypeError(f"{name} must be True or False; got {flag!r}.")
    if constant not in CONSTANT:
        raise ValueError(
            f"constant must be one of {', '.join(map(repr, CONSTANT))}; got {constant!r}."
        )
    if normalise not in NORMALISE:
        raise ValueError(
            'normalise must be None, "rows" (|x_i| = 1) or "sqrt_d" (x/√d); got '
            f"{normalise!r}. For columns use standardise=True."
        )


def _columns(
    x: np.ndarray, constant: str, names: list[str] | None
) -> tuple[np.ndarray, np.ndarray]:
    """(indices of the columns to keep, mask of the constant ones)."""
    flat = _flat(x)
    if constant == "error" and flat.any():
        listed = [f"{j} ({names[j]})" if names else str(j) for j in np.flatnonzero(flat)[:10]]
        more = ", …" if flat.sum() > 10 else ""
        raise ValueError(
            f"x has {flat.sum()} constant columns on the {len(x)} training rows: "
            f"{', '.join(listed)}{more}. "
            'Use constant="drop" to leave them out, or constant="keep".'
        )
    kept = np.flatnonzero(~flat) if constant == "drop" else np.arange(x.shape[1])
    if not kept.size:
        raise ValueError(
            f"every column of x is constant on the {len(x)} training rows: nothing is "
            "left to learn from."
        )
    return kept, flat


def _flat(values: np.ndarray) -> np.ndarray:
    """Columns without variation; a spread of some units in the last place is rounding, not
    variation.
    """
    low, high = values.min(axis=0), values.max(axis=0)
    return high - low <= 8 * np.finfo(np.float64).eps * np.maximum(abs(low), abs(high))


def _mean_std(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Column means and population standard deviations; squares of x/largest neither over- nor
    underflow.
    """
    mean = values.mean(axis=0)
    centred = values - mean
    largest = abs(centred).max(axis=0)
    unit = np.where(largest > 0, largest, 1.0)
    return mean, largest * np.sqrt(((centred / unit) ** 2).mean(axis=0))


def _standardise_targets(
    y: np.ndarray, y_test: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None, Any, Any]:
    if y.dtype.kind == "i":
        raise TypeError("standardise_y is for real targets; y holds integer classes.")
    flat = _flat(y)
    if flat.any():
        where = f" in column {int(np.argmax(flat))}" if y.ndim == 2 else ""
        raise ValueError(f"y is constant on the training rows{where}: it can't be standardised.")
    mean, std = _mean_std(y)
    return (
        (y - mean) / std,
        None if y_test is None else (y_test - mean) / std,
        mean.tolist(),
        std.tolist(),
    )


def _apply(record: dict[str, Any], name: str, x: np.ndarray) -> np.ndarray:
    x = x[:, record["kept"]]
    if "mean" in record:
        x = (x - np.array(record["mean"])) / np.array(record["std"])
    if record["normalise"] == "rows":
        norms = np.linalg.norm(x, axis=1, keepdims=True)
        if not norms.all():
            raise ValueError(
                f'normalise="rows": row {int(np.argmin(norms))} of {name} is zero and has '
                "no direction."
            )
        x = x / norms
    elif record["normalise"] == "sqrt_d":
        x = x / math.sqrt(x.shape[1])
    return x
