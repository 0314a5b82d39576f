"""The CUDA backend for large d: matrix products by torch's cuBLAS on the same device memory, σ by
our own kernel.

With V = [w | b] (a block of particles) and X = [x | 1] (a tile of samples), rows of θ and of the
samples as they lie:

    Z = Vᵀ X,  S = σ(Z),  Q = σ'(Z) ∘ (Aᵀ R);   f += (m p ∘ A) S,   g_a += R Sᵀ,   g_V += X Qᵀ

A tile has 1024 samples, and a sum over samples or particles adds at most 1024 terms in the dtype;
across them it is float64.
"""

from __future__ import annotations

import math
import weakref
from typing import TYPE_CHECKING, Any

import torch
from numba import cuda

from . import compiler
from .memory import Held

if TYPE_CHECKING:
    from .backend import CUDA, Samples

BLOCK = 4096  # particles in work at once
TERMS = 1024  # samples in work at once, and the most terms of a sum in the dtype


def tensor(array: Any) -> torch.Tensor:
    """A device array as a torch tensor over the same memory."""
    if compiler.SIMULATED:
        return torch.from_numpy(array._ary)
    # by its number: torch has a current device of its own, and on another one this is a copy
    return torch.as_tensor(array, device=f"cuda:{cuda.get_current_device().id}")


class Wide:
    """mean_feature, push_forward and pull_back of one CUDA backend whose d is large."""

    def __init__(self, backend: CUDA) -> None:
        if not (compiler.SIMULATED or torch.cuda.is_available()):
            raise ValueError(
                f'backend="cuda" with d = {backend.dim} inputs multiplies matrices by '
                f"torch, and torch {torch.__version__} here "
                "finds no GPU. Install a torch built for CUDA (pytorch.org/get-started), "
                'or use backend="cpu".'
            )
        # in a cycle its memory would wait for the garbage collector
        self.backend: CUDA = weakref.proxy(backend)
        used = {name: backend.formulas[name] for name in ("value", "value_and_slope")}
        self.kernels = compiler.kernels(f"{__package__}.kernels.activate", backend.dtype.name, used)
        self.z, self.q = (backend.pool.take((BLOCK, TERMS), backend.dtype) for _ in range(2))
        torch.backends.cuda.matmul.allow_tf32 = False  # ten bits of mantissa are not float32

    def mean_feature(
        self, theta: Held, weight: Held, samples: Samples, move: Held | None = None
    ) -> Held:
        """Σ_k p_k φ(θ_k; x_i), or with `move` its derivative in that direction: (K, n) float64."""
        K, points, X = self.backend.outputs, tensor(theta.data), tensor(samples.x.data)
        masses, moves = tensor(weight.data), None if move is None else tensor(move.data)
        out = self.backend.pool.take((K, samples.n), float)
        total = tensor(out.data).zero_()
        for block in _ranges(points.shape[1], BLOCK):
            a, V = points[:K, block] * masses[block], points[K:, block]
            for tile in _ranges(samples.n, TERMS):
                z, q = self._room(block, tile)
                torch.mm(V.T, X[:, tile], out=z)
                if moves is not None:
                    torch.mm(moves[K:, block].T, X[:, tile], out=q)
                self._activate(z, None if moves is None else q)
                for part in _ranges(z.shape[0], TERMS):
                    if moves is None:
                        total[:, tile] += a[:, part] @ z[part]
                    else:
                        total[:, tile] += (moves[:K, block] * masses[block])[:, part] @ z[part]
                        total[:, tile] += a[:, part] @ q[part]
        total /= points.shape[1]
        return out

    def pull_back(self, theta: Held, samples: Samples, slopes: Held, decay: Any) -> Held:
        """Σ_i slopes_i · ∇_θ φ(θ_k; x_i) - decay·θ_k on trainable columns: (p, m)."""
        K = self.backend.outputs
        points = tensor(theta.data)
        X = tensor(samples.x.data)
        R = tensor(slopes.data)
        out = self.backend.pool.take(theta.data.shape, self.backend.dtype)
        result, trainable = tensor(out.data), tensor(self.backend.trainable.data)
        for block in _ranges(points.shape[1], BLOCK):
            a, V = points[:K, block], points[K:, block]
            g = torch.zeros((points.shape[0], V.shape[1]), dtype=torch.float64, device=X.device)
            for tile in _ranges(samples.n, TERMS):
                z, q = self._room(block, tile)
                torch.mm(V.T, X[:, tile], out=z)
                torch.mm(a.T, R[:, tile], out=q)
                self._activate(z, q)
                g[:K] += R[:, tile] @ z.T
                g[K:] += X[:, tile] @ q.T
            result[:, block] = (g - float(decay) * points[:, block]).to(X.dtype) * trainable[
                :, None
            ]
        return out

    def _room(self, block: slice, tile: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Memory for two matrices of this block's and tile's shape, contiguous."""
        shape = block.stop - block.start, tile.stop - tile.start
        return tuple(
            tensor(held.data).view(-1)[: math.prod(shape)].view(shape) for held in (self.z, self.q)
        )

    def _activate(self, z: torch.Tensor, q: torch.Tensor | None) -> None:
        """z <- σ(z) and, where q is there, q <- q σ'(z)."""
        rows, columns = z.shape
        grid = math.ceil(columns / 256), rows
        flat = [
            held.data.reshape(BLOCK * TERMS)[: rows * columns].reshape(rows, columns)
            for held in (self.z, self.q)
        ]
        if q is None:
            self.kernels.values[grid, 256](flat[0], rows, columns)
        else:
            self.kernels.values_and_slopes[grid, 256](*flat, rows, columns)


def _ranges(count: int, size: int) -> list[slice]:
    return [slice(first, min(count, first + size)) for first in range(0, count, size)]
