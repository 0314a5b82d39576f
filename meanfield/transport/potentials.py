"""Kantorovich potentials: a lower bound of W2 from any of them, and a near-optimal coupling from
short lists of pairs.

    W2² >= Σ_i a_i φ_i + Σ_j b_j ψ_j     whenever φ_i + ψ_j <= |x_i - y_j|²  (Kantorovich duality),

and the c-transform φ_i = min_j (|x_i - y_j|² - ψ_j) makes any ψ admissible. At the optimum mass
moves only where the reduced cost |x_i - y_j|² - φ_i - ψ_j is zero, so pairs of small reduced cost
are all that the network simplex needs to be shown: solve on them, take the new potentials, list
again (column generation; Gottschlich and Schuhmacher 2014). O(m·k) memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from .couplings import EPS, Pair

Coupling = tuple[np.ndarray, np.ndarray, np.ndarray]
# listed(x, a, y, b, i, j) -> optimal coupling among the pairs (i, j), and its potential ψ (m2,)
ListedSolver = Callable[
    [np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    tuple[Coupling, np.ndarray],
]

SAMPLE = 400  # particles of each cloud that make the first potential
SAMPLE_SECONDS = 0.15
# pairs listed for each particle, in both directions; 20 gain less than a second round costs
NEIGHBOURS = 10
# per pair and c-transform at p = 10: 2e-9 on two free cores, 6e-9 on busy ones (m = 8000)
TRANSFORM_SECONDS = 3e-9
LISTING_SECONDS = 8e-9  # per pair and direction of listing: 4e-9 to 1.5e-8, the same
_BLOCK_ENTRIES = 4_000_000  # of reduced costs held at once: 32 MB


def dual_bound(
    pair: Pair, psi: np.ndarray, targets: np.ndarray | None = None
) -> tuple[float, float, np.ndarray, np.ndarray]:
    """(value, error, φ, ψ): the bound Σaφ + Σbψ on W2² of the centred clouds after two
    c-transforms, and its rounding.

    psi lives on targets (n, p), all of y when None. error: each transform's |x|² + |y|² - 2xy is
    right to (p + 4) ulp of the diameter² 4p, sums of m terms to m ulp of the largest potential.
    """
    phi = c_transform(pair.x, pair.y if targets is None else targets, psi)
    psi = c_transform(pair.y, pair.x, phi)
    dim = pair.x.shape[1]
    largest = 4.0 * dim + float(np.abs(phi).max()) + float(np.abs(psi).max())
    error = EPS * (2.0 * dim + len(phi) + len(psi) + 16.0) * largest
    return float(pair.a @ phi + pair.b @ psi), error, phi, psi


def c_transform(x: np.ndarray, y: np.ndarray, psi: np.ndarray) -> np.ndarray:
    """φ_i = min_j (|x_i - y_j|² - ψ_j)."""
    phi = np.empty(len(x))
    for rows, reduced in _reduced(x, y, psi):
        phi[rows] = reduced.min(axis=1)
    return phi + np.square(x).sum(axis=1)


def _reduced(x: np.ndarray, y: np.ndarray, psi: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """|y_j|² - 2⟨x_i, y_j⟩ - ψ_j for blocks of rows i: a constant of each row is left out."""
    height = np.square(y).sum(axis=1) - psi
    step = max(1, _BLOCK_ENTRIES // len(y))
    for begin in range(0, len(x), step):
        rows = slice(begin, min(begin + step, len(x)))
        reduced = (-2.0 * x[rows]) @ y.T
        reduced += height
        yield rows, reduced


def sampled_potential(
    pair: Pair, listed: ListedSolver, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(ψ on the targets, targets): exact potentials of a sample of each cloud."""
    rows = rng.choice(len(pair.a), min(SAMPLE, len(pair.a)), replace=False)
    columns = rng.choice(len(pair.b), min(SAMPLE, len(pair.b)), replace=False)
    i, j = np.divmod(np.arange(len(rows) * len(columns)), len(columns))
    a, b = pair.a[rows] / pair.a[rows].sum(), pair.b[columns] / pair.b[columns].sum()
    return listed(pair.x[rows], a, pair.y[columns], b, i, j)[1], pair.y[columns]


def shortlist(
    pair: Pair, phi: np.ndarray, psi: np.ndarray, coupling: Coupling
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (i, j), sorted and distinct: the least reduced costs of every x_i and of every y_j, and
    the coupling's own pairs, without which the listed problem might have no solution; with them its
    optimum costs no more than the coupling."""
    i = [coupling[0], np.repeat(np.arange(len(pair.x)), min(NEIGHBOURS, len(pair.y)))]
    j = [coupling[1], _least(pair.x, pair.y, psi).ravel()]
    i.append(_least(pair.y, pair.x, phi).ravel())
    j.append(np.repeat(np.arange(len(pair.y)), min(NEIGHBOURS, len(pair.x))))
    key = np.unique(np.concatenate(i) * len(pair.y) + np.concatenate(j))
    return key // len(pair.y), key % len(pair.y)


def _least(x: np.ndarray, y: np.ndarray, psi: np.ndarray) -> np.ndarray:
    """For each x_i the columns (len(x), k) of the k least reduced costs."""
    k = min(NEIGHBOURS, len(y))
    columns = np.empty((len(x), k), dtype=np.int64)
    for rows, reduced in _reduced(x, y, psi):
        columns[rows] = np.argpartition(reduced, k - 1, axis=1)[:, :k]
    return columns
