"""Integrals along the stored frames of a run, of what is known at the frames only; with an error
from every second frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

# exact to degree 9: a cubic times a cubic, and a loss beside them
NODES, WEIGHTS = np.polynomial.legendre.leggauss(5)


@dataclass(frozen=True, eq=False)
class Interval:
    """∫ H_τ g(τ) dτ over one interval ≈ Σ_k H_(frames[k]) vectors[k], and ∫ r dτ ≈ Σ_k weights[k]
    r_(frames[k]).

    frames: the up to four it leans on; vectors (frames, n, K); weights (frames,). Both rules sum to
    those of a constant.
    """

    frames: np.ndarray
    vectors: np.ndarray
    weights: np.ndarray

    @property
    def whole(self) -> np.ndarray:
        """∫ g dτ, (n, K)."""
        return self.vectors.sum(axis=0)


def intervals(
    times: np.ndarray,
    f: np.ndarray,
    rate: np.ndarray,
    slopes: Callable[[np.ndarray], np.ndarray],
    chosen: np.ndarray,
) -> list[Interval]:
    """One Interval between each two neighbours of the frames `chosen`, g = slopes(f_τ) = c ℓ'(f_τ,
    y).

    f and its rate df/dt (frames, n, K) at all frames. Between frames f is the cubic with these
    values and slopes (Hermite), an error O(h⁴); H is the cubic through the frames around, or the
    parabola or line where there are fewer; five Gauss points.
    """
    found = []
    for j, i in pairwise(chosen):
        h = times[i] - times[j]
        u = 0.5 * (NODES + 1.0)
        path = hermite(u[:, None, None], h, f[j], f[i], rate[j], rate[i])
        g = np.stack([slopes(point) for point in path])
        frames = stencil(times, int(j), int(i), chosen)
        rule = 0.5 * h * WEIGHTS * cardinal(times[frames], times[j] + h * u)
        found.append(Interval(frames, np.tensordot(rule, g, axes=1), rule.sum(axis=1)))
    return found


def denser(times: np.ndarray, every_step: bool = False) -> str:
    """What to do where the frames at `times` do not resolve a run: record as many log-spaced ones,
    or twice as many of those; where every step is one already, take shorter ones.
    """
    if every_step:
        return "take a smaller dt, or of mf.Adaptive a smaller rtol: every step is a frame already"
    evenly = times[1] - times[0] > 0.5 * (times[-1] - times[0]) / (len(times) - 1)
    count = max(50, len(times) if evenly else 2 * len(times))
    return (
        f"record mf.log_spaced({count}) frames, with a smaller dt if these are every step already"
    )


def hermite(
    u: np.ndarray, h: float, f0: np.ndarray, f1: np.ndarray, d0: np.ndarray, d1: np.ndarray
) -> np.ndarray:
    """The cubic with values f0, f1 and derivatives d0, d1 at the ends of an interval of length h,
    at 0 <= u <= 1.
    """
    v = 1.0 - u
    return v * v * ((1.0 + 2.0 * u) * f0 + u * h * d0) + u * u * ((1.0 + 2.0 * v) * f1 - v * h * d1)


def stencil(times: np.ndarray, j: int, i: int, chosen: np.ndarray) -> np.ndarray:
    """Both ends j and i and the nearest chosen frame on either side that is at least half the
    interval away, where there is one.

    A nearer one would measure a derivative over a much shorter time than it is used for, and
    magnify what jumps at a kink.
    """
    half = 0.5 * (times[i] - times[j])
    before = chosen[times[chosen] <= times[j] - half]
    after = chosen[times[chosen] >= times[i] + half]
    return np.array([*before[-1:], j, i, *after[:1]], dtype=int)


def cardinal(nodes: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Lagrange's polynomials, 1 at one node and 0 at the others: (nodes, t)."""
    rows = []
    for k, node in enumerate(nodes):
        others = np.delete(nodes, k)
        rows.append(np.prod((t[:, None] - others) / (node - others), axis=1))
    return np.array(rows)
