"""A part of the particles on the CPU: each of several processes works some of the shards, and sums
are those of one process, to the bit.

The ranks take whole shards, in order. Each shard's partial sum is made where its particles are, the
partials of all are gathered, and every rank adds them by the tree of one process. A kernel cuts the
rows that it is given into equal parts. Where m is no multiple of the shards, whose sizes then differ
by one, a rank calls it for one block of its shards after the other, so long as may be cut so.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...processes.ranks import Later, Ranks
from .backend import CPU, tree_sum
from .energies import PairEnergy
from .features import FeatureCPU
from .pairs import Cloud, PairSums


def cut(m: int, size: int) -> list[int]:
    """The first shard of each of `size` ranks, and the number of shards at the end: each has as many
    as any other, or one more; where it can be, the shards of each are one block.
    """
    shards = CPU.shards(m)
    if size > shards:
        raise ValueError(
            f"m = {m} particles are summed in {shards} shards, which at most {shards} processes can "
            f"share; got {size}. Take fewer processes, or m of {64 * (size - 1) + 1} or more (up to 64 processes)."
        )
    groups = math.gcd(m, shards)
    if size <= groups:
        return [shards // groups * (rank * groups // size) for rank in range(size + 1)]
    return [shards * rank // size for rank in range(size + 1)]


def blocks(m: int, first: int, last: int) -> list[tuple[int, int]]:
    """(first, last) of the longest runs of shards whose particles, cut into equal parts, are those
    shards.
    """
    shards = CPU.shards(m)
    starts = [shard * m // shards for shard in range(shards + 1)]

    def one(a: int, b: int) -> bool:
        length = starts[b] - starts[a]
        return all(starts[a] + i * length // (b - a) == starts[a + i] for i in range(b - a))

    found = []
    while first < last:
        end = next(b for b in range(last, first, -1) if one(first, b))
        found.append((first, end))
        first = end
    return found


class Block(CPU):
    """Shards of a rank that a kernel is called for at once; their sums stay apart."""

    here: slice  # of the rank's rows
    count: int  # of the shards

    def shards(self, m: int) -> int:  # type: ignore[override]
        return self.count

    def _mean(self, partial: np.ndarray, m: int) -> np.ndarray:
        self.partial = partial
        return partial[0]

    def _number(self, partial: np.ndarray, m: int) -> np.ndarray:
        return partial.copy()


class FeatureBlock(Block, FeatureCPU):
    """The same for a feature that its user wrote."""


class Part(CPU):
    """What a backend of the CPU does otherwise where it holds the particles of some shards alone.

    Arrays of particles have the rows of this rank; `upload` takes those of all, `download` gives
    them on every rank. Values at samples are whole everywhere.
    """

    ranks: Ranks
    whole: CPU  # the same for particles that are not shared
    blocks: list[Block]  # where the shards are not one
    block: type[Block] = Block

    def share(self, whole: CPU, ranks: Ranks, m: int) -> None:
        """Hold this rank's part of m particles."""
        ends = cut(m, ranks.size)
        shards = CPU.shards(m)
        self.whole, self.ranks, self.m = whole, ranks, m
        self.shard_counts = [b - a for a, b in itertools.pairwise(ends)]
        rows = [end * m // shards for end in ends]
        self.row_counts = [b - a for a, b in itertools.pairwise(rows)]
        self.shards_here = range(ends[ranks.rank], ends[ranks.rank + 1])
        self.rows_here = slice(rows[ranks.rank], rows[ranks.rank + 1])
        self.first = self.rows_here.start
        self.size = self.rows_here.stop - self.first
        runs = blocks(m, self.shards_here.start, self.shards_here.stop)
        self.blocks = [self._block(*run) for run in runs] if len(runs) > 1 else []
        self._weight_of_blocks: tuple[Any, list[np.ndarray]] = None, []
        if self.columns <= self.outputs:
            raise ValueError(
                "several processes share particles of more columns than outputs; got "
                f"{self.columns} and K = {self.outputs}. Run it in one process."
            )

    def _block(self, first: int, last: int) -> Block:
        made = self.block(self.network, self.dim, self.outputs, self.dtype.name)
        shards = CPU.shards(self.m)
        start, stop = (end * self.m // shards - self.first for end in (first, last))
        made.here, made.count = slice(start, stop), last - first
        made.unproved = self.unproved
        return made

    @property
    def columns(self) -> int:
        return self.trainable.size

    def shards(self, m: int) -> int:  # type: ignore[override]
        """Those of this rank, for its own particles."""
        return len(self.shards_here) if m == self.size else CPU.shards(m)

    def for_network(self, network: Any) -> CPU:
        """Of particles that are not shared, or for what each particle does alone."""
        return self.whole.for_network(network)

    def upload(self, theta: np.ndarray) -> np.ndarray:
        """This rank's rows of those of all particles; values at samples as they are."""
        if theta.ndim != 2 or theta.shape[1] != self.columns:
            return super().upload(theta)
        return super().upload(self.ranks.own(theta, self.m, self.rows_here))

    def download(self, theta: np.ndarray) -> np.ndarray:
        """The rows of all particles, on every rank; values at samples as they are."""
        if theta.shape != (self.size, self.columns):
            return super().download(theta)
        return self.gathered(theta)

    def gathered(self, rows: np.ndarray) -> np.ndarray:
        """Of an array of this rank's particles, that of all of them."""
        return self.ranks.gather(rows, self.row_counts)

    def weights(self, mass: np.ndarray) -> np.ndarray:
        weights = super().weights(mass)
        return weights[self.rows_here].copy() if mass.size == self.m else weights

    def stretch(self, field: Any, particles: Any, tableau: Any, seconds: float) -> None:
        """None: steps are made one by one."""

    def forget(self) -> None:
        super().forget()
        for block in self.blocks:
            block.forget()

    @property
    def gaussian_pairs(self) -> Any:
        return PartSums(self, self.whole.gaussian_pairs)

    @property
    def exact_gaussian_pairs(self) -> Any:
        return PartSums(self, self.whole.exact_gaussian_pairs)

    def pair_energy(self, potential: Any, interaction: Any, self_pairs: bool) -> Any:
        return PartEnergy(self, PairEnergy(self.whole, potential, interaction, self_pairs))

    def mean_feature(
        self, theta: np.ndarray, weight: np.ndarray, samples: Any, keep: bool = False
    ) -> np.ndarray:
        if not self._in_blocks(theta):
            return super().mean_feature(theta, weight, samples, keep)
        for block, some in zip(self.blocks, self._weights(weight), strict=True):
            block.mean_feature(theta[block.here], some, samples)
        return self._of_blocks(samples, theta)

    def push_forward(
        self, theta: np.ndarray, weight: np.ndarray, samples: Any, move: np.ndarray
    ) -> np.ndarray:
        if not self._in_blocks(theta):
            return super().push_forward(theta, weight, samples, move)
        for block, some in zip(self.blocks, self._weights(weight), strict=True):
            block.push_forward(theta[block.here], some, samples, move[block.here])
        return self._of_blocks(samples, theta)

    def pull_back(
        self, theta: np.ndarray, samples: Any, slopes: np.ndarray, decay: float = 0.0
    ) -> np.ndarray:
        if not self._in_blocks(theta):
            return super().pull_back(theta, samples, slopes, decay)
        out = self.pool.take(theta.shape, theta.dtype)
        for block in self.blocks:
            out[block.here] = block.pull_back(theta[block.here], samples, slopes, decay)
        return out

    def _advance(
        self, theta: Any, coefficient: float, stage: Any, out: Any, weight: Any, columns: Any
    ) -> Any:
        if not self._in_blocks(stage):
            return super()._advance(theta, coefficient, stage, out, weight, columns)
        norms = [
            block._advance(
                theta[block.here], coefficient, stage[block.here], out[block.here], some, columns
            )
            for block, some in zip(self.blocks, self._weights(weight), strict=True)
        ]
        return self._number(np.concatenate(norms), self.size)

    def _in_blocks(self, rows: np.ndarray) -> bool:
        return bool(self.blocks) and len(rows) == self.size

    def _weights(self, weight: np.ndarray) -> list[np.ndarray]:
        """Those of the blocks, the same arrays while `weight` is."""
        if self._weight_of_blocks[0] is not weight:
            self._weight_of_blocks = weight, [weight[block.here] for block in self.blocks]
        return self._weight_of_blocks[1]

    def _of_blocks(self, samples: Any, theta: np.ndarray) -> np.ndarray:
        partial = np.concatenate([block.partial for block in self.blocks])
        return self._total(partial, samples, theta)

    def _mean(self, partial: np.ndarray, m: int) -> np.ndarray:
        if m != self.size:
            return super()._mean(partial, m)
        return tree_sum(self.ranks.gather(partial, self.shard_counts)) / self.m

    def _number(self, partial: np.ndarray, m: int) -> float | Later:
        if m != self.size:
            return super()._number(partial, m)
        return self.ranks.later(
            partial, self.shard_counts, lambda rows: float(tree_sum(rows)) / self.m
        )


class PartFeatures(Part, FeatureCPU):
    """The same for a feature that its user wrote."""

    block = FeatureBlock

    def heights(self, theta: np.ndarray, samples: Any, slopes: np.ndarray) -> np.ndarray:
        found = super().heights(theta, samples, slopes)
        return self.gathered(found) if len(theta) == self.size else found


class PartEnergy:
    """A pairwise energy: this rank's particles against all of them, whose rows are gathered once."""

    def __init__(self, part: Part, pairs: PairEnergy) -> None:
        self.part, self.pairs = part, pairs

    def velocity(self, theta: np.ndarray, weight: np.ndarray) -> np.ndarray:
        part = self.part
        everything = part.gathered(theta)
        out = np.empty_like(everything)
        self.pairs.call("velocity", everything, part.gathered(weight), out, shards=part.shards_here)
        return out[part.rows_here].copy()

    def values(self, theta: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        part = self.part
        everything = part.gathered(theta)
        both = np.empty((2, part.m))
        self.pairs.call("values", everything, part.gathered(weight), *both, shards=part.shards_here)
        alone, paired = part.gathered(np.ascontiguousarray(both[:, part.rows_here].T)).T
        return alone.copy(), paired.copy()

    def compiled(self) -> bool:
        return self.pairs.compiled()


class PartSums:
    """Sums over pairs of neurons: a cloud of the shared particles has this rank's as targets, and
    all of them as sources.
    """

    def __init__(self, part: Part, pairs: PairSums) -> None:
        self.part, self.pairs = part, pairs
        self.hold, self.compiled = pairs.hold, pairs.compiled

    def cloud(self, theta: np.ndarray, factor: np.ndarray) -> Any:
        part = self.part
        if len(theta) != part.size or len(factor) != part.m:
            return self.pairs.cloud(theta, factor)
        here = self.pairs.cloud(theta, factor[part.rows_here])
        return Shared(here, self.pairs.cloud(part.gathered(theta), factor))

    def act(self, cloud: Any, sources: Any, decay: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        target = cloud.here if isinstance(cloud, Shared) else cloud
        from_all = [item.all if isinstance(item, Shared) else item for item in sources]
        return self.pairs.act(target, from_all, decay)

    def potentials(self, potential: np.ndarray) -> np.ndarray:
        return self.part.gathered(potential)

    def pairing(self, cloud: Any, potential: np.ndarray) -> float:
        if isinstance(cloud, Shared):
            return self.pairs.pairing(cloud.all, self.part.gathered(potential))
        return self.pairs.pairing(cloud, potential)


class Shared:
    """The clouds of this rank's particles and of all."""

    def __init__(self, here: Cloud, everything: Cloud) -> None:
        self.here, self.all = here, everything


def part_of(whole: CPU, ranks: Ranks, m: int) -> Part:
    """The part of this rank of a backend of the CPU."""
    assert whole.network is not None or whole.outputs == 0
    kind: Callable = PartFeatures if isinstance(whole, FeatureCPU) else Part
    made = kind(whole.network, whole.dim, whole.outputs, whole.dtype.name)
    made.share(whole, ranks, m)
    return made
