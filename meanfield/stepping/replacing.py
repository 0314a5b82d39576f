"""Replacing: which particles die, and of which others their places take copies, so that masses
become numbers of equal particles.
"""

from __future__ import annotations

import numpy as np

TINY = np.finfo(np.float64).tiny


def reweighted(mass: np.ndarray, height: np.ndarray, c: float) -> np.ndarray:
    """p_k e^{-c h_k}/Σ_l p_l e^{-c h_l}, (m,): of sum 1, and positive wherever p_k was, so that no
    particle is lost for good.
    """
    alive = mass > 0
    above = np.where(alive, height - height[alive].min(), 0.0)
    new = mass * np.exp(-c * above)
    new /= new.sum()
    return np.where(alive, np.maximum(new, TINY), 0.0)


def kill_and_duplicate(expected: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Birth–death at fixed number: source (m,), place k holds from now on what was in source[k].

    expected (m,) >= 0, of sum m: the mean number of copies of each, exactly. u (m, 2): uniforms.
    With e = expected - 1 and E = Σ e⁺ = Σ e⁻, place k dies with probability e_k⁻ + E/m. In the first
    share one of all is copied there, in the second one drawn in proportion to e⁺: as dt → 0 this is
    the process in which k dies at rate Λ_k⁺ for a random other, and is doubled at rate Λ_k⁻ over a
    random other. Steps so long that a probability would be above 1 have less of the deaths at
    random; the mean stays. Rotskoff, Jelassi, Bruna, Vanden-Eijnden (2019), Global convergence of
    neuron birth-death dynamics; Lu, Lu, Nolen (2019), Accelerating Langevin sampling with
    birth-death.
    """
    m = len(expected)
    place = np.arange(m)
    lost, won = np.maximum(1.0 - expected, 0.0), np.maximum(expected - 1.0, 0.0)
    total = lost.sum()
    if not total > 0:
        return place

    share = min(1.0, m * (1.0 - lost.max()) / total)
    dies = u[:, 0] < lost + share * total / m
    of_all = u[:, 0] < share * lost
    anyone = np.minimum((u[:, 1] * m).astype(np.int64), m - 1)
    return np.where(dies, np.where(of_all, anyone, _drawn(won, u[:, 1])), place)


def systematic(mass: np.ndarray, u: float) -> np.ndarray:
    """Systematic resampling: source (m,), with ⌊m p_k⌋ or ⌈m p_k⌉ copies of particle k, m p_k in the
    mean. Who is kept stays in its place.

    The points (u + i)/m, i = 0 … m-1, fall into the steps of Σ_{l<=k} p_l.
    """
    m = len(mass)
    chosen = _drawn(mass, (u + np.arange(m)) / m)
    copies = np.bincount(chosen, minlength=m)
    source = np.arange(m)
    source[copies == 0] = np.repeat(source, np.maximum(copies - 1, 0))
    return source


def _drawn(weight: np.ndarray, u: np.ndarray) -> np.ndarray:
    """k with probability weight_k/Σ weight, for each uniform u: where u falls in the cumulated
    weights.
    """
    steps = np.cumsum(weight)
    last = int(np.flatnonzero(weight)[-1]) if steps[-1] > 0 else 0  # rounding may lead beyond it
    return np.minimum(np.searchsorted(steps, u * steps[-1], side="right"), last)
