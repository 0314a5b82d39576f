"""The output scale s = α m^(1-γ): the one number between the mean-field and the lazy limit.

γ = 1 is the mean-field scaling (neurons travel), γ = 1/2 the NTK scaling (neurons stay put as m
grows, α fixed). THEORY.md, section 1; α is the scale of Chizat, Oyallon and Bach (2019).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from .checks import is_integer, is_number

TIME_UNIT = (
    "flow time t: one Euler step dt is gradient descent with rate dt*m/s^2, s = alpha*m^(1-gamma)"
)


@dataclass(frozen=True)
class Scaling:
    """f(x) = α m^(-γ) Σ_k φ(θ_k; x) = s ∫ φ dμ with s = α m^(1-γ).

    Parameters
    ----------
    gamma : γ, any finite real: 1 is the mean-field limit, ½ the NTK limit as m → ∞. Whether
        a run of finite m was lazy depends on α as well: ntk.laziness measures it.
    alpha : α > 0.

    Notes
    -----
    Time is the flow time t, comparable for every γ, α and m: one explicit Euler step dt is gradient
    descent on R with learning rate η = dt·m/s² = dt·m^(2γ-1)/α². THEORY.md, section 1.
    """

    gamma: float = 1.0
    alpha: float = 1.0

    def __post_init__(self) -> None:
        for name in ("gamma", "alpha"):
            value = getattr(self, name)
            if not is_number(value) or not math.isfinite(value):
                raise TypeError(f"Scaling: {name} must be a finite number; got {value!r}.")
            object.__setattr__(self, name, float(value))
        if self.alpha <= 0:
            raise ValueError(f"Scaling: alpha must be positive; got {self.alpha}.")

    def output_scale(self, m: int) -> float:
        """s = α m^(1-γ)."""
        if not is_integer(m):
            raise TypeError(f"the width m must be an integer; got {m!r}.")
        if m < 1:
            raise ValueError(f"the width m must be at least 1; got {m}.")
        return self.alpha * float(m) ** (1.0 - self.gamma)

    def learning_rate(self, dt: float, m: int) -> float:
        """η = dt·m/s² = dt·m^(2γ-1)/α²: the gradient-descent rate on R of one Euler step dt
        (uniform masses).

        dt·m/α² at γ = 1, dt/α² at γ = 1/2. R is this package's: its squared loss has a ½, PyTorch's
        nn.MSELoss none.
        """
        return dt * m / self.output_scale(m) ** 2

    def flow_time(self, learning_rate: float, steps: int, m: int) -> float:
        """t = steps·η·s²/m: the flow time that `steps` of gradient descent with rate η cover."""
        return steps * learning_rate * self.output_scale(m) ** 2 / m

    def describe(self, m: int, dt: float) -> str:
        """One line: γ, α, s and what a step dt of flow time means in gradient-descent terms."""
        regime = {1.0: "mean-field", 0.5: "NTK"}.get(
            self.gamma, "intermediate" if 0.5 < self.gamma < 1 else "outside [1/2, 1]"
        )
        return (
            f"gamma = {self.gamma:g} ({regime}), alpha = {self.alpha:g}, m = {m}, s = "
            f"{self.output_scale(m):.6g}; "
            f"an Euler step dt = {dt:.6g} of flow time is gradient descent with learning rate "
            f"{self.learning_rate(dt, m):.6g} on R"
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Scaling:
        return cls(**data)


MEAN_FIELD = Scaling(gamma=1.0)
NTK = Scaling(gamma=0.5)
