"""Dataset: inputs, targets and how they were made, checked once at the door. A frozen value."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..checks import as_array, is_integer


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Training samples (x_i, y_i), test samples if there are any, and their origin.

    x (n, d) float64; y (n,) or (n, K) float64, or (n,) int64: classes 0 … K-1 (integers of one
    dimension are kept as integers). x_test, y_test: the same columns, or None. The arrays are
    read-only C-contiguous copies. origin: JSON-able; {"maker", "arguments"} rebuild the set by
    `mf.data.get(maker, **arguments)`, "preparation" holds what `mf.data.prepare` did, "columns" the
    names of the columns, "teacher" or "direction" a synthetic target's parameters.
    """

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray | None = None
    y_test: np.ndarray | None = None
    name: str = "data"
    origin: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise TypeError(f"Dataset: name must be a non-empty string; got {self.name!r}.")
        arrays = {"x": inputs("x", self.x)}
        n, d = arrays["x"].shape
        arrays["y"] = targets("y", self.y, n, "x")
        if (self.x_test is None) != (self.y_test is None):
            given, absent = ("x_test", "y_test") if self.y_test is None else ("y_test", "x_test")
            raise ValueError(f"x_test and y_test go together: {given} is given, {absent} is None.")
        if self.x_test is not None:
            arrays["x_test"] = inputs("x_test", self.x_test)
            if arrays["x_test"].shape[1] != d:
                raise ValueError(
                    f"x_test must have the {d} columns of x; got {arrays['x_test'].shape[1]}."
                )
            arrays["y_test"] = _like(
                arrays["y"], targets("y_test", self.y_test, len(arrays["x_test"]), "x_test")
            )
        for name, array in arrays.items():
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        try:
            origin = json.loads(json.dumps(self.origin, allow_nan=False, default=_plain))
        except (TypeError, ValueError) as error:
            raise TypeError(
                "Dataset: origin must be JSON-able (str, int, float, bool, None, list, "
                f"dict): {error}."
            ) from None
        if not isinstance(origin, dict):
            raise TypeError(f"Dataset: origin must be a dict; got {self.origin!r}.")
        object.__setattr__(self, "origin", origin)

    @property
    def n(self) -> int:
        """Number of training samples."""
        return self.x.shape[0]

    @property
    def d(self) -> int:
        """Input dimension."""
        return self.x.shape[1]

    @property
    def n_test(self) -> int:
        """Number of test samples, 0 without any."""
        return 0 if self.x_test is None else len(self.x_test)

    @property
    def corrupted(self) -> np.ndarray:
        """Training rows whose labels `mf.data.prepare(corrupt=…)` replaced: (k,) int64, ascending."""
        record = self.origin.get("preparation", {}).get("corrupt", {})
        rows = np.array(record.get("rows", []), dtype=np.int64)
        return rows[rows < self.n]

    @property
    def outputs(self) -> int:
        """K, the outputs a network needs: the columns of y, 1 for real or ±1 targets (n,), else the
        number of classes.
        """
        if self.y.ndim == 2:
            return self.y.shape[1]
        if self.y.dtype.kind == "f" or self.y.min() < 0:
            return 1
        return 1 + int(max(part.max() for part in (self.y, self.y_test) if part is not None))

    def subset(self, n: int) -> Dataset:
        """The first n training samples and all test samples; origin notes it. Nothing is
        standardised again.
        """
        if not is_integer(n) or not 1 <= n <= self.n:
            raise ValueError(f"subset: n must be an integer from 1 to {self.n}; got {n!r}.")
        return Dataset(
            self.x[:n],
            self.y[:n],
            self.x_test,
            self.y_test,
            self.name,
            {**self.origin, "subset": int(n)},
        )

    def sha256(self) -> str:
        """Hexadecimal digest of the arrays: their names, dtypes, shapes and little-endian bytes;
        not of name and origin.
        """
        digest = hashlib.sha256()
        for name in ("x", "y", "x_test", "y_test"):
            array = getattr(self, name)
            if array is not None:
                digest.update(f"{name} {array.dtype.kind}8 {array.shape};".encode())
                digest.update(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).data)
        return digest.hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """What the set is, without its arrays; JSON-able."""
        return {
            "name": self.name,
            "n": self.n,
            "d": self.d,
            "outputs": self.outputs,
            "n_test": self.n_test,
            "y": {"dtype": str(self.y.dtype), "shape": list(self.y.shape)},
            "sha256": self.sha256(),
            "origin": json.loads(json.dumps(self.origin)),
        }

    def __repr__(self) -> str:
        kind = (
            f"{self.outputs} classes"
            if self.y.dtype.kind == "i" and self.outputs > 1
            else f"K={self.outputs}"
        )
        return f"Dataset({self.name}: n={self.n}, d={self.d}, {kind}, n_test={self.n_test})"


