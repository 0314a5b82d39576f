"""Distances between particle clouds: W2² (μ, ν) = min_π ∫|θ - θ'|² dπ, its cheaper relatives, and bounds. THEORY.md, section 6.

The one place that knows POT (network simplex, Sinkhorn); it is imported when a method first needs it.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import math
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ..checks import flag, integer, is_number
from ..processes.threads import one_thread
from . import entropic, optimality
from .bounds import Interval, bures_squared, interval
from .couplings import (
    NotConverged,
    Pair,
    centred_pair,
    cloud,
    coupling_distance,
    monotone_coupling,
    rms_displacement,
    root_mean_square,
    same_measure,
    sliced_distance,
    two_clouds,
)
from .potentials import Coupling

EXACT_DENSE_LIMIT = 25_000_000  # pairs m1·m2 up to which the cost matrix is held: 39 bytes a pair in all, 1 GB at m = 5000
SINKHORN_SECONDS = 5e-7  # per pair at reg = 0.05, 1.5 to 2.5 s for m = 1000; iterations go as 1/reg
_TINY = float(np.finfo(np.float64).tiny)  # below it squares have lost their digits
ANNOUNCE_SECONDS = 10.0  # a solve expected to take longer says so before it starts


class SlowSolve(UserWarning):
    """A solve that is expected to take long."""


def w2(p: Any, q: Any, method: str = "exact", **options: Any) -> float:
    """The distance W2 (not its square) between two States or arrays (m, p) of particles; arrays have equal masses.

    method    value                                                                    keywords
    exact     W2. p = 1: sorted quantiles; else POT's network simplex, m^2.5           lazy=None, numItermax=10**9
    sliced    (E_u W2²(⟨u, ·⟩))^½ over random unit vectors u; no factor √p             n_projections=200, seed=0
    sinkhorn  (S_ε)^½, S_ε = OT_ε(μ,ν) - ½OT_ε(μ,μ) - ½OT_ε(ν,ν), ε = reg · unit      reg=0.05, numItermax=10_000, tolerance=1e-5
    bures     Gelbrich: |Δmean|² + tr A + tr B - 2 tr(A^½BA^½)^½, a lower bound        none
    coupled   (Σ_k p_k |θ_k - θ'_k|²)^½, an upper bound; equal m and masses             none

    Two independent samples of one law are not at distance 0: W2 over rms|θ| is .35 and .23 for m = 500 and 2000 standard normal
    points in p = 4 dimensions, .91 and .83 in 20. Hold the ends of two runs against their starts, as mf.compare does.
    exact: the gap of the solver's dual potentials proves W2² right to 1e-9 of itself; where one far particle or a far cluster
    hides the costs of the others, the plan is refined with reduced costs, else NotConverged.
    It holds the (m1, m2) cost up to EXACT_DENSE_LIMIT pairs; above (or with lazy=True) POT computes costs as it goes: O(m)
    memory, 2 to 12 times the time (p = 2 to 64).
    sliced takes the directions in orthonormal frames and its mean part |Δmean|²/p in closed form.
    sinkhorn is debiased with the entropy included (Feydy et al. 2019), hence >= 0; its unit is the mean squared distance of the
    clouds once both are centred, tr A + tr B; tolerance is POT's marginal error, after which Newton steps bring S_ε to 1e-6 of
    itself. Of clouds so close that rounding leaves less than two digits of S_ε: NotConverged.
    Raises ValueError or TypeError for bad input, NotConverged when a solver did not reach its optimum; warns SlowSolve.
    """
    if method not in _METHODS:
        near = difflib.get_close_matches(str(method), _METHODS, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"method must be one of {', '.join(_METHODS)}; got {method!r}. Did you mean {near!r}?"
        )
    function = _METHODS[method]
    allowed = list(inspect.signature(function).parameters)[2 if method == "coupled" else 1 :]
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise TypeError(
            f"method={method!r} has no keyword {unknown[0]!r}; it takes: {', '.join(allowed) or 'none'}."
        )
    for name, least in (("n_projections", 1), ("numItermax", 1), ("seed", 0)):
        if name in options:
            options[name] = integer(name, options[name], least)
    if options.get("lazy") is not None:
        options["lazy"] = flag("lazy", options["lazy"])
    if method == "coupled":
        return displacement(p, q)
    with one_thread():
        pair = centred_pair(p, q)
        return 0.0 if pair.identical else function(pair, **options)


def displacement(p: Any, q: Any) -> float:
    """RMS displacement (Σ_k p_k |θ_k - θ'_k|²)^½, identities kept, p_k the masses: >= W2. Needs equal m and equal masses."""
    with one_thread():
        return rms_displacement(*two_clouds(p, q))


def w2_interval(p: Any, q: Any, seconds: float = 1.0) -> Interval:
    """lower <= W2 <= upper, and the method that gave each, in about `seconds` (plus the import of POT, once).

    Exact (lower = upper up to rounding) where that solve is expected to fit; else Gelbrich's, orthonormal projections and
    Kantorovich potentials below; identity, independent, sorted, listed and block-wise refined couplings above. See w2_bounds.py.
    How tight it is depends on the machine's speed; that it holds does not.
    """
    if not is_number(seconds) or not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"seconds must be a finite number >= 0; got {seconds!r}.")
    pair = centred_pair(p, q)
    if pair.x.shape[1] > 1 and not pair.identical:
        _pot()
    expected = expected_seconds(len(pair.a), len(pair.b), pair.x.shape[1])
    return interval(pair, float(seconds), _network_simplex, _listed_simplex, expected)


def optimal_plan(p: Any, q: Any, twin: np.ndarray | None = None) -> Coupling:
    """An optimal coupling (i, j, w): mass w of particle i of p goes to particle j of q; sorted by i, then j; Σ w = 1.

    At most m1 + m2 - 1 pairs; a permutation for equal numbers of equal masses. twin (p,) of ±1: y and twin·y are one and
    the same particle of q, so a pair costs min(|x - y|², |x - twin·y|²): the W2 of the quotient space. Particles without mass
    are in no pair. Raises as w2 does, and ValueError for a twin with more than EXACT_DENSE_LIMIT pairs.
    """
    pair = centred_pair(p, q)
    m1, m2, dim = len(pair.a), len(pair.b), pair.x.shape[1]
    if twin is not None:
        if m1 * m2 > EXACT_DENSE_LIMIT:
            raise ValueError(
                f"matching {m1} with {m2} particles up to a sign needs {m1 * m2:.2g} costs at once, more than "
                f"{EXACT_DENSE_LIMIT:.2g}: take narrower networks, or plain weights without symmetries."
            )
        _announce("exact", pair, expected_seconds(m1, m2, dim))
        i, j, w = _optimal_coupling(pair, lazy=False, twin=twin)
    elif dim == 1:
        i, j, w = monotone_coupling(pair.x[:, 0], pair.a, pair.y[:, 0], pair.b)
    else:
        _announce("exact", pair, expected_seconds(m1, m2, dim))
        i, j, w = _optimal_coupling(pair)
    order = np.lexsort((j, i))
    heavy_i, heavy_j = (np.flatnonzero(cloud(measure, "p")[1]) for measure in (p, q))
    return heavy_i[i[order]], heavy_j[j[order]], w[order] / w.sum()


def _quotient_cost(x: np.ndarray, y: np.ndarray, twin: np.ndarray) -> np.ndarray:
    """min(|x_i - y_j|², |x_i - twin·y_j|²), (m1, m2)."""
    return np.minimum(_squared_distances(x, y), _squared_distances(x, y * twin))


def expected_seconds(m1: int, m2: int, dim: int, lazy: bool | None = None) -> float:
    """A power law for the exact solve: 8 s at m = 5000, m^2.55; measured 5.6–14 s there, 33–51 s at 10 000."""
    pairs = float(m1) * float(m2)
    simplex = 8.0 * (pairs / 5000.0**2) ** (2.55 / 2)
    if _is_lazy(m1, m2, lazy):
        return simplex * (1.5 + 0.16 * dim)
    return simplex + 1e-9 * pairs * dim


def _is_lazy(m1: int, m2: int, lazy: bool | None) -> bool:
    return m1 * m2 > EXACT_DENSE_LIMIT if lazy is None else bool(lazy)


def _pot() -> Any:
    """POT, without the torch, jax, … it would import for its other backends (1 s or more), unless they are loaded already."""
    if "ot" not in sys.modules:
        others = {"torch": "PYTORCH", "jax": "JAX", "cupy": "CUPY", "tensorflow": "TENSORFLOW"}
        switches = [
            f"POT_BACKEND_DISABLE_{key}"
            for module, key in others.items()
            if module not in sys.modules
        ]
        switches = [switch for switch in switches if switch not in os.environ]
        os.environ.update(dict.fromkeys(switches, "1"))
        try:
            importlib.import_module("ot")
        finally:
            for switch in switches:
                del os.environ[switch]
    import ot

    return ot


def _exact(pair: Pair, lazy: bool | None = None, numItermax: int = 10**9) -> float:
    """The cost is summed again over the optimal plan's support, from the positions as given: the solver's own sum is not used."""
    if pair.x.shape[1] == 1:
        return coupling_distance(
            pair, monotone_coupling(pair.x[:, 0], pair.a, pair.y[:, 0], pair.b)
        )
    m1, m2, dim = len(pair.a), len(pair.b), pair.x.shape[1]
    dense, hint = expected_seconds(m1, m2, dim, lazy=False), ""
    if lazy is None and _is_lazy(m1, m2, lazy):
        hint = f" lazy=False would take {dense:.0f} s and {39e-9 * m1 * m2:.1f} GB of memory."
    _announce("exact", pair, expected_seconds(m1, m2, dim, lazy), hint)
    return coupling_distance(pair, _optimal_coupling(pair, lazy, numItermax))


def _announce(method: str, pair: Pair, seconds: float, hint: str = "") -> None:
    """Says before a long solve that it is one, and what to do instead."""
    if seconds > ANNOUNCE_SECONDS:
        warnings.warn(
            f"the {method} W2 of {len(pair.a)} and {len(pair.b)} particles in {pair.x.shape[1]} dimensions will take about "
            f"{seconds:.0f} s (within a factor of 2); mf.w2_interval(p, q, seconds=...) brackets it in the time you give.{hint}",
            SlowSolve,
            stacklevel=4,
        )


def _network_simplex(
    x: np.ndarray, a: np.ndarray, y: np.ndarray, b: np.ndarray, lazy: bool | None = None, numItermax: int = 10**9,
    cost: np.ndarray | None = None,
) -> Coupling:  # fmt: skip
    """The coupling (i, j, w) that POT takes for optimal, for the cost |x_i - y_j|² unless one is given (dense, lazy=False).

    Raises NotConverged unless POT reports the optimum and the marginals are met.
    """
    return _solved(x, a, y, b, lazy, numItermax, cost)[0]


def _optimal_coupling(
    pair: Pair, lazy: bool | None = None, numItermax: int = 10**9, twin: np.ndarray | None = None
) -> Coupling:
    """An optimal coupling: that of the network simplex where the gap of its potentials proves it, else a refined one.

    Raises NotConverged where neither has a gap of at most optimality.GAP·W2².
    """
    cost, unit = None, 1.0
    if twin is not None:
        cost = _quotient_cost(pair.given_x, pair.given_y, twin)
        unit = float(cost.max()) or 1.0
        cost /= unit
    elif not _is_lazy(len(pair.a), len(pair.b), lazy):
        cost = _squared_distances(pair.x, pair.y)
    coupling, u, v = _solved(pair.x, pair.a, pair.y, pair.b, lazy, numItermax, cost)
    distance = _distance(pair, coupling, twin)
    if distance == 0.0:
        return coupling
    scale = pair.scale if twin is None else math.sqrt(unit)
    enough = optimality.GAP * (distance / scale) ** 2
    found = (
        _lazy_gap(pair, u, v, coupling) if cost is None else optimality.gap(cost, u, v, coupling)
    )
    if found <= enough and enough >= _TINY:
        return coupling
    if cost is None:
        raise NotConverged(
            _not_proved(pair, found / enough * optimality.GAP, "lazy=False refines it, or take ")
        )
    del cost
    return _refined_coupling(pair, coupling, numItermax, twin)


def _refined_coupling(
    pair: Pair, first: Coupling, numItermax: int, twin: np.ndarray | None
) -> Coupling:
    """The coupling `first` or a cheaper one, of the positions as given, whose gap is small; NotConverged where none is found."""
    unit = 2.0 ** math.floor(math.log2(pair.scale))  # a power of 2: dividing by it loses nothing
    x, y = pair.given_x / unit, pair.given_y / unit
    shift = (
        np.zeros(x.shape[1]) if twin is not None else np.median(x, axis=0) - np.median(y, axis=0)
    )
    distance = _distance(pair, first, twin)

    def solve(reduced: np.ndarray) -> tuple[Coupling, np.ndarray, np.ndarray]:
        return _solved(x, pair.a, y, pair.b, False, numItermax, reduced)

    cost = optimality.accurate_costs(x, y, shift, twin)
    if not cost.any():
        return first
    mass = float(min(pair.a.min(), pair.b.min()))
    coupling, found = optimality.refined(cost, mass, optimality.GAP * (distance / unit) ** 2, solve)
    refined = _distance(pair, coupling, twin)
    least = optimality.GAP * (refined / unit) ** 2
    if refined > 0.0 and (found > least or least < _TINY):
        raise NotConverged(_not_proved(pair, found / max(least, _TINY) * optimality.GAP, "Take "))
    return coupling if refined < distance else first


def _lazy_gap(pair: Pair, u: np.ndarray, v: np.ndarray, coupling: Coupling) -> float:
    """optimality.gap without the cost matrix."""
    i, j, w = coupling
    least = np.empty(len(u))
    for rows in optimality.blocks(len(u), len(v)):
        least[rows] = (_squared_distances(pair.x[rows], pair.y) - (u[rows, None] + v)).min(axis=1)
    cost = np.square(pair.x[i] - pair.y[j]).sum(axis=1)
    return float(w @ (cost - (u[i] + v[j]) - least[i]))


def _distance(pair: Pair, coupling: Coupling, twin: np.ndarray | None) -> float:
    """(Σ w |x_i - y_j|²)^½ of the positions as given; with a twin, to the nearer of the two."""
    if twin is None:
        return coupling_distance(pair, coupling)
    i, j, w = coupling
    y = pair.given_y[j]
    nearer = np.square(pair.given_x[i] - y * twin).sum(axis=1) < np.square(pair.given_x[i] - y).sum(
        axis=1
    )
    return root_mean_square(pair.given_x[i] - np.where(nearer[:, None], y * twin, y), w)


def _not_proved(pair: Pair, relative: float, instead: str) -> str:
    return (
        f"the network simplex's plan for {len(pair.a)} and {len(pair.b)} particles is not proved optimal: W2² may be less by "
        f"{relative:.1e} of itself, for the costs of near and of far particles differ by more digits than a number has. {instead}"
        "mf.w2_interval(p, q), which brackets it; or measure the far particles by themselves."
    )


def _squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """|x_i - y_j|², from differences."""
    from scipy.spatial.distance import cdist

    return cdist(x, y, "sqeuclidean")


def _solved(
    x: np.ndarray,
    a: np.ndarray,
    y: np.ndarray,
    b: np.ndarray,
    lazy: bool | None,
    numItermax: int,
    cost: np.ndarray | None,
) -> tuple[Coupling, np.ndarray, np.ndarray]:
    """A coupling and its potentials u (m1,), v (m2,) by POT."""
    ot = _pot()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # POT warns where we raise
        if cost is None and _is_lazy(len(a), len(b), lazy):
            _, log = ot.emd2_lazy(
                x, y, a, b, numItermax=int(numItermax), log=True, return_matrix=True
            )
            plan = log["G"].tocoo()
            i, j, w = plan.row, plan.col, plan.data
        else:
            cost = _squared_distances(x, y) if cost is None else cost
            dense, log = ot.emd(a, b, cost, numItermax=int(numItermax), log=True)
            i, j = np.nonzero(dense)
            w = dense[i, j]
    missed = float(
        np.abs(a - np.bincount(i, w, len(a))).sum() + np.abs(b - np.bincount(j, w, len(b))).sum()
    )
    if log["warning"] is not None or missed > 1e-9:
        why = log["warning"] or f"the plan misses the masses by {missed:.1e}"
        raise NotConverged(
            f"the network simplex found no optimal plan for {len(a)} and {len(b)} particles in "
            f"numItermax = {numItermax} pivots: {why} Raise numItermax, or take mf.w2_interval(p, q)."
        )
    keep = w > np.finfo(np.float64).eps  # slivers that the rounding of the masses alone makes
    return (i[keep], j[keep], w[keep]), log["u"], log["v"]


def _listed_simplex(
    x: np.ndarray, a: np.ndarray, y: np.ndarray, b: np.ndarray, i: np.ndarray, j: np.ndarray
) -> tuple[Coupling, np.ndarray]:
    """The optimal coupling among the pairs (i, j), which must hold one, and its potential ψ on y, by POT."""
    ot = _pot()
    from scipy.sparse import coo_array

    cost = np.square(x[i] - y[j]).sum(axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # POT warns where we raise
        plan, log = ot.emd(
            a, b, coo_array((cost, (i, j)), shape=(len(x), len(y))), numItermax=10**9, log=True
        )
    if log["warning"] is not None:
        raise NotConverged(
            f"the network simplex found no optimal plan among {len(i)} pairs: {log['warning']}"
        )
    plan = plan.tocoo()
    return (plan.row, plan.col, plan.data), log["v"]


def _sinkhorn(
    pair: Pair, reg: float = 0.05, numItermax: int = 10_000, tolerance: float = 1e-5
) -> float:
    if not (is_number(reg) and math.isfinite(reg) and reg > 0):
        raise ValueError(
            f"reg must be a number > 0, in units of the centred clouds' mean squared distance; got {reg!r}."
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
    _announce(
        "sinkhorn", pair, SINKHORN_SECONDS * (m1 * m2 + m1 * m1 + m2 * m2) * 0.05 / float(reg)
    )
    problems = [(*x, *y), (*x, *x), (*y, *y)]
    potentials = [_entropic(*problem, epsilon, numItermax, tolerance) for problem in problems]
    divergence, error = entropic.divergence(
        problems, potentials, epsilon, float(tolerance), EXACT_DENSE_LIMIT
    )
    known = divergence + (pair.shift / pair.scale) ** 2
    if error > entropic.SHARE * known:
        raise NotConverged(
            f"these clouds are too close for a Sinkhorn divergence: it is a difference of numbers that are right to {error:.1e}, "
            f"and comes out as {divergence:.1e} (in units of the largest coordinate squared). Use method='exact' or w2_interval."
        )
    return pair.distance(divergence)


def _entropic(
    x: np.ndarray,
    a: np.ndarray,
    y: np.ndarray,
    b: np.ndarray,
    epsilon: float,
    numItermax: int,
    tolerance: float,
) -> tuple[np.ndarray, np.ndarray]:
    """log u (m1,), log v (m2,) of OT_ε = min_π ∫|x - y|² dπ + ε KL(π | a⊗b), by POT's Sinkhorn in the log domain."""
    ot = _pot()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # POT warns where we raise
        if len(a) * len(b) > EXACT_DENSE_LIMIT:
            log_u, log_v, log = ot.bregman.empirical_sinkhorn(
                x,
                y,
                epsilon,
                a=a,
                b=b,
                numIterMax=int(numItermax),
                stopThr=tolerance,
                isLazy=True,
                batchSize=256,
                log=True,
            )
        else:
            _, log = ot.bregman.sinkhorn_log(
                a,
                b,
                _squared_distances(x, y),
                epsilon,
                numItermax=int(numItermax),
                stopThr=tolerance,
                log=True,
            )
            log_u, log_v = log["log_u"], log["log_v"]
    error = float(log["err"][-1]) if log["err"] else math.inf
    if not error <= tolerance:
        raise NotConverged(
            f"Sinkhorn's marginals are off by {error:.1e} after {numItermax} iterations, tolerance {tolerance:.1e}. "
            "Raise numItermax or reg, or use method='exact' or mf.w2_interval."
        )
    return log_u, log_v


def _bures(pair: Pair) -> float:
    return pair.distance(bures_squared(pair.x, pair.a, pair.y, pair.b))


_METHODS: dict[str, Callable[..., float]] = {
    "exact": _exact,
    "sliced": sliced_distance,
    "sinkhorn": _sinkhorn,
    "bures": _bures,
    "coupled": displacement,
}
