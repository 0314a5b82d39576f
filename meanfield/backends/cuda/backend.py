"""The CUDA backend: the formulas of the CPU backend in kernels that keep θ, and all that a step
makes, on one GPU.

θ lies as (p, m), neighbouring particles side by side, what belongs to samples as (K, n). Particles
are cut into at most 1024 slabs whose length depends on m alone; a slab's partial prediction is made
in one fixed order and the partials meet in a fixed tree: the same bits run after run, on one kind
of GPU.

A step is launched whole, 7 kernels for Euler and 31 for RK4 while n fits one launch, and nothing
travels but its numbers, which are read at its end in one copy of 2 KB. It is no CUDA graph: a graph
fixes the addresses of all arrays, and here a stage's memory is handed on as it falls free.
cuda.core's GraphBuilder can capture launches of numba-cuda 0.30, so one can be built where a GPU is
there to show what it gains.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import noise
from ...formulas.losses import Loss
from ...network import Network
from ...once import cached_property
from .. import as_written
from ..compiler import of_activation
from . import compiler, fused, losses
from .fused import FORWARD_ROWS, THREADS
from .memory import Held, Number, Numbers, Pool

# Guesses from the arithmetic of the kernels; not yet measured on a GPU (scripts/bench --device cuda
# measures).
FUSED_UP_TO = 16  # the largest d at which the fused kernels win over cuBLAS
# particles that fill a large GPU with one thread each: below, four share one; from twice as many, a
# thread has two
FEW = 2**17
# the largest d at which a thread has two; beyond, their sums would crowd the registers
PAIRS_UP_TO = 4

KERNELS = f"{__package__}.kernels"
SLABS = 1024
STAGES = 7  # added at once: of the longest tableau, Dormand and Prince's
# of the partial predictions in work at once; those of THREADS samples may take more
PARTIAL_BYTES = 2**28


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs on the device, (d, n) padded with zeros to a whole number of THREADS; for cuBLAS with
    a last row of ones.
    """

    n: int
    x: Held


def slabs(m: int) -> tuple[int, int]:
    """(length, count): particles a slab, a whole number of the forward kernel's tiles, and how many
    slabs.
    """
    length = FORWARD_ROWS * math.ceil(m / (SLABS * FORWARD_ROWS))
    return length, math.ceil(m / length)


