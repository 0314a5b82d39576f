"""The tangent kernel H(x, x') = ∫ ∇φ(θ; x)·∇φ(θ; x') dμ of a state in closed form, its products
H·v, its largest eigenvalue.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import reduce
from typing import Any

import numpy as np

from .backends import dtype_name, make
from .backends.cpu import elementwise
from .functionals.samples import check_inputs
from .network import Network
from .processes.threads import one_thread
from .state import State

BLOCK_ENTRIES = 2**20  # neurons times samples in work at once: 8 MB for each array of them
TERMS = 1024  # and the most neurons of a sum in float32; across them sums are float64
# neurons times entries of H up to which one thread is done before a second one has begun
SMALL = 2**26
TILE = 2048  # samples times outputs on a side of H in work at once


def kernel_parts(
    network: Network,
    state: State,
    x1: Any,
    x2: Any = None,
    dtype: str = "float64",
    outputs: str = "full",
) -> dict[str, np.ndarray]:
    """H of a state, split by what is trained: {"a": …, "w": …, "b": …}, only the trainable ones.
    THEORY.md, section 1.

    z_k = ⟨w_k, x⟩ + b_k:  a: δ_cc' Σ_k p_k σ(z_k) σ(z'_k);  b: Σ_k p_k a_kc a_kc' σ'(z_k) σ'(z'_k);  w: ⟨x, x'⟩ times that of b.
    x1 (n1, d), x2 (n2, d) or None for x1 -> (n1, n2) for K = 1, (n1, n2, K, K) for more outputs; float64, whose entries
    dtype="float32" computes in float32 over at most 1024 neurons: twice as fast, and good to about 1e-6 of the diagonal.
    O(m n1 n2 K²) by matrix products over blocks of neurons and tiles of H: no (n, m p) Jacobian and no (m, n) array is
    formed. For x2 = None half of the work, and exactly symmetric. outputs: "full", of K > 1 also
    "trace", (n1, n2), or "diagonal", (n1, n2, K).
    """
    x1, x2 = _inputs(state, x1, x2)
    K = state.outputs
    if network.feature is not None:
        found = _of_feature(network, state, x1, x2, dtype, outputs)
        return {name: part[:, :, 0, 0] if K == 1 else part for name, part in found.items()}
    parts = {name: np.empty((len(x1), len(x2), K, K)) for name in network.trainable}
    for rows, columns, tile in _tiles(network, state, x1, x2, np.dtype(dtype_name(dtype))):
        for name, part in parts.items():
            _place(part, rows, columns, tile[name], x1 is x2)
    return {
        name: part[:, :, 0, 0] if K == 1 else _outputs(part, outputs)
        for name, part in parts.items()
    }


def kernel(
    network: Network,
    state: State,
    x1: Any,
    x2: Any = None,
    dtype: str = "float64",
    outputs: str = "full",
) -> np.ndarray:
    """H(x1, x2) of a state over the trainable columns, (n1, n2) or (n1, n2, K, K): the sum of
    `kernel_parts`.
    """
    if not network.trainable:
        raise ValueError(
            "the tangent kernel of a network with nothing to train is zero: trainable is ()."
        )
    if network.feature is not None:
        return reduce(np.add, kernel_parts(network, state, x1, x2, dtype, outputs).values())
    x1, x2 = _inputs(state, x1, x2)
    K = state.outputs
    H = np.empty((len(x1), len(x2), K, K))
    for rows, columns, tile in _tiles(network, state, x1, x2, np.dtype(dtype_name(dtype))):
        _place(H, rows, columns, reduce(np.ndarray.__iadd__, tile.values()), x1 is x2)
    return H[:, :, 0, 0] if K == 1 else _outputs(H, outputs)


def _outputs(H: np.ndarray, outputs: str) -> np.ndarray:
    """H (n1, n2, K, K); of "trace" Σ_c H_cc, of "diagonal" the H_cc, (n1, n2, K)."""
    if outputs == "full":
        return H
    return np.trace(H, axis1=2, axis2=3) if outputs == "trace" else np.einsum("ijcc->ijc", H).copy()


def as_matrix(H: np.ndarray) -> np.ndarray:
    """(n1, n2) as it is; (n1, n2, K, K) as (n1 K, n2 K), row i·K + c for output c of sample i."""
    n1, n2 = H.shape[:2]
    return H if H.ndim == 2 else H.transpose(0, 2, 1, 3).reshape(n1 * H.shape[2], n2 * H.shape[3])


def diagonal(network: Network, state: State, x: Any) -> np.ndarray:
    """H(x_i, x_i) over the trainable columns, (n, K, K): what the gradient of each output at x_i
    has in L2(μ).

    O(m n K²) time, by blocks of samples and of neurons; sums of NumPy, whose order no number of
    threads changes.
    """
    x, _ = _inputs(state, x, None)
    if network.feature is not None:
        each = [_of_feature(network, state, x[i : i + 1], x[i : i + 1]) for i in range(len(x))]
        return np.array([reduce(np.add, parts.values())[0, 0] for parts in each])
    n, K, trained = len(x), state.outputs, set(network.trainable)
    found = np.zeros((n, K, K))
    size2 = np.square(x).sum(axis=1) * ("w" in trained) + 1.0 * ("b" in trained)
    side, count = BLOCK_ENTRIES // TERMS, min(TERMS, state.m)

    for first in range(0, n, side):
        rows = slice(first, first + side)
        features = _Features(network, state, x[rows], count, np.dtype(np.float64))
        for start in range(0, state.m, count):
            values, slopes = features.of(slice(start, start + count))
            squares = np.einsum("ki,ki->i", values, values)
            products = np.einsum("cki,eki->ice", slopes, slopes)
            if slopes.size:
                found[rows] += size2[rows, None, None] * products
            if values.size:
                found[rows] += squares[:, None, None] * np.eye(K)
    return found


def drift(network: Network, start: State, end: State, x: Any) -> float:
    """‖H_t - H_0‖ / ‖H_0‖, Frobenius norms of the kernels of two states on x (n, d).

    NaN where H_0 = 0, with all units dead at the start: there is nothing the drift could be
    relative to.
    """
    H0 = kernel(network, start, x)
    size = float(np.linalg.norm(H0))
    return float(np.linalg.norm(kernel(network, end, x) - H0)) / size if size else math.nan


def _of_feature(
    network: Network,
    state: State,
    x1: np.ndarray,
    x2: np.ndarray,
    dtype: str = "float64",
    outputs: str = "full",
) -> dict[str, np.ndarray]:
    """The parts of H from the gradients of a feature themselves, {name: (n1, n2, K, K)}."""
    assert network.feature is not None
    network.feature.check_state(state, x1)
    backend: Any = make(network.home, network, state.dim, state.outputs, dtype_name(dtype))
    first = backend.samples(x1)
    second = first if x2 is x1 else backend.samples(x2)
    found = backend.gram(backend.upload(state.theta), state.mass, first, second, outputs)
    if outputs == "full" or state.outputs == 1:
        return found
    return {
        name: H[:, :, 0, 0] if outputs == "trace" else H[:, :, :, 0] for name, H in found.items()
    }


def _inputs(state: State, x1: Any, x2: Any) -> tuple[np.ndarray, np.ndarray]:
    if state.outputs == 0:
        raise ValueError(
            "this State has outputs = 0 (whole rows of a pairwise energy): it is no "
            "network and has no kernel."
        )
    x1 = check_inputs(x1, state.dim)
    return x1, x1 if x2 is None else check_inputs(x2, state.dim)


def _place(H: np.ndarray, rows: slice, columns: slice, tile: np.ndarray, mirrored: bool) -> None:
    """Write a tile (r, c, K, K), or one that all outputs share; where H is symmetric, its mirror
    image too.
    """
    H[rows, columns] = tile
    if mirrored and rows != columns:
        H[columns, rows] = tile.transpose(1, 0, 2, 3)  # symmetric in the outputs


def _tiles(
    network: Network, state: State, x1: np.ndarray, x2: np.ndarray, dtype: np.dtype
) -> Iterator[tuple[slice, slice, dict[str, np.ndarray]]]:
    """The trainable parts of H, tile by tile (r, c, K, K); of a symmetric H those on and above the
    diagonal.
    """
    K, side = state.outputs, max(1, TILE // state.outputs)
    for i in range(0, len(x1), side):
        for j in range(i if x1 is x2 else 0, len(x2), side):
            rows, columns = slice(i, i + side), slice(j, j + side)
            left = x1[rows]
            right = left if x1 is x2 and i == j else x2[columns]
            with one_thread():
                values, slopes = _products(network, state, left, right, dtype)
                inner = left @ right.T
            parts = {
                "a": values[:, :, None, None] * np.eye(K),
                "w": inner[:, :, None, None] * slopes,
                "b": slopes,
            }
            yield rows, columns, {name: parts[name] for name in network.trainable}


def _products(
    network: Network, state: State, x1: np.ndarray, x2: np.ndarray, dtype: np.dtype
) -> tuple[np.ndarray, np.ndarray]:
    """Σ_k p_k σσ' (n1, n2) and Σ_k p_k a_kc a_ke σ'σ'' (n1, n2, K, K), zero where not needed.

    The factors √p_k and a_kc go into the features; a feature times its own transpose is one
    symmetric product. Each thread multiplies blocks of its own, with a BLAS on one: that splits a
    small symmetric product badly, and what comes before and after it would wait. Blocks are added
    one after the other: bits do not depend on threads.
    """
    n1, n2, K = len(x1), len(x2), state.outputs
    values, slopes = np.zeros((n1, n2)), np.zeros((K, K, n1, n2))
    size = min(max(1, BLOCK_ENTRIES // max(n1, n2)), TERMS, state.m)
    blocks = [slice(start, start + size) for start in range(0, state.m, size)]
    threads = min(elementwise.threads(), len(blocks)) if state.m * n1 * n2 > SMALL else 1

    def features() -> tuple[_Features, _Features]:
        first = _Features(network, state, x1, size, dtype)
        return first, first if x2 is x1 else _Features(network, state, x2, size, dtype)

    free = [features() for _ in range(threads)]

    def add(block: slice, before: Future | None) -> None:
        first, second = free.pop()
        value1, slopes1 = first.of(block)
        value2, slopes2 = (value1, slopes1) if second is first else second.of(block)
        products = [(values, value1.T @ value2)] if value1.size else []
        products += [
            (slopes[c, e], slope1.T @ slopes2[e])
            for c, slope1 in enumerate(slopes1)
            for e in range(c, K)
        ]
        free.append((first, second))
        if before:
            before.result()
        for total, product in products:
            total += product

    if threads == 1:
        for block in blocks:
            add(block, None)
    else:
        _in_turn(add, blocks, threads)
    for c in range(K):
        for e in range(c):
            if x2 is x1:  # symmetric but for rounding
                slopes[e, c] = 0.5 * (slopes[e, c] + slopes[e, c].T)
            slopes[c, e] = slopes[e, c]
    return values, slopes.transpose(2, 3, 0, 1)


def _in_turn(
    work: Callable[[slice, Future | None], None], blocks: list[slice], threads: int
) -> None:
    """work(block, the one before) of all blocks on so many threads, begun in their order."""
    pool, begun = ThreadPoolExecutor(threads), list[Future]()
    try:
        for block in blocks:
            begun.append(pool.submit(work, block, begun[-1] if begun else None))
        for future in begun:
            future.result()
    finally:
        pool.shutdown(cancel_futures=True)


class _Features:
    """√p_k σ(z_k) (neurons, n) and, for each output c, √p_k a_kc σ'(z_k) (K, neurons, n) of a block
    of at most `size` neurons.

    What is not needed has no entries. The arrays are the same for every block: fresh ones would
    cost as much as σ itself.
    """

    def __init__(
        self, network: Network, state: State, x: np.ndarray, size: int, dtype: np.dtype
    ) -> None:
        self.kernel = elementwise.features(network.sigma, dtype.name)
        self.state = state
        self.x = x.T.astype(dtype)
        n, K, trained = len(x), state.outputs, set(network.trainable)
        self.z = np.empty((size, n), dtype)
        self.values = np.empty((size if "a" in trained else 0, n), dtype)
        self.slopes = np.empty((K if trained & {"w", "b"} else 0, size, n), dtype)

    def of(self, block: slice) -> tuple[np.ndarray, np.ndarray]:
        theta, K, dtype = self.state.theta[block], self.state.outputs, self.z.dtype
        count, root = len(theta), np.sqrt(self.state.mass[block])
        z, values, slopes = self.z[:count], self.values[:count], self.slopes[:, :count]
        np.matmul(theta[:, K:-1].astype(dtype), self.x, out=z)
        b, rates = theta[:, -1].astype(dtype), (root[:, None] * theta[:, :K]).astype(dtype)
        self.kernel(z, b, root.astype(dtype), rates, values, slopes)
        return values, slopes
