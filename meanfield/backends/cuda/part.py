"""A part of the particles on a GPU: each of several processes works some of the slabs on a GPU of its
own, and sums are those of one GPU of the same kind, to the bit.

As cpu/part.py; sums of the slabs go from GPU to GPU (torch/direct.py), or through the memory of the
host by the group that the processes are in. The slabs have one length but the last, so any of them
may be the first of a rank. Sums over pairs, and matrix products of a large d, are not in slabs that
ranks could share. Several GPUs have not run this; tests do it in CUDA's simulator.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import cuda

from ...processes.ranks import Ranks
from . import compiler
from .backend import CUDA, slabs
from .features import FeatureCUDA
from .memory import Held


def choose_device() -> None:
    """Of the GPUs of this machine the one whose number is that of the process here (LOCAL_RANK);
    where there are fewer, they are shared.
    """
    here = os.environ.get("LOCAL_RANK", "")
    if here.isdecimal():
        cuda.select_device(int(here) % len(cuda.gpus))


class PartCUDA(CUDA):
    """What a backend of a GPU does otherwise where it holds the particles of some slabs alone."""

    ranks: Ranks
    whole: CUDA  # the same for particles that are not shared

    def share(self, whole: CUDA, ranks: Ranks, m: int) -> None:
        """Hold this rank's part of m particles."""
        self.length, count = slabs(m)
        if ranks.size > count:
            raise ValueError(
                f"m = {m} particles are summed in {count} slabs on a GPU, which at most {count} processes "
                f"can share; got {ranks.size}. Take fewer processes, or more particles."
            )
        if self._wide is not None or self.trainable.data.size <= self.outputs:
            raise ValueError(
                f'{ranks.size} processes share a run with backend="cuda" up to d = 16, and with more columns '
                f"than outputs; got d = {self.dim}, K = {self.outputs}. Use one process."
            )
        ends = [count * rank // ranks.size for rank in range(ranks.size + 1)]
        rows = [min(m, end * self.length) for end in ends]
        self.whole, self.ranks, self.m = whole, ranks, m
        self.slab_counts = [b - a for a, b in itertools.pairwise(ends)]
        self.row_counts = [b - a for a, b in itertools.pairwise(rows)]
        self.here = slice(rows[ranks.rank], rows[ranks.rank + 1])
        self.first = self.here.start
        self.size = self.row_counts[ranks.rank]
        gpu = cuda.get_current_device()
        self.direct = ranks.direct(gpu.uuid, "cpu" if compiler.SIMULATED else f"cuda:{gpu.id}")

    @property
    def way(self) -> str:
        """Of the sums of slabs, in words."""
        return "through the host by gloo" if self.direct is None else "from GPU to GPU by nccl"

    def slabs(self, m: int) -> tuple[int, int]:  # type: ignore[override]
        """Those of this rank, for its own particles."""
        return (self.length, self.slab_counts[self.ranks.rank]) if m == self.size else slabs(m)

    def _chunk(self, m: int) -> int:
        return super()._chunk(self.m if m == self.size else m)

    def _shape(self, m: int) -> tuple[int, int]:
        return CUDA._shape(self, self.m if m == self.size else m)

    def for_network(self, network: Any) -> CUDA:
        """Of particles that are not shared, or for what each particle does alone."""
        return self.whole.for_network(network)

    def upload(self, theta: np.ndarray) -> Held:
        """This rank's rows of those of all particles; values at samples as they are."""
        if theta.ndim != 2 or theta.shape[1] != self.trainable.data.size:
            return super().upload(theta)
        return super().upload(self.ranks.own(theta, self.m, self.here))

    def download(self, theta: Held) -> np.ndarray:
        """The rows of all particles, on every rank; values at samples as they are."""
        rows = super().download(theta)
        if theta.data.shape != (self.trainable.data.size, self.size):
            return rows
        return self.ranks.gather(rows, self.row_counts)

    def weights(self, mass: np.ndarray) -> Held:
        if mass.size != self.m:
            return super().weights(mass)
        return self.pool.fill((mass * mass.size).astype(self.dtype)[self.here])

    @property
    def gaussian_pairs(self) -> Any:
        raise self._of_pairs()

    @property
    def exact_gaussian_pairs(self) -> Any:
        raise self._of_pairs()

    def pair_energy(self, potential: Any, interaction: Any, self_pairs: bool) -> Any:
        raise self._of_pairs()

    def _of_pairs(self) -> ValueError:
        return ValueError(
            f'{self.ranks.size} processes share sums over pairs of particles with backend="cpu" alone; got '
            '"cuda". Use that, or one process.'
        )

    def _mean(self, partial: Held, m: int, first: int, total: Any) -> None:
        if m != self.size:
            super()._mean(partial, m, first, total)
        else:
            self.add(self._of_all(partial), self.m, first, total)

    def _of_all(self, partial: Held) -> Held:
        """The sums of the slabs of all ranks, one below the other."""
        if self.direct is None:
            return self.pool.fill(self.ranks.gather(partial.data.copy_to_host(), self.slab_counts))
        from .wide import tensor  # loads torch

        whole = self.pool.take((sum(self.slab_counts), *partial.data.shape[1:]), float)
        cuda.synchronize()
        self.direct.gather(tensor(partial.data), self.slab_counts, tensor(whole.data))
        return whole

    def _number(self, partial: Held, m: int) -> Any:
        if m != self.size:
            return super()._number(partial, m)
        return self.ranks.later(partial.data.copy_to_host().ravel(), self.slab_counts, self._added)

    def _added(self, rows: np.ndarray) -> float:
        """By the tree of one GPU."""
        return float(self.number(self.pool.fill(rows.reshape(-1, 1, 1)), self.m))


class PartFeaturesCUDA(PartCUDA, FeatureCUDA):
    """The same for a feature that its user wrote."""

    def heights(self, theta: Held, samples: Any, slopes: Held) -> np.ndarray:
        found = super().heights(theta, samples, slopes)
        shared = theta.data.shape[1] == self.size
        return self.ranks.gather(found, self.row_counts) if shared else found


def part_of(whole: CUDA, ranks: Ranks, m: int) -> PartCUDA:
    """The part of this rank of a backend of a GPU."""
    assert whole.network is not None or whole.outputs == 0
    kind: Callable = PartFeaturesCUDA if isinstance(whole, FeatureCUDA) else PartCUDA
    made = kind(whole.network, whole.dim, whole.outputs, whole.dtype.name)
    made.share(whole, ranks, m)
    return made
