"""A pairwise energy on the GPU: the sums of cpu/energies.py, every target against all sources
(kernels/energies.py).

The formulas U, grad_U, V and grad_V see rows of p numbers that a thread has to itself: in registers
where their loops unroll, which is shown for up to ten coordinates; with forty a thread's sums spill
to its local memory. Not yet run on a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import as_written
from ..cpu.energies import Formulas, explained, named
from . import compiler
from .fused import THREADS, tile
from .memory import Held

if TYPE_CHECKING:
    from .backend import CUDA

KERNELS = f"{__package__}.kernels.energies"
MOST = 1000  # coordinates, of which a tile has room for four rows


def constants(
    dim: int, itemsize: int, paired: bool, self_pairs: bool, groups: int
) -> dict[str, Any]:
    """Of the kernels `velocity` and `values` for particles of `dim` coordinates; paired: there is a
    U.
    """
    own = {"D": dim, "PAIRED": paired, "SELF_PAIRS": self_pairs}
    return own | tile(dim + 1, itemsize, groups)


class PairEnergy:
    """The kernels of one potential (V, grad_V) or None, one interaction (U, grad_U) or None, p and
    dtype, on a GPU.
    """

    def __init__(
        self,
        backend: CUDA,
        potential: Formulas | None,
        interaction: Formulas | None,
        self_pairs: bool,
    ) -> None:
        if backend.dim > MOST:
            raise ValueError(
                f'backend="cuda" holds particles of up to {MOST} coordinates for a '
                f"PairwiseEnergy; got p = {backend.dim}. "
                'Use backend="cpu".'
            )
        self.backend = backend
        self.potential = potential
        self.interaction = interaction
        self.self_pairs = self_pairs
        self._kernels: dict[int, Any] = {}
        self.unproved = {"velocity", "values"}

    def forget(self) -> None:
        """Compile the formulas again when they are used next."""
        self._kernels.clear()

    def of_few(self, what: str, rows: np.ndarray) -> np.ndarray:
        """-∇V - Σ ∇U/m (m, p) or (V, Σ U/m) (m, 2) of some particles of equal masses, on the host."""
        theta = self.backend.upload(rows)
        weight = self.backend.weights(np.full(len(rows), 1.0 / len(rows)))
        if what == "velocity":
            return self.backend.download(self.velocity(theta, weight)).astype(np.float64)
        return np.stack(self.values(theta, weight), axis=1)

    def kernels(self, groups: int) -> Any:
        """The module of kernels whose blocks are cut into so many groups."""
        if groups not in self._kernels:
            backend, paired = self.backend, self.interaction is not None
            chosen = constants(backend.dim, backend.dtype.itemsize, paired, self.self_pairs, groups)
            used: dict[str, Callable] = named(self.potential, self.interaction)
            self._kernels[groups] = compiler.kernels(KERNELS, backend.dtype.name, used, **chosen)
        return self._kernels[groups]

    def compiled(self) -> bool:
        """Whether the kernels of a step are compiled already, in this process or in the cache on
        disk.
        """
        return compiler.is_compiled(self.kernels(4).velocity)

    def velocity(self, theta: Held, weight: Held) -> Held:
        """-∇V(x_k) - Σ_l p_l ∇_x U(x_k, x_l): (p, m) on the device."""
        out = self.backend.pool.take(theta.data.shape, self.backend.dtype)
        self._call("velocity", theta, weight, out)
        return out

    def values(self, theta: Held, weight: Held) -> tuple[np.ndarray, np.ndarray]:
        """V(x_k) and Σ_l p_l U(x_k, x_l): (m,) float64 each, on the host."""
        out = self.backend.pool.take((2, theta.data.shape[1]), float)
        self._call("values", theta, weight, out)
        alone, paired = out.data.copy_to_host()
        return alone, paired

    def _call(self, name: str, theta: Held, weight: Held, out: Held) -> None:
        if name in self.unproved:
            with explained(self.potential, self.interaction, self.backend.dtype):
                as_written.prove_pairs(self, name, self.backend.download(theta))
        m = theta.data.shape[1]
        groups = self.backend.groups(m)
        with explained(self.potential, self.interaction, self.backend.dtype):
            grid = math.ceil(m / (THREADS // groups))
            getattr(self.kernels(groups), name)[grid, THREADS](theta.data, weight.data, out.data)
