"""Feature: φ(θ; x) and ∇_θ φ(θ; x) as plain Python functions of two rows of numbers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ..checks import flag
from ..columns import Columns
from ..formulas.differences import check_gradient, steepest
from ..state import State
from .protocol import FeatureMap

PARTICLES, INPUTS = 3, 3  # of a start, at whose pairs the gradient is looked at
ROUNDING = 1e-10  # of the largest component of a gradient: what small ones may be off
NAMES = ("θ", "x")


@dataclass(frozen=True, eq=False)
class Feature(FeatureMap):
    """A feature written by its user: f(x) = s ∫ φ(θ; x) dμ(θ), one output.

    Parameters
    ----------
    phi : phi(theta, x) -> float, plain Python on the numbers theta[0] … theta[p - 1] and x[0] …
        x[d - 1], with exp, sqrt, tanh, … of `math`.
    grad_phi : grad_phi(theta, x, out): out[j] = ∂φ/∂θ_j. `out` is 0 before each call. Both are
        compiled, inlined, for the dtype of the flow.
    columns : what θ is: names of single numbers, ("a", "c", "width"), or {name: length}, {"u": 30,
        "v": 30}. Network(…, trainable=("u",)) names those that move.
    dim : d, the number of inputs.
    smooth : False where ∇φ jumps.
    check : False leaves out the comparison of ∇φ with differences of φ.

    Raises
    ------
    TypeError, ValueError : for functions of other arguments at once; with the first state and data,
        for a gradient that is not that of φ, by differences at a few particles and inputs, and for
        formulas that do not compile.

    Notes
    -----
    f and its gradient flow are those of THEORY.md, section 1, for any φ. No file holds the
    functions: mf.resume(path, flow=…). O(m n p) a step, on the CPU or a GPU.

        def bump(theta, x):                    # a e^{-(x - c)²/2}
            return theta[0] * exp(-0.5 * (x[0] - theta[1]) ** 2)
        def grad_bump(theta, x, out):
            out[0] = exp(-0.5 * (x[0] - theta[1]) ** 2)
            out[1] = theta[0] * out[0] * (x[0] - theta[1])
        unit = mf.Feature(bump, grad_bump, columns=("a", "c"))
        network = mf.Network(unit, mf.NTK)
        state = unit.state(rng.normal(size=(100, 2)))
    """

    phi: Callable[..., float]
    grad_phi: Callable[..., None]
    columns: Any  # a Columns once made
    dim: int = 1
    smooth: bool = True
    check: bool = field(default=True, repr=False)
    _checked: list[bool] = field(default_factory=list, init=False, repr=False)

    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda")

    def __post_init__(self) -> None:
        for name, count in (("phi", 2), ("grad_phi", 3)):
            function = getattr(self, name)
            wanted = f"{name} must be a plain Python function of (theta, x{', out' * (count > 2)})"
            if not inspect.isfunction(function):
                raise TypeError(f"{wanted}; got {function!r}.")
            if (found := len(inspect.signature(function).parameters)) != count:
                raise TypeError(f"{wanted}; {function.__name__} takes {found} arguments.")
        for name in ("smooth", "check"):
            object.__setattr__(self, name, flag(name, getattr(self, name)))
        object.__setattr__(self, "columns", Columns.of(self.columns, self.dim))

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.phi.__name__

    @property
    def formulas(self) -> tuple[Callable, ...]:  # type: ignore[override]
        return self.phi, self.grad_phi

    def check_state(self, state: State, x: np.ndarray) -> None:
        """Raise where ∇φ is not the gradient of φ at some of these particles and inputs."""
        super().check_state(state, x)
        if self._checked or not self.check:
            return
        points = self._points(state.theta, x)
        sizes = [float(np.abs(theta).max(initial=0.0)) or 1.0 for theta, _ in points]
        floor = ROUNDING * steepest(self.grad_phi, points, NAMES)
        told = [
            check_gradient(self.phi, self.grad_phi, point, [size], floor, NAMES, "Feature")
            for point, size in zip(points, sizes, strict=True)
        ]
        if any(told):
            self._checked.append(True)

    @staticmethod
    def _points(theta: np.ndarray, x: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        theta = theta[np.isfinite(theta).all(axis=1)]
        particles, inputs = (
            rows[np.unique(np.linspace(0, len(rows) - 1, count).astype(int))].astype(np.float64)
            if len(rows)
            else rows
            for rows, count in ((theta, PARTICLES), (x, INPUTS))
        )
        return [(row, point) for row in particles for point in inputs]

    def written(self, start: State) -> list[tuple[str, Callable, list[tuple[np.ndarray, ...]]]]:
        inputs = np.cos(1.0 + 2.4 * np.arange(3 * self.dim)).reshape(3, self.dim)
        points = self._points(start.theta, inputs)
        return [
            (f"the feature {self.name!r}", self.phi, list(points)),
            (f"the gradient of the feature {self.name!r}", self.grad_phi, list(points)),
        ]

    def __repr__(self) -> str:
        return f"Feature({self.name}, {', '.join(self.columns.names)})"
