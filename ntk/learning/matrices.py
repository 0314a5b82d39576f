"""Kernel matrices as they come in: checked, with outputs unfolded, and in their eigenbasis. What
cannot be a kernel raises.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.linalg

from meanfield.checks import is_number
from meanfield.functionals.risk import REDUCTIONS
from meanfield.tangent import as_matrix


def checked(K: Any, name: str = "K") -> np.ndarray:
    """A symmetric kernel as a float64 array (n, n), or (n, n, C, C) for C outputs with K_ijce =
    K_jiec.

    Raises ValueError for another shape, NaN, an asymmetry beyond √ε max|K| (ε that of K's dtype:
    what rounding does to a kernel computed in two orders lies far below), TypeError for other than
    real numbers.
    """
    K = np.asarray(one_kernel(K, name))
    square = (
        K.ndim in (2, 4) and K.shape[0] == K.shape[1] and K.shape[-1] == K.shape[-2] and K.size > 0
    )
    if not square:
        raise ValueError(
            f"{name} must be a square kernel (n, n), or (n, n, C, C) for C outputs, n >= "
            f"1; got {K.shape}."
        )
    if K.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be real numbers; got dtype {K.dtype}.")
    epsilon = precision(K)
    K = K.astype(np.float64, copy=False)
    bad = np.argwhere(~np.isfinite(K))
    if len(bad):
        raise ValueError(
            f"{name} has {len(bad)} NaN or infinite entries, first at {tuple(bad[0].tolist())}."
        )
    gap = np.abs(K - (K.T if K.ndim == 2 else K.transpose(1, 0, 3, 2)))
    if gap.max() > math.sqrt(epsilon) * np.abs(K).max():
        where = tuple(int(i) for i in np.unravel_index(gap.argmax(), K.shape))
        raise ValueError(
            f"{name} must be symmetric to rounding; the entry at {where} and its mirror "
            f"image differ by {gap.max():.3g}. "
            f"A kernel between two sets of inputs goes into K_test; an average is ({name} "
            f"+ {name}.T)/2."
        )
    return K


def one_kernel(K: Any, name: str = "K") -> Any:
    """K itself; TypeError with the one to take for the pair that ntk.deep returns and for
    parts=True.
    """
    if isinstance(K, dict):
        raise TypeError(
            f"{name} must be one kernel; got a dict of {', '.join(map(str, K))}. Parts "
            f"sum to it: sum({name}.values())."
        )
    if not isinstance(K, (tuple, list)) or not any(np.ndim(part) in (2, 4) for part in K):
        return K
    found = " and ".join(f"an array {np.shape(part)}" for part in K)
    raise TypeError(
        f"{name} must be one kernel; got a {type(K).__name__} of {found}. ntk.deep "
        "returns (nngp, ntk): write "
        "nngp, H = ntk.deep(…), and pass H, or nngp where the readout alone is trained."
    )


def precision(K: Any) -> float:
    """ε of the dtype that K was handed over in."""
    dtype = np.asarray(one_kernel(K)).dtype
    return float(np.finfo(dtype if dtype.kind == "f" else np.float64).eps)


def columns(values: Any, K: np.ndarray, name: str) -> np.ndarray:
    """y, f or a residual beside the kernel K: (n,) or (n, C) as the matrix (rows of as_matrix(K),
    columns).
    """
    values = np.asarray(values)
    n = len(K)
    if K.ndim == 4:
        wanted, fits = f"({n}, {K.shape[2]})", values.shape == (n, K.shape[2])
    else:
        wanted, fits = f"({n},) or ({n}, C)", values.ndim in (1, 2) and len(values) == n
    if not fits:
        raise ValueError(
            f"{name} must be {wanted} to match a kernel {K.shape}; got {values.shape}."
        )
    if values.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be real numbers; got dtype {values.dtype}.")
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError(
            f"{name} has NaN or infinite values, first in row "
            f"{np.argwhere(~np.isfinite(values))[0][0]}."
        )
    return values.reshape(-1, 1) if K.ndim == 4 or values.ndim == 1 else values


def factor(reduction: str, n: int) -> float:
    """1/n for "mean", 1 for "sum": what the flow of n samples multiplies K by."""
    if reduction not in REDUCTIONS:
        raise ValueError(f'reduction must be "mean" or "sum"; got {reduction!r}.')
    return 1.0 / n if reduction == "mean" else 1.0


class Modes:
    """K = V diag(λ) Vᵀ of a positive semi-definite kernel: values (N,) ascending, vectors (N, N),
    tolerance, null (N,) bool.

    Eigenvalues up to the tolerance N ε λ_max are null: their values are exactly 0, as are those
    that rounding made negative. Raises ValueError, with λ_min, below -√ε λ_max: K is then no
    kernel.
    """

    def __init__(self, K: Any, name: str = "K", tolerance: float | None = None) -> None:
        epsilon = precision(K)
        self.kernel = checked(K, name)
        matrix = as_matrix(self.kernel)
        values, self.vectors = scipy.linalg.eigh(0.5 * (matrix + matrix.T))
        self.tolerance = null_tolerance(values, epsilon, tolerance)
        largest = np.abs(values).max()
        if values[0] < -max(self.tolerance, math.sqrt(epsilon) * largest):
            raise ValueError(
                f"{name} is not positive semi-definite: lambda_min = {values[0]:.6g} "
                f"beside lambda_max = {values[-1]:.6g}, "
                "more than rounding explains. A tangent kernel cannot be indefinite; see "
                "ntk.certificate(K)."
            )
        self.null = values <= self.tolerance
        self.values = np.where(self.null, 0.0, values)


def null_tolerance(values: np.ndarray, epsilon: float, given: float | None) -> float:
    """What counts as zero among eigenvalues: n ε max|λ|, or a number >= 0 that was given."""
    if given is None:
        return float(len(values) * epsilon * np.abs(values).max())
    if not is_number(given) or not 0 <= given < math.inf:
        raise ValueError(
            f"tolerance must be a finite number >= 0, or None for n·eps·lambda_max; got {given!r}."
        )
    return float(given)
