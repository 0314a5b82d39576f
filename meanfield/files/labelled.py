"""Labelled arrays: a run, or its diagnostics, as an xarray.Dataset. xarray is imported when first
asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..scaling import TIME_UNIT

if TYPE_CHECKING:
    from .trajectory import Trajectory

OWN_NAMES = ("theta", "mass", "t", "step", "frame", "neuron", "column")
CLOCK = {
    "t": {"long_name": "flow time", "units": "t"},
    "step": {"long_name": "time steps made", "units": "steps"},
}
# units and meaning of θ, the masses and what every Recorder writes; the units are those of the
# diagnostics
ABOUT = {
    "theta": ("θ", "particles: a output weights, w input weights, b bias"),
    "mass": ("1", "share of each particle in μ"),
    "energy": ("F", "F = R/s² + ∫r dμ, what the flow descends"),
    "risk": ("R", "R, the risk on the training samples"),
    "regulariser": ("F", "∫r dμ"),
    "speed2": ("θ²/t²", "∫|v|² dμ"),
    "path": ("θ", "∫(∫|v|² dμ)^½ dt, the length travelled"),
    "displacement": ("θ", "(∫|θ_t - θ_0|² dμ)^½"),
    "theta_max": ("θ", "the largest |component of θ|"),
    "nonfinite": ("components", "how many are NaN or infinite"),
    "energy_defect": ("1", "|F(0) - F(t) - ∫∫|v|² dμ dt| relative to |F(0) - F(t)|"),
    "energy_defect_motion": (
        "1",
        "the same with the dissipation of the motion that took place, |Δθ|²/Δt over some ten steps",
    ),
    "kinetic_energy": ("F", "½∫|v|² dμ of a method with momentum"),
    "effective_sample_size": ("particles", "1/Σ_k p_k²"),
    "balance_defect": ("1", "the largest relative change of |w|² + b² - p|a|²"),
}


def run_to_xarray(run: Trajectory) -> Any:
    """theta (frame, neuron, column), mass, and each series over the frames or over its own times;
    see Trajectory.to_xarray.
    """
    xarray = _xarray()
    start = run.start
    theta = np.empty((len(run), *start.theta.shape), start.theta.dtype)
    mass = np.empty((len(run), start.m)) if run.mass_varies else start.mass
    for number, state in enumerate(run):
        theta[number] = state.theta
        if run.mass_varies:
            mass[number] = state.mass
    variables: dict[str, Any] = {
        "theta": (("frame", "neuron", "column"), theta, _about("theta")),
        "mass": (("frame", "neuron") if run.mass_varies else ("neuron",), mass, _about("mass")),
    }
    if run.replaces:
        about = {"long_name": "which particle is in each place: copies have ids of their own"}
        variables["id"] = (("frame", "neuron"), np.array(list(run.each_ids())), about)
    coordinates: dict[str, Any] = {
        "t": ("frame", run.times, CLOCK["t"]),
        "step": ("frame", run.steps, CLOCK["step"]),
        "neuron": np.arange(start.m),
        "column": start.labels,
    }
    clocks = {(run.steps.tobytes(), run.times.tobytes()): "frame"}
    for name, label in series_labels(run.series_names).items():
        steps, times, values = run.series(name)
        own = f"{label}_t"
        over = clocks.setdefault((steps.tobytes(), times.tobytes()), own)
        variables[label] = (over, values, _about(name))
        if over == own:
            coordinates[own] = (own, times, CLOCK["t"])
            coordinates[f"{label}_step"] = (own, steps, CLOCK["step"])
    return xarray.Dataset(variables, coordinates, _attributes(run))


def series_labels(names: list[str]) -> dict[str, str]:
    """Series -> variable: its name, without spaces, and after "series_" where it would be the name
    of something else.
    """
    labels: dict[str, str] = {}
    clocks = {f"{name}_{part}" for name in names for part in CLOCK}
    for name in names:
        label = name.replace(" ", "_")  # a file could not mark its clock as a coordinate
        while (
            label in OWN_NAMES
            or label in clocks
            or label in labels.values()
            or (label != name and label in names)
        ):
            label = f"series_{label}"
        labels[name] = label
        clocks |= {f"{label}_{part}" for part in CLOCK}
    return labels


def _about(name: str) -> dict[str, str]:
    units, meaning = ABOUT.get(name, ("", ""))
    return {"units": units, "long_name": meaning} if units else {"long_name": name}


def frames_to_xarray(
    curves: dict[str, tuple[np.ndarray, np.ndarray, dict[str, str]]],
    steps: np.ndarray,
    times: np.ndarray,
    run: str,
) -> Any:
    """Curves, name -> (steps, values, attributes), as variables over the frames (steps, times); NaN
    where one has no value.
    """
    xarray = _xarray()
    variables = {}
    for name, (own_steps, own_values, about) in curves.items():
        values = np.full(len(steps), np.nan)
        values[np.searchsorted(steps, own_steps)] = own_values
        variables[name] = ("frame", values, about)
    coordinates = {"t": ("frame", times, CLOCK["t"]), "step": ("frame", steps, CLOCK["step"])}
    return xarray.Dataset(variables, coordinates, {"run": run, "time_unit": TIME_UNIT})


def _attributes(run: Trajectory) -> dict[str, Any]:
    """What every figure states: γ, α, the initial law, the unit of time."""
    scaling = (run.config.get("network") or {}).get("scaling")
    scale = {"gamma": float(scaling["gamma"]), "alpha": float(scaling["alpha"])} if scaling else {}
    law = run.law.describe() if run.law else "given as an array"
    return {**scale, "law": law, "time_unit": TIME_UNIT, "run": str(run.path), "status": run.status}


def _xarray() -> Any:
    try:
        import xarray
    except ImportError as error:
        raise ImportError('labelled arrays need xarray: pip install -e ".[xarray]".') from error
    return xarray
