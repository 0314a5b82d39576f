"""exp, expm1, log1p, tanh, erf, sin, cos as scalar functions without branches or calls, so that LLVM vectorises the loop around them.

    elementary.get("tanh", "float32")  ->  a numba dispatcher, inlined into whatever kernel calls it

Largest errors against exact values (tests/test_elementary.py): 4 units in the last place in float32, 2 in
float64, over the whole line, results below the normal range included; NaN gives NaN, ±inf the limits.
sin and cos hold this for |x| <= 1e5 (float32) and |x| <= 1e9 (float64); beyond, accuracy is lost step by step,
and from about 1e7 (1e15) on the result is a number in [-1, 1] without meaning. The zeros of exp - 1 and log1p have no sign.

Each function is compiled here without fast-math. LLVM keeps those flags instruction by instruction, so a
kernel with reassoc, contract, nsz, arcp that inlines a function leaves the order of its operations alone.
fma is asked for by name: what is rounded once does not depend on the compiler's mood. (A machine without
a fused multiply-add gets the same bits, slowly.)
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.extending import intrinsic

_F, _D = np.float32, np.float64
_inline = njit(error_model="numpy", forceinline=True)
_WIDTH = {types.float32: (32, 23), types.float64: (64, 52)}  # bits, bits of the mantissa


def _call(builder: Any, name: str, arguments: Any) -> Any:
    kind = arguments[0].type
    function = builder.module.declare_intrinsic(name, [kind], ir.FunctionType(kind, [kind] * len(arguments)))
    return builder.call(function, arguments)


@intrinsic
def _fma(_, x, y, z):
    """x·y + z, rounded once."""
    return x(x, x, x), lambda context, builder, signature, arguments: _call(builder, "llvm.fma", arguments)


@intrinsic
def _copysign(_, x, y):
    return x(x, x), lambda context, builder, signature, arguments: _call(builder, "llvm.copysign", arguments)


@intrinsic
def _horner(_, x, coefficients):
    """c_0 x^n + … + c_n for a tuple (c_0, …, c_n): highest power first, unrolled."""

    def codegen(context, builder, signature, arguments):
        argument, c = arguments
        value = builder.extract_value(c, 0)
        for i in range(1, len(signature.args[1])):
            value = _call(builder, "llvm.fma", (value, argument, builder.extract_value(c, i)))
        return value

    return x(x, coefficients), codegen


def _on_bits(expression):
    """An intrinsic x -> x whose bit pattern i is replaced by expression(builder, i, constant, mantissa bits)."""

    @intrinsic
    def apply(_, x):
        width, mantissa = _WIDTH[x]
        integer = ir.IntType(width)

        def codegen(context, builder, signature, arguments):
            bits = builder.bitcast(arguments[0], integer)
            new = expression(builder, bits, lambda value: ir.Constant(integer, value), width, mantissa)
            return builder.bitcast(new, arguments[0].type)

        return x(x), codegen

    return apply


def _shift_into_exponent(b, i, constant, width, mantissa):
    return b.shl(i, constant(mantissa))


def _last_bit_into_sign(b, i, constant, width, mantissa):
    one = (2 ** (width - mantissa - 2) - 1) << mantissa
    return b.or_(b.shl(i, constant(width - 1)), constant(one))


def _nearest_exponent(b, i, constant, width, mantissa):
    one, root = {32: (0x3F800000, 0x3F3504F3), 64: (0x3FF0000000000000, 0x3FE6A09E667F3BCD)}[width]
    unit = (2 ** (width - mantissa - 2) - 1 + mantissa) << mantissa  # 2^mantissa, whose last bit is worth 1
    return b.or_(b.lshr(b.add(i, constant(one - root)), constant(mantissa)), constant(unit))


# With t = n + 1.5·2^mantissa the last bits of t are the integer n: t - 1.5·2^mantissa rounds to the nearest integer.
_two_to = _on_bits(_shift_into_exponent)  # n + bias + 1.5·2^mantissa -> 2^n
_alternating = _on_bits(_last_bit_into_sign)  # n + 1.5·2^mantissa -> (-1)^n
_exponent = _on_bits(_nearest_exponent)  # u > 0 -> k + bias + 2^mantissa where 2^-k u lies in [√½, √2)

_ROUND_D, _ROUND_F = _D(1.5 * 2.0**52), _F(1.5 * 2.0**23)
_ONE_D, _HALF_D, _QUARTER_D, _TWO_D = _D(1), _D(0.5), _D(0.25), _D(2)
_ONE_F, _HALF_F, _QUARTER_F, _TWO_F = _F(1), _F(0.5), _F(0.25), _F(2)
_INF_D, _NAN_D, _INF_F, _NAN_F = _D(np.inf), _D(np.nan), _F(np.inf), _F(np.nan)

# Constants cut in parts that sum to 3 × 53 (or 24) bits: n·(first part) is subtracted without error by an fma.
_LOG2E_D, _LN2_D = _D(1.4426950408889634), (_D(0.6931471805599453), _D(2.3190468138462996e-17))
_LOG2E_F, _LN2_F = _F(1.442695), (_F(0.6931472), _F(-1.9046543e-09))
