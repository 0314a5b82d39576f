"""A loop that threads share, around a kernel that is called by its address: compiled once for all
kernels of the same arguments.

numba's own loop (parallel=True and prange) is compiled with each kernel, and takes longer than the
kernel itself, which it works through again. The threads are numba's here, too.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.callconv import RETCODE_USEREXC, Status, excinfo_ptr_t
from numba.core.extending import intrinsic

# numba's annotation counts the typing context among the arguments; a caller never passes it
_intrinsic: Any = intrinsic
# of `loop`. Without Python's lock: where tracemalloc is on, a kernel that allocates asks for it.
OPTIONS: Any = {
    "error_model": "numpy",
    "nogil": True,
    "cache": True,
    "no_cfunc_wrapper": True,
    "_nrt": False,
    "no_rewrites": True,
}
WORD = ir.IntType(64)
BYTES = ir.IntType(8).as_pointer()
# (arguments, counts, steps, data): what numba's threads call, with whole chunks of the loop
CHUNK = ir.FunctionType(
    ir.VoidType(), [BYTES.as_pointer(), WORD.as_pointer(), WORD.as_pointer(), BYTES]
)
# (CHUNK, arguments, counts, steps, data, inner dimensions, number of arguments, threads)
SHARE_OUT = ir.FunctionType(ir.VoidType(), [BYTES, *CHUNK.args, WORD, WORD, ir.IntType(32)])


def loop(share_out, threads, count, address, *given):
    """kernel(k, count, *given) for k = 0 … count - 1, by so many threads.

    address: of the kernel; share_out: of numba_parallel_for, which one thread has no need of. What a
    kernel raises is raised once all shards are over; of several, any one.
    """
    _for_each(share_out, threads, count, address, given)


@_intrinsic
def _for_each(_, share_out, threads, count, address, given):
    kinds = [types.intp, types.intp, *given]

    def codegen(context, builder, signature, values):
        share_out, threads, count, address, packed = values
        convention = context.call_conv
        raised = cgutils.alloca_once_value(builder, ir.Constant(excinfo_ptr_t, None))
        data = cgutils.alloca_once_value(
            builder, cgutils.pack_struct(builder, [count, address, raised, packed])
        )
        chunk = _chunk(context, builder.module, data.type, kinds)
        index = cgutils.alloca_once_value(builder, ir.Constant(BYTES, None))
        counts = cgutils.alloca_once_value(builder, count)
        steps = cgutils.alloca_once_value(builder, ir.Constant(WORD, 1))
        own = [index, counts, steps, builder.bitcast(data, BYTES)]

        with builder.if_else(builder.icmp_signed(">", threads, ir.Constant(WORD, 1))) as (
            many,
            one,
        ):
            with many:
                function = builder.inttoptr(share_out, SHARE_OUT.as_pointer())
                sizes = [ir.Constant(WORD, 0), ir.Constant(WORD, 1)]
                number = builder.trunc(threads, ir.IntType(32))
                builder.call(function, [builder.bitcast(chunk, BYTES), *own, *sizes, number])
            with one:
                builder.call(chunk, own)

        error = builder.load(raised)
        with cgutils.if_unlikely(builder, cgutils.is_not_null(builder, error)):
            told: Any = {"code": RETCODE_USEREXC, "excinfoptr": error}
            unsaid = dict.fromkeys(Status._fields)
            convention.return_status_propagate(builder, Status(**{**unsaid, **told}))
        return context.get_dummy_value()

    return types.none(types.uintp, types.intp, types.intp, types.uintp, given), codegen


def _chunk(context: Any, module: Any, data: Any, kinds: list[Any]) -> Any:
    """The function for a chunk of the loop: a number is the address of its place in an array of
    bytes at 0.
    """
    function = ir.Function(module, CHUNK, module.get_unique_name("chunk"))
    function.linkage = "internal"
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    places, counts, steps, packed = function.args
    count, address, raised, given = cgutils.unpack_tuple(
        builder, builder.load(builder.bitcast(packed, data)), 4
    )
    convention = context.call_conv
    pointer = convention.get_function_type(types.none, kinds).as_pointer()
    kernel = builder.inttoptr(address, pointer)
    first, step = builder.ptrtoint(builder.load(places), WORD), builder.load(steps)
    with cgutils.for_range(builder, builder.load(counts)) as loop:
        k = builder.add(first, builder.mul(loop.index, step))
        arguments = [k, count, *cgutils.unpack_tuple(builder, given)]
        status, _ = convention.call_function(builder, kernel, types.none, kinds, arguments)
        with cgutils.if_unlikely(builder, status.is_error):
            builder.store(status.excinfoptr, raised)
    builder.ret_void()
    return function
