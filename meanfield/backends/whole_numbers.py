"""Whole numbers in a formula: what Python counts without end, and divides by 10**-3, a compiler
counts in 64 bits.

Compiled, 10**k with a k = -3 from around the formula is 0, and 21! wraps around. Where the compiled
formula is found to differ from the Python function, its whole numbers are taken as floats, in all
places where it then still compiles: not where they index a row or count a loop. The places are
remembered (formulas.REAL), are part of the formula's fingerprint, and hold for every device.
Formulas that agree stay as they are, to the bit: z**2 is one product, z**2.0 a call.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numba.core.errors import NumbaError

from . import compiler

Place = tuple[Callable, tuple]


def mend(
    function: Callable,
    calls: Sequence[tuple],
    agrees: Callable[[list], bool],
    dtype: str,
    gradient: bool = False,
) -> bool:
    """Take whole numbers of `function`, and of what it calls, as floats, if `agrees` then says yes
    to the results of `calls`.

    calls: arguments of the kernel's types, for a gradient without `out`; agrees sees a number or a
    filled `out` for each.
    """
    found = places(function)
    if not found:
        return False

    def results(chosen: Sequence[Place]) -> list | None:
        for owner in {owner for owner, _ in found}:
            compiler.REAL[owner] = before.get(owner, frozenset()) | {
                place for who, place in chosen if who is owner
            }
        try:
            compiled = compiler.bind(function, dtype)
            return [_result(compiled, call, gradient) for call in calls]
        except (NumbaError, TypeError):
            return None

    before = {owner: compiler.REAL.get(owner, frozenset()) for owner, _ in found}
    chosen, made = found, results(found)
    if made is None:
        chosen = []
        for place in found:
            if results([*chosen, place]) is not None:
                chosen.append(place)
        made = results(chosen)
    if chosen and made is not None and agrees(made):
        return True
    for owner, known in before.items():
        compiler.REAL[owner] = known
    return False


def places(function: Callable) -> list[Place]:
    """(function, place) of all whole numbers of a formula and of the Python functions it calls."""
    found: list[Place] = []
    seen: set[Callable] = set()

    def look(f: types.FunctionType) -> None:
        if f in seen:
            return
        seen.add(f)
        names = compiler.names_in(f.__code__)
        held: list[tuple[tuple, Any]] = [
            (("constant", k), value) for k, value in enumerate(f.__code__.co_consts)
        ]
        held += [
            (("global", name), value) for name, value in f.__globals__.items() if name in names
        ]
        closed = zip(f.__code__.co_freevars, f.__closure__ or (), strict=True)
        held += [(("closure", name), cell.cell_contents) for name, cell in closed]
        held += [(("default", k), value) for k, value in enumerate(f.__defaults__ or ())]
        for place, value in held:
            if isinstance(value, types.FunctionType):
                look(value)
            elif compiler.holds_whole(value, names):
                found.append((f, place))

    if isinstance(function, types.FunctionType):
        look(function)
    return found


def _result(compiled: Any, call: tuple, gradient: bool) -> Any:
    if not gradient:
        return compiled(*call)
    out = np.zeros_like(call[0])
    compiled(*call, out)
    return out
