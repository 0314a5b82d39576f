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

Without masks (AVX2) a choice between two sums runs on the units of multiply-adds, too. There the
comparison becomes 1 or 0, by which r is multiplied as it is added: the same bits. For d <= 2 two
vectors of particles share what is loaded, and even samples pass before odd ones, for 16 registers
hold no more sums: 2.7 cycles of 2.5 at d = 2, where a choice took 4.5.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.extending import intrinsic

# additions under a mask, and 32 registers
MASKS = bool(llvm.get_host_cpu_features().get("avx512f"))
# of a vector; bits do not depend on it
BYTES = 64 if MASKS else 32
TWO_CHAINS_UP_TO = 3  # the largest d at which one addition a sample to each sum would be waited for

# numba's annotation counts the typing context among the arguments; a caller never passes it
_intrinsic: Any = intrinsic


def lanes(itemsize: int) -> int:
    """Particles in a vector of numbers of that size."""
    return BYTES // itemsize


def at_once(dim: int) -> int:
    """Vectors of particles that side_sums works best at once."""
    return 2 if dim <= 2 and not MASKS else 1


def side_sums(dim: int, vectors: int = 1) -> Any:
    """side_sums(weights, terms, sums) for this d, arrays whose last index runs through memory.

    weights: d + 1 rows w_0, …, b of `vectors` times LANES numbers; terms (n, 2d + 1): x_0, …; r_0,
    …, r_d of each sample, n even; sums: d + 1 rows of as many float64, added to. Within the call
    sums are of the dtype, even and odd samples apart where d + 1 additions in a row would be waited
    for.
    """
    chains = 2 if dim <= TWO_CHAINS_UP_TO else 1
    # without masks there are too few registers for the sums of even and odd samples together
    passes = [(0, 1)] if MASKS or chains == 1 else [(0,), (1,)]

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
            numbers = terms.data
            zeros, ones = (ir.Constant(vector, [value] * count) for value in (0.0, 1.0))

            def number(value: int) -> Any:
                return ir.Constant(integer, value)

            def row(array: Any, index: int, v: int, kind: Any) -> Any:
                place = _row(builder, array, index, kind)
                return builder.gep(place, [number(v)])

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

            def add(total: Any, on: Any, term: Any) -> Any:
                if MASKS:
                    return builder.select(on, builder.fadd(total, term), total)
                return builder.call(fma, (builder.select(on, ones, zeros), term, total))

            w = [
                [builder.load(row(weights, c, v, vector), align=bytes_) for v in range(vectors)]
                for c in range(dim + 1)
            ]
            thresholds = [builder.fneg(b) for b in w[dim]]
            totals = [
                [
                    [cgutils.alloca_once_value(builder, zeros) for _ in range(dim + 1)]
                    for _ in range(chains)
                ]
                for _ in range(vectors)
            ]
            for samples in passes:
                turns = [(v, u) for u in samples for v in range(vectors)]
                with cgutils.for_range(
                    builder, builder.udiv(size, number(2)), intp=integer
                ) as loop:
                    first = builder.mul(loop.index, number(2 * (2 * dim + 1)))
                    at = {u: builder.add(first, number(u * (2 * dim + 1))) for u in samples}
                    z = [builder.fmul(w[0][v], everywhere(at[u], 0)) for v, u in turns]
                    for j in range(1, dim):
                        z = [
                            builder.call(fma, (w[j][v], everywhere(at[u], j), before))
                            for (v, u), before in zip(turns, z, strict=True)
                        ]
                    for (v, u), value in zip(turns, z, strict=True):
                        on = builder.fcmp_ordered(">", value, thresholds[v])
                        for c, part in enumerate(totals[v][u % chains]):
                            term = everywhere(at[u], dim + c)
                            builder.store(add(builder.load(part), on, term), part)
            for v in range(vectors):
                for c in range(dim + 1):
                    parts = [builder.load(chain[c]) for chain in totals[v]]
                    total = parts[0] if chains == 1 else builder.fadd(*parts)
                    total = builder.fpext(total, wide) if wide != vector else total
                    place = row(sums, c, v, wide)
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
