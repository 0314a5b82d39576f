"""PairwiseEnergy: F(μ) = ∫ V dμ + ½ ∬ U dμ dμ of particles that are points, its first variation and velocity field."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ..state import State
from .differences import check_gradient, check_symmetry

Formulas = tuple[Callable[..., float], Callable[..., None]]


@dataclass(frozen=True, eq=False)
class PairwiseEnergy:
    """F(μ) = ∫ V dμ + ½ ∬ U dμ dμ on whole rows of θ: velocity_k = -∇V(x_k) - Σ_l p_l ∇_x U(x_k, x_l).

    potential = (V, grad_V), interaction = (U, grad_U), either may be None. They are plain Python functions of particles
    x, y with p coordinates each, x[0] … x[p - 1], which call exp, log, sqrt, … from `math`:

        V(x) -> float    grad_V(x, out): out[j] = ∂V/∂x_j
        U(x, y) -> float, symmetric    grad_U(x, y, out): out[j] = ∂U/∂x_j, the gradient in the first argument

    and are compiled, inlined, for the backend and dtype of the flow. With ½ before ∬, U = ½|x - y|² contracts a cloud as e^{-t}.
    self_pairs=False leaves out l = k (and the diagonal of ∬): for U that are singular there, such as -log|x - y|.
    Particles are mf.State(theta, outputs=0); masses p_k are honoured. O(m²) time and O(m) memory a step.

    Raises for functions of other arguments at once; at the first state of a dimension also for a U that is not symmetric and for
    gradients that are not those of V and U, by finite differences at a few of its particles. No file holds the functions:
    mf.resume(path, flow=…). THEORY.md, section 4.
    """

    potential: Formulas | None = None
    interaction: Formulas | None = None
    self_pairs: bool = True
    _checked: set[int] = field(default_factory=set, init=False, repr=False)

    network: ClassVar[None] = None
    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda")

    def __post_init__(self) -> None:
        if self.potential is None and self.interaction is None:
            raise ValueError(
                "PairwiseEnergy has neither potential nor interaction: give potential=(V, grad_V), interaction=(U, grad_U)."
            )
        if not isinstance(self.self_pairs, bool):
            raise TypeError(f"self_pairs must be True or False; got {self.self_pairs!r}.")
        for name, arguments in (("potential", "x"), ("interaction", "x, y")):
            if (given := getattr(self, name)) is not None:
                object.__setattr__(self, name, _formulas(name, given, arguments))

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        return {}

    @property
    def formulas(self) -> tuple[Callable, ...]:
        return *(self.potential or ()), *(self.interaction or ())

    def check_state(self, state: State) -> None:
        """Raise for neurons, and where V and U do not fit such particles or their gradients are wrong."""
        if state.outputs:
            raise ValueError(
                f"a PairwiseEnergy acts on whole rows of θ; the state has K = {state.outputs} outputs. "
                "Write mf.State(theta, outputs=0), theta (m, p) with one row a particle."
            )
        if state.dim in self._checked:
            return
        points = state.theta[np.unique(np.linspace(0, state.m - 1, 4).astype(int))].astype(np.float64)
        if self.potential:
            for x in points:
                check_gradient(*self.potential, (x,))
        if self.interaction:
            for x, y in zip(points, np.roll(points, 1, axis=0), strict=True):
                if not np.array_equal(x, y):
                    check_symmetry(self.interaction[0], x, y)
                    check_gradient(*self.interaction, (x, y))
        self._checked.add(state.dim)

    def on(self, backend: Any, state: State) -> PairField:
        """This energy on a device, for particles of the state's masses."""
        self.check_state(state)
        return PairField(self, backend, state)

    def to_dict(self) -> dict[str, Any]:
        """Settings; of the functions their names alone."""
        names = {name: pair[0].__name__ if (pair := getattr(self, name)) else None for name in ("potential", "interaction")}
        return {"kind": "PairwiseEnergy", **names, "self_pairs": self.self_pairs}

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value}" for name, value in self.to_dict().items() if name != "kind")
        return f"PairwiseEnergy({settings})"


def _formulas(name: str, given: Any, arguments: str) -> Formulas:
    """(value, gradient), both plain functions of these arguments."""
    letter = "V" if name == "potential" else "U"
    wanted = f"{name} must be ({letter}, grad_{letter}): {letter}({arguments}) -> float and grad_{letter}({arguments}, out)"
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise TypeError(f"{wanted}; got {given!r}.")
    for function, count in zip(given, (arguments.count(",") + 1, arguments.count(",") + 2), strict=True):
        if not inspect.isfunction(function):
            raise TypeError(f"{wanted}, plain Python functions; got {function!r}.")
        if (found := len(inspect.signature(function).parameters)) != count:
            raise TypeError(f"{wanted}; {function.__name__} takes {found} arguments, not {count}.")
    return given[0], given[1]


class PairField:
    """The energy bound to a device and to masses; what it has of θ is computed anew for each θ."""

    def __init__(self, energy: PairwiseEnergy, backend: Any, state: State) -> None:
        self.backend, self.mass = backend, state.mass
        self.weight = backend.weights(state.mass)
        self.kernels = backend.pair_energy(energy.potential, energy.interaction, energy.self_pairs)

    def energy(self, theta: Any) -> float:
        """F = Σ_k p_k [V(x_k) + ½ Σ_l p_l U(x_k, x_l)]."""
        alone, paired = self.kernels.values(theta, self.weight)
        return float((self.mass * (alone + 0.5 * paired)).sum())

    def velocity(self, theta: Any) -> Any:
        """-∇V(x_k) - Σ_l p_l ∇_x U(x_k, x_l): a device array (m, p)."""
        return self.kernels.velocity(theta, self.weight)

    def first_variation(self, theta: Any) -> np.ndarray:
        """δF/δμ(x_k) = V(x_k) + Σ_l p_l U(x_k, x_l): (m,) on the host."""
        alone, paired = self.kernels.values(theta, self.weight)
        return alone + paired

    def speed2(self, velocity: Any) -> Any:
        """∫ |v|² dμ: a number of the backend, which float() waits for."""
        return self.backend.norm(velocity, self.weight)

    def rate(self, theta: Any) -> float:
        """Not known: the formulas are the user's."""
        raise ValueError(
            'dt="auto" knows no rate of a PairwiseEnergy, whose formulas are yours. Give dt a number, well below 2 over the '
            "largest curvature of V + ∫U dμ, or let mf.Adaptive(rtol=1e-6) choose."
        )

    def compiled(self) -> bool:
        """Whether the kernels of a step are compiled already, in this process or in the cache on disk."""
        return self.kernels.compiled()
