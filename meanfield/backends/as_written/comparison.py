"""When what is compiled differs from what was written: rounding is some units of the dtype, and what
the formula itself makes of neighbouring numbers of the dtype.
"""

from __future__ import annotations

import numpy as np

# (what, device, dtype, …, fingerprints) already compared in this process
PROVED: set[tuple] = set()
RELATIVE = {"float64": 1e-11, "float32": 1e-5}
# of the typical value: what cancels near 1 leaves that much of a tail
OF_ALL = {"float64": 1e-13, "float32": 1e-6}
SUMS = 10  # how much more sums, and formulas of several numbers, may be off than one formula
NEIGHBOURS = 64  # times what neighbouring numbers change
ADVICE = (
    "Write its constants as floats, 10.0**k and not 10**k, and numbers beyond 9.2e18 as floats too."
)


def differing(expected: tuple[np.ndarray, np.ndarray], found: np.ndarray) -> np.ndarray:
    """Where Python has a number and the kernel another one, or none; expected: (values, allowed)."""
    values, allowed = expected
    known = np.isfinite(values) & np.isfinite(allowed)
    return np.flatnonzero(
        known & ~(np.abs(found - np.where(known, values, 0.0)) <= np.where(known, allowed, 0.0))
    )


def allowed_by_rounding(values: np.ndarray, noise: np.ndarray, dtype: str) -> np.ndarray:
    finite = np.abs(values[np.isfinite(values)])
    typical = float(np.median(finite)) if finite.size else 0.0
    return RELATIVE[dtype] * np.abs(values) + OF_ALL[dtype] * typical + NEIGHBOURS * noise
