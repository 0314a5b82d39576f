"""What a compiler says of a user's formula, in one line: which formula, why, and what it may be
made of.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numba.core.errors import NumbaError

from . import compiler

ALLOWED = (
    "plain Python on numbers: + - * / **, comparisons, `a if c else b`, abs, min, max, "
    "loops over range, exp, log, sqrt, tanh, "
    "erf, sin, … of `math`, and constants and functions of that kind from around it"
)


@contextmanager
def explained(
    who: str, used: dict[str, Callable | None], sample: tuple, dtype: Any, coupled: bool = False
) -> Iterator[None]:
    """Say in one line of formulas that do not compile which it is, why, and what may be used.
    sample: arguments of one call.
    """
    try:
        yield
    except NumbaError as error:
        name, why = "", reason(error)
        for part, f in used.items():
            if f is None:
                continue
            try:
                out = (np.zeros_like(sample[0]),) if coupled and part == "ℓ'" else ()
                compiler.bind(f, str(dtype))(*sample, *out)
            except NumbaError as found:
                name, why = f"{part} ({f.__name__})", reason(found)
                break
        raise TypeError(
            f"{who}: {name or 'a formula'} does not compile for {dtype}: {why}. It must "
            f"be {ALLOWED}."
        ) from error


@contextmanager
def of_feature(feature: Any, dtype: Any) -> Iterator[None]:
    """Say of φ and ∇φ of an mf.Feature that do not compile what they must be."""
    try:
        yield
    except NumbaError as error:
        raise TypeError(
            f"{feature.phi.__name__} or {feature.grad_phi.__name__} does not compile for {dtype}: they must "
            f"be {ALLOWED}, on theta[0], theta[1], … and x[0], …. Compiler: {reason(error)}."
        ) from error


def reason(error: Exception) -> str:
    """The compiler's own reason, in a few words."""
    text = str(error)
    if found := re.search(
        r"No implementation of function Function\(<(?:function|ufunc|built-in function) "
        r"'?([\w.]+)'?",
        text,
    ):
        return f"{found[1]} is not known for numbers there"
    if found := re.search(r"Unknown attribute '(\w+)' of type Module\(<module '([\w.]+)'", text):
        return f"{found[2]}.{found[1]} is not known there"
    if found := re.search(
        r"(Untyped global name '[^']*'|NameError: [^\n]*|Use of unsupported "
        r"[^\n]*|Unsupported [^\n]*)",
        text,
    ):
        return found[1].strip(" .:")
    lines = [
        line.strip()
        for line in text.splitlines()
        if line.strip() and not line.startswith("Failed in ")
    ]
    return (lines[0] if lines else type(error).__name__)[:160].strip(" .:")
