"""State: the particles at one time. A frozen value; a step makes a new one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .checks import as_array, conversion, integer, is_integer, masses, real
from .columns import Columns


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
    origin : (law, seed), or None: of an array, and where copies have taken the places of others.
    columns : what the columns are, where particles are no neurons: mf.Feature and mf.ModuleFeature
        make such states. Then `outputs` is theirs, state["name"] is a block of θ, (m, *shape), and
        the views a, w, b are absent.
    start : the State at which the run began, where the network is centred, f - f_0; None: here.

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
    columns: Columns | None = field(default=None, repr=False)
    start: State | None = field(default=None, repr=False)

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
        if self.columns is not None:
            if p != self.columns.size:
                raise ValueError(
                    f"theta must be (m, {self.columns.size}), with the columns "
                    f"{', '.join(self.columns.names)}; got {theta.shape}."
                )
            object.__setattr__(self, "outputs", self.columns.outputs)
        elif self.outputs and p < self.outputs + 2:
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
        columns: Columns | None = None,
        start: State | None = None,
    ) -> State:
        """A State without checks or copies, for arrays the engine made; may hold NaN after a
        divergence.
        """
        state = object.__new__(cls)
        for array in (theta, mass):
            array.flags.writeable = False
        for name, value in zip(
            ("theta", "outputs", "mass", "step", "t", "origin", "columns", "start"),
            (theta, outputs, mass, step, t, origin, columns, start),
            strict=True,
        ):
            object.__setattr__(state, name, value)
        return state

    def moved(self, theta: Any, mass: Any = None, step: int = 0, t: float = 0.0) -> State:
        """Other particles with the same columns, checked; of the masses given, or the same."""
        mass = self.mass if mass is None else mass
        return State(theta, self.outputs, mass, step, t, columns=self.columns, start=self.start)

    def centred(self) -> State:
        """The same, with itself as the start where f_0 is taken, if it has none."""
        if self.start is not None:
            return self
        what = self.theta, self.outputs, self.mass, self.step, self.t, self.origin, self.columns
        return State.trusted(*what, self)

    def without_origin(self) -> State:
        """The same particles, of which is not said where they come from."""
        what = self.theta, self.outputs, self.mass, self.step, self.t
        return State.trusted(*what, columns=self.columns, start=self.start)

    @property
    def m(self) -> int:
        return self.theta.shape[0]

    @property
    def dim(self) -> int:
        """d, the input dimension (p itself for outputs = 0)."""
        if self.columns is not None:
            return self.columns.dim
        return self.theta.shape[1] - (self.outputs + 1 if self.outputs else 0)

    @property
    def neurons(self) -> bool:
        """Whether the columns are [a | w | b]; else a particle is a whole row of θ."""
        return self.outputs > 0 and self.columns is None

    @property
    def labels(self) -> list[str]:
        """A name for each column of θ."""
        if self.columns is not None:
            return self.columns.labels
        if self.outputs:
            return column_names(self.dim, self.outputs)
        return [f"x{j}" for j in range(self.dim)]

    def __getitem__(self, name: str) -> np.ndarray:
        """A block of θ by its name, (m, *shape)."""
        if self.columns is None:
            raise KeyError(f"this State has the views a, w, b and no columns {name!r}.")
        return self.columns.view(self.theta, name)

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
        if self.columns is not None:
            raise ValueError(
                f"this State has the columns {', '.join(self.columns.names)}, no a, w, b: "
                f"write state[{self.columns.names[0]!r}]."
            )
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
