"""Compiled kernels by their addresses: code that calls one this way is compiled once, for all
kernels of the same arguments.

A kernel that is called by its name becomes a part of its caller, which would be compiled again for
each σ and d, and in the cache on disk would go on with an old version of it. Bits are those of the
kernel as it is called from Python: it is the same code.
"""

from __future__ import annotations

from typing import Any

from numba import typeof, types
from numba.core import cgutils
from numba.core.extending import intrinsic

# numba's annotation counts the typing context among the arguments; a caller never passes it
_intrinsic: Any = intrinsic


def address(kernel: Any, *arguments: Any) -> int:
    """Of a kernel's code for arguments of these types; compiled, or taken from the cache, where it
    is not there yet.
    """
    return address_for(kernel, tuple(map(typeof, arguments)))


def address_for(kernel: Any, kinds: tuple[Any, ...]) -> int:
    """The same, of these types of numba's."""
    kernel.compile(kinds)
    found = kernel.overloads[kinds]
    return int(found.library.get_pointer_to_function(found.fndesc.llvm_func_name))


def _caller(result: Any) -> Any:
    @_intrinsic
    def call(_, address, arguments):
        def codegen(context, builder, signature, values):
            where, packed = values
            kinds = list(signature.args[1])
            convention = context.call_conv
            pointer = convention.get_function_type(result, kinds).as_pointer()
            function = builder.inttoptr(where, pointer)
            unpacked = cgutils.unpack_tuple(builder, packed)
            status, value = convention.call_function(builder, function, result, kinds, unpacked)

            with cgutils.if_unlikely(builder, status.is_error):
                convention.return_status_propagate(builder, status)
            return value if result is types.float64 else context.get_dummy_value()

        return result(address, arguments), codegen

    return call


@_intrinsic
def pointer(_, address):
    """An address as a pointer, for numba.carray."""

    def codegen(context, builder, signature, values):
        return builder.inttoptr(values[0], cgutils.voidptr_t)

    return types.voidptr(address), codegen


# call(address, (argument, …)), of a kernel that returns nothing; number: of one that returns a
# float64.
call, number = _caller(types.none), _caller(types.float64)
