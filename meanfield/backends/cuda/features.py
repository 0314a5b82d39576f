"""The CUDA backend for a feature that its user wrote, mf.Feature: a thread for each sample and slab of
particles forward, for each particle back. Not yet run on a GPU.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...network import Network
from ...once import cached_property
from .. import as_written, compile_errors
from . import compiler
from .backend import CUDA, Samples
from .fused import THREADS
from .memory import Held

MOST = 1000  # columns of θ, which a thread has to itself


class FeatureCUDA(CUDA):
    """Kernels for one network of an mf.Feature, and dtype."""

    def __init__(self, network: Network, dim: int, outputs: int, dtype: str) -> None:
        assert network.feature is not None
        self.feature: Any = network.feature
        p = self.feature.columns.size
        if p > MOST:
            raise ValueError(
                f'backend="cuda" holds particles of up to {MOST} columns; {self.feature!r} has {p}. '
                'Use backend="cpu".'
            )
        super().__init__(None, p, 0, dtype)
        self.network, self.dim, self.outputs = network, dim, outputs
        columns = network.trainable_columns(dim, outputs)
        self.trainable = self.pool.fill(columns.astype(self.dtype))
        self._columns[True] = self.pool.fill(columns.astype(float))
        self.unproved = {"value", "slope"}

    @cached_property
    def kernels(self) -> Any:
        """The module of compiled kernels for these formulas."""
        used = {"phi": self.feature.phi, "grad_phi": self.feature.grad_phi}
        sizes = {"D": self.feature.columns.size, "INPUTS": self.dim}
        return compiler.kernels(f"{__package__}.kernels.features", self.dtype.name, used, **sizes)

    @property
    def _wide(self) -> None:
        """None: there are no matrix products."""

    def forget(self) -> None:
        self.__dict__.pop("kernels", None)

    def compiled(self) -> bool:
        return compiler.is_compiled(self.kernels.mean_feature)

    def for_network(self, network: Network) -> CUDA:
        """Of the same feature."""
        return FeatureCUDA(network, self.dim, self.outputs, self.dtype.name)

    def mean_feature(self, theta: Held, weight: Held, samples: Samples, keep: bool = False) -> Held:
        self._prove("value", theta, samples)
        return self._slab_sums("mean_feature", theta, weight, samples)

    def push_forward(self, theta: Held, weight: Held, samples: Samples, move: Held) -> Held:
        self._prove("slope", theta, samples)
        return self._slab_sums("push_forward", theta, weight, samples, move.data)

    def _slab_sums(
        self, name: str, theta: Held, weight: Held, samples: Samples, *more: Any
    ) -> Held:
        """Sums over the slabs of particles, as many samples at a time as fit, and their tree."""
        m = theta.data.shape[1]
        length, count = self.slabs(m)
        chunk = self._chunk(m)
        out = self.pool.take((1, samples.n), float)
        for first in range(0, samples.n, chunk):
            size = min(chunk, samples.n - first)
            partial = self.pool.take((count, 1, size), float)
            given = theta.data, weight.data, samples.x.data, first, length, *more, partial.data
            with compile_errors.of_feature(self.feature, self.dtype):
                getattr(self.kernels, name)[(math.ceil(size / THREADS), count), THREADS](*given)
            self._mean(partial, m, first, out.data)
        return out

    def pull_back(self, theta: Held, samples: Samples, slopes: Held, decay: float = 0.0) -> Held:
        self._prove("slope", theta, samples)
        out = self.pool.take(theta.data.shape, self.dtype)
        given = slopes.data, float(decay), self.trainable.data, out.data
        self._each("pull_back", theta, samples, *given)
        return out

    def heights(self, theta: Held, samples: Samples, slopes: Held) -> np.ndarray:
        """Σ_i slopes_i φ(θ_k; x_i): (m,) float64 on the host."""
        out = self.pool.take((1, theta.data.shape[1]), float)
        self._each("heights", theta, samples, slopes.data, out.data)
        return out.data.copy_to_host()[0]

    def _each(self, name: str, theta: Held, samples: Samples, *given: Any) -> None:
        grid = math.ceil(theta.data.shape[1] / THREADS)
        with compile_errors.of_feature(self.feature, self.dtype):
            kernel = getattr(self.kernels, name)[grid, THREADS]
            kernel(theta.data, samples.x.data, samples.n, *given)

    def _prove(self, what: str, theta: Held, samples: Samples) -> None:
        """Once: what is compiled against what is written."""
        if what in self.unproved:
            self.unproved.discard(what)
            x = samples.x.data.copy_to_host()[: self.dim, : samples.n].T
            as_written.prove_feature(self, what, self.download(theta), x)
