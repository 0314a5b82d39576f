"""The landscape of one state: h = δF/δμ over the space of neurons, and the search of its minimum."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import noise
from ..flow import GradientFlow
from ..formulas import losses
from ..functionals.population import PopulationRisk
from ..particles import Particles
from ..state import State
from . import search
from .search import Space

BEST = 8  # of the points that descent found, refined besides the best of each fibre
FIBRES = 32  # up to so many are refined each


def _of_this_package(functional: Any) -> bool:
    """Whether F is a loss of this package, convex and >= 0, of a linear function of μ."""
    loss = getattr(functional.samples or functional, "loss", None)
    return isinstance(functional, PopulationRisk) or loss in losses.TABLE.values()


class Landscape:
    """h = δF/δμ(·; μ) of one state, the columns that may move, and the values of those that do not."""

    def __init__(self, flow: GradientFlow, state: State) -> None:
        self.flow, self.state = flow, state
        self.field = flow.on_device(state)
        self.particles = Particles.of(state, self.field.backend)
        self.ridge, network = flow.functional.ridge, flow.network
        self.positive = _of_this_package(flow.functional)
        p = state.theta.shape[1]
        self.free = np.ones(p, dtype=bool)
        self.kinked = network is None or not network.sigma.smooth
        self.degree: float | None = None
        sphere = np.zeros(p, dtype=bool)
        if network is not None:
            self.free = network.trainable_columns(state.dim, state.outputs)
            self.degree, sphere = self._homogeneity(network)
        if not self.free.any():
            raise ValueError("the network trains nothing: there is no neuron to look for.")
        self.space = Space(self.free, sphere)

        heavy = np.flatnonzero(state.mass > 0)
        frozen = state.theta[heavy][:, ~self.free].astype(np.float64)
        self.frozen, of = np.unique(frozen, axis=0, return_inverse=True)
        self.heavy, self.of = heavy, of.ravel()  # the fibre of each particle with mass

    def _homogeneity(self, network: Any) -> tuple[float | None, np.ndarray]:
        """The degree of φ in the trainable columns, or in a; and the columns whose norm is held at 1."""
        K, p = self.state.outputs, len(self.free)
        a = np.arange(p) < K
        of_sigma = network.sigma.homogeneity
        trains_a, trains_w, trains_b = (name in network.trainable for name in ("a", "w", "b"))
        no_bias = trains_b or not self.state.b.any()
        if trains_w and no_bias and of_sigma:
            return of_sigma + trains_a, self.free
        if trains_a and not (trains_w or trains_b):
            return 1.0, self.free
        return (1.0, a) if trains_a and not self.ridge else (None, np.zeros(p, dtype=bool))

    def no_size(self, size: float) -> str:
        """Why networks of a size are no question here."""
        network = self.flow.network
        which = "particles are no neurons"
        if network is not None:
            given = f"σ = {network.sigma.name}", f"trainable ({', '.join(network.trainable)})"
            ridge = (f"ridge = {self.ridge:g}",) if self.ridge else ()
            which = f"with {', '.join(given + ridge)} it is not"
        return (
            f"size={size:g} needs δF/δμ to be homogeneous in the columns that train, or in a "
            f"without a ridge: {which}. Leave size out, for all ν."
        )

    def height(self, points: np.ndarray) -> np.ndarray:
        return self.field.potential(self.particles, self.field.backend.upload(points))

    def force(self, points: np.ndarray) -> np.ndarray:
        return self.field.force(self.particles, self.field.backend.upload(points))

    def lowest(self, starts: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(points, heights, fibres) where the search from so many starts ended."""
        if self.flow.network is not None and self.flow.network.trainable == ("a",):
            return self._linear()
        points, fibre = self._starts(starts, seed)
        points, heights = search.descend(self.height, self.force, points, self.space)
        if self.kinked:
            points, heights = search.slide(self.height, self.force, points, heights, self.space)

        order = np.argsort(heights, kind="stable")
        best = list(order[:BEST])
        if len(self.frozen) <= FIBRES:
            best += [next(i for i in order if fibre[i] == f) for f in range(len(self.frozen))]
        chosen = np.unique(best)

        def normals(step: int, shape: tuple[int, int]) -> np.ndarray:
            return noise.normals(seed, noise.SEARCH, *shape, step + 1)

        points[chosen], heights[chosen] = search.refine(
            self.height, points[chosen], heights[chosen], self.space, normals
        )
        return points, heights, fibre

    def _linear(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same where a alone trains: ⟨a, c⟩ and the ridge, lowest at a = -c/|c|."""
        points = np.zeros((len(self.frozen), len(self.free)))
        points[:, ~self.free] = self.frozen
        down = self.force(points)[:, self.free]  # -c: at a = 0 the ridge has no slope
        down[~down.any(axis=1), 0] = 1.0
        points[:, self.free] = down / np.linalg.norm(down, axis=1, keepdims=True)
        return points, self.height(points), np.arange(len(points))

    def _starts(self, starts: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Neurons to start from, and the fibre of each: the lowest of the state's own, a teacher's,
        and normal ones of the state's size, of one and of four times it.
        """
        fibres, p = len(self.frozen), len(self.free)
        each = max(4, math.ceil(starts / fibres))
        own = self.state.theta[self.heavy].astype(np.float64)
        order = np.argsort(self.height(own), kind="stable")
        rms = np.sqrt(self.state.mass[self.heavy] @ own**2)
        scale = np.where(rms > 0, rms, 1.0)
        teacher = self.flow.functional.arrays.get("teacher", np.empty((0, p)))

        made, fibre = [], []
        normals = noise.normals(seed, noise.SEARCH, fibres * each, p).reshape(fibres, each, p)
        for f in range(fibres):
            mine = own[[k for k in order if self.of[k] == f][: each // 2]]
            count = max(each - len(mine), 1)
            wide = np.where(np.arange(count) % 2, 1.0, 4.0)[:, None]
            random = normals[f, :count] * (1.0 if self.space.sphere.all() else wide * scale)
            some = np.vstack([mine, random, teacher])
            some[:, ~self.free] = self.frozen[f]
            if self.space.round:  # 0 has no direction; a sphere of one column is two points
                some = some[some[:, self.space.sphere].any(axis=1)]
                if self.space.sphere.sum() == 1:
                    some = np.vstack([some, np.where(self.space.sphere, -some, some)])
            made.append(some)
            fibre.append(np.full(len(some), f))
        return np.vstack(made), np.concatenate(fibre)
