"""The largest eigenvalue of a symmetric positive semi-definite operator that is known by its products alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def largest_eigenvalue(
    apply: Callable[[np.ndarray], np.ndarray], size: int, rtol: float = 1e-3, steps: int = 200
) -> float:
    """λ_max(H), H v = apply(v), by Lanczos iteration from a fixed start, every vector kept orthogonal to all before; a lower
    estimate.

    T = QᵀHQ is tridiagonal; its largest eigenvalue τ with eigenvector s has the residual β|s_last| in H, so an eigenvalue
    lies within that of τ: it stops at rtol·τ, or when the Krylov space is exhausted. Parlett (1998), sections 13.2 and 13.8.
    Powers of H would rest on a plateau where two eigenvalues are close. 0 for an operator that vanishes, NaN for one that is not
    finite.
    """
    # Half constant, as leading eigenvectors of kernels tend to be, half without any symmetry; the same on every machine.
    v = 1.0 + np.sqrt(2.0) * np.cos(np.arange(1, size + 1, dtype=float) ** 2)
    basis: list[np.ndarray] = [v / np.linalg.norm(v)]
    diagonal: list[float] = []
    beside: list[float] = []
    while True:
        Hv = apply(basis[-1])
        if not np.isfinite(Hv).all():
            return float("nan")
        diagonal.append(float(basis[-1] @ Hv))
        for _ in range(2):  # once is not enough: rounding grows along converged eigenvectors
            for q in basis:
                Hv -= (q @ Hv) * q
        values, vectors = np.linalg.eigh(
            np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
        )
        beta, largest = float(np.linalg.norm(Hv)), max(0.0, float(values[-1]))
        converged = len(basis) > 2 and beta * abs(vectors[-1, -1]) <= rtol * largest
        if converged or len(basis) == min(steps, size) or beta <= 1e-14 * largest:
            return largest
        basis.append(Hv / beta)
        beside.append(beta)
