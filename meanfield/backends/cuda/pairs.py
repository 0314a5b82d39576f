"""Σ_l A_l K_σ(w_k, w_l) and its gradient in θ_k on the GPU: every target against all sources
(kernels/pairs.py).

The twin of cpu/pairs.py, from the same four formulas (formulas/gaussian_pairs.py). What is prepared
of a vector is a column [w' = μ w | x | Ã] of (d + 1 + K, m); to `sums` (S + d, m), with K > 1
outputs (S + d + K, m), go F, [X,] V, and the values. What is prepared and what the sums come to is
O(m d) work in float64. Not yet run on a GPU.

While d + K <= UNROLLED a target and its sums are registers. Beyond, loops run over arrays in a
thread's local memory: right, and slow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...once import cached_property
from . import compiler
from .backend import CUDA, slabs
from .fused import THREADS, tile
from .memory import Held, Number

KERNELS = f"{__package__}.kernels"
UNROLLED = 16  # the largest d + K whose loops are written out
MOST = 1000  # numbers of a prepared vector, of which a tile has room for four


def constants(dim: int, outputs: int, sums: int, itemsize: int, groups: int) -> dict[str, Any]:
    """Of the kernel `pair_sums` for this d, K and S = `sums`; without sums (S = 0) no pair is
    visited.
    """
    own = {"D": dim, "K": outputs, "S": sums, "LOOPS": dim + outputs > UNROLLED}
    columns = sums + dim + (outputs if outputs > 1 else 0)
    return own | {"COLUMNS": columns} | tile(dim + 1 + outputs, itemsize, groups)


@dataclass(frozen=True, eq=False)
class Cloud:
    """Particles θ (p, m) with amplitudes A = factor · a on the device: q (m,), the prepared rows,
    and moment (K, d) = Σ A w.
    """

    theta: Held
    factor: Held
    squares: Held
    rows: Held
    moment: Held


class PairSums:
    """The pair kernels of one activation, d, K and dtype on a GPU.

    cloud(θ, factor) prepares sources and targets;  act(cloud, sources) gives their potential and velocity.
    """

    def __init__(self, backend: CUDA, dtype: np.dtype) -> None:
        self.backend = backend
        self.dim = backend.dim
        self.outputs = backend.outputs
        self.dtype = dtype
        formula = backend.network.sigma.pair if backend.network else None
        # checked where the functional was made
        assert backend.network is not None and formula is not None
        if self.dim + 1 + self.outputs > MOST:
            raise ValueError(
                f'backend="cuda" holds d + K + 1 <= {MOST} numbers of a neuron for a '
                f"PopulationRisk; got d = {self.dim} and "
                f'K = {self.outputs}. Use backend="cpu".'
            )
        self.formula = formula
        columns = backend.network.trainable_columns(self.dim, self.outputs)
        self.trainable = backend.pool.fill(columns.astype(float))
        self._kernels: dict[int, Any] = {}

    @cached_property
    def particles(self) -> Any:
        used: dict[str, Callable] = {
            "prepare": self.formula.prepare,
            "finish": self.formula.finish,
            "linear": self.formula.linear,
        }
        return compiler.kernels(f"{KERNELS}.pair_particles", "float64", used)

    def kernel(self, groups: int) -> Any:
        """The kernel whose blocks are cut into so many groups."""
        if groups not in self._kernels:
            used: dict[str, Callable] = {"pair": self.formula.pair, "finish": self.formula.finish}
            chosen = constants(
                self.dim, self.outputs, self.formula.sums, self.dtype.itemsize, groups
            )
            module = compiler.kernels(f"{KERNELS}.pairs", self.dtype.name, used, **chosen)
            self._kernels[groups] = module.pair_sums
        return self._kernels[groups]

    def compiled(self) -> bool:
        """Whether the kernels of a step are compiled already, in this process or in the cache on
        disk.
        """
        return all(
            map(
                compiler.is_compiled,
                [self.kernel(4), self.particles.prepare_cloud, self.particles.finish_sums],
            )
        )

    def hold(self, array: np.ndarray) -> Held:
        """Particles (m, p) or factors (m,) of the host, as `cloud` takes them."""
        return self.backend.pool.fill(np.ascontiguousarray(array.T, dtype=np.float64))

    def potentials(self, potential: Held) -> np.ndarray:
        """What `act` says of the potential, on the host: (m, K)."""
        return self.backend.download(potential)

    def cloud(self, theta: Held, factor: Held) -> Cloud:
        """Particles of any float dtype and factor (m,) float64 -> what the kernels read."""
        take, m, d, K = self.backend.pool.take, theta.data.shape[1], self.dim, self.outputs
        squares = take((m,), float)
        rows = take((d + 1 + K, m), self.dtype)
        moment = take((K, d), float)
        arguments = theta.data, factor.data, K
        self.particles.prepare_cloud[math.ceil(m / THREADS), THREADS](
            *arguments, squares.data, rows.data
        )
        length, count = slabs(m)
        partial = take((count, K, d), float)
        self.particles.moments[(K * d, count), 128](*arguments, length, partial.data)
        self.backend.add(partial, 1.0, 0, moment.data)
        return Cloud(theta, factor, squares, rows, moment)

    def act(self, cloud: Cloud, sources: Sequence[Cloud], decay: float = 0.0) -> tuple[Held, Held]:
        """(g, v): g_k = Σ_l A_l K(w_k, w_l) (K, m) float64, v_k = -∇_θ ⟨a_k, g(w_k)⟩ - decay θ_k
        (p, m), 0 on frozen columns.
        """
        take = self.backend.pool.take
        theta = cloud.theta.data
        S = self.formula.sums
        d = self.dim
        K = self.outputs
        m = theta.shape[1]
        groups = self.backend.groups(m)
        sums, total = take((S + d + (K if K > 1 else 0), m), float), take((K, d), float)
        for number, one in enumerate(sources):
            targets = theta, cloud.rows.data, cloud.squares.data
            self.kernel(groups)[math.ceil(m / (THREADS // groups)), THREADS](
                *targets, one.rows.data, one.moment.data, int(number > 0), sums.data, total.data
            )
        potential, velocity = take((K, m), float), take(theta.shape, self.dtype)
        arguments = (
            theta,
            S,
            cloud.squares.data,
            sums.data,
            total.data,
            float(decay),
            self.trainable.data,
        )
        self.particles.finish_sums[math.ceil(m / THREADS), THREADS](
            *arguments, potential.data, velocity.data
        )
        return potential, velocity

    def pairing(self, cloud: Cloud, potential: Held) -> Number:
        """Σ_k factor_k ⟨a_k, potential_k⟩ by the fixed tree: a number of the backend, which float()
        waits for.
        """
        length, count = slabs(cloud.theta.data.shape[1])
        partial = self.backend.pool.take((count, 1, 1), float)
        self.particles.pairing[count, 128](
            cloud.theta.data, cloud.factor.data, potential.data, length, partial.data
        )
        return self.backend.number(partial, 1.0)
