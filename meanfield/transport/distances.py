"""Distances between particle clouds: W2² (μ, ν) = min_π ∫|θ - θ'|² dπ, its cheaper relatives,
bounds. THEORY.md, section 6."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, overload

import numpy as np

from ..checks import flag, integer, is_number
from ..processes.threads import one_thread
from ..state import State
from . import entropic, exact
from .bounds import Interval, bures_squared, interval
from .couplings import (
    NotConverged,
    Pair,
    centred_pair,
    cloud,
    coupling_distance,
    rms_displacement,
    same_measure,
    sliced_distance,
    sorted_arrays,
    sorted_distance,
    two_clouds,
)
from .exact import ANNOUNCE_SECONDS, SlowSolve, expected_seconds
from .floor import Floor, floor_of_two
from .potentials import Coupling
from .solvers import (
    EXACT_DENSE_LIMIT,
    entropic_potentials,
    listed_simplex,
    network_simplex,
    pot,
    simplex_seconds,
)

__all__ = [
    "ANNOUNCE_SECONDS",
    "EXACT_DENSE_LIMIT",
    "Distance",
    "SlowSolve",
    "displacement",
    "expected_seconds",
    "optimal_plan",
    "w2",
    "w2_interval",
]

FLOOR_SECONDS = 2.0  # for the floor beside a distance
SINKHORN_SECONDS = 5e-7  # a pair at reg = .05: 1.5 to 2.5 s at m = 1000; iterations go as 1/reg


class Distance(NamedTuple):
    """A distance with where it comes from, as `mf.w2(p, q, details=True)` gives it.

    Attributes
    ----------
    value : float
        The distance.
    solver : str
        What gave it. For method="exact": "identical", "sorted" (p = 1), "own coupling" (particle k
        goes to itself, and that is optimal), "augmenting paths" (from there), "network simplex" or
        "network simplex, refined". Else the method.
    gap : float
        Of an exact distance: the share of W2² that it may be too large by, proved by potentials.
        NaN for the other methods.
    floor : Floor or None
        How far apart two samples of one law are, by mf.w2_floor, where p and q are States of
        different seeds (their `origin`, which no state with copies has); None elsewhere. print says
        what follows.
    """

    value: float
    solver: str
    gap: float
    floor: Floor | None = None

    def __str__(self) -> str:
        said = f"W2 = {self.value:.6g} ({self.solver})"
        if self.floor is None:
            return said
        return f"{said}; {self.floor}: {self.floor.verdict(self.value, self.value)}"


@overload
def w2(
    p: Any, q: Any, method: str = "exact", *, details: Literal[False] = False, **options: Any
) -> float: ...
@overload
def w2(
    p: Any, q: Any, method: str = "exact", *, details: Literal[True], **options: Any
) -> Distance: ...
def w2(
    p: Any, q: Any, method: str = "exact", *, details: bool = False, **options: Any
) -> float | Distance:
    """The distance W2 (not its square) between two clouds of particles, or a relative of it.

    Parameters
    ----------
    p, q : State or array, shape (m, p)
        Particles, with the State's masses; those of an array are equal.
    method : {"exact", "sliced", "sinkhorn", "bures", "coupled"}
        exact: W2. sliced: (E_u W2²(⟨u, ·⟩))^½ over random unit vectors u; no factor √p.
        sinkhorn: (S_ε)^½, S_ε = OT_ε(μ,ν) - ½OT_ε(μ,μ) - ½OT_ε(ν,ν), ε = reg · unit.
        bures: Gelbrich's |Δmean|² + tr A + tr B - 2 tr (A^½BA^½)^½ under a root, a lower bound.
        coupled: (Σ_k p_k |θ_k - θ'_k|²)^½, an upper bound; needs equal m and masses.
    details : bool
        Return a Distance, which also says which solver gave the value and how well it is proved.
    **options
        exact: lazy=None, numItermax=10**9, for the network simplex. sliced: n_projections=200,
        seed=0. sinkhorn: reg=0.05, numItermax=10_000, tolerance=1e-5.

    Returns
    -------
    float or Distance

    Raises
    ------
    ValueError, TypeError
        For bad input.
    NotConverged
        Where a solver did not reach its optimum.

    Warns
    -----
    SlowSolve
        Before a solve of more than ten seconds.

    Notes
    -----
    Two independent samples of one law are not at distance 0: W2 over rms|θ| is .38 and
    .27 for m = 500 and 2000 standard normal points in p = 4 dimensions, .91 and .83 in 20. Hold the
    ends of two runs against mf.w2_floor, as mf.compare and details=True do.

    exact: the gap of dual potentials proves W2² right to 1e-9 of itself. With p = 1 particles are
    sorted. With equal masses one by one, as along a run, the solve starts from particle k coupled
    with itself, which a gradient flow leaves optimal or nearly so (Brenier), and goes on with
    shortest augmenting paths on short lists of pairs: O(m²) time for close clouds, O(m) memory. All
    else is solved by POT's network simplex, m^2.5; where one far particle or a far cluster hides
    the costs of the others its plan is refined with reduced costs, else NotConverged. It holds the
    (m1, m2) cost up to EXACT_DENSE_LIMIT pairs; above (or with lazy=True) POT computes costs as it
    goes: O(m) memory, 2 to 12 times the time (p = 2 to 64). lazy=True or False asks for the network
    simplex whatever the masses.

    sliced takes the directions in orthonormal frames and its mean part |Δmean|²/p in closed form.

    sinkhorn is debiased with the entropy included (Feydy et al. 2019), hence >= 0; its unit is the
    mean squared distance of the clouds once both are centred, tr A + tr B; tolerance is POT's
    marginal error, after which Newton steps bring S_ε to 1e-6 of itself. Of clouds so close that
    rounding leaves less than two digits of S_ε: NotConverged.
    """
    function = _checked(method, options)
    details = flag("details", details)
    if method == "coupled":
        found = Distance(displacement(p, q), method, math.nan)
        return found if details else found.value

    if method == "exact" and not options:
        if (lined := sorted_arrays(p, q)) is not None:
            return Distance(lined, "sorted", 0.0) if details else lined
        if (small := exact.small(p, q)) is not None:
            return Distance(*small) if details else small[0]
    with one_thread():
        pair = centred_pair(p, q)
        if pair.identical:
            found = Distance(0.0, "identical", 0.0)
        elif method == "exact":
            found = _exact(pair, **options)
        else:
            found = Distance(function(pair, **options), method, math.nan)
    if details and method == "exact" and _of_two_seeds(p, q):
        found = found._replace(floor=floor_of_two(p, q, FLOOR_SECONDS))
    return found if details else found.value


def _checked(method: str, options: dict[str, Any]) -> Callable[..., Any]:
    """The function of a method; its options are made whole numbers and flags where they stand for
    these."""
    if method not in _METHODS:
        near = difflib.get_close_matches(str(method), _METHODS, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"method must be one of {', '.join(_METHODS)}; got {method!r}. Did you mean {near!r}?"
        )
    function = _METHODS[method]
    if not options:
        return function
    allowed = list(inspect.signature(function).parameters)[2 if method == "coupled" else 1 :]
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise TypeError(
            f"method={method!r} has no keyword {unknown[0]!r}; it takes: "
            f"{', '.join(allowed) or 'none'}."
        )
    for name, least in (("n_projections", 1), ("numItermax", 1), ("seed", 0)):
        if name in options:
            options[name] = integer(name, options[name], least)
    if options.get("lazy") is not None:
        options["lazy"] = flag("lazy", options["lazy"])
    return function


def _of_two_seeds(p: Any, q: Any) -> bool:
    """Whether they are known to come from starts of different seeds."""
    origins = [measure.origin for measure in (p, q) if isinstance(measure, State)]
    return len(origins) == 2 and None not in origins and origins[0][1] != origins[1][1]


def displacement(p: Any, q: Any) -> float:
    """RMS displacement (Σ_k p_k |θ_k - θ'_k|²)^½, identities kept, p_k the masses: >= W2. Needs
    equal m and equal masses."""
    with one_thread():
        return rms_displacement(*two_clouds(p, q))


def w2_interval(p: Any, q: Any, seconds: float = 1.0) -> Interval:
    """lower <= W2 <= upper, and the method that gave each, in about `seconds` (plus the import of
    POT, once).

    Exact (lower = upper up to rounding) where that solve is expected to fit; else Gelbrich's,
    orthonormal projections and Kantorovich potentials below; identity, independent, sorted, listed
    and block-wise refined couplings above. See bounds.py. How tight it is depends on the
    machine's speed; that it holds does not.
    """
    if not is_number(seconds) or not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"seconds must be a finite number >= 0; got {seconds!r}.")
    pair = centred_pair(p, q)
    m1, m2, dim = len(pair.a), len(pair.b), pair.x.shape[1]
    own = None
    if dim > 1 and not pair.identical:
        if pair.paired and expected_seconds(m1, m2, dim) <= seconds:
            own = exact.own_coupling(pair)
        if own is None:
            pot()
    expected = simplex_seconds(m1, m2, dim)
    return interval(pair, float(seconds), _plan, listed_simplex, expected, own)


def _plan(x: np.ndarray, a: np.ndarray, y: np.ndarray, b: np.ndarray) -> Coupling:
    """The coupling that POT takes for optimal."""
    return network_simplex(x, a, y, b)[0]


def optimal_plan(p: Any, q: Any, twin: np.ndarray | None = None) -> Coupling:
    """An optimal coupling (i, j, w): mass w of particle i of p goes to particle j of q; sorted by
    i, then j; Σ w = 1.

    At most m1 + m2 - 1 pairs; a permutation for equal numbers of equal masses. twin (p,) of ±1: y
    and twin·y are one and the same particle of q, so a pair costs min(|x - y|², |x - twin·y|²): the
    W2 of the quotient space. Particles without mass are in no pair. Raises as w2 does, and
    ValueError for a twin with more than EXACT_DENSE_LIMIT pairs.
    """
    pair = centred_pair(p, q)
    m1, m2 = len(pair.a), len(pair.b)
    if twin is not None and m1 * m2 > EXACT_DENSE_LIMIT:
        raise ValueError(
            f"matching {m1} with {m2} particles up to a sign needs {m1 * m2:.2g} costs at once, "
            f"more than {EXACT_DENSE_LIMIT:.2g}: take narrower networks, or plain weights without "
            "symmetries."
        )
    i, j, w = exact.solve(pair, False if twin is not None else None, twin=twin).coupling
    order = np.lexsort((j, i))
    heavy_i, heavy_j = (np.flatnonzero(cloud(measure, "p")[1]) for measure in (p, q))
    return heavy_i[i[order]], heavy_j[j[order]], w[order] / w.sum()


def _exact(pair: Pair, lazy: bool | None = None, numItermax: int = 10**9) -> Distance:
    """The cost is summed again over the coupling, from the positions as given: no solver's own sum
    is used."""
    if pair.x.shape[1] == 1 and pair.uniform:
        return Distance(sorted_distance(pair), "sorted", 0.0)
    found = exact.solve(pair, lazy, numItermax)
    return Distance(coupling_distance(pair, found.coupling), found.solver, found.gap)


def _sinkhorn(
    pair: Pair, reg: float = 0.05, numItermax: int = 10_000, tolerance: float = 1e-5
) -> float:
    if not (is_number(reg) and math.isfinite(reg) and reg > 0):
        raise ValueError(
            "reg must be a number > 0, in units of the centred clouds' mean squared distance; got "
            f"{reg!r}."
        )
    if not (is_number(tolerance) and math.isfinite(tolerance) and tolerance > 0):
        raise ValueError(
            f"tolerance must be a number > 0, the error of the marginals; got {tolerance!r}."
        )
    unit = float(pair.a @ np.square(pair.x).sum(axis=1) + pair.b @ np.square(pair.y).sum(axis=1))
    if unit == 0.0 or same_measure(pair):
        return pair.distance(0.0)
    x, y, epsilon = (pair.x, pair.a), (pair.y, pair.b), float(reg) * unit
    m1, m2 = len(pair.a), len(pair.b)
    seconds = SINKHORN_SECONDS * (m1 * m2 + m1 * m1 + m2 * m2) * 0.05 / float(reg)
    exact.announce("sinkhorn", pair, seconds, stacklevel=4)
    problems = [(*x, *y), (*x, *x), (*y, *y)]
    potentials = [
        entropic_potentials(*problem, epsilon, numItermax, tolerance) for problem in problems
    ]
    divergence, error = entropic.divergence(
        problems, potentials, epsilon, float(tolerance), EXACT_DENSE_LIMIT
    )
    known = divergence + (pair.shift / pair.scale) ** 2
    if error > entropic.SHARE * known:
        raise NotConverged(
            "these clouds are too close for a Sinkhorn divergence: it is a difference of numbers "
            f"that are right to {error:.1e}, "
            f"and comes out as {divergence:.1e} (in units of the largest coordinate squared). Use "
            "method='exact' or w2_interval."
        )
    return pair.distance(divergence)


def _bures(pair: Pair) -> float:
    return pair.distance(bures_squared(pair.x, pair.a, pair.y, pair.b))


_METHODS: dict[str, Callable[..., Any]] = {
    "exact": _exact,
    "sliced": sliced_distance,
    "sinkhorn": _sinkhorn,
    "bures": _bures,
    "coupled": displacement,
}
