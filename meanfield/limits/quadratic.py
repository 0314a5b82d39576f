"""Quadratic: σ(z) = z² with fixed output weights, of which f knows the second moments alone; they
follow a matrix Riccati equation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checks import as_array
from .order_parameters import check_times, solved

ROUNDING = 1e-12  # of the largest eigenvalue: a negative one below it is none
LONGEST = 400.0  # of 8 P t in a part: e^(4Pt) and its square are finite


@dataclass(frozen=True, eq=False)
class Quadratic:
    """M(t) = ∫ w wᵀ dμ_t of f(x) = ∫ ⟨w, x⟩² dμ against f* = xᵀM*x, x ~ N(0, I), at γ = α = 1.

        constant=True    f has a free constant too: R = |D|²_F, D = M - M*, and M' = -4 (DM + MD)
        constant=False   R = |D|²_F + ½ (tr D)², M' = -4 (DM + MD) - 4 tr(D) M

    The limit m → ∞, and exact for every m, m < d too, where M has rank m at most for ever.

    Parameters
    ----------
    start : M(0) (d, d), symmetric and positive semi-definite: wᵀw/m of m neurons.
    target : M* (d, d), likewise.
    constant : which of the two risks. Without the constant it is that of mf.PopulationRisk("square").

    Raises
    ------
    ValueError : for matrices that are not symmetric, not positive semi-definite, or of two sizes.

    Notes
    -----
    With the constant, in closed form (TRUTHS.md, 3.2), M0 = B Bᵀ, P = M*:

        M(t) = e^{4Pt} B [I + 8 Bᵀ (∫_0^t e^{8Ps} ds) B]^{-1} Bᵀ e^{4Pt}

    in the eigenbasis of P. Without it, by SciPy's DOP853 with tolerance 1e-11.
    """

    start: np.ndarray
    target: np.ndarray
    constant: bool = True

    def __post_init__(self) -> None:
        for name in ("start", "target"):
            object.__setattr__(self, name, _moments(name, getattr(self, name)))
        if self.start.shape != self.target.shape:
            raise ValueError(
                f"start and target must be of one size; got {self.start.shape} and "
                f"{self.target.shape}."
            )
        if not isinstance(self.constant, (bool, np.bool_)):
            raise TypeError(f"constant must be True or False; got {self.constant!r}.")

    def at(self, t: Any) -> np.ndarray:
        """M(t): (d, d), an array t adds a leading axis. ValueError for t < 0, RuntimeError where the
        equation cannot be solved that far.
        """
        times = check_times(t)
        found = self._closed(times) if self.constant else self._solved(times)
        return found if np.ndim(t) else found[0]

    def risk(self, t: Any) -> np.ndarray:
        """R at these times, of t's shape."""
        gap = self.at(np.atleast_1d(t)) - self.target
        found = np.square(gap).sum(axis=(1, 2))
        if not self.constant:
            found = found + 0.5 * np.square(np.trace(gap, axis1=1, axis2=2))
        return found if np.ndim(t) else found[0]

    def _closed(self, times: np.ndarray) -> np.ndarray:
        rates, basis = np.linalg.eigh(self.target)
        rates = np.maximum(rates, 0.0)
        root = basis.T @ _root(self.start)  # B in the basis of P

        points, back = np.unique(times, return_inverse=True)
        found, t = [], 0.0
        for point in points:
            root, t = _advance(root, rates, point - t), point
            found.append(basis @ (root @ root.T) @ basis.T)
        return np.array(found)[back]

    def _solved(self, times: np.ndarray) -> np.ndarray:
        d = len(self.target)

        def slope(flat: np.ndarray) -> np.ndarray:
            M = flat.reshape(d, d)
            D = M - self.target
            return (-4 * (D @ M + M @ D) - 4 * np.trace(D) * M).ravel()

        made = solved(slope, self.start.ravel(), times, rtol=1e-11, atol=1e-13)
        return made.reshape(-1, d, d)


def _root(M: np.ndarray) -> np.ndarray:
    """B (d, r) of M = B Bᵀ, r the rank. Rounding is told from small numbers in units of each
    coordinate: what it leaves would grow as e^(8Pt) too, and so do they.
    """
    units = np.sqrt(np.maximum(np.diag(M), 0.0))
    inverse = np.divide(1.0, units, out=np.zeros_like(units), where=units > 0)
    sizes, directions = np.linalg.eigh(inverse[:, None] * M * inverse)
    kept = sizes > len(M) * np.finfo(np.float64).eps * sizes.max(initial=0.0)
    return units[:, None] * directions[:, kept] * np.sqrt(sizes[kept])


def _advance(root: np.ndarray, rates: np.ndarray, t: float) -> np.ndarray:
    """B(t) of M = B Bᵀ from B(0), P diagonal, in parts short enough for e^(4Pt). With E = e^(4Pt)
    and E B = Q R

        M(t) = Q [R^{-T} R^{-1} + Qᵀ V Q]^{-1} Qᵀ,   V = 8 e^{-8Pt} ∫_0^t e^{8Ps} ds = (1 - e^{-8Pt})/P

    where nothing grows. Rows in the order of their size, and pivots, keep the small rows of E B as
    exact as the large ones.
    """
    from scipy.linalg import qr

    parts = math.ceil(8 * float(rates.max(initial=0.0)) * t / LONGEST) if root.size else 0
    parts = max(1, parts) if t > 0 and root.size else 0
    for _ in range(parts):
        tau = t / parts
        x = 8 * rates * tau
        grown = np.exp(0.5 * x)[:, None] * root
        order = np.argsort(-np.abs(grown).max(axis=1))
        Q = np.empty_like(grown)
        Q[order], R, _ = qr(grown[order], mode="economic", pivoting=True)
        inverse = np.linalg.inv(R)  # of a triangle: substitution
        V = 8 * tau * np.divide(-np.expm1(-x), x, out=np.ones_like(x), where=x > 0)
        brackets = inverse.T @ inverse + Q.T @ (V[:, None] * Q)
        root = Q @ np.linalg.inv(np.linalg.cholesky(brackets).T)
    return root


def _moments(name: str, given: Any) -> np.ndarray:
    M = np.array(as_array(name, given), dtype=np.float64)
    if M.ndim != 2 or M.shape[0] != M.shape[1] or not np.all(np.isfinite(M)):
        raise ValueError(f"{name} must be a finite matrix (d, d); got {M.shape}.")
    size = float(np.abs(M).max(initial=0.0))
    if np.abs(M - M.T).max(initial=0.0) > 1e-9 * size:
        raise ValueError(f"{name} must be symmetric: (M + M.T)/2 is.")
    M = 0.5 * (M + M.T)
    if (least := float(np.linalg.eigvalsh(M)[0])) < -ROUNDING * size - 1e-300:
        raise ValueError(
            f"{name} must be positive semi-definite, as w.T @ w / m is; its least eigenvalue is "
            f"{least:.3g}."
        )
    M.flags.writeable = False
    return M
