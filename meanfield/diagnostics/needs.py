"""What a diagnostic may need, and the sentence that says why it is not available."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..flow import GradientFlow
from ..functionals.minibatch import MiniBatch
from ..functionals.risk import EmpiricalRisk
from ..particles import REPLACES
from ..state import State
from ..temperature import Temperature
from .frame import Problem
from .registry import Diagnostic


def reason(diagnostic: Diagnostic, problem: Problem, recorded: tuple[str, ...] = ()) -> str:
    """Why this diagnostic cannot be computed, or "". recorded: the series that have a value at
    every frame.
    """
    for need in diagnostic.needs:
        if need.startswith("recorded "):
            name = need.removeprefix("recorded ")
            missing = f"the file has no series {name} with a value at each frame"
            found = "" if name in recorded else f"{missing}{_instead(name, problem)}"
        else:
            found = _CHECKS[need](problem)
        if found:
            return found
    return ""


def _instead(name: str, problem: Problem) -> str:
    """What to take in place of a series that was not recorded, or why there is none."""
    if name in _INSTEAD:
        return _INSTEAD[name]
    why = _plain_flow(problem)
    return f": {why}" if why else f"; {name}_frames gives bounds from the frames"


def missing(need: str, problem: Problem) -> str:
    """Why one need is not met, or ""."""
    return _CHECKS[need](problem)


def balanced(flow: GradientFlow, start: State) -> bool:
    """Whether |w|² + b² - p|a|² is conserved for each neuron: σ p-homogeneous, a and w trained, b
    trained or zero, no ridge.
    """
    network, functional = flow.network, flow.functional
    if network is None or network.feature is not None or functional.linearised_at is not None:
        return False
    bias_is_fine = "b" in network.trainable or not start.b.any()
    trained = {"a", "w"} <= set(network.trainable) and bias_is_fine
    return network.sigma.homogeneity is not None and trained and functional.ridge == 0


def _neurons(problem: Problem) -> str:
    return "" if problem.start.neurons else "the particles are no neurons"


def _flow(problem: Problem) -> str:
    return "" if problem.flow is not None else problem.without


def _network(problem: Problem) -> str:
    if not problem.start.outputs:
        return _neurons(problem)
    if problem.flow is None:
        return problem.without
    if problem.flow.network is None:
        return f"a {type(problem.flow.functional).__name__} has no network"
    if problem.flow.functional.linearised_at is not None:
        return "the network is linearised: its features and its kernel are those of the start"
    return ""


def _risk(problem: Problem) -> str:
    if problem.flow is None:
        return problem.without
    kind = type(problem.flow.functional).__name__
    if problem.flow.network is None:
        return f"a {kind} has no network"
    return "" if "risk" in problem.flow.functional.terms else f"a {kind} does not know R"


def _kernel(problem: Problem) -> str:
    if found := _network(problem) or _data(problem):
        return found
    assert problem.flow is not None
    return "" if problem.flow.network.trainable else "nothing trains, so the tangent kernel is zero"


def _data(problem: Problem) -> str:
    if problem.flow is None:
        return problem.without
    return "" if problem.flow.functional.samples is not None else "the flow has no training samples"


def _residual(problem: Problem) -> str:
    if found := _data(problem):
        return found
    assert problem.flow is not None
    functional = problem.flow.functional
    known = functional.samples is functional or isinstance(functional, MiniBatch)
    return "" if known else f"a {type(functional).__name__} has no residual on samples"


def are_labels(y: np.ndarray | None) -> bool:
    """Whether y holds integer classes, or signs -1 and +1."""
    return y is not None and (y.dtype.kind == "i" or bool(np.all(np.abs(y) == 1.0)))


def _labels(problem: Problem) -> str:
    if found := _data(problem):
        return found
    assert problem.flow is not None
    return (
        ""
        if are_labels(problem.flow.functional.samples.y)
        else "y holds real targets, neither classes nor signs -1 and +1"
    )


def _varied(problem: Problem) -> str:
    if found := _data(problem):
        return found
    assert problem.flow is not None
    return (
        "y is constant on the training samples"
        if np.all(problem.flow.functional.samples.y == problem.flow.functional.samples.y[0])
        else ""
    )


_INSTEAD = {
    "energy_defect_motion": ": it is recorded where σ or ℓ has kinks",
    "kinetic_energy": ": methods with momentum record it",
}
_WITHOUT_TEST = (
    "no test set was saved with the run: mf.Recorder(…, data=dataset) saves the one of "
    "an mf.data.Dataset"
)


def _test(problem: Problem) -> str:
    return _flow(problem) or ("" if problem.test is not None else _WITHOUT_TEST)


def _test_labels(problem: Problem) -> str:
    if found := _test(problem) or _labels(problem):
        return found
    assert problem.test is not None
    return (
        ""
        if are_labels(problem.test.y)
        else "the test set holds real targets, neither classes nor signs -1 and +1"
    )


def _homogeneous(problem: Problem) -> str:
    if found := _network(problem):
        return found
    assert problem.flow is not None
    sigma = problem.flow.network.sigma
    return f"σ = {sigma.name} is not homogeneous" if sigma.homogeneity is None else ""


def _balance(problem: Problem) -> str:
    if found := _homogeneous(problem):
        return found
    assert problem.flow is not None
    if found := _plain_flow(problem):
        return found
    if balanced(problem.flow, problem.start):
        return ""
    return (
        "|w|² + b² - p|a|² is conserved only where a and w train, b trains or is zero, "
        "and there is no ridge"
    )


def _kink(problem: Problem) -> str:
    if found := _network(problem):
        return found
    assert problem.flow is not None
    sigma = problem.flow.network.sigma
    if found := _neurons(problem):
        return found
    return f"σ = {sigma.name} is smooth: it has no inactive side" if sigma.smooth else ""


def _energy(problem: Problem) -> str:
    if found := _flow(problem):
        return found
    assert problem.flow is not None
    functional = problem.flow.functional
    known = "energy" in functional.terms
    return "" if known else f"a {type(functional).__name__} does not know F"


def _density(problem: Problem) -> str:
    if found := _flow(problem):
        return found
    if "projects" in problem.traits:
        return "the steps keep the particles on a manifold, where μ has no density in θ"
    if problem.mass_varies:
        return "the masses change, and the distances of neighbours know the density of equal ones alone"
    return ""


def _free_energy(problem: Problem) -> str:
    if found := _energy(problem):
        return found
    assert problem.flow is not None
    return "" if Temperature.of(problem.flow.temperature).zero else _density(problem)


_BECAUSE = {
    "noisy": "the steps are noisy",
    "moves masses": "the masses change",
    REPLACES: "particles are killed and duplicated",
    "does not balance": "F does not lose what the steps dissipate",
    "inertial": "the particles have momentum",
    "projects": "the steps are projected",
}


def _plain_flow(problem: Problem, allowed: tuple[str, ...] = ()) -> str:
    """Whether this is the deterministic gradient flow of F with constant masses."""
    if traits := [trait for trait in problem.traits if trait not in allowed]:
        causes = " and ".join(_BECAUSE[trait] for trait in traits)
        return f"it is about the gradient flow alone, and here {causes}"
    flow = problem.flow
    if flow is not None and not flow.functional.deterministic:
        return (
            f"it is about the gradient flow of F, and a {type(flow.functional).__name__} "
            "draws its samples"
        )
    return ""


def _energy_balance(problem: Problem) -> str:
    return _energy(problem) or _plain_flow(problem, ("inertial", "moves masses", "projects"))


def _equal_masses(problem: Problem) -> str:
    if found := _paired(problem):
        return found
    return "the masses change, so particles are not paired" if problem.mass_varies else ""


def _paired(problem: Problem) -> str:
    if REPLACES in problem.traits:
        return "particles are killed and duplicated, so those of two times are not paired"
    return ""


def _no_copies(problem: Problem) -> str:
    if REPLACES in problem.traits:
        return "particles are killed and duplicated, and copies are no independent draws of a law"
    return ""


def _varying_masses(problem: Problem) -> str:
    return "" if problem.mass_varies else "the masses are constant: it is 1/Σp², m for equal ones"


def _companion(problem: Problem) -> str:
    return (
        ""
        if problem.companion is not None
        else "it needs companion=, the path of another run on the same data"
    )


def _linear_twin(problem: Problem) -> str:
    """f_lin is known in closed form for the gradient flow of the squared loss without ridge."""
    if found := _kernel(problem):
        return found
    if found := _plain_flow(problem):
        return found
    flow = problem.flow
    assert flow is not None
    if not isinstance(flow.functional, EmpiricalRisk):
        return f"it is about mf.EmpiricalRisk; the run descends a {type(flow.functional).__name__}"
    loss: Any = flow.functional.loss
    if loss.name != "squared" or flow.functional.ridge != 0:
        found = f"loss {loss.name!r} and ridge {flow.functional.ridge:g}"
        return (
            f"f_lin is known in closed form for the squared loss without ridge; the run has {found}"
        )
    return ""


_CHECKS: dict[str, Callable[[Problem], str]] = {
    "neurons": _neurons, "flow": _flow, "network": _network, "risk": _risk, "energy": _energy,
    "plain flow": _plain_flow, "energy balance": _energy_balance,
    "kernel": _kernel, "data": _data, "residual": _residual,
    "labels": _labels, "varied labels": _varied,
    "test": _test, "test labels": _test_labels, "homogeneous": _homogeneous, "balance": _balance, "kink": _kink,
    "equal masses": _equal_masses, "varying masses": _varying_masses, "paired": _paired,
    "no copies": _no_copies, "density": _density, "free energy": _free_energy,
    "companion": _companion, "steps": lambda problem: "",
    "linear twin": _linear_twin,
}  # fmt: skip
