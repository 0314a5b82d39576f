"""Stretches of steps of points that meet each other: of a pairwise energy, and of a population risk.

One worker has all particles. Arrays are of the types of those of a risk with small d and real
labels, so that what is compiled for one serves the others.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import compiler
from ..llvm.addresses import address
from .backend import Samples
from .records import POINTS, POPULATION, Risk
from .sharing import SMALL, run
from .stretch import Stretch, too_large, worth


class Places:
    """A record that compiled code reads by its address, with arrays that it names by theirs."""

    def __init__(self, kind: np.dtype) -> None:
        self._data = np.zeros(1, kind)
        self._kept: list[np.ndarray] = []

    @property
    def address(self) -> int:
        return self._data.ctypes.data

    def put(self, cloud: str = "", /, **given: Any) -> None:
        """Numbers and arrays by name, into one of its clouds if that is given."""
        record = self._data[cloud] if cloud else self._data
        for name, value in given.items():
            if isinstance(value, np.ndarray):
                self._kept.append(value)
                value = value.ctypes.data
            record[name] = value


class OfPairs(Stretch):
    """For fields whose velocity is a sum over pairs.

    places, energy_places: the addresses of what the kernels of the velocity and of the energy read.
    """

    def __init__(
        self, field: Any, particles: Any, tableau: Any, places: int, energy_places: int,
        ridge: float = 0.0,
    ) -> None:  # fmt: skip
        backend, T = field.backend, field.backend.dtype
        x, labels = np.zeros((0, 0, 0), T), np.zeros((0, 0))
        labels.flags.writeable = False  # as those of a risk
        nothing = np.zeros((0, 0), T), labels, np.zeros(0), backend.trainable, T.type(0)
        numbers = 1.0, 1.0, 1.0, ridge
        risk = Risk(x, *nothing, False, False, True, *numbers, places, energy_places)
        super().__init__(field, particles, tableau, Samples(0, 0, x), risk, 1)


class OfEnergy(OfPairs):
    """Of a pairwise energy, by the kernels of its velocity and its values."""

    def __init__(self, field: Any, particles: Any, tableau: Any) -> None:
        theta, weight = particles.theta, field.weight(particles)
        m, self._places = len(theta), Places(POINTS)
        self.kernel, values = map(field.kernels.kernel, ("velocity", "values"))
        alone, paired = np.zeros((2, m))
        where = address(values, 0, 0, theta, weight, alone, paired, 0, 0)
        self._places.put(values=where, shards=field.backend.shards(m), weight=weight)
        self._places.put(mass=particles.mass, alone=alone, paired=paired)
        super().__init__(field, particles, tableau, 0, self._places.address)

    def _of_field(self) -> tuple[tuple[Any, ...], dict[str, tuple[Any, tuple[Any, ...]]]]:
        theta, weight = self.work.rows[0, 0], self.work.weight
        energy = _kernels(self.backend.dtype.name, 0).energy_of_points
        return (self.kernel,), {
            "pull_back": (self.kernel, (0, 0, theta, weight, theta, 0, 0)),
            "energy": (energy, (theta, 0)),
        }


class OfPopulation(OfPairs):
    """Of a population risk with one output and small d: pairs.py."""

    def __init__(self, field: Any, particles: Any, tableau: Any) -> None:
        theta, mass, ridge = particles.theta, particles.mass, field.risk.ridge
        S = field.sums.pairs.formula.sums
        self.velocity = _kernels(theta.dtype.name, S).velocity
        self.energy, self.factor = _kernels("float64", S).energy, field.s**2
        self._places = self._exact = _of_population(theta, mass, field.sums, ridge)
        if field.exact is not field.sums:
            self._exact = _of_population(theta, mass, field.exact, ridge)
        self._exact_velocity = _kernels("float64", S).velocity
        places = self._places.address, self._exact.address
        super().__init__(field, particles, tableau, *places, ridge)

    def _of_field(self) -> tuple[tuple[Any, ...], dict[str, tuple[Any, tuple[Any, ...]]]]:
        theta = self.work.rows[0, 0]
        if self._exact is not self._places:
            given = theta, theta.astype(np.float64), 0
            self._exact.put(velocity=address(self._exact_velocity, *given))
        return (self.velocity, self.energy), {
            "velocity": (self.velocity, (theta, theta, 0)),
            "energy": (self.energy, (theta, 0)),
        }


def _kernels(dtype: str, S: int) -> Any:
    return compiler.kernels(f"{__package__}.kernels.stretched_pairs", dtype, {}, S=S)


def _of_population(theta: np.ndarray, mass: np.ndarray, measure: Any, ridge: float) -> Places:
    """What is read of θ, its masses and the teacher, for the sums of one dtype."""
    pairs, teacher, made = measure.pairs, measure.teacher, Places(POPULATION)
    d, S, dtype = pairs.dim, pairs.formula.sums, pairs.dtype
    own, neurons = pairs.cloud(theta, mass), teacher.theta.astype(dtype)
    shards, trainable = pairs.backend.shards(len(theta)), pairs.backend.trainable.astype(float)
    totals, total = np.zeros((shards, 1, d)), np.zeros((1, d))
    of_itself = np.zeros((teacher.squares.size, S + d))
    made.put(shards=shards, totals=totals, total=total, of_teacher=teacher.total)
    made.put(of_itself=of_itself, trainable=trainable, decay=ridge)
    made.put(spare=np.zeros((max(len(theta), len(neurons)), theta.shape[1])))

    sources = own.directions, own.amplitudes, own.parameters
    # a copy: masses are read-only, and `run` has compiled the kernel for others
    prepared = 0, 0, theta, mass.copy(), 1, *sources, own.squares, totals
    made.put(prepare=address(pairs.particles.prepare_cloud, *prepared))
    if S:
        summed = 0, 0, own.directions, own.parameters, *sources, of_itself
        made.put(pair_sums=address(pairs.kernels.pair_sums, *summed))
        given = *pairs._targets(teacher), *pairs._sources(teacher), of_itself
        run(pairs.kernels.pair_sums, pairs._blocks(teacher), 0, *given)

    for name, cloud, points in ("own", own, theta), ("teacher", teacher, neurons):
        tiles, size = cloud.parameters.shape
        sums, potential = np.zeros((tiles * size, S + d)), np.zeros((len(points), 1))
        finished = cloud.squares, sums, total, 0.0, trainable, potential, points.astype(dtype)
        made.put(
            name, count=len(points), tiles=tiles, size=size, blocks=pairs._blocks(cloud), theta=points,
            directions=cloud.directions, amplitudes=cloud.amplitudes, parameters=cloud.parameters,
            factor=cloud.factor, squares=cloud.squares, sums=sums, potential=potential,
            finish=address(pairs.particles.finish_sums, 0, 0, points, 1, S, *finished),
        )  # fmt: skip
    return made


def of_energy(field: Any, particles: Any, tableau: Any, seconds: float) -> Stretch | None:
    """A Stretch; None where it would not make the run shorter, and where several threads make a
    step. seconds: what all the steps would gain.
    """
    theta = particles.theta
    if too_large(theta, tableau) or theta.shape[0] * theta.size > SMALL:
        return None
    return worth(_kind(field.backend), seconds, lambda: OfEnergy(field, particles, tableau))


def of_population(field: Any, particles: Any, tableau: Any, seconds: float) -> Stretch | None:
    """The same of a population risk."""
    pairs, theta = field.sums.pairs, particles.theta
    sources = theta.shape[0] + field.sums.teacher.parameters.size
    work = theta.shape[0] * sources * pairs.dim
    if not pairs.few or too_large(theta, tableau) or work > SMALL:
        return None
    return worth(_kind(field.backend), seconds, lambda: OfPopulation(field, particles, tableau))


def _kind(backend: Any) -> tuple[Any, ...]:
    """That of a risk with small d and real labels, without weights."""
    return backend.dtype.name, True, "float64", 2, False
