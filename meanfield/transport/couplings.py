"""Two particle clouds made ready for optimal transport, and the couplings that need no solver.

    W2²(μ, ν) = |mean μ - mean ν|² + W2²(centred μ, centred ν)

for every coupling π, so also for every bound, because the cross term ∫⟨x - x̄, c⟩ dπ of a constant
c vanishes. Solvers and projections see the centred clouds: their squared costs hold no large common
part that cancels. The cost of a coupling, once found, is summed from the positions as given:
differences of close numbers are exact. NumPy only; the solvers are in solvers.py and exact.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checks import as_array
from ..state import State

EPS = float(np.finfo(np.float64).eps)
LEAST = 1e-150  # of a mean square that has all its digits; so has that of numbers below 1/LEAST


class NotConverged(RuntimeError):
    """A solver stopped before it reached the optimum: there is no distance to return."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Centred clouds x (m1, p), y (m2, p) with masses a, b > 0 that sum to 1; true positions are
    mean + scale·x.

    scale makes the largest coordinate 1, so that no solver tolerance meets a tiny or a huge cost.
    W2 = hypot(shift, scale·W2(x, y)), shift = |mean μ - mean ν|. given_x, given_y: the positions as
    given. paired: equal masses one by one, so particle k may be coupled with itself. rounding: a
    bound on what centring and projecting can change in W2, in the units of the input.
    """

    x: np.ndarray
    a: np.ndarray
    y: np.ndarray
    b: np.ndarray
    given_x: np.ndarray
    given_y: np.ndarray
    shift: float
    scale: float
    paired: bool
    rounding: float

    @property
    def identical(self) -> bool:
        """The same positions and masses, bit for bit."""
        return self.paired and np.array_equal(self.given_x, self.given_y)

    @property
    def uniform(self) -> bool:
        """Equal numbers of equal masses: an optimal coupling is a permutation, and 1-D optimal
        transport is sorting."""
        return self.a.size == self.b.size and np.ptp(self.a) == 0.0 and np.ptp(self.b) == 0.0

    def distance(self, centred2: float) -> float:
        """W2 (or a bound) from the squared one of the centred, scaled clouds."""
        return float(np.hypot(self.shift, self.scale * np.sqrt(max(centred2, 0.0))))


def cloud(measure: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """theta (m, p) in float64 and masses (m,) summing to 1, of a State or of an array (equal
    masses). Raises what is wrong."""
    given = measure.theta if isinstance(measure, State) else measure
    theta = as_array(name, given)
    if theta.dtype.kind not in "fiu":
        raise TypeError(
            f"{name} must be a State or an array of real numbers; got {type(measure).__name__} "
            f"with dtype {theta.dtype}."
        )
    if theta.ndim == 1:
        raise ValueError(
            f"{name} must be (m, p), one row a particle; got {theta.shape}. For one-dimensional "
            f"particles use {name}[:, None]."
        )
    if theta.ndim != 2 or 0 in theta.shape:
        raise ValueError(
            f"{name} must be (m, p) with m >= 1 particles of p >= 1 coordinates; got {theta.shape}."
        )
    theta = theta.astype(np.float64)
    if not (finite := np.isfinite(theta)).all():
        bad = np.flatnonzero(~finite.all(axis=1))
        raise ValueError(
            f"{name} has NaN or infinite values in {bad.size} of {len(theta)} particles, first in "
            f"particle {bad[0]}. "
            "No distance is defined: remove them or take an earlier frame."
        )
    m = len(theta)
    if not isinstance(measure, State):
        return theta, np.full(m, 1.0 / m)
    mass = np.asarray(measure.mass, dtype=np.float64)
    if mass.shape != (m,) or not np.all(np.isfinite(mass)) or mass.min() < 0:
        raise ValueError(
            f"{name}.mass must be ({m},), finite and non-negative; got {mass.shape} with smallest "
            f"{mass.min(initial=np.inf):.6g}."
        )
    total = float(mass.sum())
    if abs(total - 1.0) > 1e-9:
        raise ValueError(
            f"the masses of {name} must sum to 1; got {total:.12g}. Divide by mass.sum()."
        )
    return theta, mass


def two_clouds(p: Any, q: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(theta_p, mass_p, theta_q, mass_q), checked and of one dimension."""
    x, a = cloud(p, "p")
    y, b = cloud(q, "q")
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"p and q must have the same number of columns; got {x.shape} and {y.shape}. "
            "A distance needs one space: compare networks of the same d and K."
        )
    states = isinstance(p, State) and isinstance(q, State)
    if states and p.columns != q.columns:
        raise ValueError(
            f"p has the columns {p.labels[:4]} …, q {q.labels[:4]} …: their particles are not of "
            "one kind. Compare states of one feature."
        )
    if states and p.outputs != q.outputs:
        raise ValueError(
            f"p has K = {p.outputs} outputs and q has K = {q.outputs}: their columns [a | w | b] "
            "differ in meaning. "
            "Compare networks of the same d and K."
        )
    return x, a, y, b


