"""Squares of a matrix by rows and by columns: LANES rows of LANES numbers, transposed in registers.

    square(rows, first, last, column, columns)      columns[j, l] = rows[first + l, column + j] for j, l < LANES

The forward pass has vectors of samples and the pull-back vectors of particles: what one keeps the
other reads by columns. A loop would gather numbers one by one; by shuffles it is log₂ LANES
instructions for a vector.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.extending import intrinsic

from .half_spaces import lanes

# numba's annotation counts the typing context among the arguments; a caller never passes it
_intrinsic: Any = intrinsic
LANE = 16  # bytes in which x86 interleaves two vectors by one instruction


def transposed(size: int, bytes_: int) -> list[tuple[int, int, list[int], list[int]]]:
    """Shuffles (i, j, low, high) that transpose `size` vectors in place: vectors i and j become
    both shuffled by low, and by high. Then vector i is column places(size, bytes_)[i].
    """
    width = min(LANE // bytes_, size)
    rounds: list[tuple[int, int, list[int], list[int]]] = []
    step = 1
    while step < size:
        if step < width:  # runs of `step` numbers in turn, of either half of each lane
            low, high = (
                [
                    side + base + half * width // 2 + run + e
                    for base in range(0, size, width)
                    for run in range(0, width // 2, step)
                    for side in (0, size)
                    for e in range(step)
                ]
                for half in (0, 1)
            )
        else:  # every other run of `step` numbers of either vector
            low, high = (
                [(size if e & step else 0) + (e & ~step) + half * step for e in range(size)]
                for half in (0, 1)
            )
        rounds += [(i, i + step, low, high) for i in range(size) if not i & step]
        step *= 2
    return rounds


def places(size: int, bytes_: int) -> list[int]:
    """Which column each vector has become: within a lane the bits of its number are reversed."""
    width = min(LANE // bytes_, size)
    bits = width.bit_length() - 1
    return [
        i // width * width + sum((i >> bit & 1) << (bits - 1 - bit) for bit in range(bits))
        for i in range(size)
    ]


@_intrinsic
def square(_, rows, first, last, column, columns):
    """columns[j, l] = rows[first + l, column + j]; rows from `last` on are that one again."""

    def codegen(context, builder, signature, arguments):
        kinds = signature.args
        real = context.get_value_type(kinds[0].dtype)
        bytes_ = context.get_abi_sizeof(real)
        size = lanes(bytes_)
        vector, integer = ir.VectorType(real, size), ir.IntType(64)

        def place(number: int, row: Any, at: Any) -> Any:
            array = context.make_array(kinds[number])(context, builder, arguments[number])
            found = cgutils.get_item_pointer(
                context, builder, kinds[number], array, [row, at], wraparound=False
            )
            return builder.bitcast(found, vector.as_pointer())

        _, begin, end, at, _ = arguments
        found = []
        for e in range(size):
            row = builder.add(begin, ir.Constant(integer, e))
            row = builder.select(builder.icmp_signed("<", row, end), row, end)
            found.append(builder.load(place(0, row, at), align=bytes_))
        for i, j, *orders in transposed(size, bytes_):
            found[i], found[j] = (
                builder.shuffle_vector(
                    found[i], found[j], ir.Constant(ir.VectorType(ir.IntType(32), size), order)
                )
                for order in orders
            )
        for j, made in zip(places(size, bytes_), found, strict=True):
            target = place(4, ir.Constant(integer, j), ir.Constant(integer, 0))
            builder.store(made, target, align=bytes_)
        return context.get_dummy_value()

    return types.void(rows, types.intp, types.intp, types.intp, columns), codegen