def real(name: str, value: Any) -> np.ndarray:
    """value as an array of real numbers; text, objects, complex numbers and masked entries are
    refused by name.
    """
    if np.ma.is_masked(value):
        raise ValueError(f"{name} has masked entries: fill or remove them first.")
    try:
        array = as_array(name, value)
    except ValueError:
        raise ValueError(
            f"{name} must be a rectangular array: its rows have different lengths."
        ) from None
    if array.dtype.kind not in "fiub":
        hint = {
            "c": "Use the real and imaginary parts as two columns.",
            "O": "Rows of different lengths, text, None or a sparse matrix? Convert to a "
            "dense array of numbers, a pandas "
            "frame by frame.to_numpy(dtype=float) of its numeric columns.",
        }.get(
            array.dtype.kind,
            "Convert it to numbers, text classes for instance by np.unique(..., "
            "return_inverse=True)[1].",
        )
        raise TypeError(f"{name} must hold real numbers; got dtype {array.dtype}. {hint}")
    return array


def inputs(name: str, value: Any) -> np.ndarray:
    """A checked copy (n, d) in float64."""
    array = real(name, value)
    if array.ndim != 2:
        images = f" For images use {name}.reshape(len({name}), -1)."
        hint = {0: "", 1: f" For scalar inputs use {name}[:, None]."}.get(array.ndim, images)
        raise ValueError(f"{name} must be (n, d), one row a sample; got shape {array.shape}.{hint}")
    if 0 in array.shape:
        raise ValueError(
            f"{name} is empty: shape {array.shape} has no "
            f"{'samples' if not array.shape[0] else 'columns'}."
        )
    return _finite(name, array)


def targets(name: str, value: Any, n: int, rows_of: str) -> np.ndarray:
    """A checked copy: (n,) int64 for integers of one dimension, else (n,) or (n, K) float64."""
    array = real(name, value)
    if array.ndim not in (1, 2) or array.shape[0] != n:
        raise ValueError(
            f"{name} must be ({n},) or ({n}, K), one row for each row of {rows_of}; got "
            f"shape {array.shape}."
        )
    if array.size == 0:
        raise ValueError(f"{name} is empty: shape {array.shape} has no columns.")
    if array.ndim == 2 or array.dtype.kind == "f":
        return _finite(name, array)
    if array.dtype.kind == "u" and array.max() > np.iinfo(np.int64).max:
        first = int(np.argmax(array > np.iinfo(np.int64).max))
        raise ValueError(
            f"{name} has integers beyond int64, first in row {first}; use float64 for real targets."
        )
    return np.array(array, dtype=np.int64, order="C")


def _plain(value: Any) -> Any:
    """NumPy scalars as Python's, for JSON."""
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        # item() of a long double is one
        return float(value) if value.dtype.kind == "f" else value.item()
    raise TypeError(f"{type(value).__name__} is not JSON-able")


def _finite(name: str, array: np.ndarray) -> np.ndarray:
    # a long double beyond float64 becomes inf and is reported below
    with np.errstate(over="ignore"):
        copy = np.array(array, dtype=np.float64, order="C")
    bad = ~np.isfinite(copy)
    if bad.any():
        rows = bad.reshape(len(copy), -1).any(axis=1)
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        where = f"row {first[0]}" + (f", column {first[1]}" if copy.ndim == 2 else "")
        count = f"{rows.sum()} of {len(copy)} rows"
        raise ValueError(
            f"{name} has NaN or infinite values in {count}, first in {where}: {copy[first]}."
        )
    return copy


def _like(y: np.ndarray, y_test: np.ndarray) -> np.ndarray:
    """y_test in the shape and dtype of y, or an error; integers beside real targets are real
    numbers too.
    """
    if y_test.shape[1:] != y.shape[1:]:
        raise ValueError(
            f"y_test must have the columns of y: y has shape {y.shape}, y_test {y_test.shape}."
        )
    if y.dtype.kind == "i" and y_test.dtype.kind == "f":
        raise TypeError(
            "y holds integer classes but y_test is float64; make both integers, or both floats."
        )
    return y_test.astype(y.dtype, copy=False)
