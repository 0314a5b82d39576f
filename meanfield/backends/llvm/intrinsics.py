"""The few operations that elementary/ needs and Python has no word for: fma, copysign,
polynomials, exponents as bits.

Each becomes one to three LLVM instructions on a scalar, of a kind that the loop vectoriser widens.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.errors import TypingError
from numba.core.extending import intrinsic, overload, overload_attribute, register_model

# numba's annotation counts the typing context among the arguments; a caller never passes it
_intrinsic: Any = intrinsic


def _call(builder: Any, name: str, arguments: Any) -> Any:
    real = arguments[0].type
    function = builder.module.declare_intrinsic(
        name, [real], ir.FunctionType(real, [real] * len(arguments))
    )
    return builder.call(function, arguments)


@_intrinsic
def fma(_, x, y, z):
    """x·y + z, rounded once. All of one dtype: a float64 that slips into float32 code is an error,
    not a slow kernel.
    """
    if not x == y == z:
        raise TypingError(
            f"an elementary function is called with a number of its own dtype; found {x}, "
            f"{y} and {z} together."
        )
    return x(x, x, x), lambda context, builder, signature, arguments: _call(
        builder, "llvm.fma", arguments
    )


class Row(types.Array):
    """A C-contiguous array whose size is part of its type: a loop over its size has a constant
    count when LLVM first sees it.
    """

    def __init__(self, dtype: Any, count: int) -> None:
        self.count = count
        super().__init__(dtype, 1, "C", name=f"row({dtype}, {count})")

    @property
    def key(self) -> Any:
        return *super().key, self.count


register_model(Row)(models.ArrayModel)


@overload_attribute(Row, "size")
def _row_size(row):
    count = row.count
    return lambda row: count


@overload_attribute(Row, "shape")
def _row_shape(row):
    shape = (row.count,)
    return lambda row: shape


@overload(len)
def _row_len(row):
    if isinstance(row, Row):
        count = row.count
        return lambda row: count
    return None


def stack_array(shape: int | tuple[int, ...], fixed: bool = False) -> Any:
    """zero -> an array of this shape and of the type of `zero` on the stack, not initialised;
    fixed: a Row, whose size a formula may ask.

    No other pointer reaches it, so where all indices are constants after unrolling, LLVM keeps its
    vectors in registers.
    """
    lengths = (shape,) if isinstance(shape, int) else tuple(shape)

    @_intrinsic
    def make(_, zero):
        array = Row(zero, *lengths) if fixed else types.Array(zero, len(lengths), "C")

        def codegen(context, builder, signature, arguments):
            real = context.get_value_type(zero)
            with builder.goto_entry_block():
                place = builder.alloca(ir.ArrayType(real, math.prod(lengths)))
                place.align = 64
            size = context.get_abi_sizeof(context.get_data_type(zero))
            strides = [size * math.prod(lengths[axis + 1 :]) for axis in range(len(lengths))]
            packed = [
                [context.get_constant(types.intp, value) for value in values]
                for values in (lengths, strides)
            ]
            made = context.make_array(array)(context, builder)
            context.populate_array(
                made,
                data=builder.bitcast(place, real.as_pointer()),
                shape=cgutils.pack_array(builder, packed[0]),
                strides=cgutils.pack_array(builder, packed[1]),
                itemsize=context.get_constant(types.intp, size),
                meminfo=None,
            )
            return made._getvalue()

        return array(zero), codegen

    return make


@_intrinsic
def copysign(_, x, y):
    return x(x, x), lambda context, builder, signature, arguments: _call(
        builder, "llvm.copysign", arguments
    )


@_intrinsic
def polynomial(_, x, coefficients):
    """c_0 xⁿ + … + c_n, unrolled: Estrin's scheme down to 7 terms (in a longer chain the units
    wait), then Horner's.
    """

    def codegen(context, builder, signature, arguments):
        power, packed = arguments
        c = [builder.extract_value(packed, i) for i in range(len(signature.args[1]))]
        while len(c) > 7:
            lone, paired = c[: len(c) % 2], c[len(c) % 2 :]
            pairs = zip(paired[::2], paired[1::2], strict=True)
            c = lone + [_call(builder, "llvm.fma", (high, power, low)) for high, low in pairs]
            power = builder.fmul(power, power)
        value = c[0]
        for constant in c[1:]:
            value = _call(builder, "llvm.fma", (value, power, constant))
        return value

    return x(x, coefficients), codegen


def _on_bits(transform: Callable[..., Any]) -> Any:
    """The intrinsic x -> y of one dtype with bits(y) = transform(builder, bits(x), constant, width,
    mantissa).
    """

    @_intrinsic
    def apply(_, x):
        width, mantissa = {types.float32: (32, 23), types.float64: (64, 52)}[x]

        def codegen(context, builder, signature, arguments):
            bits = builder.bitcast(arguments[0], ir.IntType(width))
            bits = transform(
                builder, bits, lambda value: ir.Constant(ir.IntType(width), value), width, mantissa
            )
            return builder.bitcast(bits, arguments[0].type)

        return x(x), codegen

    return apply


def _bits_of_one(width: int, mantissa: int) -> int:
    return (2 ** (width - mantissa - 2) - 1) << mantissa


def _sign_from_bit(bit: int) -> Any:
    """t -> -1 or 1, as bit 0 or 1 of t's pattern is set or not."""

    def transform(b, bits, constant, width, mantissa):
        sign = b.and_(b.shl(bits, constant(width - 1 - bit)), constant(1 << (width - 1)))
        return b.or_(sign, constant(_bits_of_one(width, mantissa)))

    return _on_bits(transform)


def _exponent_bits(b, bits, constant, width, mantissa):
    one = _bits_of_one(width, mantissa)
    root_half = {32: 0x3F3504F3, 64: 0x3FE6A09E667F3BCD}[width]
    exponent = b.lshr(b.add(bits, constant(one - root_half)), constant(mantissa))
    # the pattern of 2^mantissa, whose last bit is worth 1
    return b.or_(exponent, constant(one + (mantissa << mantissa)))


# The last bits of t = integer + 1.5·2^mantissa are that integer, and adding this "magic" number
# rounds to the nearest.
# n + bias + magic -> 2ⁿ
two_to = _on_bits(lambda b, bits, constant, width, mantissa: b.shl(bits, constant(mantissa)))
odd_sign, half_turn_sign = _sign_from_bit(0), _sign_from_bit(1)  # n + magic -> (-1)ⁿ, (-1)^⌊n/2⌋
exponent = _on_bits(_exponent_bits)  # u >= 0 -> k + bias + 2^mantissa, with 2⁻ᵏ u in [√½, √2)


@_intrinsic
def widest_vectors(_):
    """Lets LLVM use 64-byte vectors in the function that calls this; by itself it stops at 32 on
    processors that have them.

    Measured on an Intel Xeon with two units for 64 bytes: the steps of tanh, erf and gelu take 0.8,
    0.65 and 0.63 of the time. Where a processor has no such vectors it changes nothing.
    """

    def codegen(context, builder, signature, arguments):
        # llvmlite knows no attributes with values
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.none(), codegen
