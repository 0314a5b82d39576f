"""State: the particles at one time. A frozen value; a step makes a new one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .checks import as_array, conversion, integer, is_integer, masses, real


def column_names(dim: int, outputs: int) -> list[str]:
    """Names of the columns of θ: a0 … w0 … b."""
    return [f"a{j}" for j in range(outputs)] + [f"w{j}" for j in range(dim)] + ["b"]


@dataclass(frozen=True, eq=False)
class State:
    """μ = Σ_k p_k δ_{θ_k}: the particles at one time.

    Parameters
    ----------
    theta : (m, p) with columns [a | w | b], p = K + d + 1. Kept as a read-only copy in float64 or
        float32.
    outputs : K; 0 for pairwise energies on whole rows: then p = d, and the views a, w, b are
        absent.
    mass : p_k, (m,); 1/m by default. Sums to 1, in float32 to its rounding (it is then divided by
        its sum).
    step, t : when.
    origin : (law, seed), or None.

    Raises
    ------
    ValueError, TypeError : for wrong shapes or dtypes, NaN, and masses that do not sum to 1.
    """

    theta: np.ndarray
    outputs: int = 1
    mass: np.ndarray = None  # type: ignore[assignment]
    step: int = 0
    t: float = 0.0
    origin: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        theta = as_array("theta", self.theta)
        if theta.ndim != 2:
            raise ValueError(
                f"theta must be (m, p), one row a particle; got {theta.shape}. For "
                "one-dimensional particles use theta[:, None]."
            )
        if theta.dtype.kind not in "fiu":
            raise TypeError(
                f"theta must be real numbers; got dtype {theta.dtype}.{conversion(theta.dtype)}"
            )
        if not is_integer(self.outputs) or self.outputs < 0:
            raise ValueError(
                "outputs must be an integer K >= 1 (0 for pairwise energies); got "
                f"{self.outputs!r}."
            )
        m, p = theta.shape
        if m < 1:
            raise ValueError("theta has no particles: the width m must be at least 1.")
        if self.outputs and p < self.outputs + 2:
            least = self.outputs + 2
            raise ValueError(
                f"theta (m, p) needs p = K + d + 1 >= {least} columns [a | w | b] for K = "
                f"{self.outputs}; got p = {p}. "
                "Particles of a pairwise energy, whole rows, take outputs=0."
            )
        theta = np.array(
            theta,
            dtype=theta.dtype if theta.dtype in (np.float32, np.float64) else np.float64,
            order="C",
        )
        bad = np.flatnonzero(~np.isfinite(theta).all(axis=1))
        if bad.size:
            raise ValueError(
                f"theta has NaN or infinite values in {bad.size} of {m} particles, first "
                f"in particle {bad[0]}."
            )
        object.__setattr__(self, "outputs", int(self.outputs))
        object.__setattr__(self, "step", integer("step", self.step, 0))
        object.__setattr__(self, "t", real("t", self.t))
        object.__setattr__(self, "mass", _masses(self.mass, m))
        theta.flags.writeable = False
        object.__setattr__(self, "theta", theta)

    @classmethod
    def trusted(
        cls,
        theta: np.ndarray,
        outputs: int,
        mass: np.ndarray,
        step: int,
        t: float,
        origin: Any = None,
    ) -> State:
        """A State without checks or copies, for arrays the engine made; may hold NaN after a
        divergence.
        """
        state = object.__new__(cls)
        for array in (theta, mass):
            array.flags.writeable = False
        for name, value in zip(
            ("theta", "outputs", "mass", "step", "t", "origin"),
            (theta, outputs, mass, step, t, origin),
            strict=True,
        ):
            object.__setattr__(state, name, value)
        return state

    @property
    def m(self) -> int:
        return self.theta.shape[0]

    @property
    def dim(self) -> int:
        """d, the input dimension (p itself for outputs = 0)."""
        return self.theta.shape[1] - (self.outputs + 1 if self.outputs else 0)

    @property
    def a(self) -> np.ndarray:
        """Output weights (m, K)."""
        return self._columns(0, self.outputs)

    @property
    def w(self) -> np.ndarray:
        """Input weights (m, d)."""
        return self._columns(self.outputs, -1)

    @property
    def b(self) -> np.ndarray:
        """Biases (m,)."""
        return self._columns(-1, None)[:, 0]

    def _columns(self, start: int, stop: int | None) -> np.ndarray:
        if not self.outputs:
            raise ValueError(
                "this State has outputs = 0 (whole rows of a pairwise energy): it has no a, w, b."
            )
        return self.theta[:, start:stop]

    def __repr__(self) -> str:
        return (
            f"State(m={self.m}, d={self.dim}, K={self.outputs}, step={self.step}, "
            f"t={self.t:g}, {self.theta.dtype})"
        )


def _masses(given: Any, m: int) -> np.ndarray:
    mass = masses("mass", np.full(m, 1.0 / m) if given is None else given, m)
    mass.flags.writeable = False
    return mass
