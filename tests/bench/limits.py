"""What this machine's processor can do on all threads, with operands in the first cache: fused
multiply-adds and σ a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from meanfield.backends import compiler
from meanfield.backends.llvm import products
from meanfield.formulas import activations

LENGTH, COLUMNS, ROUNDS = 64, 64, 2000  # of one product: its operands are 17 KB in float32
INPUTS = 1024  # of one pass of an activation: at most 8 KB
THREADS = 4  # chunks of work a thread, so that a slow start is evened out


def fastest(work: Callable[[], Any], seconds: float) -> float:
    """Seconds of the best of several runs, after one that is not counted."""
    work()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - begin)
    return best


def gigaflops(dtype: str, seconds: float = 0.3) -> float:
    """2 operations a multiply-add."""
    multiply = products.multiplier(dtype)

    @numba.njit(parallel=True, error_model="numpy")
    def work(rows, packed, out):
        for chunk in numba.prange(out.shape[0]):
            for _ in range(ROUNDS):
                multiply(rows, packed, out[chunk])

    rows = np.ones((products.ROWS, LENGTH), dtype)
    packed = products.pack(np.ones((LENGTH, COLUMNS), dtype))
    out = np.empty((THREADS * numba.get_num_threads(), products.ROWS, COLUMNS), dtype)
    return (
        2e-9
        * len(out)
        * ROUNDS
        * rows.size
        * COLUMNS
        / fastest(lambda: work(rows, packed, out), seconds)
    )


def _sums(name: str, formula: str, results: str) -> str:
    """Source text of Σ over rounds and i of each of the formula's results at b_l + x_i: out[chunk,
    result, l].
    """
    names = results.split(", ")
    starts, ends = ("; ".join(text.format(j=j, name=name) for j, name in enumerate(names)) for text in (
        "s_{name}[l] = T(0)", "out[{j}, l] = s_{name}[l]",
    ))  # fmt: skip
    return f"""
@shard_kernel
def {name}_chunk(b, x, rounds, out):
    widest_vectors()
    z = stack(T(0))
    {"; ".join(f"s_{name} = stack(T(0))" for name in names)}
    for l in range(COUNT):
        z[l] = b[l]; {starts}
    for _ in range(rounds):
        for i in range(x.shape[0]):
            x_i = x[i]
            for l in range(COUNT):
                {results} = {formula}(z[l] + x_i)
                {"; ".join(f"s_{name}[l] += T({name})" for name in names)}
    for l in range(COUNT):
        {ends}


@kernel
def {name}(b, x, rounds, out):
    for chunk in prange(out.shape[0]):
        {name}_chunk(b, x, rounds, out[chunk])

"""


# As in the fused pull-back: a vector holds particles, its sums stay in registers.
_SUMS = f'''"""Written by tests/bench/limits.py; bound here: T, FASTMATH, value, value_and_slope."""
from numba import njit, prange

from meanfield.backends.llvm.intrinsics import stack_array, widest_vectors

shard_kernel = njit(error_model="numpy", fastmath=FASTMATH, nogil=True)
kernel = njit(error_model="numpy", parallel=True, cache=True)
COUNT = VECTORS * 64 // T().itemsize
stack = stack_array(COUNT)

{_sums("values", "value", "v")}{_sums("both", "value_and_slope", "v, d")}'''


def sums(activation: str, dtype: str, vectors: int) -> Any:
    """Kernels values and both (b (COUNT,), x (n,), rounds, out (chunks, 1 or 2, COUNT)), COUNT
    numbers in `vectors` registers: out = rounds · Σ_i σ(b_l + x_i), and beside it that of σ'.
    """
    bound = compiler.of_activation(activations.get(activation))
    return compiler.load("ceiling", _SUMS.replace("VECTORS", str(vectors)), dtype, bound)


def evaluations(activation: str, dtype: str, seconds: float = 0.3) -> dict[str, float]:
    """10⁹ a second of σ ("value") and of σ with σ' ("value_and_slope"), as the engine compiles
    them; their sums are counted in.

    The better of 2 and 4 vectors side by side: for each there are formulas that LLVM does not
    widen, or that lack registers.
    """
    best = {"value": 0.0, "value_and_slope": 0.0}
    x = np.linspace(-3, 3, INPUTS, dtype=dtype)
    for vectors in (2, 4):
        module = sums(activation, dtype, vectors)
        b, rounds = np.linspace(-1, 1, module.COUNT, dtype=dtype), 256 // module.COUNT * 8
        for name, kernel, results in (
            ("value", module.values, 1),
            ("value_and_slope", module.both, 2),
        ):
            out = np.empty((THREADS * numba.get_num_threads(), results, module.COUNT), dtype)
            taken = fastest(
                lambda kernel=kernel, b=b, rounds=rounds, out=out: kernel(b, x, rounds, out),
                seconds,
            )
            best[name] = max(best[name], 1e-9 * len(out) * rounds * INPUTS * module.COUNT / taken)
    return best
