"""What users pass as samples: inputs (n, d), their orientation against the labels, weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..checks import as_array, conversion, number


def check_orientation(x: np.ndarray, y: Any) -> None:
    """Raise where the labels count the columns of x: (d, n), one column a sample."""
    labels = np.shape(y)
    if labels and labels[0] != x.shape[0] and x.shape[1] in (labels[0], labels[-1]):
        turned = " and y.T" if labels[0] != x.shape[1] else ""
        raise ValueError(
            "x must be (n, d), one row a sample, with a row of y for each; got x "
            f"{x.shape} and y {labels}. "
            f"That looks like one column a sample, (d, n): pass x.T{turned}."
        )


def sample_weights(given: Any, y: np.ndarray) -> np.ndarray:
    """Weights (n,) of samples: as they are, or from their labels y by "balanced" or {label:
    weight}.
    """
    n = len(y)
    if isinstance(given, (str, Mapping)):
        labels = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
        if labels.ndim != 1 or not np.array_equal(labels, np.floor(labels)):
            raise ValueError(
                "weights by labels need one whole number a sample as its label; y is "
                f"{y.dtype} {y.shape}. Give weights ({n},)."
            )
        classes, at, counts = np.unique(labels, return_inverse=True, return_counts=True)
        if isinstance(given, str):
            if given != "balanced":
                raise ValueError(
                    f'weights must be an array ({n},), "balanced" or {{label: weight}}; '
                    f"got {given!r}."
                )
            return np.asarray(n / (len(classes) * counts))[at]
        found = {int(label) for label in classes}
        if set(given) != found:
            raise ValueError(
                f"weights need one entry for each label of y, {sorted(found)}; got "
                f"{sorted(given, key=str)}."
            )
        of_label = [
            number(f"the weight of label {int(label)}", given[int(label)]) for label in classes
        ]
        return sample_weights(np.array(of_label)[at], y)
    weights = as_array("weights", given)
    if weights.dtype.kind not in "fiu":
        raise TypeError(
            f"weights must be real numbers; got dtype {weights.dtype}.{conversion(weights.dtype)}"
        )
    if weights.shape != (n,):
        raise ValueError(f"weights must be ({n},), one for each row of x; got {weights.shape}.")
    weights = np.array(weights, dtype=np.float64)
    with np.errstate(over="ignore"):
        total = float(weights.sum())
    if not np.isfinite(weights).all() or weights.min() < 0 or total == 0:
        raise ValueError("weights must be finite and >= 0, and not all 0.")
    if not np.finfo(np.float64).tiny <= total <= np.finfo(np.float64).max:
        raise ValueError(
            f"the sum of the weights, {total:g}, is beyond what float64 divides by: scale "
            "them, to numbers of order 1."
        )
    return weights


def check_inputs(x: Any, dim: int | None = None) -> np.ndarray:
    """x as (n, d) float64, finite; raises naming the first bad row and column."""
    x = as_array("x", x)
    wanted = "(n, d)" if dim is None else f"(n, {dim})"
    if x.ndim != 2 or (dim is not None and x.shape[1] != dim):
        turned = dim is not None and x.ndim == 2 and x.shape[0] == dim
        advice = (
            "That looks like (d, n), one column a sample: pass x.T."
            if turned
            else "For scalar inputs use x[:, None]."
        )
        raise ValueError(f"x must be {wanted}, one row a sample; got {x.shape}. {advice}")
    if x.shape[1] == 0:
        raise ValueError("x has no columns: d must be at least 1.")
    if x.dtype.kind not in "fiub":
        raise TypeError(f"x must be real numbers; got dtype {x.dtype}.{conversion(x.dtype)}")
    x = np.array(x, dtype=np.float64, order="C")
    bad = np.argwhere(~np.isfinite(x))
    if bad.size:
        raise ValueError(
            f"x has {len(bad)} NaN or infinite values, first at row {bad[0][0]}, column "
            f"{bad[0][1]}."
        )
    return x
