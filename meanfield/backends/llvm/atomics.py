"""Numbers that several threads share: int64 entries of an array, read and written whole, in one
order for all threads.

Python's threads meet at locks, and numba's at barriers; a thread that another process keeps off its
core lets all others wait there. With `swap` a thread takes a piece of work, or gives its result,
without waiting for anybody (cpu/kernels/team.py).
"""

from __future__ import annotations

import platform
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.extending import intrinsic

# numba's annotation counts the typing context among the arguments; a caller never passes it
_intrinsic: Any = intrinsic
ORDER = "seq_cst"
# LLVM's word for the instruction that tells a processor that this loop waits, and its arguments
X86: tuple[str, list[Any]] = ("llvm.x86.sse2.pause", [])
ARM: tuple[str, list[Any]] = ("llvm.aarch64.hint", [ir.Constant(ir.IntType(32), 1)])
PAUSE = {"x86_64": X86, "AMD64": X86, "aarch64": ARM, "arm64": ARM}


def _place(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    kind = signature.args[0]
    array = context.make_array(kind)(context, builder, values[0])
    return cgutils.get_item_pointer(context, builder, kind, array, [values[1]], wraparound=False)


@_intrinsic
def load(_, array, i):
    """array[i] as it is now."""

    def codegen(context, builder, signature, values):
        return builder.load_atomic(_place(context, builder, signature, values), ORDER, align=8)

    return types.int64(array, types.intp), codegen


@_intrinsic
def store(_, array, i, value):
    """array[i] = value, after all that was written before."""

    def codegen(context, builder, signature, values):
        place = _place(context, builder, signature, values)
        builder.store_atomic(values[2], place, ORDER, align=8)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.int64), codegen


@_intrinsic
def swap(_, array, i, expected, value):
    """array[i] = value if it is `expected`; whether it was."""

    def codegen(context, builder, signature, values):
        place = _place(context, builder, signature, values)
        found = builder.cmpxchg(place, values[2], values[3], ORDER, ORDER)
        return builder.extract_value(found, 1)

    return types.boolean(array, types.intp, types.int64, types.int64), codegen


@_intrinsic
def reads_end(_):
    """What was read before is read ahead of what is loaded after."""

    def codegen(context, builder, signature, values):
        builder.fence("acquire")
        return context.get_dummy_value()

    return types.void(), codegen


@_intrinsic
def pause(_):
    """A moment's rest in a loop that waits."""

    def codegen(context, builder, signature, values):
        if word := PAUSE.get(platform.machine()):
            name, given = word
            kind = ir.FunctionType(ir.VoidType(), [each.type for each in given])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, name), given)
        return context.get_dummy_value()

    return types.void(), codegen
