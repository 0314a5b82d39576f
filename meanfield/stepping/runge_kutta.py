"""Runge–Kutta methods are data: a Butcher tableau that checks itself, and the one step that reads
it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from ..checks import is_number
from ..particles import Particles
from .methods import TABLE, Method, Step, register_method


@dataclass(frozen=True)
class RungeKutta(Method):
    """θ_{n+1} = θ_n + dt Σ_i b_i k_i,  k_i = v(θ_n + dt Σ_{j<i} a_ij k_j).

    Parameters
    ----------
    name : in files and messages.
    order : its order conditions are checked, up to 4.
    a : strictly lower triangular (explicit): row i has i entries.
    b : the weights, with sum 1.
    b_embedded : weights of order - 1, for an estimate of the error.
    stability : the method is stable on the negative real axis for dt·|λ| up to this.

    Raises
    ------
    ValueError : for a tableau that is not explicit, or misses its order.

    Notes
    -----
    Hairer, Nørsett, Wanner, Solving Ordinary Differential Equations I, II.1–II.4.
    """

    name: str
    order: int = field()
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    b_embedded: tuple[float, ...] | None = None
    stability: float = 2.0

    def __post_init__(self) -> None:
        stages = len(self.b)
        if len(self.a) != stages or any(len(row) != i for i, row in enumerate(self.a)):
            raise ValueError(
                f"{self.name}: a must be strictly lower triangular with {stages} rows of "
                f"lengths 0 … {stages - 1}."
            )
        for weights, order in ((self.b, self.order), (self.b_embedded, self.order - 1)):
            if (
                weights is not None
                and (defect := _order_defect(self.a, weights, min(order, 4))) > 1e-12
            ):
                raise ValueError(
                    f"{self.name}: the weights {weights} miss the conditions of order "
                    f"{order} by {defect:.1e}."
                )

    @property
    def stages(self) -> int:  # type: ignore[override]
        return len(self.b)

    @property
    def tableau(self) -> RungeKutta | None:
        return self if type(self) is RungeKutta else None  # a subclass may step otherwise

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """Of more than one stage: they must be velocities of one field."""
        return ("deterministic",) if len(self.b) > 1 else ()

    def step(self, field: Any, particles: Particles, dt: float) -> Step:
        """One step; v of the particles is known already where the field has just been asked for it."""
        combine, advance = field.backend.combine, field.backend.advance
        theta, weight = particles.theta, field.weight(particles)
        last_is_new = len(self.b) > 1 and self.b == (*self.a[-1], 0.0)
        weights = [0.0 if last_is_new else dt * c for c in self.b]  # of the sum that is the new θ

        stages: list[Any] = [field.velocity(particles)]
        new, speed = advance(theta, weights[0], stages[0], weight)
        point, speeds = theta, [speed]
        for i, row in enumerate(self.a[1:], start=1):
            point = combine(theta, [dt * c for c in row], stages)
            # free what no later stage reads: θ-sized arrays are what a step costs
            if self.b_embedded is None:
                stages = [
                    k if any(later[j] for later in self.a[i + 1 :]) else None
                    for j, k in enumerate(stages)
                ]
            stages.append(field.velocity(particles.at(point)))
            new, speed = advance(new, weights[i], stages[-1], weight)
            speeds.append(speed)

        made = particles.at(point if last_is_new else new)
        if self.b_embedded is None:
            return Step(made, dt, self.b, speeds)

        # θ - θ̂ from the stages themselves: subtracting the two results would lose the digits it is
        # made of.
        gaps = [dt * (c - e) for c, e in zip(self.b, self.b_embedded, strict=True)]
        first = next(i for i, gap in enumerate(gaps) if gap)
        ratios = [gap / gaps[first] for gap in gaps]
        error = combine(stages[first], ratios[first + 1 :], stages[first + 1 :])
        return Step(made, dt, self.b, speeds, field.mean_square(error, made), abs(gaps[first]))

    def to_dict(self) -> dict[str, Any]:
        """The name of a built-in; of another tableau, all of it."""
        if TABLE.get(self.name) == self:
            return {"name": self.name}
        return {**asdict(self), "a": [list(row) for row in self.a], "b": list(self.b)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RungeKutta:
        return cls(**{**data, "a": tuple(map(tuple, data["a"])), "b": tuple(data["b"])})


def _order_defect(a: tuple[tuple[float, ...], ...], b: tuple[float, ...], order: int) -> float:
    """How far the tableau misses the order conditions Σ b Φ(tree) = 1/γ(tree) of all trees up to
    `order` <= 4.
    """

    def apply(values: list[float]) -> list[float]:
        return [sum(c * v for c, v in zip(row, values, strict=False)) for row in a]

    one = [1.0] * len(b)
    c = apply(one)
    squares, cubes, ac = [v * v for v in c], [v**3 for v in c], apply(c)
    conditions = [
        (1, one, 1), (2, c, 1 / 2), (3, squares, 1 / 3), (3, ac, 1 / 6), (4, cubes, 1 / 4),
        (4, [u * v for u, v in zip(c, ac, strict=True)], 1 / 8), (4, apply(squares), 1 / 12), (4, apply(ac), 1 / 24),
    ]  # fmt: skip
    return max(
        abs(sum(u * v for u, v in zip(b, tree, strict=True)) - value)
        for size, tree, value in conditions
        if size <= order
    )


EULER = RungeKutta("euler", order=1, a=((),), b=(1.0,))
HEUN = RungeKutta("heun", order=2, a=((), (1.0,)), b=(1 / 2, 1 / 2))
RK4 = RungeKutta(
    "rk4",
    order=4,
    a=((), (1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)),
    b=(1 / 6, 1 / 3, 1 / 3, 1 / 6),
    stability=2.78,
)
DORMAND_PRINCE = RungeKutta(
    "dormand_prince", order=5, stability=3.3,
    a=((), (1 / 5,), (3 / 40, 9 / 40), (44 / 45, -56 / 15, 32 / 9), (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
       (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
       (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84)),
    b=(35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0.0),
    b_embedded=(5179 / 57600, 0.0, 7571 / 16695, 393 / 640, -92097 / 339200, 187 / 2100, 1 / 40),
)  # fmt: skip


@dataclass(frozen=True)
class Adaptive(Method):
    """Dormand–Prince 5(4) with step control.

    Parameters
    ----------
    rtol, atol : the local error ‖θ - θ̂‖_{L2(μ)} stays below atol + rtol·‖θ‖_{L2(μ)}; in [0, 1),
        not both 0.

    Notes
    -----
    The norm is the metric of the flow: a coupling, so each step's W2 error is within the tolerance
    too. Controller: dt ← dt · min(5, max(0.2, 0.9 (tolerance/error)^{1/5})). Dormand and Prince
    (1980).
    """

    rtol: float = 1e-6
    atol: float = 1e-9

    def __post_init__(self) -> None:
        for name in ("rtol", "atol"):
            value = getattr(self, name)
            if not is_number(value) or not 0 <= value < 1:
                raise ValueError(f"Adaptive: {name} must be a number in [0, 1); got {value!r}.")
            object.__setattr__(self, name, float(value))
        if self.rtol == self.atol == 0:
            raise ValueError("Adaptive: rtol and atol are both 0: no step could pass.")

    name: ClassVar[str] = "adaptive"  # type: ignore[misc]
    order: ClassVar[int] = DORMAND_PRINCE.order  # type: ignore[misc]
    stability: ClassVar[float] = DORMAND_PRINCE.stability  # type: ignore[misc]
    controls_error: ClassVar[bool] = True

    @property
    def tableau(self) -> RungeKutta | None:
        return DORMAND_PRINCE if type(self) is Adaptive else None

    def step(self, field: Any, particles: Particles, dt: float) -> Step:
        return DORMAND_PRINCE.step(field, particles, dt)

    def factor(self, error: float, tolerance: float) -> float:
        """By how much to change dt after a step with this error."""
        if not math.isfinite(error):
            return 0.2
        return 5.0 if error == 0 else min(5.0, max(0.2, 0.9 * (tolerance / error) ** 0.2))


for method in (EULER, HEUN, RK4, Adaptive):
    register_method(method)
TABLE["tableau"] = RungeKutta
