"""What users pass, checked at every door: numbers, flags, masses, and the nearest known name.

A number is Python's own, a NumPy scalar of any width or an array of no dimension; True and False
are none. The predicates are for conditions with a message of their own; they promise that
int(value) or float(value) is the value.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

import numpy as np


def is_integer(value: Any) -> bool:
    """A whole number by its type: int, np.int64, np.array(3); not 3.0, True or "3"."""
    if isinstance(value, np.ndarray):
        return value.ndim == 0 and value.dtype.kind in "iu"
    return isinstance(value, (Integral, np.integer)) and not isinstance(value, (bool, np.bool_))


def is_number(value: Any) -> bool:
    """A real number by its type, NaN and ∞ among them: float, np.float32, np.array(0.5), and every
    integer.
    """
    if isinstance(value, np.ndarray):
        return value.ndim == 0 and value.dtype.kind in "iuf"
    return isinstance(value, (Real, np.integer, np.floating)) and not isinstance(
        value, (bool, np.bool_)
    )


def integer(name: str, value: Any, minimum: int = 1) -> int:
    """value as an int >= minimum, or ValueError."""
    if not is_integer(value) or value < minimum:
        raise ValueError(f"{name} must be an integer >= {minimum}; got {value!r}.")
    return int(value)


def number(name: str, value: Any, minimum: float = 0.0) -> float:
    """value as a finite float >= minimum, or ValueError."""
    if not is_number(value) or not (math.isfinite(value) and value >= minimum):
        raise ValueError(f"{name} must be a finite number >= {minimum:g}; got {value!r}.")
    return float(value)


def real(name: str, value: Any) -> float:
    """value as a finite float of any sign, or ValueError."""
    if not is_number(value) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number; got {value!r}.")
    return float(value)


def scalar(who: str, value: Any) -> float:
    """The one real number that a user's function has given; of a complex one no part is chosen."""
    found = np.asarray(value)
    if found.size != 1:
        raise ValueError(f"{who} must return a scalar; got shape {found.shape}.")
    one = found.reshape(()).item()
    if not hasattr(one, "__float__"):
        advice = " Return its .real, .imag or abs()." * isinstance(one, complex)
        raise TypeError(f"{who} must return a real number; got {one!r:.60}.{advice}")
    return float(one)


def executor(value: Any) -> Any:
    """value as a concurrent.futures.Executor, or TypeError."""
    from concurrent.futures import Executor

    if not isinstance(value, Executor):
        wanted = (
            "executor must be a concurrent.futures.Executor, such as client.get_executor() of dask"
        )
        raise TypeError(f"{wanted}; got {type(value).__name__}.")
    return value


def flag(name: str, value: Any) -> bool:
    """value as a bool, or TypeError: no number or text stands for one."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False; got {value!r}.")
    return bool(value)


def masses(name: str, value: Any, m: int) -> np.ndarray:
    """Masses (m,) >= 0 that sum to 1, in float64.

    Those of float32, or of float64 that float32 holds as they are, may miss 1 by m rounding errors
    of float32 and are divided by their sum; others by 1e-9, and stay as they are.
    """
    given = as_array(name, value)
    if given.dtype.kind not in "fiu":
        raise TypeError(
            f"{name} must be real numbers; got dtype {given.dtype}.{conversion(given.dtype)}"
        )
    mass = np.array(given, dtype=np.float64)
    if mass.shape != (m,):
        raise ValueError(f"{name} must be ({m},), one for each particle; got {mass.shape}.")
    if not np.all(np.isfinite(mass)) or mass.min() < 0:
        raise ValueError("masses must be finite and non-negative.")
    total = float(mass.sum())
    if abs(total - 1.0) <= 1e-9:
        return mass
    narrow = (
        given.dtype
        if given.dtype.kind == "f" and given.dtype.itemsize < 8
        else np.dtype(np.float32)
    )
    if np.array_equal(mass, mass.astype(narrow)) and abs(total - 1.0) <= m * float(
        np.finfo(narrow).eps
    ):
        return np.asarray(mass / total)
    raise ValueError(f"masses must sum to 1; got {total:.12g}. Divide by mass.sum().")


def as_array(name: str, value: Any) -> np.ndarray:
    """value as NumPy sees it: lists, pandas frames and series, torch tensors with a gradient or on
    a GPU too.

    Nothing is imported for them: a tensor says detach() and cpu() itself.
    """
    if callable(getattr(value, "detach", None)) and callable(getattr(value, "cpu", None)):
        value = value.detach().cpu()
    if np.ma.is_masked(value):
        raise ValueError(
            f"{name} is a masked array with {np.ma.count_masked(value)} masked values: they would be "
            "taken as they lie under the mask. Leave their rows out, or fill them."
        )
    try:
        return np.asarray(value)
    except ValueError:
        if not isinstance(value, (list, tuple)):
            raise
        raise ValueError(
            f"{name} has rows of different lengths; all need the same columns."
        ) from None
    except (TypeError, RuntimeError) as error:
        kind = f"{type(value).__module__}.{type(value).__name__}"
        raise TypeError(
            f"{name} must be an array of real numbers; a {kind} with dtype "
            f"{getattr(value, 'dtype', 'unknown')} does not become "
            f"one ({error}). Convert it first, a torch tensor by .to(torch.float64).numpy()."
        ) from None


def conversion(dtype: np.dtype) -> str:
    """What to do about an array that holds no real numbers; "" where nothing is known."""
    if dtype.kind == "O":
        return (
            " Text, None, mixed columns or nullable integers? Convert to numbers: a "
            "pandas frame by "
            "frame.to_numpy(dtype=float) of its numeric columns."
        )
    return ""


def hint(name: str, known: Iterable[str]) -> str:
    """ " Did you mean 'relu'?", or nothing where no known name is near: for errors about names."""
    import difflib  # only an error needs it

    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
