"""The CPU backend for a feature that its user wrote, mf.Feature: the same arrays, sums over shards by
the same tree, one set of bits for any threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...network import Network
from ...once import cached_property
from .. import as_written, compile_errors, compiler
from . import elementwise
from .backend import CPU

SMALL = 10**5  # components of ∇φ that one thread computes before a second one has begun
# of gradients in work at once, and the step of their differences
BLOCK_ENTRIES = 2**21
STEP = 1e-5


@dataclass(frozen=True, eq=False)
class Samples:
    """n inputs as they are, (n, d)."""

    n: int
    x: np.ndarray


class FeatureCPU(CPU):
    """Kernels for one network of an mf.Feature, and dtype."""

    def __init__(self, network: Network, dim: int, outputs: int, dtype: str) -> None:
        assert network.feature is not None
        self.feature: Any = network.feature
        super().__init__(None, self.feature.columns.size, 0, dtype)
        self.network, self.dim, self.outputs = network, dim, outputs
        self.trainable = network.trainable_columns(dim, outputs).astype(self.dtype)
        self.unproved = {"value", "slope"}

    @cached_property
    def kernels(self) -> Any:
        """The module of compiled kernels for these formulas."""
        used = {"phi": self.feature.phi, "grad_phi": self.feature.grad_phi}
        return compiler.kernels(f"{__package__}.kernels.features", self.dtype.name, used)

    def forget(self) -> None:
        self.__dict__.pop("kernels", None)

    def compiled(self) -> bool:
        used = self.kernels.mean_feature, self.kernels.pull_back
        return all(map(compiler.is_compiled, used))

    def for_network(self, network: Network) -> CPU:
        """Of the same feature."""
        return FeatureCPU(network, self.dim, self.outputs, self.dtype.name)

    def samples(self, x: np.ndarray) -> Any:
        return Samples(len(x), np.array(x, dtype=self.dtype, order="C"))

    def stretch(self, field: Any, particles: Any, tableau: Any, seconds: float) -> None:
        """None: steps are made one by one."""

    def mean_feature(
        self, theta: np.ndarray, weight: np.ndarray, samples: Any, keep: bool = False
    ) -> np.ndarray:
        self._prove("value", theta, samples)
        partial = np.empty((self.shards(len(theta)), samples.n))
        self._call("mean_feature", theta, samples, weight, samples.x, partial)
        return self._total(partial, samples, theta)

    def pull_back(
        self, theta: np.ndarray, samples: Any, slopes: np.ndarray, decay: float = 0.0
    ) -> np.ndarray:
        self._prove("slope", theta, samples)
        out = self.pool.take(theta.shape, theta.dtype)
        slopes = np.ascontiguousarray(slopes, dtype=np.float64)[:, 0]
        given = samples.x, slopes, float(decay), self.trainable, out
        self._call("pull_back", theta, samples, *given)
        return out

    def push_forward(
        self, theta: np.ndarray, weight: np.ndarray, samples: Any, move: np.ndarray
    ) -> np.ndarray:
        self._prove("slope", theta, samples)
        partial = np.empty((self.shards(len(theta)), samples.n))
        self._call("push_forward", theta, samples, weight, samples.x, move, partial)
        return self._total(partial, samples, theta)

    def _total(self, partial: np.ndarray, samples: Any, theta: np.ndarray) -> np.ndarray:
        return self._mean(partial, len(theta))[:, None]

    def heights(self, theta: np.ndarray, samples: Any, slopes: np.ndarray) -> np.ndarray:
        """Σ_i slopes_i φ(θ_k; x_i): (m,) float64 on the host."""
        out = np.empty(len(theta))
        slopes = np.ascontiguousarray(slopes, dtype=np.float64)[:, 0]
        self._call("heights", theta, samples, samples.x, slopes, out)
        return out

    def jacobians(self, theta: np.ndarray, samples: Any) -> Iterator[tuple[slice, np.ndarray]]:
        """∇φ(θ_k; x_i) of blocks of particles, (slice of k, (m', n, K = 1, p)) on the host."""
        self._prove("slope", theta, samples)
        size = max(1, BLOCK_ENTRIES // (samples.n * theta.shape[1]))
        for first in range(0, len(theta), size):
            block = slice(first, min(first + size, len(theta)))
            yield block, self._gradients(np.ascontiguousarray(theta[block]), samples)[:, :, None]

    def gram(
        self, theta: np.ndarray, mass: np.ndarray, x1: Any, x2: Any, outputs: str = "full"
    ) -> dict[str, np.ndarray]:
        """Σ_k p_k ∇φ(θ_k; x)·∇φ(θ_k; x') over each trainable block: {name: (n1, n2, K = 1, K = 1)}
        float64.
        """
        assert self.network is not None
        parts = {name: np.zeros((x1.n, x2.n)) for name in self.network.trainable}
        columns = self.feature.columns.slices
        both = zip(self.jacobians(theta, x1), self.jacobians(theta, x2), strict=True)
        pairs = ((made, made) for made in self.jacobians(theta, x1)) if x1 is x2 else both
        for (block, first), (_, second) in pairs:
            root = np.sqrt(mass[block])[:, None, None]
            for name, part in parts.items():
                left, right = (
                    (root * made[:, :, 0, columns[name]])
                    .transpose(1, 0, 2)
                    .reshape(made.shape[1], -1)
                    for made in (first, second)
                )
                part += left.astype(np.float64) @ right.T
        return {name: part[:, :, None, None] for name, part in parts.items()}

    def second(self, theta: Any, samples: Any, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """∇²φ(θ_k; x_i)[u_k, v_k], by differences of ∇φ along u: (m, n, K = 1)."""
        return np.einsum("kij,kj->ki", self._change(theta, samples, u), v)[:, :, None]

    def second_times(self, theta: Any, samples: Any, g: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Σ_i g_ki ∇²φ(θ_k; x_i)[·, v_k], likewise: (m, p)."""
        return np.einsum("ki,kij->kj", g[:, :, 0], self._change(theta, samples, v))

    def _change(self, theta: np.ndarray, samples: Any, u: np.ndarray) -> np.ndarray:
        """(∇φ(θ + hu) - ∇φ(θ - hu))/2h, (m, n, p), u of length 1."""
        h = STEP * np.maximum(1.0, np.linalg.norm(theta, axis=1, keepdims=True))
        ahead, behind = (
            self._gradients(np.ascontiguousarray(theta + sign * h * u), samples)
            for sign in (1.0, -1.0)
        )
        return (ahead - behind) / (2.0 * h)[:, :, None]

    def _gradients(self, theta: np.ndarray, samples: Any) -> np.ndarray:
        out = np.empty((len(theta), samples.n, theta.shape[1]), theta.dtype)
        self._call("gradients", theta, samples, samples.x, out)
        return out

    def _call(self, name: str, theta: np.ndarray, samples: Any, *given: Any) -> None:
        """A kernel on all shards: by this thread where there is little to do, else by as many as
        numba would take.
        """
        (m, p), shards = theta.shape, self.shards(len(theta))
        threads = min(elementwise.threads(), shards) if m * p * samples.n > SMALL else 1
        bounds = [(shards * j // threads, shards * (j + 1) // threads) for j in range(threads)]
        with compile_errors.of_feature(self.feature, self.dtype):
            kernel = getattr(self.kernels, name)
            if threads == 1:
                kernel(0, shards, shards, theta, *given)
                return
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(lambda some: kernel(*some, shards, theta, *given), bounds))

    def _prove(self, what: str, theta: np.ndarray, samples: Any) -> None:
        """Once: what is compiled against what is written."""
        if what in self.unproved:
            self.unproved.discard(what)
            as_written.prove_feature(self, what, theta, samples.x)
