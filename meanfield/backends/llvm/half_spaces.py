"""Sums over the samples on one side of each particle's hyperplane: all that a σ of two slopes needs
of its pull-back.

    side_sums(dim)       G_c += Σ_{i: ⟨w, x_i⟩ > -b} r_ci      for LANES particles, each with sums of its own, and one tile
    transposer(p)        LANES rows of θ as columns, and back

A vector holds particles. For a vector and a sample there are d multiply-adds and a comparison, on
AMD's Zen one kind of unit, and d + 1 additions under its mask, which another kind does meanwhile; a
product with r is no longer there. Each of a sample's 2d + 1 numbers is used once, by an instruction
that takes it from memory: loaded for itself it would cost a slot and a register (a quarter of the
time), and from 2d + 1 arrays instead of one stream as much again. Measured at d = 2: 3.1 cycles, of
3. Two samples take turns at their d multiply-adds, each of which waits for the one before: a sixth
of the time at d = 8.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.extending import intrinsic

# of a vector; bits do not depend on it
BYTES = 64 if llvm.get_host_cpu_features().get("avx512f") else 32
TWO_CHAINS_UP_TO = 3  # the largest d at which one addition a sample to each sum would be waited for

# numba's annotation counts the typing context among the arguments; a caller never passes it
_intrinsic: Any = intrinsic


def lanes(itemsize: int) -> int:
    """Particles in a vector of numbers of that size."""
    return BYTES // itemsize


def side_sums(dim: int) -> Any:
    """side_sums(weights, terms, sums) for this d, arrays whose last index runs through memory.

    weights: d + 1 rows w_0, …, b of LANES numbers; terms (n, 2d + 1): x_0, …; r_0, …, r_d of each
    sample, n even; sums: d + 1 rows of LANES float64, added to. Within the call sums are of the
    dtype, even and odd samples apart where d + 1 additions in a row would be waited for.
    """
    chains = 2 if dim <= TWO_CHAINS_UP_TO else 1

    @_intrinsic
    def compute(_, weights, terms, sums):
        def codegen(context, builder, signature, arguments):
            real = context.get_value_type(signature.args[0].dtype)
            bytes_ = context.get_abi_sizeof(real)
            count, integer = lanes(bytes_), ir.IntType(64)
            vector, wide = ir.VectorType(real, count), ir.VectorType(ir.DoubleType(), count)
            weights, terms, sums = (
                context.make_array(kind)(context, builder, argument)
                for kind, argument in zip(signature.args, arguments, strict=True)
            )
            size = builder.extract_value(terms.shape, 0)

            def number(value: int) -> Any:
                return ir.Constant(integer, value)

            def row(array: Any, index: int, kind: Any) -> Any:
                return _row(builder, array, index, kind)

            def everywhere(sample: Any, c: int) -> Any:
                scalar = builder.load(
                    builder.gep(numbers, [builder.add(sample, number(c))]), align=bytes_
                )
                lane = builder.insert_element(
                    ir.Constant(vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0)
                )
                return builder.shuffle_vector(
                    lane, lane, ir.Constant(ir.VectorType(ir.IntType(32), count), [0] * count)
                )

            name = f"llvm.fma.v{count}f{8 * bytes_}"
            fma = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(vector, [vector] * 3), name
            )
            zeros = ir.Constant(vector, [0.0] * count)
            *w, b = (builder.load(row(weights, c, vector), align=bytes_) for c in range(dim + 1))
            threshold = builder.fneg(b)
            numbers = terms.data
            totals = [
                [cgutils.alloca_once_value(builder, zeros) for _ in range(dim + 1)]
                for _ in range(chains)
            ]
            with cgutils.for_range(builder, builder.udiv(size, number(2)), intp=integer) as loop:
                first = builder.mul(loop.index, number(2 * (2 * dim + 1)))
                samples = [first, builder.add(first, number(2 * dim + 1))]
                z = [builder.fmul(w[0], everywhere(sample, 0)) for sample in samples]
                for j in range(1, dim):
                    z = [
                        builder.call(fma, (w[j], everywhere(sample, j), before))
                        for sample, before in zip(samples, z, strict=True)
                    ]
                on = [builder.fcmp_ordered(">", value, threshold) for value in z]
                for u, sample in enumerate(samples):
                    for c, part in enumerate(totals[u % chains]):
                        total = builder.load(part)
                        builder.store(
                            builder.select(
                                on[u], builder.fadd(total, everywhere(sample, dim + c)), total
                            ),
                            part,
                        )
            for c in range(dim + 1):
                parts = [builder.load(parts[c]) for parts in totals]
                total = parts[0] if chains == 1 else builder.fadd(*parts)
                total = builder.fpext(total, wide) if wide != vector else total
                place = row(sums, c, wide)
                builder.store(builder.fadd(builder.load(place, align=8), total), place, align=8)
            return context.get_dummy_value()

        return types.void(weights, terms, sums), codegen

    return compute


def _row(builder: Any, array: Any, index: int, kind: Any) -> Any:
    """Pointer to a vector at the start of a row of a matrix."""
    start = builder.ptrtoint(array.data, ir.IntType(64))
    stride = builder.extract_value(array.strides, 0)
    offset = builder.mul(stride, ir.Constant(stride.type, index))
    return builder.inttoptr(builder.add(start, offset), kind.as_pointer())


def transposer(p: int, back: bool = False) -> Any:
    """transpose(rows, columns): LANES rows of p numbers, one after the other in memory, become the
    p rows of `columns`.

    back: the other way. Whole vectors are shuffled: a loop would gather numbers.
    """

    @_intrinsic
    def transpose(_, rows, columns):
        def codegen(context, builder, signature, arguments):
            real = context.get_value_type(signature.args[0].dtype)
            bytes_ = context.get_abi_sizeof(real)
            count = lanes(bytes_)
            vector, everything = ir.VectorType(real, count), ir.VectorType(real, p * count)
            rows, columns = (
                context.make_array(kind)(context, builder, argument)
                for kind, argument in zip(signature.args, arguments, strict=True)
            )
            rows = builder.bitcast(rows.data, everything.as_pointer())
            places = [_row(builder, columns, j, vector) for j in range(p)]

            def shuffle(first: Any, second: Any, order: list[int]) -> Any:
                return builder.shuffle_vector(
                    first, second, ir.Constant(ir.VectorType(ir.IntType(32), len(order)), order)
                )

            if not back:
                joined = builder.load(rows, align=bytes_)
                for j, place in enumerate(places):
                    builder.store(
                        shuffle(joined, joined, [p * lane + j for lane in range(count)]),
                        place,
                        align=bytes_,
                    )
                return context.get_dummy_value()
            parts = [builder.load(place, align=bytes_) for place in places]
            parts += [ir.Constant(vector, ir.Undefined)] * (2 ** (p - 1).bit_length() - p)
            while len(parts) > 1:
                width = parts[0].type.count
                parts = [
                    shuffle(a, b, list(range(2 * width)))
                    for a, b in zip(parts[::2], parts[1::2], strict=True)
                ]
            order = [j * count + lane for lane in range(count) for j in range(p)]
            builder.store(shuffle(parts[0], parts[0], order), rows, align=bytes_)
            return context.get_dummy_value()

        return types.void(rows, columns), codegen

    return transpose
