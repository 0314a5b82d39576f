"""Inputs that make a kernel singular: zero, repeated, parallel and antipodal ones, where the kernel
shows that they do.
"""

from __future__ import annotations

import hashlib

import numpy as np

# 1 - |cos| below which two directions are candidates; whether they matter, the kernel says
NEAR = 1e-8
# |x̂ - ±x̂'| of two directions that are one up to the rounding of cos, sin, a norm and a quotient
ROUNDING = 8 * np.finfo(np.float64).eps
ROWS = 1024


def has_equal_rows(K: np.ndarray) -> bool:
    """Whether two rows of K are the same numbers: then K is singular, whatever its computed
    eigenvalues.
    """
    return len({hashlib.blake2b(row.tobytes()).digest() for row in K}) < len(K)


def causes(x: np.ndarray, K: np.ndarray, bound: float) -> tuple[tuple[str, ...], bool]:
    """Sentences that name inputs (n, d) behind eigenvalues of K (n, n) up to `bound`, and whether
    they decide that K is singular: where one of the sentences holds of inputs that are repeated,
    zero, or parallel or antipodal to rounding, not merely close to it.

    A pair is a cause where the smallest eigenvalue of its 2 × 2 block, which bounds λ_min(K) from
    above, is within the bound: repeated inputs in every network; parallel ones where σ is
    homogeneous and there is no bias; antipodal ones where it is odd or even as well. For ReLU
    without bias φ(x) - φ(-x) is linear in x: antipodal pairs in linearly dependent directions,
    though not two inputs alone, are a cause if the same combination of their differences is in the
    null space.
    """
    norms = np.linalg.norm(x, axis=1)
    said = []
    decided = False
    zero = np.flatnonzero((norms == 0) & (np.diag(K) <= bound))
    if zero.size:
        said.append(f"Zero inputs, with zero features: {_listed([str(i) for i in zero])}.")
        decided = True
    units = x / np.where(norms > 0, norms, 1.0)[:, None]
    same, opposite = _pairs(units, 1.0), _pairs(units, -1.0)
    equal = (x[same[:, 0]] == x[same[:, 1]]).all(axis=1)
    for kind, sign, pairs in (
        ("Repeated", 1.0, same[equal]),
        ("Parallel", 1.0, same[~equal]),
        ("Antipodal", -1.0, opposite),
    ):
        guilty = pairs[_smaller_eigenvalue(K, pairs) <= bound]
        if len(guilty):
            said.append(
                f"{kind} inputs make K singular: {_listed([f'{i} and {j}' for i, j in guilty])}."
            )
            decided |= bool(_exact(units, guilty, sign).any())
    free = opposite[_smaller_eigenvalue(K, opposite) > bound]
    if dependent := _dependent(x, norms, K, free, bound):
        exact = free[_exact(units, free, -1.0)]
        decided |= bool(_dependent(x, norms, K, exact, bound))
        said.append(
            f"Antipodal pairs in {dependent} dimensions make K singular: "
            f"{_listed([f'{i} and {j}' for i, j in free])}."
        )
    return tuple(said), decided


def _exact(units: np.ndarray, pairs: np.ndarray, sign: float) -> np.ndarray:
    """Which pairs have directions that are ±1 times each other to rounding: bool (pairs,)."""
    i, j = pairs.T
    return np.abs(units[i] - sign * units[j]).max(axis=1, initial=0.0) <= ROUNDING


def _pairs(units: np.ndarray, sign: float) -> np.ndarray:
    """(i, j), i < j: for each j the first i whose direction is sign times its own; (pairs, 2)."""
    found = []
    for first in range(0, len(units), ROWS):
        cosines = sign * (units[first : first + ROWS] @ units.T)
        for row, j in zip(cosines, range(first, first + ROWS), strict=False):
            near = np.flatnonzero(row[:j] >= 1.0 - NEAR)
            if near.size:
                found.append((int(near[0]), j))
    return np.array(found, dtype=int).reshape(-1, 2)


def _smaller_eigenvalue(K: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The smaller eigenvalue of the 2 × 2 block of each pair, as determinant over the larger one."""
    i, j = pairs.T
    p, q, r = K[i, i], K[j, j], K[i, j]
    larger = 0.5 * (p + q) + np.hypot(0.5 * (p - q), r)
    return np.where(larger > 0, (p * q - r * r) / np.where(larger > 0, larger, 1.0), 0.0)


def _dependent(
    x: np.ndarray, norms: np.ndarray, K: np.ndarray, pairs: np.ndarray, bound: float
) -> int:
    """The dimension that more antipodal pairs than that span, if Σ c_p (e_i/|x_i| - e_j/|x_j|), Σ
    c_p x̂_p = 0, is null; or 0.
    """
    if not len(pairs):
        return 0
    i, j = pairs.T
    left, sizes, _ = np.linalg.svd(x[i] / norms[i, None])
    rank = int((sizes > len(pairs) * np.finfo(float).eps * sizes[0]).sum())
    if rank == len(pairs):
        return 0
    difference = np.zeros((len(K), len(pairs)))
    difference[i, np.arange(len(pairs))] = 1.0 / norms[i]
    difference[j, np.arange(len(pairs))] = -1.0 / norms[j]
    null, _ = np.linalg.qr(difference @ left[:, rank:])
    return rank if np.einsum("ik,ij,jk->k", null, K, null, optimize=True).min() <= bound else 0


def _listed(items: list[str]) -> str:
    return ", ".join(items[:5]) + (f" and {len(items) - 5} more" if len(items) > 5 else "")
