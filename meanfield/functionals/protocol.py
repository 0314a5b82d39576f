"""What a flow can descend, and the table by which a file's settings become it again."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from ..network import Network
    from ..state import State

# kind -> the module here that defines the class of that name, whose from_dict(settings, arrays) a file is enough for.
OWN = {"EmpiricalRisk": "risk", "PopulationRisk": "population"}
OF_NTK = (
    "LinearisedRisk",
)  # known by name, so that an error can say so; meanfield itself never imports ntk
# Of another package: kind -> f(settings, arrays, start), start the initial State of the run.
OTHERS: dict[str, Callable[[dict[str, Any], Mapping[str, np.ndarray], Any], Any]] = {}


class Functional(Protocol):
    """What a flow descends. One of a network is R/s² + ∫ r dμ; one without is an energy of whole rows of θ (outputs = 0)."""

    @property
    def network(self) -> Network | None:
        """What makes f of the particles; None for an energy of whole rows: no predictions, no risk, no regulariser."""

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What a file has to hold beside the settings: x and y of training samples, a teacher's particles, or nothing."""

    @property
    def formulas(self) -> tuple[Callable, ...]:
        """The scalar functions it computes with, besides the activation: what stored diagnostics depend on."""

    @property
    def devices(self) -> tuple[str, ...]:
        """The backends that have its kernels, of "cpu" and "cuda"."""

    def check_state(self, state: State) -> None:
        """Raise where it cannot act on such particles."""

    def on(self, backend: Any, state: State) -> Field:
        """Itself on a device, for particles of the state's masses."""

    def to_dict(self) -> dict[str, Any]:
        """Settings with a "kind"; `arrays` travel beside it."""


class Field(Protocol):
    """A functional bound to a device and to masses; θ and velocities are device arrays (m, p)."""

    backend: Any
    weight: Any  # m·p_k, as the backend wants it

    def energy(self, theta: Any) -> float:
        """F(μ)."""

    def velocity(self, theta: Any) -> Any:
        """v_k = -∇ δF/δμ(θ_k), a new array."""

    def first_variation(self, theta: Any, at: Any = None) -> np.ndarray:
        """δF/δμ of the particles θ, at them (m,), or at others on the device, `at` (q, p): (q,); on the host."""

    def speed2(self, velocity: Any) -> Any:
        """∫ |v|² dμ: a number of the backend, which float() waits for."""

    def rate(self, theta: Any) -> float:
        """A bound of how fast the flow relaxes near θ, for dt="auto"; ValueError where none is known."""

    def compiled(self) -> bool:
        """Whether the kernels of a step are compiled already, in this process or in the cache on disk."""


class NetworkField(Field, Protocol):
    """The field of a functional with a network. predictions are for training samples alone, where there are any."""

    s: float

    def predictions(self, theta: Any) -> np.ndarray:
        """f(x_i) on the training samples: (n, K)."""

    def value(self, theta: Any) -> float:
        """R(f)."""

    def regulariser(self, theta: Any) -> float:
        """∫ r dμ."""


def from_dict(
    settings: dict[str, Any], arrays: Mapping[str, np.ndarray], start: State | None = None
) -> Any:
    """The functional that to_dict() described, from the arrays of its file; ValueError where these are not enough."""
    kind = settings["kind"]
    if kind in OTHERS:
        return OTHERS[kind](settings, arrays, start)
    if kind not in OWN:
        first = (
            " `import ntk` first: it makes this functional from a file." if kind in OF_NTK else ""
        )
        raise ValueError(f"a flow of {kind} is not made from settings alone.{first}")
    return getattr(importlib.import_module(f".{OWN[kind]}", __package__), kind).from_dict(
        settings, arrays
    )
