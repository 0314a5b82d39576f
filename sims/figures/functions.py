"""Figures of functions of one variable: what a run has learned, and how it came about."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

import meanfield as mf

from .pages import panel
from .sources import caveat, flow_of, milestones, open_run, scaling_text, some_frames, usable
from .style import COLOURS, GREY, LINES, ages, axes_or_new, drawn, resized


@drawn
def function_1d(
    run: Any, ax: Axes | None = None, points: int = 400, flow: mf.GradientFlow | None = None
) -> Axes:
    """What a run with scalar inputs has learned: f before and after, and the training data.

    flow: the run's own, for functions that a user wrote.
    """
    run = open_run(run)
    check_scalar(run, "function_1d")
    flow, last = flow_of(run, flow), usable(run) - 1
    ax = axes_or_new(ax)
    x = inputs(flow, points)
    draw_data(ax, flow)
    ax.plot(x, flow.predict(run[0], x), color=GREY, linestyle=LINES[1], label="f at the start")
    ax.plot(x, flow.predict(run[last], x), color=COLOURS[0], label=f"f at t = {run.times[last]:g}")
    panel(ax, "The function learned", _fall(run, flow, last), 70)
    ax.legend()
    return ax


@drawn
def function_evolution(
    run: Any,
    ax: Axes | None = None,
    frames: int = 7,
    points: int = 400,
    flow: mf.GradientFlow | None = None,
) -> Axes:
    """f_t of a run with scalar inputs at several times, from light to dark, over the training data.

    The frames drawn are those nearest to equal parts of the way that f went, Σ ‖f_{t'} - f_t‖ over
    the recorded frames (400 of them, evenly spaced, if there are more): few where little happens.
    flow: the run's own, for functions that a user wrote.
    """
    run = open_run(run)
    check_scalar(run, "function_evolution")
    if frames < 2:
        raise ValueError(
            f"function_evolution draws 2 or more frames; got {frames}. "
            "figures.function_1d draws the last one."
        )
    flow, last = flow_of(run, flow), usable(run) - 1
    ax = axes_or_new(ax)
    x = inputs(flow, points)
    seen = some_frames(run)
    f = predictions(run, flow, x, seen)
    draw_data(ax, flow)
    chosen = milestones(f, frames)
    for k, colour in zip(chosen, ages(len(chosen)), strict=True):
        ax.plot(
            x,
            f[k],
            color=colour,
            linewidth=resized(2.2 if k == chosen[-1] else 1.4),
            label=f"t = {run.times[seen[k]]:.3g}",
        )
    panel(ax, "How the function came about", _fall(run, flow, last), 70)
    ax.legend()
    return ax


def check_scalar(run: mf.Trajectory, who: str) -> None:
    """ValueError where f is not a function R → R."""
    if run.start.dim != 1 or run.start.outputs != 1:
        found = f"d = {run.start.dim}, K = {run.start.outputs}"
        raise ValueError(
            f"{who} draws f: R → R; {run.path} has {found}. figures.paths(run) shows its neurons."
        )


def inputs(flow: mf.GradientFlow, points: int) -> np.ndarray:
    """(points, 1): the range of the training inputs and a twentieth more on either side."""
    low, high = float(flow.functional.x.min()), float(flow.functional.x.max())
    margin = 0.05 * (high - low) or 1.0
    return np.linspace(low - margin, high + margin, points)[:, None]


def predictions(
    run: mf.Trajectory, flow: mf.GradientFlow, x: np.ndarray, frames: np.ndarray
) -> np.ndarray:
    """f_t(x) at some frames: (frames, points)."""
    return np.stack([flow.predict(run[int(k)], x)[:, 0] for k in frames])


def draw_data(ax: Axes, flow: mf.GradientFlow) -> None:
    """The training data, and what the axes are called."""
    y = np.ravel(flow.functional.y)
    ax.plot(
        flow.functional.x[:, 0],
        y,
        "o",
        color="black",
        markersize=resized(3.5),
        label="data",
        zorder=1,
    )
    ax.set_xlabel("x")
    ax.set_ylabel("f(x)")


def _fall(run: mf.Trajectory, flow: mf.GradientFlow, last: int) -> str:
    before, after = flow.risk(run[0]), flow.risk(run[last])
    went = "fell" if after < before else "rose" if after > before else "stayed"
    return (
        f"{scaling_text(run)}: the risk {went} from {before:.3g} to {after:.3g} by t = "
        f"{run.times[last]:g}.{caveat(run)}"
    )
