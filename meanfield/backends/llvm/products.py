"""Products C = A·B of a few rows with a matrix that stays the same: what the blocked kernels spend
their time in.

    packed = pack(B)                      once: B (l, n) in panels of some columns, each panel contiguous, row by row
    multiply(rows, packed, out)           in a kernel: out[:, :n] = rows @ B, one thread, C-contiguous rows

A BLAS packs B anew at every call, which for blocks of some 150 rows takes a fifth of its time; this
one never does. Each entry of C is one chain of fused multiply-adds in the order of l: its bits do
not depend on how rows are grouped.
"""

from __future__ import annotations

import functools
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.extending import intrinsic

# of a 512-bit vector; narrower machines take two or four for one
LANES = {
    "float32": 16,
    "float64": 8,
}
ROWS = 6  # rows of C in registers at once …
# … times so many vectors of columns: 24 of 32, or 12 of 16
VECTORS = 4 if llvm.get_host_cpu_features().get("avx512f") else 1

# numba's annotation counts the typing context among the arguments; a caller never passes it
_intrinsic: Any = intrinsic


def panels(n: int, dtype: str) -> list[tuple[int, int]]:
    """(first column, columns) of each panel: wide ones, then single vectors; n is a whole number of
    vectors.
    """
    lanes = LANES[dtype]
    wide = n - n % (VECTORS * lanes)
    narrow = [(start, lanes) for start in range(wide, n, lanes)] if VECTORS > 1 else []
    return [(start, VECTORS * lanes) for start in range(0, wide, VECTORS * lanes)] + narrow


def pack(B: np.ndarray) -> np.ndarray:
    """B (l, n), n a whole number of vectors, as `multiply` reads it: (l n,)."""
    return np.concatenate(
        [B[:, start : start + count].ravel() for start, count in panels(B.shape[1], B.dtype.name)]
    )


@functools.cache
def multiplier(dtype: str) -> Any:
    """The compiled `multiply(rows (r, l), packed (l n,), out (r, >= n))` of that dtype."""
    lanes = LANES[dtype]
    columns = VECTORS * lanes
    wide, narrow = _panel(VECTORS, dtype), _panel(1, dtype)

    @njit(error_model="numpy", fastmath=False)
    def multiply(rows, packed, out):
        length = rows.shape[1]
        n = packed.size // length
        start = 0
        while start < n:
            panel = packed[start * length :]
            if n - start >= columns:
                wide(rows, panel, out[:, start:])
                start += columns
            else:
                narrow(rows, panel, out[:, start:])
                start += lanes

    return multiply


def _panel(vectors: int, dtype: str) -> Any:
    """The product with one panel: ROWS rows at a time, then one by one."""
    T = np.dtype(dtype).type
    several, one = _tile(ROWS, vectors, LANES[dtype]), _tile(1, vectors, LANES[dtype])

    def panel_product(rows, panel, out):
        count, length = rows.shape
        whole = count // ROWS * ROWS
        b = panel.ctypes.data
        for k in range(0, whole, ROWS):
            several(
                rows[k].ctypes.data,
                rows.strides[0],
                b,
                out[k].ctypes.data,
                out.strides[0],
                length,
                T(0),
            )
        for k in range(whole, count):
            one(
                rows[k].ctypes.data,
                rows.strides[0],
                b,
                out[k].ctypes.data,
                out.strides[0],
                length,
                T(0),
            )

    # In compiled code a function has its name and a number that counts functions from the start of
    # a process. If all widths had one name, two kernels cached by different processes could each
    # bring another product of the same name and number, and a process that loads both would call
    # the wrong one.
    panel_product.__name__ = panel_product.__qualname__ = f"panel_product_{vectors}_{dtype}"
    return njit(error_model="numpy", fastmath=False)(panel_product)


def _tile(rows: int, vectors: int, lanes: int) -> Any:
    """C[k, j] = Σ_l a[k, l] b[l, j] for k < rows, j < vectors·lanes, held in registers: addresses,
    strides in bytes.
    """

    @_intrinsic
    def tile(_, a, a_stride, b, c, c_stride, length, zero):
        signature = types.void(
            types.uintp, types.intp, types.uintp, types.uintp, types.intp, types.intp, zero
        )

        def codegen(context, builder, signature, arguments):
            real = context.get_value_type(zero)
            vector, integer = ir.VectorType(real, lanes), ir.IntType(64)
            size = 64 // lanes
            a, a_stride, b, c, c_stride, length, _ = arguments

            def number(value: int) -> Any:
                return ir.Constant(integer, value)

            def pointer(address: Any, stride: Any, k: int, offset: int, kind: Any) -> Any:
                address = builder.add(address, builder.mul(stride, number(k)))
                return builder.inttoptr(builder.add(address, number(offset)), kind.as_pointer())

            name = f"llvm.fma.v{lanes}f{8 * size}"
            fma = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(vector, [vector] * 3), name
            )
            nothing = ir.Constant(vector, ir.Undefined)
            everywhere = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
            zeros = ir.Constant(vector, [0.0] * lanes)
            sums = [
                [cgutils.alloca_once_value(builder, zeros) for _ in range(vectors)]
                for _ in range(rows)
            ]
            left = [pointer(a, a_stride, k, 0, real) for k in range(rows)]
            right = builder.inttoptr(b, vector.as_pointer())
            with cgutils.for_range(builder, length, intp=integer) as loop:
                first = builder.mul(loop.index, number(vectors))
                columns = [
                    builder.load(builder.gep(right, [builder.add(first, number(v))]), align=size)
                    for v in range(vectors)
                ]
                for k in range(rows):
                    scalar = builder.load(builder.gep(left[k], [loop.index]), align=size)
                    lane = builder.insert_element(nothing, scalar, ir.Constant(ir.IntType(32), 0))
                    entry = builder.shuffle_vector(lane, nothing, everywhere)
                    for v in range(vectors):
                        builder.store(
                            builder.call(fma, (entry, columns[v], builder.load(sums[k][v]))),
                            sums[k][v],
                        )
            for k in range(rows):
                for v in range(vectors):
                    builder.store(
                        builder.load(sums[k][v]),
                        pointer(c, c_stride, k, 64 * v, vector),
                        align=size,
                    )
            return context.get_dummy_value()

        return signature, codegen

    return tile