def rms_displacement(x: np.ndarray, a: np.ndarray, y: np.ndarray, b: np.ndarray) -> float:
    """(Σ_k p_k |θ_k - θ'_k|²)^½ for particles paired by their index; needs equal m and equal
    masses."""
    if x.shape != y.shape:
        raise ValueError(
            "pairing particle k with particle k needs equal numbers of particles; got m = "
            f"{len(x)} and m = {len(y)}. "
            "Use method='exact' for clouds of different size."
        )
    if not np.allclose(a, b, rtol=1e-9, atol=0.0):
        k = int(np.argmax(np.abs(a - b)))
        raise ValueError(
            f"pairing particle k with particle k needs equal masses; particle {k} has {a[k]:.6g} "
            f"and {b[k]:.6g}. "
            "Use method='exact', which moves mass between particles."
        )
    return root_mean_square(x - y, a / a.sum())


def root_mean_square(difference: np.ndarray, w: np.ndarray) -> float:
    """(Σ_k w_k |difference_k|²)^½, free of overflow and underflow."""
    largest = float(np.abs(difference).max())
    if largest == 0.0:
        return 0.0
    return largest * float(np.sqrt(w @ np.square(difference / largest).sum(axis=1)))


def centred_pair(p: Any, q: Any) -> Pair:
    """The Pair of two measures. Particles without mass are dropped: they do not enter W2."""
    x, a, y, b = two_clouds(p, q)
    if not (a.all() and b.all()):
        x, a, y, b = x[a > 0], a[a > 0], y[b > 0], b[b > 0]
    a, b = a / a.sum(), b / b.sum()
    paired = np.array_equal(a, b)
    given_x, given_y = x, y
    largest = max(float(np.abs(x).max()), float(np.abs(y).max()))
    x, mean_x = _centre(x, a)
    y, mean_y = _centre(y, b)
    difference = mean_x - mean_y
    unit = float(np.abs(difference).max()) or 1.0
    shift = unit * float(np.linalg.norm(difference / unit))
    scale = max(float(np.abs(x).max()), float(np.abs(y).max())) or 1.0
    m, dim = max(len(x), len(y)), x.shape[1]
    # per coordinate: the means are off by a few ulp of the largest coordinate, the centred clouds'
    # means by m ulp of theirs (worst case of a sum), a projection on a unit vector by p ulp; √p
    # turns coordinates into distances.
    rounding = EPS * float(np.sqrt(dim)) * (8.0 * largest + scale * (2.0 * m + 8.0 * dim**1.5))
    return Pair(x / scale, a, y / scale, b, given_x, given_y, shift, scale, paired, rounding)


def same_measure(pair: Pair) -> bool:
    """Whether both hold the same positions with the same masses, to their rounding, in whatever
    order and number of pieces."""
    (x, at_x), (y, at_y) = (
        np.unique(z, axis=0, return_inverse=True) for z in (pair.given_x, pair.given_y)
    )
    if x.shape != y.shape or not np.array_equal(x, y):
        return False
    a, b = np.bincount(at_x.ravel(), pair.a), np.bincount(at_y.ravel(), pair.b)
    return bool(np.max(np.abs(a - b)) <= EPS * (len(pair.a) + len(pair.b)) * max(a.max(), b.max()))


