"""The CPU backend: fused kernels for small d, blocked matrix products for large d, one set of bits
for any threads.

Particles are cut into min(64, ⌈m/64⌉) contiguous shards; each shard's partial sum is made in one
fixed order and the partials are added by a fixed pairwise tree. Device arrays are C-contiguous
NumPy arrays and are never written to while anybody holds them; what falls free is used again, so a
step allocates nothing of θ's size.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

# GNU OpenMP, when it is loaded, reads how many turns its threads spin at a barrier: by default 300
# 000, milliseconds, and beside two busy processes a run takes ten times as long (300 RK4 steps of m
# = 10⁴: 15.8 s against 1.5 s). 10 000 outlast what lies between the kernels of a step: 0.67 s on a
# quiet machine, where 1000 took 0.85 s (and 1.2 s beside two busy processes).
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import numpy as np

from ... import noise
from ...formulas.activations import SLOPE_OF_VALUE
from ...formulas.losses import Loss
from ...network import Network
from ...once import cached_property
from .. import as_written, compiler
from ..llvm import half_spaces, products
from . import kinked, losses
from .memory import Pool
from .sharing import SMALL, run

KERNELS = f"{__package__}.kernels"
FUSED_UP_TO = 10  # the largest d at which the fused kernels win (scripts/bench --only crossover)
# pre-activations of the forward pass are kept for the pull-back up to this size
KEEP_BYTES = 256 * 2**20
# values σ(z), where tanh again takes longer than memory: what caches have
KEEP_VALUES = 16 * 2**20
# of a tile of x and its sums in the fused kernels: most of a first cache of 32 KB
TILE_BYTES = 24 * 2**10
ELEMENT = 10  # operations that reading and writing an element takes the time of
CHUNK = 256  # particles whose normals are drawn together: kernels/diffusion.py
NORMAL = 40  # … and drawing a normal
SIGMA = 20  # … and evaluating a σ that is not linear on either side of 0


def tree_sum(partial: np.ndarray) -> np.ndarray:
    """Σ over the first axis by a fixed pairwise tree; overwrites `partial`."""
    count = partial.shape[0]
    while count > 1:
        half = (count + 1) // 2
        partial[: count - half] += partial[half:count]
        count = half
    return partial[0]


def scratch_of(p: int) -> int:
    """Numbers that `advance` of kernels/rows.py wants to work with for rows of p."""
    return (9 + 256 // p) * p


@dataclass(frozen=True, eq=False)
class Samples:
    """n inputs as the kernels read them, in tiles of `size` samples, padded with zeros.

    x: (tiles, d, size) for the fused kernels; for the blocked ones packed (products.py), (tiles,
    d·size), and transposed: (tiles, size·d), d a whole number of vectors, for Z = W Xᵀ and for Q X.
    """

    n: int
    size: int
    x: np.ndarray
    transposed: np.ndarray | None = None


class CPU:
    """Kernels for one network, input dimension d, K outputs and dtype; without a network, what any
    particles need.

    θ (m, p) row-major [a | w | b]; `weight` is m·p_k in the kernel's dtype (1 for uniform masses,
    exactly).
    """

    name = "cpu"
    first = 0  # the number of the first of its particles: part.py

    def __init__(self, network: Network | None, dim: int, outputs: int, dtype: str) -> None:
        self.network, self.dim, self.outputs, self.dtype = network, dim, outputs, np.dtype(dtype)
        self.pool = Pool()
        self._everything = np.ones(dim + outputs + 1 if outputs else dim, self.dtype)
        self.trainable = (
            network.trainable_columns(dim, outputs).astype(self.dtype)
            if network
            else self._everything
        )
        self.unproved = (
            {"value", "slope"} if network and as_written.by_user(network.sigma) else set()
        )
        self._losses: dict[Loss, losses.Kernels] = {}
        self._kept: tuple[np.ndarray, Samples, np.ndarray] | None = None
        self._alike: tuple[np.ndarray, np.ndarray] | None = None  # of the last weights

    @cached_property
    def kernels(self) -> Any:
        """The module of compiled kernels for (activation, d, dtype)."""
        assert self.network is not None
        if not self.fused:
            return self._load("blocked")
        vectors = 2 if self.dim <= 4 else 1  # of 32 registers 2 d + 3 a vector, and some for σ
        # weights of four particles of d = 2 fill 16 registers, and ReLU waits for nothing else; values
        # to be kept of four particles take most of a first cache
        keeps = self._slope_of_value is not None
        few = keeps or (self.dim == 2 and kinked.slopes(self.network.sigma) is not None)
        together = 2 if few and not half_spaces.MASKS else 4
        return self._load("fused", D=self.dim, VECTORS=vectors, P=together, KEEPS=keeps)

    @cached_property
    def mean_feature_kernel(self) -> Any:
        """The kernel of the mean features for this K."""
        return self.kernels.mean_feature_k if self._several else self.kernels.mean_feature

    @property
    def _several(self) -> bool:
        """Whether the fused kernels for any number of outputs are used."""
        return self.fused and self.outputs > 1

    @cached_property
    def pull_back_kernel(self) -> Any:
        """The kernel of the pull-back for this K and activation."""
        assert self.network is not None
        if self.kinked:
            return self.kinked_kernels.pull_back
        return self.kernels.pull_back_k if self._several else self.kernels.pull_back

    @property
    def kinked(self) -> bool:
        """Whether σ is linear on either side of 0, and the pull-back made for that: kinked.py."""
        assert self.network is not None
        one = self.fused and self.outputs == 1
        return one and kinked.slopes(self.network.sigma) is not None

    @cached_property
    def kinked_kernels(self) -> Any:
        """The module of the pull-back of a σ that is linear on either side of 0."""
        assert self.network is not None
        slopes = kinked.slopes(self.network.sigma)
        assert slopes is not None
        below, above = slopes
        constants = {"D": self.dim, "BELOW": below, "JUMP": above - below}
        return self._load("kinked", **constants)

    @cached_property
    def rows(self) -> Any:
        """The module of the kernels that know no activation, of this dtype."""
        return compiler.kernels(f"{KERNELS}.rows", self.dtype.name, {})

    @property
    def _slope_of_value(self) -> Callable | None:
        assert self.network is not None
        sigma = self.network.sigma
        return SLOPE_OF_VALUE.get((sigma.value, sigma.slope, sigma.value_and_slope))

    def _load(self, name: str, **constants: Any) -> Any:
        assert self.network is not None
        used = compiler.of_activation(self.network.sigma)
        if constants.get("KEEPS") and self._slope_of_value:
            used["slope_of_value"] = self._slope_of_value
        return compiler.kernels(f"{KERNELS}.{name}", self.dtype.name, used, **constants)

    def forget(self) -> None:
        """Compile σ again when it is used next: its formulas have changed."""
        for name in ("kernels", "mean_feature_kernel", "pull_back_kernel", "kinked_kernels"):
            self.__dict__.pop(name, None)

    def _loss(self, loss: Loss) -> losses.Kernels:
        if loss not in self._losses:
            self._losses[loss] = losses.Kernels(loss)
        return self._losses[loss]

    @property
    def gaussian_pairs(self) -> Any:
        """The sums over pairs of neurons of a population risk: pairs.py."""
        from .pairs import PairSums

        if self.network:
            as_written.prove_gaussian_pair(self.network.sigma, self.dtype.name)
        return PairSums(self)

    @property
    def exact_gaussian_pairs(self) -> Any:
        """The same in float64, of the same θ."""
        if self.dtype == np.float64:
            return self.gaussian_pairs
        return CPU(self.network, self.dim, self.outputs, "float64").gaussian_pairs

    def compiled(self) -> bool:
        """Whether the kernels of a step are compiled already, in this process or in the cache on
        disk.
        """
        return all(map(compiler.is_compiled, (self.mean_feature_kernel, self.pull_back_kernel)))

    @property
    def fused(self) -> bool:
        return self.dim <= FUSED_UP_TO

    @staticmethod
    def shards(m: int) -> int:
        return min(64, -(-m // 64))

    def for_network(self, network: Network) -> CPU:
        return CPU(network, self.dim, self.outputs, self.dtype.name)

    def upload(self, theta: np.ndarray) -> np.ndarray:
        array = self.pool.take(theta.shape, self.dtype)
        array[...] = theta
        return array

    def download(self, theta: np.ndarray) -> np.ndarray:
        return theta.copy()

    def weights(self, mass: np.ndarray) -> np.ndarray:
        """m·p_k: near 1, so that float32 loses nothing of uniform masses."""
        return (mass * mass.size).astype(self.dtype)

    def samples(self, x: np.ndarray) -> Samples:
        """x (n, d) cut into equal tiles of at most 1024 samples, a whole number of vectors each;
        fused, of at most TILE_BYTES.
        """
        n, d = x.shape
        largest = min(1024, TILE_BYTES // ((d + 1) * self.dtype.itemsize)) if self.fused else 1024
        tiles = max(1, math.ceil(n / largest))
        alone = self.fused and self.outputs == 1 and tiles == 1  # no sum depends on the padding
        lanes = half_spaces.lanes(self.dtype.itemsize) if alone else products.LANES[self.dtype.name]
        size = math.ceil(math.ceil(n / tiles) / lanes) * lanes
        padded = np.zeros(
            (tiles * size, d if self.fused else math.ceil(d / lanes) * lanes), self.dtype
        )
        padded[:n, :d] = x
        rows = padded.reshape(tiles, size, -1)
        columns = np.ascontiguousarray(rows[:, :, :d].transpose(0, 2, 1))
        if self.fused:
            return Samples(n, size, columns)
        return Samples(
            n, size, np.stack([*map(products.pack, columns)]), np.stack([*map(products.pack, rows)])
        )

    def labels(self, y: np.ndarray) -> np.ndarray:
        return y

    def mean_feature(
        self, theta: np.ndarray, weight: np.ndarray, samples: Samples, keep: bool = False
    ) -> np.ndarray:
        """Σ_k p_k φ(θ_k; x_i): (n, K) float64. `keep`: the pull-back of the same θ is about to
        follow.
        """
        if "value" in self.unproved:
            as_written.prove_activation(self, "value")
        partial = self._partial(theta, samples)
        arguments = theta, weight, samples.x, partial
        work, kept = self._work(theta, samples), self._keep(theta, samples, keep)
        run(self.mean_feature_kernel, len(partial), work, *arguments, kept)
        return self._total(partial, samples, theta)

    def pull_back(
        self, theta: np.ndarray, samples: Samples, slopes: np.ndarray, decay: float = 0.0
    ) -> np.ndarray:
        """g_k = Σ_i slopes_i · ∇_θ φ(θ_k; x_i) - decay·θ_k on trainable columns, 0 elsewhere: (m,
        p) on the device.
        """
        if "slope" in self.unproved:
            as_written.prove_activation(self, "slope")
        tiles = samples.x.shape[0]
        padded = np.zeros((tiles * samples.size, self.outputs), self.dtype)
        padded[: samples.n] = slopes
        slopes = np.ascontiguousarray(
            padded.reshape(tiles, samples.size, self.outputs).transpose(0, 2, 1)
        )
        out = self.pool.take(theta.shape, theta.dtype)
        work, shards = self._work(theta, samples), self.shards(theta.shape[0])
        given = self.dtype.type(decay), self.trainable, out
        if self.kinked:
            terms, whole = self._sides(samples, slopes)
            line = self.dtype.type(decay), self.trainable, out.reshape(-1)
            run(self.pull_back_kernel, shards, work, theta.reshape(-1), terms, whole, *line)
        elif self.fused:
            used, kept = slopes[:, :, : self.slopes_of(samples)], self._kept_of(theta, samples)
            run(self.pull_back_kernel, shards, work, theta, samples.x, used, *given, kept)
        else:
            x, kept = (samples.x, samples.transposed), self._kept_of(theta, samples)
            run(self.pull_back_kernel, shards, work, theta, *x, slopes, *given, kept)
        return out

    def slopes_of(self, samples: Samples) -> int:
        """How many slopes of a tile the pull-back reads: those of padding only where there is no
        kernel for less.
        """
        whole = self._several or not self.fused or self.kinked or samples.x.shape[0] > 1
        return samples.size if whole else samples.n

    def _sides(self, samples: Samples, slopes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Terms of the samples and their sums, as kernels/kinked.py reads them."""
        tiles, size = samples.x.shape[0], samples.x.shape[2]
        terms = self.pool.take((tiles, size, 2 * self.dim + 1), self.dtype)
        whole = np.empty(self.dim + 1)
        terms[:, :, : self.dim] = samples.x.transpose(0, 2, 1)
        self.kinked_kernels.sides(samples.x, slopes, terms, whole)
        return terms, whole

    def push_forward(
        self, theta: np.ndarray, weight: np.ndarray, samples: Samples, move: np.ndarray
    ) -> np.ndarray:
        """Σ_k p_k ∇_θ φ(θ_k; x_i) · move_k: (n, K) float64, the adjoint of pull_back."""
        if "slope" in self.unproved:
            as_written.prove_activation(self, "slope")
        partial = self._partial(theta, samples)
        arguments = theta, weight, samples.x, move, partial
        run(self.kernels.push_forward, len(partial), self._work(theta, samples), *arguments)
        return self._total(partial, samples, theta)

    def total(
        self,
        loss: Loss,
        features: np.ndarray,
        labels: np.ndarray,
        s: float,
        weights: np.ndarray | None = None,
    ) -> float:
        """Σ_i w_i ℓ(s F_i, y_i) over samples and outputs, of mean features F (n, K); w = 1 unless
        given.
        """
        return self._loss(loss).total(features, labels, s, weights)

    def slopes(
        self,
        loss: Loss,
        features: np.ndarray,
        labels: np.ndarray,
        s: float,
        factor: float,
        weights: np.ndarray | None = None,
    ) -> np.ndarray:
        """factor · w_i ℓ'(s F_i, y_i)/s, (n, K) float64: the derivative of factor · Σ_i w_i ℓ(s
        F_i, y_i)/s² in F.
        """
        return self._loss(loss).slopes(features, labels, s, factor, weights)

    def pair_energy(self, potential: Any, interaction: Any, self_pairs: bool) -> Any:
        """The kernels of a pairwise energy: .velocity(theta, weight), .values(theta, weight),
        .compiled().
        """
        from .energies import PairEnergy

        return PairEnergy(self, potential, interaction, self_pairs)

    def stretch(self, field: Any, particles: Any, tableau: Any, seconds: float) -> Any:
        """What makes many steps in one compiled call, or None where that would not be faster:
        stretch.py.
        """
        from . import stretch

        return stretch.of(field, particles, tableau, seconds)

    def combine(
        self, theta: np.ndarray, coefficients: Sequence[float], stages: Sequence[np.ndarray]
    ) -> np.ndarray:
        """θ + Σ_j coefficients_j · stages_j, a new array; θ itself where there is nothing to add."""
        out, (m, p) = theta, theta.shape
        for coefficient, stage in zip(coefficients, stages, strict=True):
            if coefficient:
                target = self.pool.take(theta.shape, theta.dtype) if out is theta else out
                if coefficient == -1.0 and ELEMENT * theta.size <= SMALL:
                    np.subtract(out, stage, out=target)  # no product: the bits of add_scaled
                    out = target
                    continue
                given = out.ravel(), theta.dtype.type(coefficient), stage.ravel(), target.ravel()
                run(self.rows.add_scaled, self.shards(m), ELEMENT * theta.size, p, *given)
                out = target
        return out

    def diffuse(
        self, theta: np.ndarray, dt: float, drift: np.ndarray, scale: float, seed: int, step: int
    ) -> np.ndarray:
        """θ + dt·drift + scale·ξ, ξ = noise.normals(seed, DIFFUSION, m, p, step) on trainable
        columns, 0 elsewhere.
        """
        out, T = self.pool.take(theta.shape, theta.dtype), theta.dtype.type
        words = noise.words(seed, noise.DIFFUSION, step)
        kernel = compiler.kernels(f"{KERNELS}.diffusion", self.dtype.name, noise.FORMULAS).diffuse
        sizes = T(dt), drift, T(scale), self.trainable
        chunks = -(-len(theta) // CHUNK)
        given = theta, self.first, *sizes, *words, out
        run(kernel, chunks, NORMAL * theta.size, *given)
        return out

    def norm(self, array: np.ndarray, weight: np.ndarray, trainable_only: bool = False) -> float:
        """The squared L2(μ) norm Σ_k p_k |array_k|² by the fixed tree."""
        return self._advance(
            array,
            0.0,
            array,
            array[:0],
            weight,
            self.trainable if trainable_only else self._everything,
        )

    def advance(
        self, theta: np.ndarray, coefficient: float, stage: np.ndarray, weight: np.ndarray
    ) -> tuple[np.ndarray, float]:
        """(θ + coefficient · stage, ∫|stage|² dμ): `combine` and `norm` in one pass over the
        memory.
        """
        out = self.pool.take(theta.shape, theta.dtype) if coefficient else theta[:0]
        norm = self._advance(theta, coefficient, stage, out, weight, self._everything)
        return (out if coefficient else theta), norm

    def _advance(
        self, theta: Any, coefficient: float, stage: Any, out: Any, weight: Any, columns: Any
    ) -> float:
        m, shards = stage.shape[0], self.shards(stage.shape[0])
        norms = self.pool.take((shards,), float)
        scratch = self.pool.take((shards * scratch_of(columns.size),), float)
        scale, line = stage.dtype.type(coefficient), stage.ravel()
        given = theta.ravel(), scale, line, out.ravel(), weight, self.alike(weight), columns
        run(self.rows.advance, shards, ELEMENT * stage.size, *given, scratch, norms)
        return self._number(norms, m)

    def alike(self, weight: np.ndarray) -> np.ndarray:
        """Whether all weights of a shard are equal: (shards,)."""
        if self._alike is None or self._alike[0] is not weight:
            m, shards = weight.size, self.shards(weight.size)
            starts = [shard * m // shards for shard in range(shards)]
            least, most = np.minimum.reduceat(weight, starts), np.maximum.reduceat(weight, starts)
            self._alike = weight, least == most
        return self._alike[1]

    def _number(self, partial: np.ndarray, m: int) -> Any:
        """One number of the sums of the shards (shards,) of m particles: their sum over m."""
        return float(tree_sum(partial)) / m

    def _mean(self, partial: np.ndarray, m: int) -> np.ndarray:
        """The sums of the shards (shards, …) of m particles, added by the tree, over m."""
        return tree_sum(partial) / m

    @cached_property
    def _operations(self) -> int:
        """Of a neuron and a sample, in those of float32."""
        assert self.network is not None
        evaluation = 0 if kinked.slopes(self.network.sigma) else SIGMA
        return (self.dim + self.outputs + 1 + evaluation) * self.dtype.itemsize // 4

    @cached_property
    def _nothing(self) -> np.ndarray:
        return np.empty((0, 0, 0), self.dtype)

    def _keep(self, theta: np.ndarray, samples: Samples, keep: bool) -> np.ndarray:
        shape = (samples.x.shape[0], theta.shape[0], samples.size)
        if not keep or not self.keeps(theta, samples):
            return self._nothing
        buffer = (
            self._kept[2]
            if self._kept and self._kept[2].shape == shape
            else np.empty(shape, self.dtype)
        )
        self._kept = theta, samples, buffer
        return buffer

    def _kept_of(self, theta: np.ndarray, samples: Samples) -> np.ndarray:
        """What the forward pass has kept of this θ, or nothing."""
        kept = self._kept
        return kept[2] if kept and kept[0] is theta and kept[1] is samples else self._nothing

    def keeps(self, theta: np.ndarray, samples: Samples) -> bool:
        """Whether z of the blocked kernels, or σ(z) of the fused ones, is worth keeping."""
        if self.fused and self._slope_of_value is None:
            return False
        tiles = samples.x.shape[0]
        budget = KEEP_VALUES if self.fused else KEEP_BYTES
        return tiles * theta.shape[0] * samples.size * self.dtype.itemsize <= budget

    def _work(self, theta: np.ndarray, samples: Samples) -> int:
        """Operations to share out; none for a single shard, which one thread works anyway."""
        m = theta.shape[0]
        return m * samples.n * self._operations if self.shards(m) > 1 else 0

    def _partial(self, theta: np.ndarray, samples: Samples) -> np.ndarray:
        return self.pool.take(
            (self.shards(theta.shape[0]), samples.x.shape[0], self.outputs, samples.size), float
        )

    def _total(self, partial: np.ndarray, samples: Samples, theta: np.ndarray) -> np.ndarray:
        mean = self._mean(partial, theta.shape[0])
        return mean.transpose(0, 2, 1).reshape(-1, self.outputs)[: samples.n]
