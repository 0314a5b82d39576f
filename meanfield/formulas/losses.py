"""Losses ℓ(f, y): plain scalar functions of one prediction and one label, compiled elsewhere.

value(f, y) and slope(f, y) = ∂ℓ/∂f act on one output; a loss of K outputs is their sum. Softmax
couples the outputs of a sample, so its functions take the whole row: value(f_row, class),
slope(f_row, class, out_row).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import exp, log, log1p

import numpy as np

from ..checks import as_array, conversion, hint
from .loss_names import advice

LABELS = ("real", "sign", "class")


@dataclass(frozen=True)
class Loss:
    """A loss ℓ(f, y) and its slope ∂ℓ/∂f, as scalar Python functions.

    Parameters
    ----------
    name : in files and messages.
    value, slope : (f, y) -> ℓ, (f, y) -> ∂ℓ/∂f. coupled: they take a sample's whole row, slope as
        (f, y, out), and `out` is 0 before the call.
    labels : "real", "sign" (-1, +1) or "class" (0 … K-1).
    curvature : sup ℓ'', used by dt="auto".
    coupled : whether the outputs of a sample belong together, as in softmax.
    check : an EmpiricalRisk looks at ℓ' by differences of ℓ at some predictions and labels of its
        own, kinks allowed; False takes it as it is.

    Raises
    ------
    TypeError, ValueError : for fields of another kind; by the first use where the compiled ℓ is not
        the Python function.
    """

    name: str
    value: Callable[..., float]
    slope: Callable[..., float | None]
    labels: str = "real"
    curvature: float = 1.0
    coupled: bool = False
    check: bool = field(default=True, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise TypeError(f"Loss: name must be a non-empty string; got {self.name!r}.")
        for part in ("value", "slope"):
            if not callable(getattr(self, part)):
                raise TypeError(
                    f"Loss {self.name!r}: {part} must be a function of (f, y); got "
                    f"{getattr(self, part)!r}."
                )
        if self.labels not in LABELS:
            raise ValueError(
                f"Loss {self.name!r}: labels must be one of {', '.join(LABELS)}; got "
                f"{self.labels!r}."
            )
        if isinstance(self.curvature, bool) or not isinstance(
            self.curvature, (int, float, np.number)
        ):
            raise TypeError(
                f"Loss {self.name!r}: curvature must be a number; got {self.curvature!r}."
            )
        if not 0 <= self.curvature < np.inf:
            raise ValueError(
                f"Loss {self.name!r}: curvature must be a finite number >= 0; got "
                f"{self.curvature!r}."
            )
        object.__setattr__(self, "curvature", float(self.curvature))
        for part in ("coupled", "check"):
            if not isinstance(getattr(self, part), (bool, np.bool_)):
                raise TypeError(
                    f"Loss {self.name!r}: {part} must be True or False; got "
                    f"{getattr(self, part)!r}."
                )
            object.__setattr__(self, part, bool(getattr(self, part)))

    def __repr__(self) -> str:
        return f"Loss({self.name!r})"


def squared(f, y):
    return 0.5 * (f - y) * (f - y)


def squared_slope(f, y):
    return f - y


def huber(f, y):
    r = abs(f - y)
    return 0.5 * r * r if r < 1.0 else r - 0.5


def huber_slope(f, y):
    r = f - y
    if r > 1.0:
        return 1.0
    return -1.0 if r < -1.0 else r


def logistic(f, y):
    z = -y * f
    return (0.0 if z < 0.0 else z) + log1p(exp(-abs(z)))


def logistic_slope(f, y):
    z = -y * f
    e = exp(-abs(z))
    return -y * (e if z < 0.0 else 1.0) / (1.0 + e)


def hinge(f, y):
    z = 1.0 - y * f
    return 0.0 if z < 0.0 else z


def hinge_slope(f, y):
    return -y if y * f < 1.0 else 0.0


def softmax(f, y):
    top = f[0]
    for c in range(1, f.size):
        top = max(top, f[c])
    total = 0.0
    for c in range(f.size):
        total += exp(f[c] - top)
    return log(total) + top - f[y]


def softmax_slope(f, y, out):
    top = f[0]
    for c in range(1, f.size):
        top = max(top, f[c])
    total = 0.0
    for c in range(f.size):
        out[c] = exp(f[c] - top)
        total += out[c]
    for c in range(f.size):
        out[c] /= total
    out[y] -= 1.0


TABLE: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss("squared", squared, squared_slope),
        Loss("huber", huber, huber_slope),
        Loss("logistic", logistic, logistic_slope, labels="sign", curvature=0.25),
        Loss("hinge", hinge, hinge_slope, labels="sign", curvature=0.0),
        Loss("softmax", softmax, softmax_slope, labels="class", curvature=0.5, coupled=True),
    )
}


def get(loss: str | Loss) -> Loss:
    """The Loss of that name (see TABLE), or the one given. Others raise, with what other packages
    mean by them or the nearest.
    """
    if isinstance(loss, Loss):
        return loss
    if not isinstance(loss, str):
        raise TypeError(f"loss must be a name or an mf.Loss; got {loss!r}. {advice(loss)}".rstrip())
    if loss in TABLE:
        return TABLE[loss]
    what = advice(loss)
    raise ValueError(
        f"unknown loss {loss!r}.{f' {what}' if what else hint(loss, TABLE)} Known: "
        f"{', '.join(TABLE)}."
    )


def check_labels(loss: Loss, y: np.ndarray, n: int) -> np.ndarray:
    """y as the loss wants it: (n, K) float64, or (n,) int64 classes. Raises with the conversion to
    make.
    """
    y = as_array("y", y)
    if y.ndim not in (1, 2) or y.shape[0] != n:
        raise ValueError(f"y must be ({n},) or ({n}, K), one row for each row of x; got {y.shape}.")
    if y.dtype.kind not in "fiub":
        raise TypeError(f"y must be real numbers; got dtype {y.dtype}.{conversion(y.dtype)}")
    bad = np.flatnonzero(~np.isfinite(y.astype(np.float64)).reshape(n, -1).all(axis=1))
    if bad.size:
        raise ValueError(f"y has NaN or infinite values, first in row {bad[0]}.")
    if loss.labels == "class":
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if y.ndim != 1 or not np.array_equal(y, np.floor(y)) or y.min() < 0:
            found = f"got {y.dtype} {y.shape}. For one-hot rows use y.argmax(axis=1)."
            raise ValueError(
                f"loss {loss.name!r} wants integer classes 0 … K-1 of shape ({n},); {found}"
            )
        return y.astype(np.int64)
    y = np.ascontiguousarray(y.astype(np.float64).reshape(n, -1))
    if loss.labels == "sign" and not np.all(np.abs(y) == 1.0):
        found = y[np.abs(y) != 1.0][:3].tolist()
        raise ValueError(
            f"loss {loss.name!r} wants labels -1 and +1; got values such as {found}. For "
            "labels 0 and 1 use 2*y - 1."
        )
    return y