def _centre(x: np.ndarray, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x minus its mean, and the mean; twice, because the first mean of a far-away cloud is a
    rounded one."""
    mean = a @ x
    x = x - mean
    rest = a @ x
    return x - rest, mean + rest


def monotone_coupling(
    u: np.ndarray, a: np.ndarray, v: np.ndarray, b: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The increasing coupling of the scalars u (m1,) and v (m2,): indices i, j and masses w, at
    most m1 + m2 entries.

    It is optimal for (u, v) in one dimension, and a valid coupling of any clouds that u and v are
    functions of. Slivers below (m1 + m2) ulp, which only the rounding of the cumulated masses
    makes, are left out.
    """
    order_u, order_v = np.argsort(u, kind="stable"), np.argsort(v, kind="stable")
    if a.size == b.size and np.ptp(a) == 0.0 and np.ptp(b) == 0.0:
        return order_u, order_v, a
    reached_u, reached_v = np.cumsum(a[order_u]), np.cumsum(b[order_v])
    reached_u, reached_v = reached_u / reached_u[-1], reached_v / reached_v[-1]
    cuts = np.sort(np.concatenate([reached_u, reached_v]))
    w = np.diff(cuts, prepend=0.0)
    keep = w > EPS * (a.size + b.size)
    w, middle = w[keep], cuts[keep] - 0.5 * w[keep]
    return (
        order_u[np.searchsorted(reached_u, middle)],
        order_v[np.searchsorted(reached_v, middle)],
        w,
    )


def coupling_cost(
    x: np.ndarray, y: np.ndarray, coupling: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> float:
    """Σ w |x_i - y_j|²: the squared cost of a coupling."""
    i, j, w = coupling
    difference = x[i] - y[j]
    return float(w @ np.einsum("kc,kc->k", difference, difference))


def coupling_distance(pair: Pair, coupling: tuple[np.ndarray, np.ndarray, np.ndarray]) -> float:
    """(Σ w |x_i - y_j|²)^½ of the positions as given: an upper bound of W2, and W2 itself for an
    optimal coupling."""
    i, j, w = coupling
    return root_mean_square(pair.given_x[i] - pair.given_y[j], w)


def sorted_distance(pair: Pair) -> float:
    """W2 in one dimension of equal numbers of equal masses: that of the sorted positions."""
    ranked = np.sort(pair.given_x[:, 0]) - np.sort(pair.given_y[:, 0])
    return root_mean_square(ranked[:, None], pair.a)


def sorted_arrays(p: Any, q: Any) -> float | None:
    """The same for two arrays (m, 1) of finite floats; None for all else, which `centred_pair` looks
    at, and for the same array twice.

    Nothing but sorting takes time: NaN and infinities are at the ends of what is sorted.
    """
    if not (type(p) is type(q) is np.ndarray and p.shape == q.shape and p.dtype.kind == "f"):
        return None
    if p.ndim != 2 or p.shape[1] != 1 or not len(p) or q.dtype.kind != "f" or p is q:
        return None
    u, v = p[:, 0].astype(np.float64), q[:, 0].astype(np.float64)
    u.sort()
    v.sort()
    if not all(abs(end) < 1.0 / LEAST for end in (u[0], u[-1], v[0], v[-1])):
        return None
    u -= v
    np.square(u, out=u)
    mean = float(np.add.reduce(u)) / len(u)
    return math.sqrt(mean) if mean > LEAST else None


def projected(pair: Pair, directions: np.ndarray) -> np.ndarray:
    """One-dimensional W2² of the clouds projected on each column of directions (p, k) -> (k,), by
    sorting."""
    u = np.ascontiguousarray((pair.x @ directions).T)
    v = np.ascontiguousarray((pair.y @ directions).T)
    if pair.uniform:
        u.sort(axis=1)
        v.sort(axis=1)
        return np.square(u - v).mean(axis=1)
    costs = np.empty(len(u))
    for k in range(len(u)):
        costs[k] = coupling_cost(
            u[k][:, None], v[k][:, None], monotone_coupling(u[k], pair.a, v[k], pair.b)
        )
    return costs


def sliced_distance(pair: Pair, n_projections: int = 200, seed: int = 0) -> float:
    """(E_u W2²(⟨u, ·⟩))^½ over random unit vectors u, in orthonormal frames; the mean part |s|²/p
    is in closed form."""
    dim = pair.x.shape[1]
    rng = np.random.default_rng(seed)
    total, left = 0.0, int(n_projections)
    while left:
        # each column is uniform on the sphere
        frame = np.linalg.qr(rng.normal(size=(dim, min(dim, left))))[0]
        total += float(projected(pair, frame).sum())
        left -= frame.shape[1]
    return float(np.hypot(pair.shift / np.sqrt(dim), pair.scale * np.sqrt(total / n_projections)))
