"""σ and σ' on a whole array: for diagnostics that need them apart, such as the tangent kernel in
closed form.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from ...formulas.activations import Activation
from .. import compiler
from . import sharing

ALL = 40  # operations of σ and σ' of a number


def _kernels(sigma: Activation, dtype: str) -> Any:
    used = {"value": sigma.value, "slope": sigma.slope}
    return compiler.kernels(f"{__package__}.kernels.elementwise", dtype, used)


def threads() -> int:
    """How many threads kernels may use now."""
    return int(numba.get_num_threads())


def values_and_slopes(sigma: Activation, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(σ(z), σ'(z)) of an array z (m, n), both (m, n) float64, by the formulas that the engine
    steps with.
    """
    z = np.ascontiguousarray(z, dtype=np.float64)
    values, slopes = np.empty_like(z), np.empty_like(z)
    kernel = _kernels(sigma, "float64").evaluate
    sharing.run(kernel, min(64, len(z)), ALL * z.size, z, values, slopes)
    return values, slopes


def features(sigma: Activation, dtype: str) -> Any:
    """The kernel (z, b, root, rates, values, slopes): values (m, n) = root_k σ(z + b_k), slopes (K,
    m, n) = rates_kc σ'(z + b_k), either of size 0 where not wanted.

    z (m, n) is overwritten; b, root (m,), rates (m, K); all of that dtype. On the thread that calls
    it.
    """
    return _kernels(sigma, dtype).features
