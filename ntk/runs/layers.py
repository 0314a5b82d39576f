"""The smallest eigenvalue of the kernel, whole and of each block of columns, while a run goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from meanfield import tangent
from meanfield.functionals.samples import check_inputs
from meanfield.observers.moment import Moment
from meanfield.observers.protocol import Observer
from meanfield.stepping.march import March

from ..finite.kernel import empirical


class LayerMinima(Observer):
    """λ_min(H_t) and λ_min of each layer's part of H_t, as series of a run.

    Parameters
    ----------
    schedule : when to look (mf.every …).
    x : (n, d), the inputs of the kernel; the training inputs unless given.

    Attributes
    ----------
    times, values : what was seen: (k,), and {series: (k,)}. The series are "lambda_min" and
        "lambda_min_layer1.weight" … of mf.deep, "lambda_min_a" … of neurons; of the trainable blocks.

    Raises
    ------
    ValueError : where a run begins, for a functional without a network, or without samples and no x.

    Notes
    -----
    Parts are positive semi-definite and sum to H_t, so λ_min(H_t) is at least the sum of theirs. Du, Lee,
    Li, Wang and Zhai (2019) go by the part of the last hidden weights, G^(H). Of K > 1 outputs the kernel
    is (nK, nK). A part of n samples and fewer columns than n K is singular: λ_min is 0 to rounding.
    """

    name = "layer_minima"

    def __init__(self, schedule: Any, x: Any = None) -> None:
        super().__init__(schedule)
        self._x = None if x is None else check_inputs(x)
        self._clear()

    def _clear(self) -> None:
        self.times: np.ndarray = np.empty(0)
        self.values: dict[str, np.ndarray] = {}

    def begin(self, march: March, problem: Any, path: Path | None) -> None:
        functional = march.flow.functional
        network = functional.network
        if network is None:
            raise ValueError(
                f"the observer {self.name!r} is about the tangent kernel of a network; the run's "
                f"functional is a {type(functional).__name__} without one."
            )
        x = getattr(functional, "x", None) if self._x is None else self._x
        if x is None:
            raise ValueError(
                f"a {type(functional).__name__} has no training inputs: say of which the kernel is, "
                "ntk.LayerMinima(schedule, x)."
            )
        self._inputs = check_inputs(x, march.start.dim)
        self._clear()
        self.series = ("lambda_min", *(f"lambda_min_{name}" for name in network.trainable))

    def observe(self, moment: Moment) -> dict[str, float]:
        network = moment.flow.functional.network
        parts = empirical(network, moment.frame.state, self._inputs, parts=True)
        kernels = {"lambda_min": sum(parts.values())}
        kernels |= {f"lambda_min_{name}": part for name, part in parts.items()}
        found = {name: _smallest(kernel) for name, kernel in kernels.items()}
        self._append(moment.t, found)
        return found

    def memory(self) -> dict[str, Any]:
        return {"times": self.times, **self.values}

    def restore(self, memory: dict[str, Any]) -> None:
        self.values = {name: np.asarray(values) for name, values in memory.items()}
        self.times = self.values.pop("times")

    def read(self, run: Any) -> None:
        self._clear()
        columns = {name: run.series(name) for name in self.series}
        for row, t in enumerate(columns["lambda_min"].times):
            self._append(t, {name: column.values[row] for name, column in columns.items()})

    def _append(self, t: float, found: dict[str, float]) -> None:
        self.times = np.append(self.times, t)
        for name, value in found.items():
            self.values[name] = np.append(self.values.get(name, np.empty(0)), value)


def _smallest(kernel: Any) -> float:
    return float(np.linalg.eigvalsh(tangent.as_matrix(kernel))[0])
