"""The torch backend: gradients by torch's own derivatives, in blocks of particles and samples that fit
a bound of memory.

θ and velocities are tensors (m, p) on the device; what has n rows is NumPy float64 on the host, and
losses are those of the CPU. Particles are summed over the CPU backend's shards by its tree. Bits are
those of torch, its device and its number of threads, which change them by rounding at most.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from ... import noise
from ...formulas.losses import Loss
from ...network import Network
from ..cpu import losses
from ..cpu.backend import CPU, tree_sum
from . import functions

BYTES = 256 * 2**20  # of what a block of particles and samples makes on its way
MANY = 4096  # columns
PASSES = 3  # values, and what their derivatives keep


@dataclass(frozen=True, eq=False)
class Samples:
    """n inputs, (n, d) on the device."""

    n: int
    x: torch.Tensor


class Torch:
    """A network of neurons or of a module, of one dtype on one device."""

    name = "torch"

    def __init__(
        self, network: Network, dim: int, outputs: int, dtype: str, device: str = "cpu"
    ) -> None:
        self.network, self.dim, self.outputs = network, dim, outputs
        self.dtype, self.device = np.dtype(dtype), torch.device(device)
        self.unproved: set[str] = set()
        self._type = torch.float64 if dtype == "float64" else torch.float32
        self.architecture: Any = None
        if network.feature is None:
            self.many = functions.of_neurons(network, outputs)
            self._work = dim + 2 * outputs + 1
        else:
            feature: Any = network.feature
            self.many, self.architecture = functions.of_module(feature, self._type, device)
            self._work = feature.work
        columns = network.trainable_columns(dim, outputs)
        self.trainable = torch.tensor(columns, dtype=self._type, device=self.device)
        self._all_train = bool(columns.all())
        self._losses: dict[Loss, losses.Kernels] = {}
        self._kept: tuple[Any, ...] = (None, None, None, None)

    def for_network(self, network: Network) -> Torch:
        return Torch(network, self.dim, self.outputs, self.dtype.name, str(self.device))

    def compiled(self) -> bool:
        return True

    def forget(self) -> None:
        """Nothing: nothing was compiled."""

    def upload(self, theta: np.ndarray) -> torch.Tensor:
        return torch.tensor(theta, dtype=self._type, device=self.device)

    def download(self, theta: Any) -> np.ndarray:
        return (
            theta.copy() if isinstance(theta, np.ndarray) else theta.detach().cpu().numpy().copy()
        )

    def weights(self, mass: np.ndarray) -> torch.Tensor:
        """m·p_k: near 1, so that float32 loses nothing of uniform masses."""
        return self.upload(mass * mass.size)

    def samples(self, x: np.ndarray) -> Samples:
        return Samples(len(x), self.upload(x))

    def labels(self, y: np.ndarray) -> np.ndarray:
        return y

    def mean_feature(
        self, theta: torch.Tensor, weight: torch.Tensor, samples: Samples, keep: bool = False
    ) -> np.ndarray:
        """Σ_k p_k φ(θ_k; x_i): (n, K) float64. `keep`: the pull-back of the same θ is about to
        follow, and where all fits at once its derivatives start from these values.
        """
        m, blocks = len(theta), [*self._blocks(len(theta), samples.n)]
        if keep and len(blocks) == 1:
            leaf = theta.detach().requires_grad_(True)
            with torch.enable_grad():
                values = self.many(leaf, samples.x)
            self._kept = theta, samples, leaf, values
            made = [values.detach()]
        else:
            self._kept = (None, None, None, None)
            with torch.no_grad():
                made = (self.many(theta[rows], samples.x[some]) for rows, some in blocks)  # type: ignore[assignment]
        return self._mean(made, blocks, weight, m, samples.n)

    def pull_back(
        self, theta: torch.Tensor, samples: Samples, slopes: Any, decay: float = 0.0
    ) -> torch.Tensor:
        """g_k = Σ_i slopes_i · ∇_θ φ(θ_k; x_i) - decay·θ_k on trainable columns, 0 elsewhere."""
        slopes = self._rows(slopes)
        kept, known, leaf, values = self._kept
        if kept is theta and known is samples:
            self._kept = (None, None, None, None)  # a graph serves once
            out = torch.autograd.grad(values, leaf, slopes.expand(values.shape))[0]
        else:
            out = torch.zeros_like(theta)
            for rows, some in self._blocks(len(theta), samples.n):
                leaf = theta[rows].detach().requires_grad_(True)
                with torch.enable_grad():
                    values = self.many(leaf, samples.x[some])
                out[rows] += torch.autograd.grad(values, leaf, slopes[some].expand(values.shape))[0]
        if decay:
            out = out - decay * theta
        return out if self._all_train else out * self.trainable

    def push_forward(
        self, theta: torch.Tensor, weight: torch.Tensor, samples: Samples, move: torch.Tensor
    ) -> np.ndarray:
        """Σ_k p_k ∇_θ φ(θ_k; x_i) · move_k: (n, K) float64, the adjoint of pull_back."""
        blocks = [*self._blocks(len(theta), samples.n)]
        made = (self._along(theta[rows], samples.x[some], move[rows]) for rows, some in blocks)
        return self._mean(made, blocks, weight, len(theta), samples.n)

    def heights(self, theta: torch.Tensor, samples: Samples, slopes: Any) -> np.ndarray:
        """Σ_i slopes_i φ(θ_k; x_i): (m,) float64 on the host."""
        slopes, out = self._rows(slopes), np.zeros(len(theta))
        with torch.no_grad():
            for rows, some in self._blocks(len(theta), samples.n):
                values = self.many(theta[rows], samples.x[some])
                out[rows] += (values * slopes[some]).sum(dim=(1, 2)).cpu().numpy()
        return out

    def second(self, theta: Any, samples: Samples, u: Any, v: Any) -> np.ndarray:
        """∇²φ(θ_k; x_i)[u_k, v_k]: (m, n, K), two derivatives forward."""
        theta, u, v = map(self._rows, (theta, u, v))
        found = torch.func.jvp(lambda at: self._along(at, samples.x, u), (theta,), (v,))[1]
        return self.download(found)

    def second_times(self, theta: Any, samples: Samples, g: Any, v: Any) -> np.ndarray:
        """Σ_ic g_kic ∇²φ_c(θ_k; x_i)[·, v_k]: (m, p), forward over backward."""
        theta, g, v = map(self._rows, (theta, g, v))

        def gradient(at: torch.Tensor) -> torch.Tensor:
            return torch.func.grad(lambda rows: (self.many(rows, samples.x) * g).sum())(at)

        return self.download(torch.func.jvp(gradient, (theta,), (v,))[1])

    def gram(
        self, theta: torch.Tensor, mass: np.ndarray, x1: Samples, x2: Samples, outputs: str = "full"
    ) -> dict[str, np.ndarray]:
        """Σ_k p_k ∇φ(θ_k; x)·∇φ(θ_k; x') over each trainable block: {name: (n1, n2, K, K)} float64."""
        from . import gram

        return gram.parts(self, theta, mass, x1, x2, outputs)

    def total(
        self, loss: Loss, features: np.ndarray, labels: Any, s: float, weights: Any = None
    ) -> float:
        """Σ_i w_i ℓ(s F_i, y_i) over samples and outputs; w = 1 unless given."""
        return self._loss(loss).total(features, labels, s, weights)

    def slopes(
        self, loss: Loss, features: np.ndarray, labels: Any, s: float, factor: float,
        weights: Any = None,
    ) -> np.ndarray:  # fmt: skip
        """factor · w_i ℓ'(s F_i, y_i)/s, (n, K) float64."""
        return self._loss(loss).slopes(features, labels, s, factor, weights)

    def combine(self, theta: Any, coefficients: Sequence[float], stages: Sequence[Any]) -> Any:
        """θ + Σ_j coefficients_j · stages_j, a new array; θ itself where there is nothing to add."""
        out = theta
        for coefficient, stage in zip(coefficients, stages, strict=True):
            if coefficient:
                if isinstance(out, torch.Tensor):
                    out = torch.add(out, stage, alpha=coefficient)  # one pass over the memory
                else:
                    out = out + coefficient * stage
        return out

    def diffuse(
        self,
        theta: torch.Tensor,
        dt: float,
        drift: torch.Tensor,
        scale: float,
        seed: int,
        step: int,
    ) -> torch.Tensor:
        """θ + dt·drift + scale·ξ, ξ = noise.normals(seed, DIFFUSION, m, p, step) on trainable
        columns, 0 elsewhere.
        """
        m, p = theta.shape
        xi = self.upload(noise.normals(seed, noise.DIFFUSION, m, p, step))
        return theta + dt * drift + scale * (xi * self.trainable)

    def norm(
        self, array: torch.Tensor, weight: torch.Tensor, trainable_only: bool = False
    ) -> float:
        """The squared L2(μ) norm Σ_k p_k |array_k|²."""
        chosen = array * self.trainable if trainable_only and not self._all_train else array
        if chosen.shape[1] > MANY:  # a copy in float64 of one row at a time
            sizes = torch.stack([torch.dot(row, row) for row in map(self._exact, chosen)])
        else:
            sizes = self._exact(chosen).square().sum(dim=1)
        return float((sizes * self._exact(weight)).sum()) / len(array)

    def advance(
        self, theta: torch.Tensor, coefficient: float, stage: torch.Tensor, weight: torch.Tensor
    ) -> tuple[torch.Tensor, float]:
        """(θ + coefficient · stage, ∫|stage|² dμ)."""
        return self.combine(theta, [coefficient], [stage]), self.norm(stage, weight)

    def _loss(self, loss: Loss) -> losses.Kernels:
        if loss not in self._losses:
            self._losses[loss] = losses.Kernels(loss)
        return self._losses[loss]

    def _exact(self, array: torch.Tensor) -> torch.Tensor:
        """In float64, where the device has it."""
        return array if self.device.type == "mps" else array.double()

    def _rows(self, array: Any) -> torch.Tensor:
        return torch.as_tensor(array, dtype=self._type, device=self.device)

    def _along(self, theta: torch.Tensor, x: torch.Tensor, move: torch.Tensor) -> torch.Tensor:
        """∇_θ φ(θ_k; x_i) · move_k: (m, n, K)."""
        return torch.func.jvp(lambda at: self.many(at, x), (theta,), (move,))[1]

    def _blocks(self, m: int, n: int) -> Iterator[tuple[slice, slice]]:
        """Blocks of particles and samples, whole shards where they fit."""
        fits = max(1, BYTES // (PASSES * self._work * self.dtype.itemsize))
        samples = min(n, fits)
        particles = min(m, max(1, fits // samples))
        for first in range(0, m, particles):
            for start in range(0, n, samples):
                yield slice(first, min(m, first + particles)), slice(start, min(n, start + samples))

    def _mean(self, made: Any, blocks: Any, weight: torch.Tensor, m: int, n: int) -> np.ndarray:
        """Σ_k p_k values_ki over blocks, each cut into the shards of the CPU: (n, K) float64."""
        shards = CPU.shards(m)
        bounds = [shard * m // shards for shard in range(shards + 1)]
        partial = np.zeros((shards, n, self.outputs))
        for values, (rows, some) in zip(made, blocks, strict=True):
            scaled = self._exact(values * weight[rows, None, None])
            for shard, (first, last) in enumerate(pairwise(bounds)):
                begin, end = max(first, rows.start) - rows.start, min(last, rows.stop) - rows.start
                if begin < end:
                    partial[shard, some] += scaled[begin:end].sum(dim=0).cpu().numpy()
        return tree_sum(partial) / m
