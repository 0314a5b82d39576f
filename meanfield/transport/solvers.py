"""POT's solvers, behind our names: the network simplex, on all pairs or on listed ones, and
Sinkhorn's iteration.

The one place that knows POT; it is imported when a solver is first needed.
"""

from __future__ import annotations

import importlib
import math
import os
import sys
import warnings
from typing import Any

import numpy as np

from .couplings import NotConverged
from .potentials import Coupling

# pairs m1·m2 up to which the cost is held: 39 bytes a pair, 1 GB at m = 5000
EXACT_DENSE_LIMIT = 25_000_000


def simplex_seconds(m1: int, m2: int, dim: int, lazy: bool | None = None) -> float:
    """A power law for the network simplex: 8 s at m = 5000, m^2.55; 5.6–14 s there, 33–51 s at 10
    000."""
    pairs = float(m1) * float(m2)
    simplex = 8.0 * (pairs / 5000.0**2) ** (2.55 / 2)
    if is_lazy(m1, m2, lazy):
        return simplex * (1.5 + 0.16 * dim)
    return simplex + 1e-9 * pairs * dim


def is_lazy(m1: int, m2: int, lazy: bool | None) -> bool:
    return m1 * m2 > EXACT_DENSE_LIMIT if lazy is None else bool(lazy)


def network_simplex(
    x: np.ndarray,
    a: np.ndarray,
    y: np.ndarray,
    b: np.ndarray,
    lazy: bool | None = None,
    numItermax: int = 10**9,
    cost: np.ndarray | None = None,
) -> tuple[Coupling, np.ndarray, np.ndarray]:
    """A coupling that POT takes for optimal, and its potentials u (m1,), v (m2,).

    The cost is |x_i - y_j|² unless one is given (dense). Raises NotConverged unless POT reports the
    optimum and the marginals are met.
    """
    ot = pot()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # POT warns where we raise
        if cost is None and is_lazy(len(a), len(b), lazy):
            _, log = ot.emd2_lazy(
                x, y, a, b, numItermax=int(numItermax), log=True, return_matrix=True
            )
            plan = log["G"].tocoo()
            i, j, w = plan.row, plan.col, plan.data
        else:
            cost = squared_distances(x, y) if cost is None else cost
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
            f"numItermax = {numItermax} pivots: {why} Raise numItermax, or take "
            "mf.w2_interval(p, q)."
        )
    keep = w > np.finfo(np.float64).eps  # slivers that the rounding of the masses alone makes
    return (i[keep], j[keep], w[keep]), log["u"], log["v"]


def listed_simplex(
    x: np.ndarray, a: np.ndarray, y: np.ndarray, b: np.ndarray, i: np.ndarray, j: np.ndarray
) -> tuple[Coupling, np.ndarray]:
    """The optimal coupling among the pairs (i, j), which must hold one, and its potential ψ on y,
    by POT."""
    ot = pot()
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


def entropic_potentials(
    x: np.ndarray,
    a: np.ndarray,
    y: np.ndarray,
    b: np.ndarray,
    epsilon: float,
    numItermax: int,
    tolerance: float,
) -> tuple[np.ndarray, np.ndarray]:
    """log u (m1,), log v (m2,) of OT_ε = min_π ∫|x - y|² dπ + ε KL(π | a⊗b), in the log domain."""
    ot = pot()
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
                squared_distances(x, y),
                epsilon,
                numItermax=int(numItermax),
                stopThr=tolerance,
                log=True,
            )
            log_u, log_v = log["log_u"], log["log_v"]
    error = float(log["err"][-1]) if log["err"] else math.inf
    if not error <= tolerance:
        raise NotConverged(
            f"Sinkhorn's marginals are off by {error:.1e} after {numItermax} iterations, "
            f"tolerance {tolerance:.1e}. Raise numItermax or reg, or use method='exact' or "
            "mf.w2_interval."
        )
    return log_u, log_v


def squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """|x_i - y_j|², from differences."""
    from scipy.spatial.distance import cdist

    return cdist(x, y, "sqeuclidean")


def pot() -> Any:
    """POT, without torch, jax, … for its other backends (1 s or more), unless they are loaded
    already."""
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
