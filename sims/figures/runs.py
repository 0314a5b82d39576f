"""Figures of whole runs: the risk of several, the paths of the neurons of one, the function a run has learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

import meanfield as mf

from .panels import Curve, lines, panel, particles
from .planes import open_run, plane, projected
from .style import COLOURS, GREY, LINES, axes_or_new, house, regime


@house()
def compare(runs: Sequence[Any], ax: Axes | None = None) -> Axes:
    """The risk of runs (mf.Trajectory or paths) against flow time on one Axes, with how far the neurons of each travelled."""
    opened = [open_run(run) for run in runs]
    if not opened:
        raise ValueError("compare needs at least one run: figures.compare([run_a, run_b]).")
    ax = axes_or_new(ax)
    moved, left = [], []
    for number, run in enumerate(opened):
        _, times, risk = run.series("risk")
        moved.append(mf.displacement(run[0], run[-1]))
        left.append(risk[-1])
        gamma = run.network.scaling.gamma
        label = f"{regime(gamma)}, m = {run.start.m}: moved {moved[-1]:.3g}"
        lines(ax, [Curve(label, times, risk[None], number)], "flow time t", "risk R", log="y")
    first, last = np.argmin(moved), np.argmax(moved)
    names = [regime(run.network.scaling.gamma) for run in opened]
    verdict = f"{names[last]} ends at R = {left[last]:.3g} after an RMS displacement of {moved[last]:.3g}"
    if first != last:
        verdict += f"; {names[first]} at R = {left[first]:.3g} after {moved[first]:.3g}"
    panel(ax, "Risk along the flow", verdict + ".", 70)
    ax.legend()
    return ax


@house()
def paths(run: Any, ax: Axes | None = None, count: int = 400) -> Axes:
    """The paths of a run's neurons in the plane of |a|w (for d > 2 the plane in which they moved most)."""
    run = open_run(run)
    ax = axes_or_new(ax)
    basis, xlabel, ylabel = plane(run)
    frames, positive = projected(run, basis, count, scaled=True)
    particles(ax, frames, positive)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    start = run[0]
    moved, size = mf.displacement(start, run[-1]), float(np.sqrt(start.mass @ np.square(start.theta).sum(axis=1)))
    verdict = f"RMS displacement {moved:.3g}, {moved / size:.1%} of the neurons' size, by t = {run.times[-1]:g}."
    panel(ax, f"Neurons at {regime(run.network.scaling.gamma)}, m = {start.m}", verdict, 70)
    ax.legend(loc="best")
    return ax


@house()
def function_1d(run: Any, ax: Axes | None = None, points: int = 400) -> Axes:
    """What a run with scalar inputs has learned: f before and after, and the training data."""
    run = open_run(run)
    if run.start.dim != 1 or run.start.outputs != 1:
        found = f"d = {run.start.dim}, K = {run.start.outputs}"
        raise ValueError(f"function_1d draws f: R → R; {run.path} has {found}. figures.paths(run) shows its neurons.")
    ax = axes_or_new(ax)
    data = run.data
    low, high = float(data.x.min()), float(data.x.max())
    x = np.linspace(low - 0.05 * (high - low), high + 0.05 * (high - low), points)[:, None]
    flow = mf.GradientFlow(mf.EmpiricalRisk(run.network, data.x, data.y))
    ax.plot(data.x[:, 0], data.y, "o", color="black", markersize=3.5, label="data")
    ax.plot(x, flow.predict(run[0], x), color=GREY, linestyle=LINES[1], label="f at the start")
    ax.plot(x, flow.predict(run[-1], x), color=COLOURS[0], label=f"f at t = {run.times[-1]:g}")
    ax.set_xlabel("x")
    ax.set_ylabel("f(x)")
    before, after = flow.risk(run[0]), flow.risk(run[-1])
    verdict = f"{regime(run.network.scaling.gamma)}: the risk fell from {before:.3g} to {after:.3g}."
    panel(ax, "The function learned", verdict, 70)
    ax.legend()
    return ax
