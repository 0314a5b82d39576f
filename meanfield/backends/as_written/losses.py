"""ℓ and ℓ' of kernels compared with the Python functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...formulas.differences import plain
from ...formulas.losses import Loss
from ...formulas.slopes import (
    check_loss,
    label_points,
    refuse_other_arguments,
)
from .. import compiler, whole_numbers
from ..compile_errors import explained
from .comparison import ADVICE, PROVED, allowed_by_rounding, differing


def prove_loss(loss: Loss, what: str, y: np.ndarray, outputs: int, kernels: Any) -> None:
    """Compare ℓ ("value") or ℓ' ("slope") of a device's kernels with the Python functions, some of
    the labels y at hand.

    kernels: .total(f, y) and .slopes(f, y) of predictions f (n, K), .unproved, .forget(). The first
    use of a Loss: ℓ' is compared with differences of ℓ here, too.
    """
    kernels.unproved.discard(what)
    f, gradient = (loss.value, False) if what == "value" else (loss.slope, loss.coupled)
    if (what, kernels.device, compiler.fingerprint(f)) in PROVED:
        return
    points = label_points(loss, y, outputs)
    refuse_other_arguments(f"loss {loss.name!r}: ℓ", loss.value, points[0])
    refuse_other_arguments(
        f"loss {loss.name!r}: ℓ'", loss.slope, (*points[0], None) if loss.coupled else points[0]
    )
    with explained(
        f"loss {loss.name!r}",
        {"ℓ": loss.value, "ℓ'": loss.slope},
        points[0],
        "float64",
        coupled=loss.coupled,
    ):
        found = _loss_at(kernels, loss, what, points)
    check_loss(loss, points)
    if gradient:
        values = np.array([_plain_slope(loss, *point) for point in points])
    else:
        values = np.array([[plain(f, *point)] for point in points])
    allowed = allowed_by_rounding(values, _noise(f, points, values, gradient), "float64")

    def agrees(results: Any) -> bool:
        return not differing(
            (values.ravel(), allowed.ravel()), np.array(results, dtype=np.float64).ravel()
        ).size

    if not agrees(found) and whole_numbers.mend(f, points, agrees, "float64", gradient):
        kernels.forget()
        found = _loss_at(kernels, loss, what, points)
    if not agrees(found):
        k = differing((values.ravel(), allowed.ravel()), found.ravel())[0]
        at, label = points[k // values.shape[1]]
        raise ValueError(
            f"{'ℓ' if what == 'value' else chr(0x2113) + chr(0x27)} of loss {loss.name!r} "
            f"at f = {at}, y = {label}: Python gives "
            f"{values.ravel()[k]:.6g}, compiled it gives {found.ravel()[k]:.6g}. {ADVICE}"
        )
    PROVED.add((what, kernels.device, compiler.fingerprint(f)))


def _loss_at(kernels: Any, loss: Loss, what: str, points: list[tuple]) -> np.ndarray:
    """ℓ (points, 1) or ℓ' (points, K) by the kernels."""
    made = []
    for f, label in points:
        row = np.array(f, dtype=np.float64).reshape(1, -1)
        y = np.array([label], dtype=np.int64 if loss.labels == "class" else np.float64)
        y = y if loss.coupled else y.reshape(1, 1)
        made.append([kernels.total(row, y)] if what == "value" else kernels.slopes(row, y)[0])
    return np.array(made, dtype=np.float64)


def _plain_slope(loss: Loss, row: np.ndarray, label: Any) -> np.ndarray:
    out = np.zeros(row.size)
    return out if plain(lambda: loss.slope(row, label, out) or 0.0) == 0.0 else out * np.nan


def _noise(f: Callable, points: list[tuple], values: np.ndarray, gradient: bool) -> np.ndarray:
    """What neighbouring predictions change."""
    if not gradient:
        eps = np.finfo(np.float64).eps
        near = [
            [plain(f, at * (1.0 + k * eps), label) for at, label in points] for k in (-2, -1, 1, 2)
        ]
        return np.fmax.reduce(np.abs(np.array(near) - values[:, 0]))[:, None]
    return np.zeros_like(values)
