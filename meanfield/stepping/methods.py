"""Methods: what leads from t to t + dt, one protocol and one registry."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import math
from collections.abc import Iterable
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..particles import REPLACES, Particles

# They register what they have. meanfield.limits, a later room, does so when it is imported.
MODULES = ("runge_kutta", "langevin", "heavy_ball", "sphere")
# name -> a method without settings, or the class whose from_dict makes one again of its settings.
TABLE: dict[str, Any] = {}


class Step(NamedTuple):
    """What one step made.

    The numbers are the backend's: a step waits for none of them, and the first that is looked at
    brings them all.

    Attributes
    ----------
    particles : the new ones. March sets their step and t.
    dt : the length of the step, in flow time.
    b, speeds : weights and ∫|k_i|² dμ of the stages: dt Σ b_i speeds_i, times resistance, is what was lost, dissipated. Empty
        for a method that does not say.
    resistance : what is dissipated per ∫|v|² dμ: 1 in the gradient flow, the friction of a heavy ball.
    reacted : what the masses dissipated by moving, ∫ρ Var(δF/δμ) dt.
    error2, error_factor : of an embedded pair ∫|e|² dμ, with the factor that makes |e| the local error.
    source : (m,) of a method that replaces particles: which of those before the step each one is, or is
        a copy of.
    """

    particles: Particles
    dt: float
    b: tuple[float, ...] = ()
    speeds: list[Any] | tuple[Any, ...] = ()
    error2: Any = 0.0
    error_factor: float = 0.0
    resistance: float = 1.0
    reacted: float = 0.0
    source: np.ndarray | None = None

    @property
    def dissipated(self) -> float:
        """resistance ∫∫|v|² dμ dt over the step, with the method's own weights, and what masses
        dissipated.
        """
        speeds2 = _sum(c * float(q) for c, q in zip(self.b, self.speeds, strict=True))
        return self.resistance * self.dt * speeds2 + self.reacted

    @property
    def length(self) -> float:
        """∫|v|_{L2(μ)} dt over the step, likewise."""
        return self.dt * _sum(c * math.sqrt(q) for c, q in zip(self.b, self.speeds, strict=True))

    @property
    def error(self) -> float:
        """The local error ‖θ - θ̂‖_{L2(μ)} of an embedded pair."""
        return self.error_factor * math.sqrt(self.error2)


class Method:
    """A way to step a flow. One of your own derives from this class; `register_method` makes it
    known to files.

    Attributes
    ----------
    name : what it is called in files and messages.
    stages : velocities in a step.
    order : the power of dt in its error at fixed t.
    stability : stable on the negative real axis for dt·|λ| up to this.
    needs : what the functional must have, of "energy", "network", "samples" and "deterministic".
    noisy : whether steps draw numbers.
    moves_masses : whether steps change the masses.
    replaces : whether steps put copies of particles in the places of others, and say so in
        Step.source.
    balances : whether F loses what Step says was dissipated, as dt → 0. Without it there is no
        energy_defect, no path and no dt="auto".
    inertial : whether memory["momentum"] is the velocity v of the particles. What is lost is then F + K,
        K = ½ ∫|v|² dμ, and there is no dt="auto".
    projects : whether a step ends with a projection, so that the particles do not follow the velocity alone.
    controls_error : whether Step has an error, so that the method chooses dt itself by its .rtol and .atol.
    tableau : the RungeKutta whose step it makes, so that a field may make many of them in one compiled
        call; None for any other.
    """

    name: str
    stages: int = 1
    order: int = 1
    stability: float = 2.0
    needs: ClassVar[tuple[str, ...]] = ()
    noisy: ClassVar[bool] = False
    moves_masses: ClassVar[bool] = False
    replaces: ClassVar[bool] = False
    balances: ClassVar[bool] = True
    inertial: ClassVar[bool] = False
    projects: ClassVar[bool] = False
    controls_error: ClassVar[bool] = False
    tableau: Any = None

    def start(self, field: Any, particles: Particles) -> Particles:
        """The particles with the memory that the first step reads; also where a bad flow is
        refused.
        """
        return particles

    def step(self, field: Any, particles: Particles, dt: float) -> Step:
        """From particles at t to those at t + dt."""
        raise NotImplementedError(
            f"{type(self).__name__} has no method step(field, particles, dt)."
        )

    def to_dict(self) -> dict[str, Any]:
        """Name and settings, for a file."""
        this: Any = self
        fields = dataclasses.fields(this) if dataclasses.is_dataclass(this) else ()
        return {"name": self.name, **{field.name: getattr(this, field.name) for field in fields}}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Any:
        """The inverse of to_dict."""
        return cls(**{key: value for key, value in data.items() if key != "name"})

    @property
    def traits(self) -> tuple[str, ...]:
        """What diagnostics of a stored run must know of it: none for a method of the plain gradient
        flow.
        """
        known = {
            "noisy": self.noisy,
            "moves masses": self.moves_masses,
            REPLACES: self.replaces,
            "does not balance": not self.balances,
            "inertial": self.inertial,
            "projects": self.projects,
        }
        return tuple(name for name, holds in known.items() if holds)


def _sum(terms: Iterable[float]) -> float:
    """One after the other, as compiled code has it: the built-in sum rounds otherwise from Python
    3.12 on.
    """
    total = 0.0
    for term in terms:
        total += term
    return total


def register_method(method: Any) -> Any:
    """Make a method, or a class of methods with settings, known by its name, so that files can be
    resumed.

    Also a decorator. ValueError for a name that is taken.
    """
    name = method.name
    if name in TABLE and not _same(TABLE[name], method):
        raise ValueError(f"a method {name!r} is registered already: give yours another name.")
    TABLE[name] = method
    return method


def _same(known: Any, other: Any) -> bool:
    """Equal, or the class of the same place, made again in a notebook."""
    if isinstance(known, type) and isinstance(other, type):
        return (known.__module__, known.__qualname__) == (other.__module__, other.__qualname__)
    return known == other


def known() -> dict[str, Any]:
    """All that is registered, that of this room included."""
    for name in MODULES:
        importlib.import_module(f".{name}", __package__)
    return TABLE


def check_start(method: Method, particles: Any) -> Particles:
    """What start returned, or a TypeError that says what it must be."""
    if not isinstance(particles, Particles):
        raise TypeError(
            f"start(field, particles) of the method {method.name!r} must return the mf.Particles with "
            'the memory, particles._replace(memory={"name": …}); got '
            f"{type(particles).__name__}."
        )
    return particles


def check_step(method: Method, before: Particles, dt: float, step: Any) -> None:
    """Raise where a step of a method that is not of this package makes no sense."""
    who = f"step(field, particles, dt) of the method {method.name!r}"
    if not isinstance(step, Step) or not isinstance(step.particles, Particles):
        raise TypeError(f"{who} must return mf.Step(particles, dt, …); got {type(step).__name__}.")
    made = step.particles
    if step.dt != dt:
        raise ValueError(f"{who} was asked for dt = {dt:g} and made a step of {step.dt:g}.")
    if made.theta.shape != before.theta.shape:
        raise ValueError(
            f"{who} must keep the shape of θ, {before.theta.shape}; got {made.theta.shape}."
        )
    if step.source is not None:
        source, m = np.asarray(step.source), len(before.mass)
        if not method.replaces:
            raise ValueError(f"{who} has a source: declare replaces = True in its class.")
        whole = source.shape == (m,) and source.dtype.kind in "iu"
        if not whole or not np.all((source >= 0) & (source < m)):
            raise ValueError(
                f"{who} must say in source, ({m},) integers of 0 … {m - 1}, which particle each one is "
                f"a copy of; got {source.shape} {source.dtype}."
            )
    if made.mass is before.mass:
        return

    mass = np.asarray(made.mass)
    if not method.moves_masses:
        raise ValueError(f"{who} changes the masses: declare moves_masses = True in its class.")
    wrong = mass.shape != before.mass.shape or mass.dtype != np.float64
    if wrong or not np.all(mass >= 0) or not abs(float(mass.sum()) - 1) <= 1e-9:
        raise ValueError(
            f"{who} must give masses {before.mass.shape} in float64, >= 0 and of sum 1; got "
            f"{mass.shape} {mass.dtype} of sum {float(mass.sum()):.9g}, the least {mass.min():.3g}."
        )


def check(method: Any) -> Method:
    """The method, or a TypeError that names what there is."""
    if isinstance(method, Method):
        return method
    if isinstance(method, type) and issubclass(method, Method):
        arguments = "(rtol=1e-6, atol=1e-9)" if method.controls_error else "(…)"
        raise TypeError(f"pass an instance: mf.{method.__name__}{arguments}.")
    hint = ""
    instances = [name for name, made in known().items() if isinstance(made, Method)]
    if isinstance(method, str):
        near = difflib.get_close_matches(method.lower(), instances, n=1)
        hint = f" Did you mean mf.{near[0].upper()}?" if near else ""
    raise TypeError(
        "integrator must be mf.EULER, mf.HEUN, mf.RK4 or mf.Adaptive(rtol, atol), or "
        "another mf.Method; "
        f"got {method!r}.{hint}"
    )


def to_dict(method: Method) -> dict[str, Any]:
    """Settings of a method, and its traits where it has any."""
    return {**method.to_dict(), **({"traits": list(method.traits)} if method.traits else {})}


def from_dict(data: dict[str, Any]) -> Method:
    """The method that to_dict described; ValueError for one that is not registered here."""
    settings = {key: value for key, value in data.items() if key != "traits"}
    table = known()
    if {"a", "b", "order"} <= set(settings):  # a tableau of the user's own, which its file holds
        return table["tableau"].from_dict(settings)
    if settings["name"] not in table:
        raise ValueError(
            f"the method {settings['name']!r} is not registered here: import the module "
            "that registers it first."
        )
    found: Any = table[settings["name"]]
    return found if isinstance(found, Method) else found.from_dict(settings)
