"""Training labels that say something else: a share of them, drawn by a seed and kept by row."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import noise
from ..checks import is_number

ROWS, VALUES = 4, 5  # the `step` of their random numbers; tasks.py has 0, 1, 2, preparation.py 3


def corrupted(
    y: np.ndarray, y_test: np.ndarray | None, share: float, seed: int
) -> tuple[np.ndarray, np.ndarray, str]:
    """max(1, round(share·n)) of the training labels replaced, the others as they are.

    Parameters
    ----------
    y : (n,) or (n, K), the training labels.
    y_test : theirs, which names the classes too; it is not changed.
    share : in (0, 1].
    seed : of the rows and of what stands in them.

    Returns
    -------
    y : of the same shape and dtype.
    rows : (k,) int64, ascending: where it was replaced.
    by : "another class" or "noise".

    Raises
    ------
    ValueError : where there is one class alone.

    Notes
    -----
    Classes are integers (n,), real (n,) or (n, 1) of two values, and rows (n, K) of which one column has one
    value and all others another (one-hot, centred or not): a label becomes one of the other
    classes, each as probable. Any other target becomes a normal number with the mean and the
    variance that its column has over the training rows.
    """
    n = len(y)
    drawn = noise.uniforms(seed, noise.DATA, n, 2, step=ROWS)
    order = np.argsort(drawn[:, 0], kind="stable")
    rows = np.sort(order[: max(1, round(share * n))])
    classes = _classes(y, y_test)
    replaced = y.copy()
    if classes is None:
        z = noise.normals(seed, noise.DATA, n, y.reshape(n, -1).shape[1], step=VALUES)
        random = y.mean(axis=0) + y.std(axis=0) * z.reshape(y.shape)
        replaced[rows] = random[rows]
        return replaced, rows, "noise"
    values, labels = classes
    count = len(values)
    if count < 2:
        raise ValueError(
            f"corrupt = {share:g}: every label is {values[0]}, and there is no other class to put "
            "in its place. Use corrupt=0."
        )
    shift = 1 + np.floor((count - 1) * drawn[:, 1]).astype(np.int64)
    other = (labels + shift) % count
    replaced[rows] = values[other[rows]]
    return replaced, rows, "another class"


def check_share(share: Any) -> None:
    """ValueError for what is no share of the training labels."""
    if not is_number(share) or not 0 <= share <= 1:
        raise ValueError(
            "corrupt must be the share of the training labels to replace, a number in [0, 1]; got "
            f"{share!r}."
        )


def _classes(y: np.ndarray, y_test: np.ndarray | None) -> tuple[np.ndarray, np.ndarray] | None:
    """(a target of each class, class of each training row), or None for real targets."""
    if y.ndim == 2 and y.shape[1] > 1:
        high, low = y.max(), y.min()
        ones = y == high
        if not (ones | (y == low)).all() or (ones.sum(axis=1) != 1).any():
            return None
        return np.where(np.eye(y.shape[1], dtype=bool), high, low), ones.argmax(axis=1)
    every = y if y_test is None else np.concatenate([y, y_test])
    values = np.unique(every)
    if y.dtype.kind != "i" and len(values) > 2:
        return None
    return values.reshape(-1, *y.shape[1:]), np.searchsorted(values, y).reshape(-1)
