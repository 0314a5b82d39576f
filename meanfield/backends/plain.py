"""Kernel files run as plain Python, without a compiler: for a debugger, and as slow twins of what
is compiled from them.

    monkeypatch.setattr(compiler, "kernels", plain.kernels)        # the CPU backend in plain Python

What is built of LLVM's instructions has its plain twin here.
"""

from __future__ import annotations

import ast
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from . import kernel_files, unroll
from .llvm import half_spaces, products


def kernels(
    file: str, dtype: str, formulas: dict[str, Callable], **constants: Any
) -> types.SimpleNamespace:
    """The functions of a kernel file, as compiler.kernels has them, but not compiled; of T,
    `dtype`.
    """
    bound: dict[str, Any] = {"T": np.dtype(dtype).type, "FASTMATH": False, "BY_ADDRESS": {}}
    bound |= {**constants, **formulas}
    source = kernel_files.path(file)
    tree = ast.parse(source.read_text(encoding="utf-8"))
    names: dict[str, Any] = {**bound, "__name__": f"{file} in plain Python"}
    for node in tree.body[:]:
        if not isinstance(node, ast.ImportFrom) or node.module is None:
            continue
        tree.body.remove(node)
        if kernel_files.is_kernel_file(node.module):
            names |= vars(kernels(node.module, dtype, formulas, **constants))
        elif node.module != kernel_files.WORDS[0]:
            names |= {alias.name: WORDS[alias.name] for alias in node.names}

    exec(compile(tree, source, "exec"), names)
    return types.SimpleNamespace(**names)


def njit(**options: Any) -> Callable:
    """A decorator that leaves a function alone."""
    return lambda function: function


def fma(x: Any, y: Any, z: Any) -> Any:
    """x y + z, rounded twice."""
    return x * y + z


def stack_array(shape: int | tuple[int, ...], fixed: bool = False) -> Callable:
    """zero -> an array of this shape and of its type."""
    return lambda zero: np.zeros(shape, type(zero))


def widest_vectors() -> None:
    """Nothing: there are no vectors."""


def multiplier(dtype: str) -> Callable:
    """The product (rows, packed, out): out = rows B, of B as products.pack packs it."""

    def multiply(rows, packed, out):
        length = rows.shape[1]
        for start, count in products.panels(packed.size // length, dtype):
            panel = packed[start * length : (start + count) * length].reshape(length, count)
            out[:, start : start + count] = rows @ panel

    return multiply


def side_sums(dim: int, vectors: int = 1) -> Callable:
    """half_spaces.side_sums: sums_c += Σ_{i: ⟨w, x_i⟩ > -b} r_ic, for each particle of the vectors."""

    def compute(weights, terms, sums):
        for lane in range(vectors * half_spaces.lanes(weights.itemsize)):
            for term in terms:
                if np.dot(weights[:dim, lane], term[:dim]) > -weights[dim, lane]:
                    sums[:, lane] += term[dim:]

    return compute


def transposer(p: int, back: bool = False) -> Callable:
    """half_spaces.transposer: LANES rows of p numbers as p columns."""

    def transpose(rows, columns):
        count = half_spaces.lanes(rows.itemsize)
        if back:
            rows[: p * count] = columns[:p, :count].T.ravel()
        else:
            columns[:p, :count] = rows[: p * count].reshape(count, p).T

    return transpose


def square(rows: Any, first: int, last: int, column: int, columns: Any) -> None:
    """squares.square: LANES rows of as many numbers by columns."""
    count = half_spaces.lanes(rows.itemsize)
    some = np.minimum(first + np.arange(count), last)
    columns[:count, :count] = rows[some, column : column + count].T


WORDS: dict[str, Any] = {
    "njit": njit,
    "fma": fma,
    "stack_array": stack_array,
    "widest_vectors": widest_vectors,
    "multiplier": multiplier,
    "lanes": half_spaces.lanes,
    "at_once": half_spaces.at_once,
    "side_sums": side_sums,
    "transposer": transposer,
    "square": square,
    "each": unroll.each,
    "total": unroll.total,
    "in_pairs": unroll.in_pairs,
}
