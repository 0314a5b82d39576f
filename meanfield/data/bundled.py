"""The real data sets that scikit-learn carries (extra `data`): read from its files, never from a
network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..checks import is_integer
from .dataset import Dataset
from .preparation import prepare

TARGETS = ("class", "sign", "onehot")
SHARED = """

    targets: "class" integers 0 … K-1, (n,) int64; "sign" ±1, (n,) float64, for two classes (the first -1, the second +1)
        or with positive = the classes that become +1, the others -1; "onehot" centred, y_ic = 1[c = class] - 1/K, (n, K).
    classes: use these classes only, numbered in this order, for instance classes=(3, 8).
    preparation: the options of `prepare`; here standardise=True and test_fraction=0.2 unless given."""


def _classification(name: str, about: str, **defaults: Any) -> Callable[..., Dataset]:
    """The maker of one classification set; defaults are options of `prepare`."""

    def maker(
        *,
        targets: str = "class",
        classes: Sequence[int | str] | None = None,
        positive: Sequence[int | str] | set[int | str] | None = None,
        **preparation: Any,
    ) -> Dataset:
        if targets not in TARGETS:
            raise ValueError(
                f"{name}: targets must be one of {', '.join(map(repr, TARGETS))}; got {targets!r}."
            )
        if positive is not None and targets != "sign":
            raise ValueError(
                f'{name}: positive = {positive!r} has a meaning for targets="sign" only; '
                f"got targets={targets!r}."
            )
        bunch = _read(name)
        labels = [str(label) for label in bunch.target_names]
        chosen = (
            list(range(len(labels)))
            if classes is None
            else _indices(name, "classes", classes, labels)
        )
        if len(chosen) < 2:
            raise ValueError(f"{name}: classes must name at least two classes; got {classes!r}.")
        # number[c] is the new number of the file's class c, -1 for those left out
        number = np.full(len(labels), -1)
        number[chosen] = np.arange(len(chosen))
        rows = number[bunch.target] >= 0
        y = number[bunch.target[rows]].astype(np.int64)
        plus = (
            [1]
            if positive is None
            else [int(number[c]) for c in _indices(name, "positive", positive, labels)]
        )
        arguments = {
            "targets": targets,
            "classes": None if classes is None else chosen,
            "positive": None if positive is None else [chosen[c] for c in plus],
        }
        if targets == "sign":
            if positive is None and len(chosen) != 2:
                raise ValueError(
                    f'{name}: targets="sign" needs two classes; got {len(chosen)}. Give '
                    "positive=… or a pair classes=(…, …)."
                )
            if -1 in plus or not 0 < len(plus) < len(chosen):
                raise ValueError(
                    f"{name}: positive must be some, not all, of the classes in use; got "
                    f"{positive!r}."
                )
            real = np.where(np.isin(y, plus), 1.0, -1.0)
        elif targets == "onehot":
            real = np.eye(len(chosen))[y] - 1.0 / len(chosen)
        options = {"test_fraction": 0.2, "standardise": True} | defaults | preparation
        origin = {
            "maker": name,
            "arguments": {key: value for key, value in arguments.items() if value is not None}
            | options,
            "columns": [str(column) for column in bunch.feature_names],
            "classes": [labels[c] for c in chosen],
        }
        return prepare(
            Dataset(bunch.data[rows], y if targets == "class" else real, name=name, origin=origin),
            **options,
        )

    maker.__name__ = maker.__qualname__ = name
    maker.__doc__ = about + SHARED
    return maker


digits = _classification(
    "digits",
    """1797 images of handwritten digits, 8×8 = 64 pixels 0 … 16, 10 classes. Pixels that never vary are dropped unless
    constant="keep" (the corners are always blank), so d is about 61. Standardised, a pixel that is almost always blank has
    outliers near √n; normalise="rows" bounds every input.""",
    constant="drop",
)
iris = _classification("iris", "Fisher's 150 flowers, 4 lengths in cm, 3 species.")
wine = _classification("wine", "178 wines, 13 chemical measurements, 3 cultivars.")
breast_cancer = _classification(
    "breast_cancer", "569 tumours, 30 measurements of cell nuclei, 2 classes: malignant, benign."
)


def diabetes(**preparation: Any) -> Dataset:
    """442 patients, 10 baseline measurements, y the disease's progression a year later: regression,
    (n,) float64.

    preparation: the options of `prepare`; here standardise=True, standardise_y=True and
    test_fraction=0.2 unless given.
    """
    bunch = _read("diabetes", scaled=False)
    options = {"test_fraction": 0.2, "standardise": True, "standardise_y": True} | preparation
    origin = {
        "maker": "diabetes",
        "arguments": options,
        "columns": [str(column) for column in bunch.feature_names],
    }
    return prepare(Dataset(bunch.data, bunch.target, name="diabetes", origin=origin), **options)


def _read(name: str, **options: Any) -> Any:
    """What scikit-learn's loader of this name returns."""
    if name == "digits" and (file := _file_of_digits()):
        rows = np.loadtxt(file, delimiter=",")
        return SimpleNamespace(
            data=rows[:, :-1],
            target=rows[:, -1].astype(int),
            target_names=np.arange(10),
            feature_names=[f"pixel_{i}_{j}" for i in range(8) for j in range(8)],
        )
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError(
            f'the data set {name!r} comes with scikit-learn: pip install -e ".[data]" ({error}).'
        ) from error
    return getattr(datasets, f"load_{name}")(**options)


def _file_of_digits() -> Path | None:
    """The file of the digits, for many programs read nothing else of scikit-learn, whose import takes
    one to three seconds; None where it lies elsewhere.
    """
    found = find_spec("sklearn")
    if found is None or found.origin is None:
        return None
    file = Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"
    return file if file.is_file() else None


def _indices(name: str, argument: str, wanted: Any, labels: list[str]) -> list[int]:
    """Classes given by number or by name -> their numbers in the file, in the order given (sets:
    sorted).
    """
    if isinstance(wanted, str) or not isinstance(
        wanted, (list, tuple, set, frozenset, range, np.ndarray)
    ):
        raise TypeError(
            f"{name}: {argument} must be a collection of classes such as (0, 1); got {wanted!r}."
        )
    found = []
    for label in wanted:
        number = is_integer(label)
        if number and 0 <= label < len(labels):
            found.append(int(label))
        elif not number and str(label) in labels:
            found.append(labels.index(str(label)))
        else:
            raise ValueError(
                f"{name}: {argument} has no class {label!r}; the classes are 0 … "
                f"{len(labels) - 1}: {', '.join(labels)}."
            )
    if len(set(found)) != len(found):
        raise ValueError(f"{name}: {argument} names a class twice: {wanted!r}.")
    return sorted(found) if isinstance(wanted, (set, frozenset)) else found