class CUDA:
    """Kernels for one network, input dimension d, K outputs and dtype. A device array is a Held (p,
    m), (K, n) or (m,).
    """

    name = "cuda"
    first = 0  # the number of the first of its particles: part.py

    def __init__(self, network: Network | None, dim: int, outputs: int, dtype: str) -> None:
        self.network, self.dim, self.outputs, self.dtype = network, dim, outputs, np.dtype(dtype)
        self._kernels: dict[tuple, Any] = {}
        self.pool, self._numbers = Pool(), Numbers()
        self.unproved = (
            {"value", "slope"} if network and as_written.by_user(network.sigma) else set()
        )
        self._losses: dict[Loss, losses.Kernels] = {}
        everything = np.ones(dim + outputs + 1 if outputs else dim)
        columns = network.trainable_columns(dim, outputs) if network else everything
        self.trainable = self.pool.fill(columns.astype(self.dtype))
        self._columns = {
            True: self.pool.fill(columns.astype(float)),
            False: self.pool.fill(everything),
        }
        self._no_weights = self.pool.take((1,), float)
        self._vectors = compiler.kernels(f"{KERNELS}.vectors", dtype, {})

    @cached_property
    def formulas(self) -> dict[str, Callable]:
        """The activation's, as kernels call them."""
        assert self.network is not None
        return of_activation(self.network.sigma)

    @property
    def fused(self) -> bool:
        return self.dim <= FUSED_UP_TO

    def compiled(self) -> bool:
        """Whether the kernels of a step are compiled already, in this process or in the cache on
        disk.
        """
        return compiler.is_compiled(
            self._wide.kernels.values if self._wide else self.kernel("mean_feature")
        )

    @cached_property
    def _wide(self) -> Any:
        """The matrix products of a large d; None where the fused kernels serve."""
        if self.network is None or self.fused:
            return None
        from .wide import Wide  # loads torch

        return Wide(self)

    def kernel(self, name: str, unroll: int = 1, groups: int = 1) -> Any:
        """One fused kernel for (activation, d, K, dtype): "mean_feature", "push_forward" or
        "pull_back".
        """
        key = name, unroll, groups
        if key not in self._kernels:
            assert self.network is not None
            outputs = min(self.outputs, 4)
            if name == "pull_back":
                homogeneous = self.network.sigma.homogeneity == 1.0
                chosen = fused.backward(self.dim, outputs, homogeneous, unroll, groups)
                self._kernels[key] = self._load("fused_backward", **chosen).pull_back
            else:
                chosen = fused.forward(self.dim, outputs, name == "push_forward")
                self._kernels[key] = self._load("fused_forward", **chosen).forward
        return self._kernels[key]

    def _load(self, name: str, **constants: Any) -> Any:
        file = f"{KERNELS}.{name}"
        return compiler.kernels(file, self.dtype.name, self.formulas, **constants)

    def for_network(self, network: Network) -> CUDA:
        return CUDA(network, self.dim, self.outputs, self.dtype.name)

    def upload(self, theta: np.ndarray) -> Held:
        return self.pool.fill(np.ascontiguousarray(theta.T, dtype=self.dtype))

    def download(self, theta: Held) -> np.ndarray:
        return np.ascontiguousarray(theta.data.copy_to_host().T)

    def weights(self, mass: np.ndarray) -> Held:
        """m·p_k: near 1, so that float32 loses nothing of uniform masses."""
        return self.pool.fill((mass * mass.size).astype(self.dtype))

    def samples(self, x: np.ndarray) -> Samples:
        n, d = x.shape
        padded = np.zeros(
            (d + 1 if self._wide else d, math.ceil(n / THREADS) * THREADS), self.dtype
        )
        padded[:d, :n] = x.T
        padded[d:, :n] = 1
        return Samples(n, self.pool.fill(padded))

    def labels(self, y: np.ndarray) -> Held:
        return self.pool.fill(np.ascontiguousarray(y.T))

    def mean_feature(self, theta: Held, weight: Held, samples: Samples, keep: bool = False) -> Held:
        """Σ_k p_k φ(θ_k; x_i): (K, n) float64. `keep` is for backends that remember z."""
        if "value" in self.unproved:
            as_written.prove_activation(self, "value")
        if self._wide:
            return self._wide.mean_feature(theta, weight, samples)
        return self._forward(
            self.kernel("mean_feature"), (theta.data, theta.data, weight.data), samples
        )

    def push_forward(self, theta: Held, weight: Held, samples: Samples, move: Held) -> Held:
        """Σ_k p_k ∇_θ φ(θ_k; x_i) · move_k: (K, n) float64, the adjoint of pull_back."""
        if "slope" in self.unproved:
            as_written.prove_activation(self, "slope")
        if self._wide:
            return self._wide.mean_feature(theta, weight, samples, move)
        return self._forward(
            self.kernel("push_forward"), (theta.data, move.data, weight.data), samples
        )

    def _forward(self, kernel: Any, arrays: tuple, samples: Samples) -> Held:
        m, K = arrays[0].shape[1], self.outputs
        length, count = self.slabs(m)
        block = THREADS // fused.FORWARD_GROUPS * fused.samples_a_thread(self.dim)
        chunk = self._chunk(m)
        out = self.pool.take((K, samples.n), float)
        for first in range(0, samples.n, chunk):
            size = min(chunk, samples.n - first)
            partial = self.pool.take((count, K, size), float)
            grid = math.ceil(size / block), count, math.ceil(K / min(K, 4))
            kernel[grid, THREADS](*arrays, samples.x.data, first, length, partial.data)
            self._mean(partial, m, first, out.data)
        return out

    @staticmethod
    def slabs(m: int) -> tuple[int, int]:
        """(length, count) of the slabs of m particles."""
        return slabs(m)

    def _chunk(self, m: int) -> int:
        """Samples whose partial sums over m particles are in work at once."""
        count = slabs(m)[1]
        return max(THREADS, PARTIAL_BYTES // (8 * count * self.outputs) // THREADS * THREADS)

    def _mean(self, partial: Held, m: int, first: int, total: Any) -> None:
        """total[:, first + i] = the sums of the slabs (count, K, n) of m particles, added, over m."""
        self.add(partial, m, first, total)

    def _number(self, partial: Held, m: int) -> Any:
        """The sums of the slabs (count, 1, 1) of m particles, added, over m."""
        return self.number(partial, m)

    def add(self, partial: Held, divisor: float, first: int, total: Any) -> None:
        """total[:, first + i] = Σ over the first axis by the fixed tree, divided."""
        count, K, n = partial.data.shape
        rows = min(32, 2 ** (count.bit_length() - 1))
        self._vectors.add_rows[(math.ceil(n / 32), K), (32, rows)](
            partial.data, float(divisor), first, total
        )

    def number(self, partial: Held, divisor: float) -> Number:
        """Σ of (count, 1, 1), divided."""
        number = self._numbers.next()
        self.add(partial, divisor, 0, number.data)
        return number

    def pull_back(self, theta: Held, samples: Samples, slopes: Held, decay: float = 0.0) -> Held:
        """g_k = Σ_i slopes_i · ∇_θ φ(θ_k; x_i) - decay·θ_k on trainable columns, 0 elsewhere: (p,
        m), of slopes (K, n).
        """
        if "slope" in self.unproved:
            as_written.prove_activation(self, "slope")
        decay = self.dtype.type(decay)
        if self._wide:
            return self._wide.pull_back(theta, samples, slopes, decay)
        m = theta.data.shape[1]
        unroll, groups = self._shape(m)
        out = self.pool.take(theta.data.shape, self.dtype)
        grid = math.ceil(m / (THREADS // groups * unroll))
        self.kernel("pull_back", unroll, groups)[grid, THREADS](
            theta.data, samples.x.data, slopes.data, decay, self.trainable.data, out.data
        )
        return out

    @staticmethod
    def groups(m: int) -> int:
        """Threads that share a particle's sum, each with its part of the terms."""
        return 4 if m < FEW else 1

    def _shape(self, m: int) -> tuple[int, int]:
        """(particles a thread, threads that share a particle's samples) of the pull-back: by m, d
        and K alone.
        """
        twice = m >= 2 * FEW and self.outputs == 1 and self.dim <= PAIRS_UP_TO
        return (2 if twice else 1), self.groups(m)

    def pair_energy(self, potential: Any, interaction: Any, self_pairs: bool) -> Any:
        """The kernels of a pairwise energy: .velocity(theta, weight), .values(theta, weight),
        .compiled().
        """
        from .energies import PairEnergy

        return PairEnergy(self, potential, interaction, self_pairs)

    @property
    def gaussian_pairs(self) -> Any:
        """The sums over pairs of neurons of a population risk: pairs.py."""
        from .pairs import PairSums

        if self.network:
            as_written.prove_gaussian_pair(self.network.sigma, self.dtype.name)
        return PairSums(self, self.dtype)

    @property
    def exact_gaussian_pairs(self) -> Any:
        """The same in float64, of the same θ."""
        from .pairs import PairSums

        if self.network:
            as_written.prove_gaussian_pair(self.network.sigma, "float64")
        return PairSums(self, np.dtype(float))

    def forget(self) -> None:
        """Compile σ again when it is used next: its formulas have changed."""
        self._kernels.clear()
        for name in ("formulas", "_wide"):
            self.__dict__.pop(name, None)

    def _loss(self, loss: Loss, what: str, labels: Held, features: Held) -> losses.Kernels:
        """The kernels of a loss, compared with its Python functions before they are first used."""
        if loss not in self._losses:
            self._losses[loss] = losses.Kernels(loss, self)
        kernels = self._losses[loss]
        if what in kernels.unproved:
            y = labels.data.copy_to_host()
            as_written.prove_loss(
                loss, what, y.T if y.ndim == 2 else y, features.data.shape[0], kernels
            )
        return kernels

    def total(
        self, loss: Loss, features: Held, labels: Held, s: float, weights: Held | None = None
    ) -> Number:
        """Σ_i w_i ℓ(s F_i, y_i) over samples and outputs, of mean features F (K, n); w = 1 unless
        given.
        """
        F = features.data
        kernels = self._loss(loss, "value", labels, features).module(weights is not None)
        length, count = slabs(F.shape[1])
        partial = self.pool.take((count, 1, 1), float)
        read = F, labels.data, (weights or self._no_weights).data, float(s), length
        if loss.coupled:
            f = self.pool.take(F.shape, float)
            kernels.total_coupled[count, 128](*read, f.data, partial.data)
        else:
            kernels.total[count, 128](*read, partial.data)
        return self.number(partial, 1.0)

    def slopes(
        self,
        loss: Loss,
        features: Held,
        labels: Held,
        s: float,
        factor: float,
        weights: Held | None = None,
    ) -> Held:
        """factor · w_i ℓ'(s F_i, y_i)/s, (K, n): the derivative of factor · Σ_i w_i ℓ(s F_i,
        y_i)/s² in F.
        """
        F, kernels = features.data, self._loss(loss, "slope", labels, features).module()
        K, n = F.shape
        out, blocks = self.pool.take((K, n), self.dtype), math.ceil(n / 128)
        if loss.coupled:
            f, r = self.pool.take((K, n), float), self.pool.take((K, n), float)
            kernels.slopes_coupled[blocks, 128](
                F, labels.data, float(s), float(factor), f.data, r.data, out.data
            )
        else:
            kernels.slopes[(blocks, K), 128](F, labels.data, float(s), float(factor), out.data)
        if weights is not None:
            kernels.weigh[(blocks, K), 128](weights.data, out.data)
        return out

    def combine(self, theta: Held, coefficients: Sequence[float], stages: Sequence[Held]) -> Held:
        """θ + Σ_j coefficients_j · stages_j, a new array; θ itself where there is nothing to add."""
        terms = [
            (theta.data.dtype.type(c), stage.data)
            for c, stage in zip(coefficients, stages, strict=True)
            if c
        ]
        p, m = theta.data.shape
        for first in range(0, len(terms), STAGES):
            some = terms[first : first + STAGES]
            out = self.pool.take((p, m), theta.data.dtype)
            factors, arrays = zip(*some, strict=True)
            grid = math.ceil(m / 256), min(p, 65535)
            self._combine(len(some))[grid, 256](theta.data, *factors, *arrays, out.data)
            theta = out
        return theta

    def _combine(self, count: int) -> Any:
        """The kernel that adds so many stages."""
        if ("combine", count) not in self._kernels:
            module = compiler.kernels(f"{KERNELS}.combine", self.dtype.name, {}, COUNT=count)
            self._kernels["combine", count] = module.combine
        return self._kernels["combine", count]

    def advance(
        self, theta: Held, coefficient: float, stage: Held, weight: Held
    ) -> tuple[Held, Number]:
        """(θ + coefficient · stage, ∫|stage|² dμ)."""
        return self.combine(theta, [coefficient], [stage]), self.norm(stage, weight)

    def diffuse(
        self, theta: Held, dt: float, drift: Held, scale: float, seed: int, step: int
    ) -> Held:
        """θ + dt·drift + scale·ξ, ξ = noise.normals(seed, DIFFUSION, m, p, step) on trainable
        columns, 0 elsewhere.
        """
        p, m = theta.data.shape
        T, out = self.dtype.type, self.pool.take((p, m), self.dtype)
        words = noise.words(seed, noise.DIFFUSION, step)
        module = compiler.kernels(f"{KERNELS}.diffusion", self.dtype.name, noise.FORMULAS)
        module.diffuse[(math.ceil(m / 128), math.ceil(p / 4)), 128](
            theta.data,
            self.first,
            T(dt),
            drift.data,
            T(scale),
            self.trainable.data,
            *words,
            out.data,
        )
        return out

    def norm(self, array: Held, weight: Held, trainable_only: bool = False) -> Number:
        """The squared L2(μ) norm Σ_k p_k |array_k|² by the fixed tree."""
        m = array.data.shape[1]
        length, count = self.slabs(m)
        partial = self.pool.take((count, 1, 1), float)
        columns = self._columns[trainable_only]
        self._vectors.squares[count, 128](
            array.data, weight.data, columns.data, length, partial.data
        )
        return self._number(partial, m)
