"""Σ_l A_l K_σ(w_k, w_l) and its gradient in θ_k: particles against clouds of sources, on the CPU,
in O(m) memory.

A cloud is stored in tiles of at most 1024 vectors, so that the sources of one stream from the cache while targets wait:
directions (tiles, d, size) hold v' = μ v, amplitudes (tiles, K, size) Ã, parameters (tiles, size) x; what pads has Ã = 0
(formulas/gaussian_pairs.py has the formulas). To `sums` (targets, S + d), S = 1 or 2 as the formula has F alone or F and X, a
kernel adds  F, [X,] V: kernels/pair_few.py for one output and small d, kernels/pair_many.py for any.

Sums run in the kernel's dtype T within a tile and in float64 across tiles. Each target's sums are
its own, made in the order of the sources: bits do not depend on threads. No fast-math flag, here or
in the formulas, but the fma that is asked for: where products may be contracted, ab + cd is fma(a,
b, cd) or fma(c, d, ab) as it comes, in a fresh kernel and in one from the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...once import cached_property
from .. import compiler
from ..llvm import products
from .backend import CPU, tree_sum
from .sharing import run

KERNELS = f"{__package__}.kernels"
TILE = 1024
BLOCK = 96  # targets, in the kernel for any d
VECTORS = 2  # of targets at once, in the kernel for small d
FEW_UP_TO = 10  # the largest d at which the kernel `few` wins


@dataclass(frozen=True, eq=False)
class Cloud:
    """Particles θ (m, p) with amplitudes A = factor · a, prepared as above. total (K, d) is Σ A w.

    rows (tiles·size, d rounded up) has the directions a row each, and packed for the two products;
    None for the kernel `few`.
    """

    theta: np.ndarray
    factor: np.ndarray
    squares: np.ndarray
    directions: np.ndarray
    amplitudes: np.ndarray
    parameters: np.ndarray
    total: np.ndarray
    rows: np.ndarray | None = None
    forward: np.ndarray | None = None
    backward: np.ndarray | None = None


class PairSums:
    """The pair kernels of one activation, d, K and dtype.

    cloud(θ, factor) prepares sources and targets;  act(cloud, sources) gives their potential and velocity.
    """

    def __init__(self, backend: CPU) -> None:
        self.backend = backend
        self.dim = backend.dim
        self.outputs = backend.outputs
        self.dtype = backend.dtype
        formula = backend.network.sigma.pair if backend.network else None
        assert formula is not None  # checked where the functional was made
        self.formula = formula
        self.few = self.outputs == 1 and self.dim <= FEW_UP_TO

    @cached_property
    def particles(self) -> Any:
        bound: dict[str, Callable] = {
            "prepare": self.formula.prepare,
            "finish": self.formula.finish,
            "linear": self.formula.linear,
        }
        return compiler.kernels(f"{KERNELS}.pair_particles", "float64", bound)

    @cached_property
    def kernels(self) -> Any:
        bound: dict[str, Callable] = {"pair": self.formula.pair, "finish": self.formula.finish}
        sums = self.formula.sums
        constants: dict[str, Any]
        if self.few:
            name = "pair_few"
            constants = {"D": self.dim, "S": sums, "VECTORS": self._vectors}
        else:
            name = "pair_many"
            constants = {"S": sums, "FASTMATH": False}
        return compiler.kernels(f"{KERNELS}.{name}", self.dtype.name, bound, **constants)

    def compiled(self) -> bool:
        """Whether the kernels are compiled already, in this process or in the cache on disk."""
        pairs = [self.kernels.pair_sums] if self.formula.sums else []
        return all(
            map(
                compiler.is_compiled,
                [self.particles.prepare_cloud, self.particles.finish_sums, *pairs],
            )
        )

    def hold(self, array: np.ndarray) -> np.ndarray:
        """Particles (m, p) or factors (m,) of the host, as `cloud` takes them."""
        return array

    def potentials(self, potential: np.ndarray) -> np.ndarray:
        """What `act` says of the potential, on the host: (m, K)."""
        return potential

    def cloud(self, theta: np.ndarray, factor: np.ndarray) -> Cloud:
        """Particles [a | w | b] of any float dtype and factor (m,) -> what the kernels read."""
        m, d, K = theta.shape[0], self.dim, self.outputs
        lanes = (VECTORS if self.few else 1) * products.LANES[self.dtype.name]
        tiles = -(-m // TILE)
        size = -(-m // (tiles * lanes)) * lanes
        padded = (
            d
            if self.few
            else -(-d // products.LANES[self.dtype.name]) * products.LANES[self.dtype.name]
        )
        if self.few:
            rows, directions = None, np.zeros((tiles, d, size), self.dtype)
        else:
            rows = np.zeros((tiles, size, padded), self.dtype)
            directions = rows.transpose(0, 2, 1)
        amplitudes = np.zeros((tiles, K, size), self.dtype)
        parameters = np.zeros((tiles, size), self.dtype)
        squares, total = np.zeros(tiles * size), np.empty((self.backend.shards(m), K, d))
        arguments = theta, factor, K, directions, amplitudes, parameters, squares, total
        run(self.particles.prepare_cloud, len(total), theta.size, *arguments)
        parts = (theta, factor, squares, directions, amplitudes, parameters, tree_sum(total))
        if rows is None:
            return Cloud(*parts)
        forward = np.stack([products.pack(np.ascontiguousarray(tile.T[:d])) for tile in rows])
        backward = np.stack([*map(products.pack, rows)])
        return Cloud(*parts, rows.reshape(-1, padded), forward, backward)

    def act(
        self, cloud: Cloud, sources: Sequence[Cloud], decay: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """(g, v): g_k = Σ_l A_l K(w_k, w_l) (m, K) float64, v_k = -∇_θ ⟨a_k, g(w_k)⟩ - decay θ_k
        (m, p), 0 on frozen columns.
        """
        m, S, d, K = cloud.theta.shape[0], self.formula.sums, self.dim, self.outputs
        sums = np.zeros((cloud.squares.size, S + d + (K if K > 1 else 0)))
        work = m * d
        for source in sources if S else ():
            work = m * source.squares.size * d
            target = sums if self.few else sums[:m]
            given = *self._targets(cloud), *self._sources(source), target
            run(self.kernels.pair_sums, self._blocks(cloud), work, *given)
        total = sum(source.total for source in sources)
        potential = np.empty((m, K))
        velocity = self.backend.pool.take(cloud.theta.shape, self.dtype)
        trainable = self.backend.trainable.astype(np.float64)
        arguments = (
            cloud.theta,
            K,
            S,
            cloud.squares,
            sums,
            total,
            decay,
            trainable,
            potential,
            velocity,
        )
        run(self.particles.finish_sums, self.backend.shards(m), m * d, *arguments)
        return potential, velocity

    def stretch(self, field: Any, particles: Any, tableau: Any, seconds: float) -> Any:
        """What makes many steps in one compiled call, or None where that would not be faster:
        stretched_pairs.py.
        """
        from . import stretched_pairs

        return stretched_pairs.of_population(field, particles, tableau, seconds)

    def pairing(self, cloud: Cloud, potential: np.ndarray) -> float:
        """Σ_k factor_k ⟨a_k, potential_k⟩ by the fixed tree."""
        a = cloud.theta[:, : self.outputs].astype(np.float64)
        return float(tree_sum(cloud.factor * (a * potential).sum(axis=1)))

    def _blocks(self, cloud: Cloud) -> int:
        """Of targets that one call of the kernel works."""
        if self.few:
            return cloud.squares.size // (self._vectors * products.LANES[self.dtype.name])
        return -(-len(cloud.theta) // BLOCK)

    @property
    def _vectors(self) -> int:
        return VECTORS if self.dim <= 4 else 1

    def _targets(self, cloud: Cloud) -> tuple[np.ndarray, ...]:
        if self.few:
            return cloud.directions, cloud.parameters
        assert cloud.rows is not None
        a = cloud.theta[:, : self.outputs].astype(self.dtype)
        return (
            cloud.rows[:, : self.dim],
            cloud.parameters.ravel(),
            a,
            cloud.squares.astype(self.dtype),
        )

    def _sources(self, cloud: Cloud) -> tuple[np.ndarray, ...]:
        if self.few:
            return cloud.directions, cloud.amplitudes, cloud.parameters
        assert cloud.forward is not None and cloud.backward is not None
        return cloud.forward, cloud.backward, cloud.amplitudes, cloud.parameters
