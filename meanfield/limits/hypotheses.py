"""What a limit is the limit of: the settings that a run and its limit share, and their starts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..files.trajectory import Trajectory
from ..flow import GradientFlow
from ..state import State
from .cells import find
from .finite_volumes import FiniteVolumes
from .order_parameters import OrderParameters
from .quadratic import Quadratic

SAME = {"MiniBatch": "EmpiricalRisk", "OnlineRisk": "PopulationRisk"}  # draws of one risk
DIGESTS = ("data", "weights", "teacher")
ERRORS = 5.0  # standard errors, from which on two means differ
BLOCKS = 16  # of neurons, whose f differ as much as √BLOCKS times the error of the whole
SAMPLES = 64  # inputs at which f is compared


def is_density(run: Trajectory) -> bool:
    """Whether masses on cells moved, by mf.limits.FINITE_VOLUMES."""
    return (run.config.get("integrator") or {}).get("name") == FiniteVolumes.name


def check_limit(run: Trajectory, limit: Any) -> None:
    """ValueError where `limit`, a Trajectory or what knows its values, is none of the run."""
    if is_density(run):
        raise ValueError(
            f"the first is a run of particles; got {run.path}, a density by "
            "mf.limits.FINITE_VOLUMES. Write overlay(run, limit)."
        )
    if isinstance(limit, Trajectory):
        if not is_density(limit):
            method = (limit.config.get("integrator") or {}).get("name")
            raise ValueError(
                f"the limit is a run by mf.limits.FINITE_VOLUMES; got {limit.path}, particles by "
                f"{method}. sims.figures.compare shows two runs of particles."
            )
        unlike = _unlike(_hypotheses(run.config), _hypotheses(limit.config))
        named = str(limit.path)
    else:
        unlike = _unlike(_hypotheses(run.config), _known(limit))
        named = f"the mf.limits.{type(limit).__name__}"
    if unlike:
        raise ValueError(
            f"{named} is not the limit of {run.path}: {'; '.join(unlike)}. Make both of one "
            "mf.GradientFlow."
        )


def _hypotheses(config: dict[str, Any]) -> dict[str, Any]:
    """Settings by name; without those of a flow that its user wrote."""
    flow = config.get("flow") or {}
    return _of(flow.get("functional") or {}) | {
        name: flow[name] for name in ("temperature", "reaction") if name in flow
    }


def _of(functional: dict[str, Any]) -> dict[str, Any]:
    kind = functional.get("kind")
    risk = functional.get("risk", functional)
    network = risk.get("network") or {}
    found = {"functional": SAME.get(kind, kind)} if kind else {}
    if network:
        found |= {"γ": network["scaling"]["gamma"], "α": network["scaling"]["alpha"]}
        found |= {name: network[name] for name in ("activation", "trainable")}
    names = ("loss", "reduction", "ridge", "potential", "interaction", "self_pairs")
    found |= {name: risk[name] for name in names if name in risk}
    return found | {name: risk[name]["sha256"][:12] for name in DIGESTS if name in risk}


def _known(limit: Any) -> dict[str, Any]:
    """What must be true of a run whose limit this is; nothing is asked of a KernelFlow."""
    if isinstance(limit, Quadratic):
        return {"γ": 1.0, "α": 1.0, "activation": "square", "trainable": ["w"]}
    if isinstance(limit, OrderParameters):
        found = _of(limit.population.to_dict())
        return {name: found[name] for name in ("γ", "α", "activation", "trainable")}
    return {}


def _unlike(run: dict[str, Any], limit: dict[str, Any]) -> list[str]:
    shared = [name for name in run if name in limit]
    if str(limit.get("activation", "")).startswith("isotropic"):  # reduced: other inputs
        shared = ["γ", "α", "loss", "temperature", "reaction"]
    return [
        f"{name} of the run is {run.get(name)}, of the limit {limit[name]}"
        for name in shared
        if name in limit and run.get(name) != limit[name]
    ]


def starts_differ(run: Trajectory, limit: Any) -> str:
    """How the start of a run shows that it is no sample of the limit's, or "" where it does not.

    Compared are f, and what the limit keeps of the neurons: balance and the mean of |a||u| on a
    circle, the first two moments on a line. A mean of m neurons is within 5 standard errors, as
    their scatter says, and h² of the cells.
    """
    if not isinstance(limit, Trajectory) or run.config["t_start"] != limit.config["t_start"]:
        return ""
    first, begin = run.start, limit.start
    if first.theta.shape[1] != begin.theta.shape[1] or first.outputs != begin.outputs:
        return ""  # a reduced problem
    try:
        flow = limit.flow("cpu")
    except ValueError:  # functions that a user wrote
        return ""
    cells, _ = find(flow.network, begin.theta, begin.outputs)
    slack = cells.h**2
    if cells.closed:
        a, u = (np.linalg.norm(first.theta[:, part], axis=1) for part in (slice(1), slice(1, None)))
        off = float(np.abs(a - u).max() / (u.max() or 1.0))
        if off > 1e-4:
            return f"the neurons of the run are not balanced, |a| and |(w, b)| {off:.2g} apart"
        told = _means("|a|²", first.mass, a**2, begin.mass, begin.theta[:, 0] ** 2, slack)
    else:
        told = ""
        for column in range(first.theta.shape[1]):
            x, y = first.theta[:, column], begin.theta[:, column]
            name = "θ" if flow.network is None else f"column {column} of θ"
            told = told or _means(name, first.mass, x, begin.mass, y, slack)
            told = told or _means(
                f"the square of {name}", first.mass, x**2, begin.mass, y**2, slack
            )
    return told or ("" if flow.network is None else _functions(flow, first, begin, slack))


def _means(name: str, p: Any, x: Any, q: Any, y: Any, slack: float) -> str:
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    mean, theirs = float(p @ x), float(q @ y)
    error = math.sqrt(float(np.square(p) @ np.square(x - mean)))
    size = math.sqrt(float(q @ np.square(y)))
    if abs(mean - theirs) <= ERRORS * error + max(slack, 1e-5) * (1.0 + size):
        return ""
    return f"the mean of {name} is {mean:.3g} in the run and {theirs:.3g} in the limit"


def _functions(flow: GradientFlow, first: State, begin: State, slack: float) -> str:
    if "x" not in flow.functional.arrays or first.m < 2 * BLOCKS:
        return ""
    x = np.asarray(flow.functional.arrays["x"])[:SAMPLES]
    f, theirs = flow.predict(first, x), flow.predict(begin, x)
    parts = []
    for where in np.array_split(np.arange(first.m // 2 * 2).reshape(-1, 2), BLOCKS):  # pairs
        own = where.ravel()
        if (mass := first.mass[own]).sum() > 0:
            parts.append(flow.predict(State(first.theta[own], first.outputs, mass / mass.sum()), x))
    error = float(np.sqrt(np.mean(np.var(parts, axis=0, ddof=1)) / len(parts)))
    gap = float(np.sqrt(np.mean(np.square(f - theirs))))
    size = float(np.sqrt(np.mean(np.square(theirs))))
    if gap <= ERRORS * error + slack * (1.0 + size):
        return ""
    return f"f starts {gap:.2g} from that of the limit, where m says {error:.1g}"
