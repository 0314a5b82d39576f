"""Particles on the sphere: a step of a method along the tangent, then a projection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..checks import is_number
from ..network import Network
from ..particles import Particles
from . import methods
from .langevin import EULER_MARUYAMA
from .methods import Method, Step, register_method
from .runge_kutta import EULER, RungeKutta

NEAR = 1e-5  # of the radius: as far off may a start be, that of float32 among them


@dataclass(frozen=True)
class Sphere(Method):
    """A method whose particles stay on the sphere: |u_k| = radius, u the columns (w, b) of a neuron
    that train, or the whole row of a particle without a network.

        dθ_k/dt = P_k v(θ_k),   P_k = 1 - u_k u_kᵀ/|u_k|² on those columns, 1 on the others (a)

    The method steps P v, and each u_k is divided by its norm at the end of the step.

    Parameters
    ----------
    method : an mf.RungeKutta such as mf.EULER (the default), mf.HEUN, mf.RK4; or mf.EULER_MARUYAMA, for
        Langevin dynamics on the sphere.
    radius : > 0.

    Raises
    ------
    TypeError, ValueError : for another method, a radius that is none; at the start of a run for
        particles off the sphere, and for a network that does not train w.

    Notes
    -----
    P v is tangent wherever it is taken, so its exact flow stays on the sphere; the projection moves
    points by no more than the error of the step, and keeps its order. F
    falls as ∫|Pv|² dμ, which `path` and `energy_defect` are made of; the series `speed2` is ∫|v|² dμ. With
    noise the step is of weak order 1 for Brownian motion on the sphere, generator T times the
    Laplace–Beltrami operator.

    For a p-homogeneous σ nothing is lost: φ(a, u) = φ(a (|u|/r)^p, r u/|u|), so that directions move on
    the sphere and a alone carries the size. The projection is made on the host: on a GPU θ travels
    twice a stage.
    """

    method: Method = EULER
    radius: float = 1.0

    name: ClassVar[str] = "sphere"  # type: ignore[misc]
    projects: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if type(self.method) is not RungeKutta and self.method != EULER_MARUYAMA:
            found = getattr(self.method, "name", repr(self.method))
            raise TypeError(
                "Sphere: method must be an mf.RungeKutta (mf.EULER, mf.HEUN, mf.RK4, …) or "
                f"mf.EULER_MARUYAMA, whose step is along one tangent field; got {found!r}."
            )
        if not is_number(self.radius) or not 0 < self.radius < np.inf:
            raise ValueError(f"Sphere: radius must be a finite number > 0; got {self.radius!r}.")
        object.__setattr__(self, "radius", float(self.radius))

    @property
    def stages(self) -> int:  # type: ignore[override]
        return self.method.stages

    @property
    def order(self) -> int:  # type: ignore[override]
        return self.method.order

    @property
    def stability(self) -> float:  # type: ignore[override]
        return self.method.stability

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.method.needs

    @property
    def noisy(self) -> bool:  # type: ignore[override]
        return self.method.noisy

    @property
    def balances(self) -> bool:  # type: ignore[override]
        return self.method.balances

    def start(self, field: Any, particles: Particles) -> Particles:
        columns = _columns(field)
        lengths = np.linalg.norm(_host(field, particles.theta)[:, columns], axis=1)
        off = np.abs(lengths - self.radius) > NEAR * self.radius
        if off.any():
            k = int(np.flatnonzero(off)[0])
            what = "(w, b)" if columns[-1] and not columns.all() else "w"
            raise ValueError(
                f"the particles of mf.Sphere start on it, |u| = {self.radius:g}, u = "
                f"{'θ' if columns.all() else what}; {int(off.sum())} do not, first particle {k} with |u| = "
                f'{lengths[k]:.6g}. Sample them by mf.InitialLaw(w="sphere", w_std={self.radius:g}), or '
                "divide u by its norm and, of a p-homogeneous σ, multiply a by its p-th power."
            )
        return particles

    def step(self, field: Any, particles: Particles, dt: float) -> Step:
        columns = _columns(field)
        made = self.method.step(_Tangent(field, columns), particles, dt)
        theta = _host(field, made.particles.theta)
        length = np.linalg.norm(theta[:, columns], axis=1, keepdims=True)
        theta[:, columns] *= self.radius / length
        return made._replace(particles=made.particles.at(field.backend.upload(theta)))

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "method": methods.to_dict(self.method), "radius": self.radius}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Sphere:
        return cls(methods.from_dict(data["method"]), data["radius"])


class _Tangent:
    """A field whose velocity is the part along the sphere; everything else is the field's own."""

    def __init__(self, field: Any, columns: np.ndarray) -> None:
        self._field, self._on = field, columns

    def __getattr__(self, name: str) -> Any:
        return getattr(self._field, name)

    def velocity(self, particles: Particles) -> Any:
        """P v: a device array (m, p)."""
        v = _host(self._field, self._field.velocity(particles))
        u = _host(self._field, particles.theta)[:, self._on]
        square = (u * u).sum(axis=1, keepdims=True)
        v[:, self._on] -= u * ((u * v[:, self._on]).sum(axis=1, keepdims=True) / square)
        return self._field.backend.upload(v)


def _host(field: Any, array: Any) -> np.ndarray:
    """A device array in float64, to be written to."""
    return np.array(field.backend.download(array), dtype=np.float64)


def _columns(field: Any) -> np.ndarray:
    """The columns of u, bool (p,): (w, b) as far as they train; all without a network."""
    backend = field.backend
    network: Network | None = backend.network
    if network is None:
        return np.ones(backend.dim, dtype=bool)
    if network.feature is not None:
        raise ValueError(
            f"mf.Sphere moves the weights w of neurons on a sphere, and {network.feature!r} has none: "
            "take mf.EULER."
        )
    if "w" not in network.trainable:
        raise ValueError(
            'mf.Sphere moves w on a sphere, and the network does not train "w": take mf.EULER, or '
            f'trainable=(…, "w"); got {network.trainable}.'
        )
    columns = network.trainable_columns(backend.dim, backend.outputs)
    columns[: backend.outputs] = False
    return columns


register_method(Sphere)
