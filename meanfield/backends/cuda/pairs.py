"""Σ_l A_l K_σ(w_k, w_l) and its gradient in θ_k on the GPU: every target against all sources, in tiles of shared memory.

The twin of pair_sums.py, from the same four formulas (gaussian_pairs.py). What is prepared of a vector is a column
[w' = μ w | x | Ã] of (d + 1 + K, m); to `sums` (S + d, m), with K > 1 outputs (S + d + K, m), go F, [X,] V, and the values.
A thread holds one target. A tile of sources is staged through shared memory, a row each, and all threads read the same row: a
broadcast. For few targets the block is cut into groups, each with its share of the rows, whose sums meet at the end in a tree.
Sums run in T over at most 1024 sources and in float64 across them, in one order that depends on the counts alone; there are no
atomics. What is prepared and what the sums come to is O(m d) work in float64. Not yet run on a GPU.

While d + K <= 16 a target and its sums are registers. Beyond, loops run over arrays in a thread's local memory: right, and slow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from . import compiler
from .backend import CUDA, slabs
from .fused import TERMS, THREADS, _lines, _tree, _width
from .memory import Held, Number

UNROLLED = 16  # the largest d + K whose loops are written out
TILE_BYTES = 2**15  # of shared memory
MOST = 1000  # numbers of a prepared vector, of which a tile has room for four

_HEAD = '''"""Written by meanfield/backends/cuda/pairs.py; bound here: T, pair, finish."""
import numpy as np
from numba import cuda

from meanfield.backends.cuda.compiler import ALIGN
'''


def source(dim: int, outputs: int, sums: int, itemsize: int, groups: int) -> str:
    """The text of the kernel `pair_sums` for this d, K and S = `sums`; without sums (S = 0) no pair is visited.

    add: to what is in `sums` and `total` (K, d), Σ A v, which the first block adds up.
    """
    d, K, S = dim, outputs, sums
    numbers, columns = d + 1 + K, S + d + (K if K > 1 else 0)
    rows, lanes = THREADS, THREADS // groups
    while rows > groups and rows * _width(numbers) * itemsize > TILE_BYTES:
        rows //= 2
    share = rows // groups

    def each(indent: int, count: int, *lines: str) -> str:
        """The lines for j = 0, …, count - 1, written out or as a loop."""
        if d + K <= UNROLLED:
            return _lines(
                indent, [line.replace("{j}", str(j)) for j in range(count) for line in lines]
            )
        return _lines(
            indent,
            [f"for j in range({count}):", *("    " + line.replace("{j}", "j") for line in lines)],
        )

    text = f"{_HEAD}\n\n@cuda.jit(cache=True)\ndef pair_sums(theta, targets, squares, sources, moment, add, sums, total):\n"
    text += _lines(
        4, [f"w, mine = cuda.local.array({d}, T), cuda.local.array({columns}, np.float64)"]
    )
    text += _lines(4, [f"lane, group = cuda.threadIdx.x % {lanes}, cuda.threadIdx.x // {lanes}"])
    text += _lines(4, ["m, count = targets.shape[1], sources.shape[1]"])
    text += _lines(4, [f"k = cuda.blockIdx.x * {lanes} + lane", "at = min(k, m - 1)"])
    text += each(4, columns, "mine[{j}] = 0.0")
    if S:
        text += _lines(
            4,
            [
                f"tile = cuda.shared.array(({rows}, {_width(numbers)}), T, ALIGN)",
                f"s = cuda.local.array({columns}, T)",
            ],
        )
        text += _lines(
            4, [f"meet = cuda.shared.array(({groups}, {lanes}), np.float64)"] * (groups > 1)
        )
        text += each(4, d, "w[{j}] = targets[{j}, at]") + _lines(4, [f"x = targets[{d}, at]"])
        if K > 1:
            text += _lines(4, [f"a, square = cuda.local.array({K}, T), T(squares[at])"]) + each(
                4, K, "a[{j}] = T(theta[{j}, at])"
            )
        text += _lines(4, ["block = 0", "while block < count:"])
        text += each(8, columns, "s[{j}] = T(0)")
        text += _lines(8, [f"end = min(count, block + {TERMS})", "while block < end:"])
        text += _lines(
            12, ["i = min(block + cuda.threadIdx.x, count - 1)", f"if cuda.threadIdx.x < {rows}:"]
        )
        text += each(16, numbers, "tile[cuda.threadIdx.x, {j}] = sources[{j}, i]")
        text += _lines(
            12,
            [
                "cuda.syncthreads()",
                f"q = group * {share}",
                f"stop = min(q + {share}, count - block)",
            ],
        )
        text += _lines(12, ["while q < stop:", "    rho = T(0)"])
        text += each(16, d, "rho += w[{j}] * tile[q, {j}]")
        text += _lines(16, [f"along, first, second = pair(rho, x, tile[q, {d}])"])
        if K > 1:
            text += _lines(16, ["c = T(0)"]) + each(
                16, K, f"c += a[{{j}}] * tile[q, {d + 1} + {{j}}]"
            )
            text += _lines(16, ["value = T(finish(square, rho * along, first, second)[0])"])
            text += each(16, K, f"s[{S + d} + {{j}}] += tile[q, {d + 1} + {{j}}] * value")
        else:
            text += _lines(16, [f"c = tile[q, {d + 1}]"])
        text += _lines(
            16, ["s[0] += c * T(first)", *["s[1] += c * T(second)"] * (S == 2), "c *= T(along)"]
        )
        text += each(16, d, f"s[{S} + {{j}}] += c * tile[q, {{j}}]")
        text += _lines(16, ["q += 1"]) + _lines(12, ["cuda.syncthreads()", f"block += {rows}"])
        text += each(8, columns, "mine[{j}] += np.float64(s[{j}])")
        if groups > 1:
            together = _tree([f"meet[{g}, lane]" for g in range(groups)])
            text += each(
                4,
                columns,
                "meet[group, lane] = mine[{j}]",
                "cuda.syncthreads()",
                f"mine[{{j}}] = {together}",
                "cuda.syncthreads()",
            )
    text += _lines(4, ["if group == 0 and k < m:"])
    text += each(8, columns, "sums[{j}, k] = sums[{j}, k] + mine[{j}] if add else mine[{j}]")
    text += _lines(
        4, ["if cuda.blockIdx.x == 0:", "    e = cuda.threadIdx.x", f"    while e < {K * d}:"]
    )
    text += _lines(
        12,
        [
            f"c, j = e // {d}, e % {d}",
            "total[c, j] = total[c, j] + moment[c, j] if add else moment[c, j]",
        ],
    )
    return text + _lines(12, [f"e += {THREADS}"])


@dataclass(frozen=True, eq=False)
class Cloud:
    """Particles θ (p, m) with amplitudes A = factor · a on the device: q (m,), the prepared rows, and moment (K, d) = Σ A w."""

    theta: Held
    factor: Held
    squares: Held
    rows: Held
    moment: Held


class PairSums:
    """The pair kernels of one activation, d, K and dtype on a GPU.

    cloud(θ, factor) prepares sources and targets;  act(cloud, sources) gives their potential and velocity.
    """

    def __init__(self, backend: CUDA, dtype: np.dtype) -> None:
        self.backend, self.dim, self.outputs, self.dtype = (
            backend,
            backend.dim,
            backend.outputs,
            dtype,
        )
        formula = backend.network.sigma.pair if backend.network else None
        assert (
            backend.network is not None and formula is not None
        )  # checked where the functional was made
        if self.dim + 1 + self.outputs > MOST:
            raise ValueError(
                f'backend="cuda" holds d + K + 1 <= {MOST} numbers of a neuron for a PopulationRisk; got d = {self.dim} and '
                f'K = {self.outputs}. Use backend="cpu".'
            )
        self.formula = formula
        columns = backend.network.trainable_columns(self.dim, self.outputs)
        self.trainable = backend.pool.fill(columns.astype(float))
        self._kernels: dict[int, Any] = {}

    @cached_property
    def particles(self) -> Any:
        used: dict[str, Callable] = {
            "prepare": self.formula.prepare,
            "finish": self.formula.finish,
            "linear": self.formula.linear,
        }
        return compiler.kernels(f"{__package__}.kernels.pair_particles", "float64", used)

    def kernel(self, groups: int) -> Any:
        """The kernel whose blocks are cut into so many groups."""
        if groups not in self._kernels:
            text = source(self.dim, self.outputs, self.formula.sums, self.dtype.itemsize, groups)
            used: dict[str, Callable] = {"pair": self.formula.pair, "finish": self.formula.finish}
            self._kernels[groups] = compiler.load(
                f"cuda_gaussian_pairs_d{self.dim}", text, self.dtype.name, used
            ).pair_sums
        return self._kernels[groups]

    def compiled(self) -> bool:
        """Whether the kernels of a step are compiled already, in this process or in the cache on disk."""
        return all(
            map(
                compiler.is_compiled,
                [self.kernel(4), self.particles.prepare_cloud, self.particles.finish_sums],
            )
        )

    def hold(self, array: np.ndarray) -> Held:
        """Particles (m, p) or factors (m,) of the host, as `cloud` takes them."""
        return self.backend.pool.fill(np.ascontiguousarray(array.T, dtype=np.float64))

    def potentials(self, potential: Held) -> np.ndarray:
        """What `act` says of the potential, on the host: (m, K)."""
        return self.backend.download(potential)

    def cloud(self, theta: Held, factor: Held) -> Cloud:
        """Particles of any float dtype and factor (m,) float64 -> what the kernels read."""
        take, m, d, K = self.backend.pool.take, theta.data.shape[1], self.dim, self.outputs
        squares, rows, moment = (
            take((m,), float),
            take((d + 1 + K, m), self.dtype),
            take((K, d), float),
        )
        arguments = theta.data, factor.data, K
        self.particles.prepare_cloud[math.ceil(m / THREADS), THREADS](
            *arguments, squares.data, rows.data
        )
        length, count = slabs(m)
        partial = take((count, K, d), float)
        self.particles.moments[(K * d, count), 128](*arguments, length, partial.data)
        self.backend.add(partial, 1.0, 0, moment.data)
        return Cloud(theta, factor, squares, rows, moment)

    def act(self, cloud: Cloud, sources: Sequence[Cloud], decay: float = 0.0) -> tuple[Held, Held]:
        """(g, v): g_k = Σ_l A_l K(w_k, w_l) (K, m) float64, v_k = -∇_θ ⟨a_k, g(w_k)⟩ - decay θ_k (p, m), 0 on frozen columns."""
        take, theta, S, d, K = (
            self.backend.pool.take,
            cloud.theta.data,
            self.formula.sums,
            self.dim,
            self.outputs,
        )
        m = theta.shape[1]
        groups = self.backend.groups(m)
        sums, total = take((S + d + (K if K > 1 else 0), m), float), take((K, d), float)
        for number, one in enumerate(sources):
            targets = theta, cloud.rows.data, cloud.squares.data
            self.kernel(groups)[math.ceil(m / (THREADS // groups)), THREADS](
                *targets, one.rows.data, one.moment.data, int(number > 0), sums.data, total.data
            )
        potential, velocity = take((K, m), float), take(theta.shape, self.dtype)
        arguments = (
            theta,
            S,
            cloud.squares.data,
            sums.data,
            total.data,
            float(decay),
            self.trainable.data,
        )
        self.particles.finish_sums[math.ceil(m / THREADS), THREADS](
            *arguments, potential.data, velocity.data
        )
        return potential, velocity

    def pairing(self, cloud: Cloud, potential: Held) -> Number:
        """Σ_k factor_k ⟨a_k, potential_k⟩ by the fixed tree: a number of the backend, which float() waits for."""
        length, count = slabs(cloud.theta.data.shape[1])
        partial = self.backend.pool.take((count, 1, 1), float)
        self.particles.pairing[count, 128](
            cloud.theta.data, cloud.factor.data, potential.data, length, partial.data
        )
        return self.backend.number(partial, 1.0)
