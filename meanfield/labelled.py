"""Labelled arrays: a run, or its diagnostics, as an xarray.Dataset. xarray is imported when first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .layout import TIME_UNIT
from .state import column_names

if TYPE_CHECKING:
    from .trajectory import Trajectory

OWN_NAMES = ("theta", "mass", "t", "step", "frame", "neuron", "column")


def run_to_xarray(run: Trajectory) -> Any:
    """theta (frame, neuron, column), mass, and each series over its own times <name>_t; see Trajectory.to_xarray."""
    xarray = _xarray()
    start, steps, times = run.start, run.steps, run.times
    theta = np.empty((len(run), *start.theta.shape), start.theta.dtype)
    mass = np.empty((len(run), start.m)) if run.mass_varies else start.mass
    for number, state in enumerate(run):
        theta[number] = state.theta
        if run.mass_varies:
            mass[number] = state.mass
    columns = column_names(start.dim, start.outputs) if start.outputs else [f"x{j}" for j in range(start.dim)]
    variables: dict[str, Any] = {
        "theta": (("frame", "neuron", "column"), theta),
        "mass": (("frame", "neuron") if run.mass_varies else ("neuron",), mass),
    }
    coordinates: dict[str, Any] = {
        "t": ("frame", times, {"long_name": "flow time"}),
        "step": ("frame", steps),
        "neuron": np.arange(start.m),
        "column": columns,
    }
    for name in run.series_names:
        series = run.series(name)
        label = f"series_{name}" if name in OWN_NAMES else name
        variables[label] = (f"{label}_t", series.values)
        coordinates[f"{label}_t"] = (f"{label}_t", series.times, {"long_name": "flow time"})
        coordinates[f"{label}_step"] = (f"{label}_t", series.steps)
    return xarray.Dataset(variables, coordinates, _attributes(run))


def frames_to_xarray(
    curves: dict[str, tuple[np.ndarray, np.ndarray, dict[str, str]]], steps: np.ndarray, times: np.ndarray, run: str
) -> Any:
    """Curves, name -> (steps, values, attributes), as variables over the frames (steps, times); NaN where one has no value."""
    xarray = _xarray()
    variables = {}
    for name, (own_steps, own_values, about) in curves.items():
        values = np.full(len(steps), np.nan)
        values[np.searchsorted(steps, own_steps)] = own_values
        variables[name] = ("frame", values, about)
    coordinates = {"t": ("frame", times, {"long_name": "flow time"}), "step": ("frame", steps)}
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
        raise ImportError('labelled arrays need xarray: pip install "meanfield[xarray]".') from error
    return xarray
