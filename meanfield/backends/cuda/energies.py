"""A pairwise energy on the GPU: the sums of pair_energy.py, every target against all sources, in tiles of shared memory.

A thread holds one target in registers. The sources of a tile are staged through shared memory, a row [coordinates | weight]
padded to 16 bytes, and all threads read the same row: a broadcast. For few particles the block is cut into groups, each
with its share of the rows, whose sums meet at the end in a tree. Sums run in T over at most 1024 sources and in float64 across
them, in one order that depends on m alone; there are no atomics. Not yet run on a GPU.

Bound to the text by name: T, U, grad_U, V, grad_V. They see rows of p numbers that a thread has to itself: in registers where
their loops unroll, which is shown for up to ten coordinates; with forty a thread's sums spill to its local memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import as_written
from ..cpu.energies import Formulas, explained, named
from . import compiler
from .fused import TERMS, THREADS, _lines, _tree, _width
from .memory import Held

if TYPE_CHECKING:
    from .backend import CUDA

_HEAD = '''"""Written by meanfield/backends/cuda/energies.py; bound here: T, U, grad_U, V, grad_V."""
import numpy as np
from numba import cuda

from meanfield.backends.cuda.compiler import ALIGN
'''

TILE_BYTES = 2**15  # of shared memory: THREADS rows of up to 31 coordinates in float64
MOST = 1000  # coordinates, of which a tile has room for four rows


def _kernel(
    name: str,
    dim: int,
    rows: int,
    groups: int,
    call: list[str],
    terms: list[str],
    ending: list[str],
    self_pairs: bool,
) -> str:
    """One kernel: total0, total1, … = Σ_l weight_l·term over the sources, then `ending` for target k. No sums without terms."""
    lanes, axes, share = THREADS // groups, range(dim), rows // groups
    totals = range(len(terms))
    text = f"\n\n@cuda.jit(cache=True)\ndef {name}(theta, weight, out):\n"
    text += _lines(4, [f"{row} = cuda.local.array({dim}, T)" for row in "xyg"])
    text += _lines(
        4,
        [
            f"lane, group = cuda.threadIdx.x % {lanes}, cuda.threadIdx.x // {lanes}",
            "m = theta.shape[1]",
        ],
    )
    text += _lines(4, [f"k = cuda.blockIdx.x * {lanes} + lane", "at = min(k, m - 1)"])
    text += _lines(4, [f"x[{j}] = theta[{j}, at]" for j in axes])
    if terms:
        # What pads the last tile is not visited: its distance from a target may be 0, and 0 times infinity is no number.
        term = (
            "tile[q, {dim}] * T({text})"
            if self_pairs
            else "tile[q, {dim}] * T({text}) if block + q != at else T(0)"
        )
        text += _lines(4, [f"tile = cuda.shared.array(({rows}, {_width(dim + 1)}), T, ALIGN)"])
        text += _lines(
            4, [f"sums = cuda.shared.array(({groups}, {lanes}), np.float64)"] * (groups > 1)
        )
        text += _lines(4, [f"total{c} = 0.0" for c in totals])
        text += _lines(4, ["block = 0", "while block < m:"])
        text += _lines(8, [f"s{c} = T(0)" for c in totals])
        text += _lines(
            8,
            [
                f"end = min(m, block + {TERMS})",
                "while block < end:",
                "    i = min(block + cuda.threadIdx.x, m - 1)",
            ],
        )
        text += _lines(12, [f"if cuda.threadIdx.x < {rows}:"] * (rows < THREADS))
        text += _lines(
            12 if rows == THREADS else 16,
            [f"tile[cuda.threadIdx.x, {j}] = theta[{j}, i]" for j in axes],
        )
        text += _lines(
            12 if rows == THREADS else 16, [f"tile[cuda.threadIdx.x, {dim}] = weight[i]"]
        )
        text += _lines(
            12,
            [
                "cuda.syncthreads()",
                f"q = group * {share}",
                f"stop = min(q + {share}, m - block)",
                "while q < stop:",
            ],
        )
        text += _lines(16, [*(f"y[{j}] = tile[q, {j}]" for j in axes), *call])
        text += _lines(
            16, [f"s{c} += {term.format(dim=dim, text=text_)}" for c, text_ in enumerate(terms)]
        )
        text += _lines(16, ["q += 1"])
        text += _lines(12, ["cuda.syncthreads()", f"block += {rows}"])
        text += _lines(8, [f"total{c} += np.float64(s{c})" for c in totals])
        if groups > 1:
            together = _tree([f"sums[{g}, lane]" for g in range(groups)])
            for c in totals:
                text += _lines(
                    4,
                    [
                        f"sums[group, lane] = total{c}",
                        "cuda.syncthreads()",
                        f"total{c} = {together}",
                    ],
                )
                text += _lines(4, ["cuda.syncthreads()"])
    return text + _lines(4, ["if group == 0 and k < m:", *(f"    {line}" for line in ending)])


def source(dim: int, itemsize: int, paired: bool, self_pairs: bool, groups: int) -> str:
    """The text of the kernels `velocity` and `values` for particles of `dim` coordinates; paired: there is a U."""
    rows = THREADS
    while rows > groups and rows * _width(dim + 1) * itemsize > TILE_BYTES:
        rows //= 2
    axes = range(dim) if paired else []
    sums = [f"total{j} / m + " if paired else "" for j in range(dim)]
    clear = [f"g[{j}] = T(0)" for j in range(dim)]  # a gradient may leave out what is 0
    moves = [*clear, "grad_V(x, g)", *(f"out[{j}, k] = T(-({sums[j]}g[{j}]))" for j in range(dim))]
    velocity = _kernel(
        "velocity",
        dim,
        rows,
        groups,
        [*clear, "grad_U(x, y, g)"],
        [f"g[{j}]" for j in axes],
        moves,
        self_pairs,
    )
    found = ["out[0, k] = V(x)", f"out[1, k] = {'total0 / m' if paired else '0.0'}"]
    return (
        _HEAD
        + velocity
        + _kernel("values", dim, rows, groups, [], ["U(x, y)"] * paired, found, self_pairs)
    )


class PairEnergy:
    """The kernels of one potential (V, grad_V) or None, one interaction (U, grad_U) or None, p and dtype, on a GPU."""

    def __init__(
        self,
        backend: CUDA,
        potential: Formulas | None,
        interaction: Formulas | None,
        self_pairs: bool,
    ) -> None:
        if backend.dim > MOST:
            raise ValueError(
                f'backend="cuda" holds particles of up to {MOST} coordinates for a PairwiseEnergy; got p = {backend.dim}. '
                'Use backend="cpu".'
            )
        self.backend, self.potential, self.interaction, self.self_pairs = (
            backend,
            potential,
            interaction,
            self_pairs,
        )
        self._kernels: dict[int, Any] = {}
        self.unproved = {"velocity", "values"}

    def forget(self) -> None:
        """Compile the formulas again when they are used next."""
        self._kernels.clear()

    def of_few(self, what: str, rows: np.ndarray) -> np.ndarray:
        """-∇V - Σ ∇U/m (m, p) or (V, Σ U/m) (m, 2) of some particles of equal masses, on the host."""
        theta, weight = (
            self.backend.upload(rows),
            self.backend.weights(np.full(len(rows), 1.0 / len(rows))),
        )
        if what == "velocity":
            return self.backend.download(self.velocity(theta, weight)).astype(np.float64)
        return np.stack(self.values(theta, weight), axis=1)

    def kernels(self, groups: int) -> Any:
        """The module of kernels whose blocks are cut into so many groups."""
        if groups not in self._kernels:
            dim, dtype = self.backend.dim, self.backend.dtype.name
            text = source(
                dim,
                self.backend.dtype.itemsize,
                self.interaction is not None,
                self.self_pairs,
                groups,
            )
            used: dict[str, Callable] = named(self.potential, self.interaction)
            self._kernels[groups] = compiler.load(f"cuda_pair_energy_d{dim}", text, dtype, used)
        return self._kernels[groups]

    def compiled(self) -> bool:
        """Whether the kernels of a step are compiled already, in this process or in the cache on disk."""
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
