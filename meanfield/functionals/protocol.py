"""What a flow can descend, and the table by which a file's settings become it again."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..backends.protocol import Backend
from ..particles import Particles
from ..temperature import Temperature

if TYPE_CHECKING:
    from ..network import Network
    from ..state import State

# kind -> the module here that defines the class of that name, whose from_dict(settings, arrays) a
# file is enough for.
OWN = {
    "EmpiricalRisk": "risk",
    "PopulationRisk": "population",
    "MiniBatch": "minibatch",
    "OnlineRisk": "online",
}
# known by name, so that an error can say so; meanfield itself never imports ntk
OF_NTK = ("LinearisedRisk",)
# Of another package: kind -> f(settings, arrays, start), start the initial State of the run.
COLD = Temperature(0.0)
OTHERS: dict[str, Callable[[dict[str, Any], Mapping[str, np.ndarray], Any], Any]] = {}


class Functional:
    """What a flow descends: F_s = R/s² + ∫ r dμ of a network, or an energy of whole rows of θ
    (outputs = 0).

    A functional of your own derives from this class. It has `network`, `on` and `to_dict`, and
    declares below what else it has; the rest of the engine asks these attributes and nothing else.

    Attributes
    ----------
    network : the mf.Network that makes f of the particles; None for an energy of whole rows: no
        predictions, no risk, no regulariser.
    devices : the backends that have its kernels, of "cpu", "cuda" and "torch".
    terms : what its field can measure, of "energy", "risk" and "regulariser". Without "energy" no run
        knows F, and energy_defect and dt="auto" do not apply.
    deterministic : whether the velocity of the same particles is the same at every step.
    samples : the mf.EmpiricalRisk of the training samples that it is about; None without any.
    linearised_at : the State at which the features are frozen; None where they move.
    ridge : λ of r = (λ/2)|θ|².
    arrays : what a file has to hold besides the settings: x and y of samples, a teacher's particles.
    formulas : the scalar functions it computes with, besides σ: what stored diagnostics depend on.
    """

    network: Network | None
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    terms: ClassVar[tuple[str, ...]] = ("energy",)
    deterministic: ClassVar[bool] = True
    ridge: float = 0.0

    @property
    def samples(self) -> Any:
        return None

    @property
    def linearised_at(self) -> State | None:
        return None

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        return {}

    @property
    def formulas(self) -> tuple[Callable, ...]:
        return ()

    @property
    def written(self) -> dict[str, tuple[Callable, list[tuple[Any, ...]]]]:
        """Other functions that its user wrote: what each is -> (the function, points to tell it
        by).
        """
        return {}

    def describe(self, dt: float) -> str:
        """A line that a run of steps dt says of it before it starts, besides γ, α and the law; ""
        for none.
        """
        return ""

    def check_state(self, state: State) -> None:
        """Raise where it cannot act on such particles."""

    def on(self, backend: Backend, state: State) -> Field:
        """Itself on a device, for particles of the shape of `state`. Their masses travel with them."""
        raise NotImplementedError(f"{type(self).__name__} has no method on(backend, state).")

    def to_dict(self) -> dict[str, Any]:
        """Settings with a "kind"; `arrays` go into the file besides them."""
        return {"kind": type(self).__name__}


class Field:
    """A functional bound to a device. θ and velocities are the device's arrays (m, p).

    What was computed of the last θ is kept: F after a step and the first stage of the next one
    share a pass over the data. `known` holds it by name.

    Attributes
    ----------
    s : the output scale α m^(1-γ); 1 without a network.
    temperature : T as a function of the flow time.
    reaction, seed : those of the flow.
    """

    s: float = 1.0
    temperature: Temperature = COLD
    reaction: float = 0.0
    seed: int = 0

    def __init__(self, backend: Backend, deterministic: bool = True) -> None:
        self.backend, self._deterministic = backend, deterministic
        self._seen: tuple[Any, Any, int] = (None, None, 0)
        self._known: dict[str, Any] = {}
        self._weight: tuple[Any, Any] = (None, None)

    def velocity(self, particles: Particles) -> Any:
        """v_k = -∇ δF/δμ(θ_k): a device array (m, p), zero on frozen columns."""
        known = self.known(particles)
        if "velocity" not in known:
            known["velocity"] = self._velocity(particles)
        return known["velocity"]

    def _velocity(self, particles: Particles) -> Any:
        """The velocity, computed."""
        raise NotImplementedError(f"{type(self).__name__} has no method _velocity(particles).")

    def mean_velocity(self, particles: Particles) -> Any:
        """-∇ δF/δμ of F itself, where `velocity` is that of samples drawn for the step and F is
        known.
        """
        return self.velocity(particles)

    def energy(self, particles: Particles) -> float:
        """F(μ)."""
        raise NotImplementedError(f"{type(self).__name__} has no method energy(particles).")

    def potential(self, particles: Particles, at: Any = None) -> np.ndarray:
        """δF/δμ of the particles, at them (m,), or at others on the device, `at` (q, p): (q,)."""
        raise NotImplementedError(f"{type(self).__name__} has no method potential(particles, at).")

    def force(self, particles: Particles, at: Any) -> np.ndarray:
        """-∇ δF/δμ at other particles on the device, `at` (q, p): (q, p) on the host, zero on frozen
        columns.
        """
        raise ValueError(f"a {type(self).__name__} has no force at particles that are not its own.")

    def rate(self, particles: Particles) -> float:
        """A bound of how fast the flow relaxes near θ, for dt="auto"; ValueError where none is
        known.
        """
        raise ValueError(f'dt="auto" knows no rate of a {type(self).__name__}. Give dt a number.')

    @property
    def stretched_by(self) -> Any:
        """Whose `stretch` makes the steps of this class, not of its subclasses, many at a time."""
        return None

    def stretch(self, method: Any, particles: Particles, seconds: float) -> Any:
        """What makes many steps of a Runge–Kutta method in one compiled call on the CPU
        (backends/cpu/stretch.py); None: steps are made one by one.

        seconds: what all the steps of the run would gain by it. That, or what earlier runs have lost without
        it, is to be worth the time of compiling it.
        """
        own = "stretched_by" in vars(type(self))  # a subclass has another velocity
        make = getattr(self.stretched_by, "stretch", None) if own else None
        if make is None or method.tableau is None:
            return None
        return make(self, particles, method.tableau, seconds)

    def compiled(self) -> bool:
        """Whether the kernels of a step are compiled already, in this process or in the cache on
        disk.
        """
        return True

    def weight(self, particles: Particles) -> Any:
        """m·p_k as the backend wants it."""
        mass, weight = self._weight
        if mass is not particles.mass:
            weight = self.backend.weights(particles.mass)
            self._weight = particles.mass, weight
        return weight

    def mean_square(self, u: Any, particles: Particles) -> Any:
        """∫ |u|² dμ of a device array u (m, p): a number of the backend, which float() waits for."""
        return self.backend.norm(u, self.weight(particles))

    def energy_kept(self, particles: Particles) -> float:
        """F(μ), computed once for the same particles."""
        known = self.known(particles)
        if "energy" not in known:
            known["energy"] = self.energy(particles)
        return known["energy"]

    def size2(self, particles: Particles) -> Any:
        """∫ |θ|² dμ, likewise."""
        known = self.known(particles)
        if "size2" not in known:
            known["size2"] = self.mean_square(particles.theta, particles)
        return known["size2"]

    def known(self, particles: Particles) -> dict[str, Any]:
        """What has been computed of the same θ, masses and, where the functional draws numbers,
        step; by name.
        """
        theta, mass, step = self._seen
        same = particles.theta is theta and particles.mass is mass
        if not same or (particles.step != step and not self._deterministic):
            self._seen = particles.theta, particles.mass, particles.step
            self._known = {}  # before anything is made: arrays of the size of θ are freed
        return self._known


class NetworkField(Field):
    """The field of a functional with a network. predictions are for training samples alone, where
    there are any.
    """

    def predictions(self, particles: Particles) -> np.ndarray:
        """f(x_i) on the training samples: (n, K)."""
        raise NotImplementedError(f"{type(self).__name__} has no training samples.")

    def value(self, particles: Particles) -> float:
        """R(f)."""
        raise NotImplementedError(f"{type(self).__name__} has no method value(particles).")

    def regulariser(self, particles: Particles) -> float:
        """∫ r dμ."""
        return 0.0


def from_dict(
    settings: dict[str, Any], arrays: Mapping[str, np.ndarray], start: State | None = None
) -> Any:
    """The functional that to_dict() described, from the arrays of its file; ValueError where these
    are not enough.
    """
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
