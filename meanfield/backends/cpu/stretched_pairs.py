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
from .records import Risk
from .sharing import SMALL
from .stretch import NO_PLACES, Stretch, too_large, worth


class OfPairs(Stretch):
    """For fields whose velocity is a sum over pairs; they say no energies."""

    traces = False

    def __init__(
        self, backend: Any, theta: np.ndarray, weight: np.ndarray, tableau: Any, places: np.ndarray
    ) -> None:
        T = backend.dtype
        x, labels = np.zeros((0, 0, 0), T), np.zeros((0, 0))
        labels.flags.writeable = False  # as those of a risk
        nothing = np.zeros((0, 0), T), labels, np.zeros(0), backend.trainable, T.type(0)
        risk = Risk(x, *nothing, False, False, True, 1.0, 1.0, 1.0, 0.0, places)
        super().__init__(backend, theta, weight, Samples(0, 0, x), risk, tableau, 1)


class OfEnergy(OfPairs):
    """Of a pairwise energy, by the kernel of its velocity."""

    def __init__(
        self, backend: Any, theta: np.ndarray, weight: np.ndarray, kernel: Any, tableau: Any
    ) -> None:
        self.kernel = kernel
        super().__init__(backend, theta, weight, tableau, NO_PLACES)

    def _of_field(self) -> tuple[tuple[Any, ...], dict[str, tuple[Any, tuple[Any, ...]]]]:
        theta = self.work.rows[0, 0]
        given = 0, 0, theta, self.work.weight, theta, 0, 0
        return (self.kernel,), {"pull_back": (self.kernel, given)}


class OfPopulation(OfPairs):
    """Of a population risk with one output and small d: pairs.py.

    mass: of the particles; teacher: its cloud.
    """

    def __init__(
        self,
        pairs: Any,
        theta: np.ndarray,
        weight: np.ndarray,
        mass: np.ndarray,
        teacher: Any,
        ridge: float,
        tableau: Any,
    ) -> None:
        own = pairs.cloud(theta, mass)
        m, d, S = len(theta), pairs.dim, pairs.formula.sums
        shards, blocks = pairs.backend.shards(m), pairs._blocks(own)
        sums, potential = np.zeros((own.squares.size, S + d)), np.zeros((m, 1))
        totals, total = np.zeros((shards, 1, d)), np.zeros((1, d))
        trainable, decay = pairs.backend.trainable.astype(np.float64), np.array([float(ridge)])

        cloud = own.directions, own.amplitudes, own.parameters
        other = teacher.directions, teacher.amplitudes, teacher.parameters
        prepared = 0, 0, theta, mass, 1, *cloud, own.squares, totals
        summed = 0, 0, own.directions, own.parameters, *other, sums
        finished = 0, 0, theta, 1, S, own.squares, sums, total, 0.0, trainable, potential, theta
        kernels = [
            address(pairs.particles.prepare_cloud, *prepared),
            address(pairs.kernels.pair_sums, *summed) if S else 0,
            address(pairs.particles.finish_sums, *finished),
        ]
        tiles, size = own.parameters.shape
        numbers = [shards, blocks, tiles, size, *teacher.parameters.shape]
        self._arrays = (  # in the order of kernels/pair_velocity.py; kept alive
            *cloud, *other, mass, own.squares, sums, totals, total, teacher.total, trainable,
            potential, decay,
        )  # fmt: skip
        addresses = [array.ctypes.data for array in self._arrays]
        places = np.array([*kernels, *numbers, *addresses], np.int64)
        self.kernel = compiler.kernels(
            f"{__package__}.kernels.pair_velocity", theta.dtype.name, {}, S=S
        ).velocity
        super().__init__(pairs.backend, theta, weight, tableau, places)

    def _of_field(self) -> tuple[tuple[Any, ...], dict[str, tuple[Any, tuple[Any, ...]]]]:
        theta = self.work.rows[0, 0]
        given = theta, theta, self.risk.places
        return (self.kernel,), {"velocity": (self.kernel, given)}


def of_energy(
    backend: Any, theta: np.ndarray, weight: np.ndarray, seconds: float, kernel: Any, tableau: Any
) -> Stretch | None:
    """A Stretch; None where it would not make the run shorter, and where several threads make a
    step. seconds: what all the steps would gain.
    """
    if too_large(theta, tableau) or theta.shape[0] * theta.size > SMALL:
        return None
    return worth(_kind(backend), seconds, lambda: OfEnergy(backend, theta, weight, kernel, tableau))


def of_population(
    pairs: Any, theta: np.ndarray, seconds: float, tableau: Any, teacher: Any, **given: Any
) -> Stretch | None:
    """The same of a population risk."""
    sources = theta.shape[0] + teacher.parameters.size
    work = theta.shape[0] * sources * pairs.dim
    if not pairs.few or too_large(theta, tableau) or work > SMALL:
        return None
    return worth(
        _kind(pairs.backend),
        seconds,
        lambda: OfPopulation(pairs, theta, teacher=teacher, tableau=tableau, **given),
    )


def _kind(backend: Any) -> tuple[Any, ...]:
    """That of a risk with small d and real labels."""
    return backend.dtype.name, True, "float64", 2
