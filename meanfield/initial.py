"""InitialLaw: the law μ_0 from which the neurons are drawn, one counter-based draw a particle."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from . import noise
from .checks import is_integer, is_number
from .processes.memory import ask_memory
from .state import State

CHOICES = {"a": ("rademacher", "normal", "zero"), "w": ("normal", "sphere")}


@dataclass(frozen=True)
class InitialLaw:
    """The law μ_0 from which neurons are drawn: a, w and b independent of each other.

    Parameters
    ----------
    dim, outputs : d and K.
    a : "rademacher" (±a_std), "normal" (N(0, a_std²)) or "zero", each output on its own.
    w : "normal" (N(0, w_std² I_d)) or "sphere" (uniform, |w| = w_std).
    a_std, w_std, b_std : the standard deviations; b ~ N(0, b_std²).
    symmetric : neighbours are (a, w, b), (-a, w, b), so that f_0 = 0 up to rounding. m must be
        even. Without it f_0 is not small for wide networks at γ = ½: its variance is α² m^(1-2γ)
        E[a²] E[σ²], α²|x|²/2 at every m for ReLU, a = ±1 and w ~ N(0, I). It vanishes with m for
        γ > ½ alone.

    Notes
    -----
    Particle k depends on (seed, k) only, so a narrower sample is a prefix of a wider one; of a
    symmetric start pair j uses draw j. THEORY.md, sections 2 and 3.
    """

    dim: int
    outputs: int = 1
    a: str = "rademacher"
    w: str = "normal"
    a_std: float = 1.0
    w_std: float = 1.0
    b_std: float = 0.0
    symmetric: bool = False

    def __post_init__(self) -> None:
        for name in ("dim", "outputs"):
            value = getattr(self, name)
            if not is_integer(value) or value < 1:
                raise ValueError(f"InitialLaw: {name} must be an integer >= 1; got {value!r}.")
            object.__setattr__(self, name, int(value))
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"InitialLaw: {name} must be one of {', '.join(choices)}; got "
                    f"{getattr(self, name)!r}."
                )
        for name in ("a_std", "w_std", "b_std"):
            value = getattr(self, name)
            if not is_number(value) or not (math.isfinite(value) and value >= 0):
                raise ValueError(f"InitialLaw: {name} must be a finite number >= 0; got {value!r}.")
            object.__setattr__(self, name, float(value))
        if not isinstance(self.symmetric, (bool, np.bool_)):
            raise TypeError(f"InitialLaw: symmetric must be True or False; got {self.symmetric!r}.")
        object.__setattr__(self, "symmetric", bool(self.symmetric))

    def sample(self, m: int, seed: int = 0) -> State:
        """m neurons, (m, K + d + 1).

        Parameters
        ----------
        m : the width, even for a symmetric law.
        seed : 0 … 2³² - 1.

        Returns
        -------
        A State whose origin is (law, seed).

        Raises
        ------
        ValueError : for m < 1, and for an odd m of a symmetric law.
        MemoryError : for more neurons than the memory that is available can have.
        """
        if not is_integer(m) or m < 1:
            raise ValueError(f"the width m must be an integer >= 1; got {m!r}.")
        if self.symmetric and m % 2:
            raise ValueError(
                "a symmetric start pairs neighbours (a, w, b), (-a, w, b): m must be "
                f"even; got {m}. Use {m + 1}."
            )
        K, d = self.outputs, self.dim
        ask_memory(16 * m * (K + d + 1), f"a start of m = {m} neurons", "Take fewer.")
        draws = m // 2 if self.symmetric else int(m)
        z = noise.normals(seed, noise.INITIAL, draws, K + d + 1)
        theta = np.empty((draws, K + d + 1))
        if self.a == "zero":
            theta[:, :K] = 0.0
        else:
            theta[:, :K] = self.a_std * (
                np.copysign(1.0, z[:, :K]) if self.a == "rademacher" else z[:, :K]
            )
        w = z[:, K : K + d]
        theta[:, K : K + d] = self.w_std * (
            w / np.linalg.norm(w, axis=1, keepdims=True) if self.w == "sphere" else w
        )
        theta[:, -1] = self.b_std * z[:, -1]
        if self.symmetric:
            theta = np.repeat(theta, 2, axis=0)
            theta[1::2, :K] *= -1.0
        return State(theta, outputs=K, origin=(self, int(seed)))

    def describe(self) -> str:
        """One line for outputs and figures."""
        a = {
            "rademacher": f"a = ±{self.a_std:g}",
            "normal": f"a ~ N(0, {self.a_std:g}²)",
            "zero": "a = 0",
        }[self.a]
        w = (
            f"w ~ N(0, {self.w_std:g}² I_{self.dim})"
            if self.w == "normal"
            else f"w uniform on |w| = {self.w_std:g} in R^{self.dim}"
        )
        b = f"b ~ N(0, {self.b_std:g}²)" if self.b_std else "b = 0"
        return f"{a}, {w}, {b}" + (", symmetric start" if self.symmetric else "")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> InitialLaw:
        return cls(**data)
