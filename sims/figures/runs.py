"""Figures of whole runs: the risk of several, the paths of the neurons of one, what was measured
along it.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

import meanfield as mf
from meanfield.checks import hint
from meanfield.diagnostics import registry

from .pages import panel
from .panels import Curve, fit, legend_above, legend_where_least, lines, particles
from .planes import homogeneous, plane, projected, said_of, shown
from .sources import caveat, open_run, scaling_text, travelled, usable
from .style import COLOURS, axes_or_new, drawn

NAMES = {
    "w2": "W2 from the start",
    "displacement": "RMS displacement",
    "energy": "energy F",
    "speed2": "∫|v|² dμ",
}
DECADES = 1.5  # a positive quantity that spans more of them is drawn on a logarithmic axis


@drawn
def compare(
    runs: Sequence[Any],
    name: str | None = None,
    ax: Axes | None = None,
    executor: Executor | None = None,
) -> Axes:
    """One quantity of several runs (mf.Trajectory or paths) against flow time on one Axes:
    compare(runs, "test_error").

    name: a series that all of them recorded, else a diagnostic of their frames, as mf.diagnose
    computes it (test_error, w2, kernel_drift, …; an interval as a band up to its upper bound).
    None: the risk, with how far the neurons of each travelled; the energy F where a run has no
    network, hence no risk. The vertical axis is logarithmic for the risk, and for others where
    `series` has it so. executor: computes the diagnostic, as in mf.diagnose; all runs of a sweep are
    compare(list(sims.Sweep(path)), name, executor=client.get_executor()). Raises ValueError where a
    run has no such quantity, with the reason.
    """
    if name is not None and not isinstance(name, str):
        raise TypeError(
            "compare(runs, name) takes the name of a quantity; got "
            f"{type(name).__name__}. Axes are given as ax=."
        )
    opened = [open_run(run) for run in runs]
    if not opened:
        raise ValueError("compare needs at least one run: figures.compare([run_a, run_b]).")
    if name is not None:
        return _compared(opened, name, axes_or_new(ax), executor)
    ax = axes_or_new(ax)
    risky = all(run.config.get("network") for run in opened)
    name, symbol, log = ("risk", "R", "y") if risky else ("energy", "F", "")
    moved, left, said = [], [], []
    for number, run in enumerate(opened):
        _, times, risk = run.series(name)
        how, distance = travelled(run, run[usable(run) - 1])
        moved.append(distance)
        said.append(f"{how} {distance:.3g}")
        left.append(risk[-1])
        label = f"{scaling_text(run)}, m = {run.start.m}: moved {moved[-1]:.3g}"
        lines(
            ax,
            [Curve(label, times, risk[None], number)],
            "flow time t",
            f"{name} {symbol}",
            log=log,
        )
    first, last = np.argmin(moved), np.argmax(moved)
    names = [scaling_text(run) for run in opened]
    caveats = [
        f" {name}:{text}" for name, run in zip(names, opened, strict=True) if (text := caveat(run))
    ]
    verdict = f"{names[last]} ends at {symbol} = {left[last]:.3g} ({said[last]})"
    if first != last:
        verdict += f"; {names[first]} at {symbol} = {left[first]:.3g} ({said[first]})"
    panel(ax, f"{name.capitalize()} along the flow", verdict + "." + "".join(caveats), 70)
    ax.legend()
    return ax


def _compared(
    runs: Sequence[mf.Trajectory], name: str, ax: Axes, executor: Executor | None
) -> Axes:
    """A recorded series or a diagnostic of several runs, and where each ends."""
    curves = [_quantity(run, name, executor) for run in runs]
    found = np.concatenate([curve.values for curve in curves])
    found = found[np.isfinite(found)]
    spans = found.size and found.min() > 0 and np.log10(found.max() / found.min()) > DECADES
    what, unit = NAMES.get(name, name.replace("_", " ")), curves[0].unit
    ylabel = f"{what} [{unit}]" if unit not in ("1", "R", "F", "") else what
    labels = _labels(runs)
    for number, (curve, label) in enumerate(zip(curves, labels, strict=True)):
        lines(
            ax,
            [Curve(label, curve.times, curve.values[None], number)],
            "flow time t",
            ylabel,
            log="y" if spans else "",
        )
        if curve.lower is not None:
            ax.fill_between(
                curve.times,
                curve.lower,
                curve.values,
                color=COLOURS[number % 6],
                alpha=0.25,
                linewidth=0,
            )
    ends = [f"{_end(curve)} for {label}" for curve, label in zip(curves, labels, strict=True)]
    caveats = [
        f" {label}:{text}" for label, run in zip(labels, runs, strict=True) if (text := caveat(run))
    ]
    panel(
        ax,
        f"{what[:1].upper()}{what[1:]} along the flow",
        f"Ends at {'; '.join(ends)}.{''.join(caveats)}",
        70,
    )
    legend_above(ax, *ax.get_legend_handles_labels(), columns=1)
    return ax


class _Quantity(NamedTuple):
    """Values at times; of an interval the upper bounds, and the lower ones."""

    times: np.ndarray
    values: np.ndarray
    unit: str
    lower: np.ndarray | None = None


def _quantity(run: mf.Trajectory, name: str, executor: Executor | None) -> _Quantity:
    """A series that the run recorded, or a diagnostic of its frames."""
    units = {item: registry.get(item).unit for item in registry.names()}
    if name in run.series_names:
        series = run.series(name)
        return _Quantity(series.times, series.values, units.get(name, "1"))
    if name not in units:
        known = [*run.series_names, *units]
        raise ValueError(
            f"{run.path} has no series {name!r}, and there is no diagnostic of that "
            f"name.{hint(name, known)}"
        )
    curve = mf.diagnose(run, [name], progress=False, executor=executor)[name]
    if registry.get(name).interval:
        return _Quantity(curve.times, curve.upper, units[name], curve.lower)
    return _Quantity(curve.times, curve.values, units[name])


def _labels(runs: Sequence[mf.Trajectory]) -> list[str]:
    """What tells the runs apart: γ and m, with the seed, and at last the name of the file, where
    others have the same.
    """
    seeds = [run.config.get("seed") for run in runs]
    levels = [
        [f"{scaling_text(run)}, m = {run.start.m}" for run in runs],
        [
            f"{scaling_text(run)}, m = {run.start.m}, seed {seed}"
            for run, seed in zip(runs, seeds, strict=True)
        ],
        [f"{scaling_text(run)}, m = {run.start.m}, {run.path.name}" for run in runs],
    ]
    return next((labels for labels in levels if len(set(labels)) == len(labels)), levels[-1])


def _end(curve: _Quantity) -> str:
    """The last value, or both bounds of it."""
    value = f"{curve.values[-1]:.3g}"
    return (
        value
        if curve.lower is None or f"{curve.lower[-1]:.3g}" == value
        else f"{curve.lower[-1]:.3g} … {value}"
    )


@drawn
def paths(run: Any, ax: Axes | None = None, count: int = 400) -> Axes:
    """The paths of a run's neurons in the plane of |a|(w, b), or of (w, b) where σ is not
    homogeneous: see `plane`.

    Grey where they were, a tail for the whole way, coloured where they are. Of more than
    `count` neurons the heaviest are drawn, of equal masses evenly spaced pairs; the verdict says how
    many. Dashed: a teacher's directions, where the data have one. Where particles are killed and
    duplicated, the tail of each is the way of its ancestors.
    """
    run = open_run(run)
    ax = axes_or_new(ax)
    scaled = homogeneous(run)
    basis, xlabel, ylabel = plane(run, scaled)
    frames, positive = projected(run, basis, count, scaled)
    chosen = shown(run, count)
    start, end = run[0], run[usable(run) - 1]
    particles(
        ax,
        frames,
        positive,
        rays=teacher(run, basis),
        area=end.m * end.mass[chosen],
        names=sign_names(start),
    )
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    how, moved = travelled(run, end)
    size = float(np.sqrt(start.mass @ np.square(start.theta).sum(axis=1)))
    share = (
        f", {moved / size:.1%} of the {'neurons' if start.neurons else 'particles'}' size,"
        if size
        else ""
    )
    what = (
        f"{'Neurons' if start.neurons else 'Particles'} at {scaling_text(run)}"
        if start.outputs
        else "Particles of a flow without a network"
    )
    title = f"{what}, m = {start.m}"
    verdict = f"{how} {moved:.3g}{share} by t = {end.t:g}{said_of(run, chosen)}"
    # first, for `fit` looks at where the words leave the axes
    panel(ax, title, f"{verdict}.{caveat(run)}", 70)
    panel(ax, title, f"{verdict}{fit(ax, frames)}.{caveat(run)}", 70)
    legend_where_least(ax, frames)
    return ax


@drawn
def series(run: Any, names: str | Sequence[str] = ("risk",), ax: Axes | None = None) -> Axes:
    """Series of a run against flow time: everything `run.series_names` lists.

    The vertical axis is logarithmic where all values are positive and span more than 1.5 decades
    (of risks and the like, 0 at the first moment is left out); the horizontal one where the moments
    themselves are: more than half in the first tenth.
    """
    run = open_run(run)
    names = [names] if isinstance(names, str) else list(names)
    if not names:
        raise ValueError(
            f"series needs a name; {run.path} has: {', '.join(run.series_names) or 'none'}."
        )
    found = {name: run.series(name) for name in names}
    ax = axes_or_new(ax)
    log = ""
    if all(
        np.median(item.times) < item.times[0] + 0.1 * np.ptp(item.times)
        for item in found.values()
        if len(item.times) > 2
    ):
        log += "x" * any(len(item.times) > 2 for item in found.values())
    shown = {
        name: item.values[1:] if len(item.values) > 2 and item.values[0] == 0 else item.values
        for name, item in found.items()
    }
    values = np.concatenate([item for item in shown.values()])
    values = values[np.isfinite(values)]
    if values.size and values.min() > 0 and np.log10(values.max() / values.min()) > DECADES:
        log += "y"
    for number, (name, item) in enumerate(found.items()):
        first = len(item.values) - len(shown[name]) if "y" in log else 0
        first = max(first, int(item.times[0] == 0.0)) if "x" in log else first
        label = name.replace("_", " ")
        lines(
            ax,
            [Curve(label, item.times[first:], item.values[None, first:], number)],
            "flow time t",
            "",
            log,
        )
    ax.set_ylabel(names[0].replace("_", " ") if len(names) == 1 else "value")
    changes = [
        f"{name.replace('_', ' ')} from {item.values[0]:.3g} to {item.values[-1]:.3g}"
        for name, item in found.items()
    ]
    last = max(item.times[-1] for item in found.values())
    panel(
        ax,
        f"Along the run at {scaling_text(run)}",
        f"{'; '.join(changes)} by t = {last:g}.{caveat(run)}",
        70,
    )
    if len(names) > 1:
        ax.legend()
    return ax


def teacher(run: mf.Trajectory, basis: np.ndarray) -> np.ndarray | None:
    """(M, 2): the directions of the teacher's neurons that the data come from, in the plane of
    `basis`; None without one.
    """
    about = (run.config.get("data") or {}).get("origin", {}).get("teacher")
    if (
        not about
        or not run.start.neurons
        or np.shape(about["w"])[1] + 1 != len(basis)
        or len(basis) == 2
    ):
        return None
    rays = np.asarray(about["w"]) @ basis[:-1]
    return rays[np.linalg.norm(rays, axis=1) > 1e-9]


def sign_names(state: mf.State) -> tuple[str, str]:
    """What the two signs are called in a legend."""
    if not state.neurons:
        return "after", ""
    a = "a" if state.outputs == 1 else "Σ a"
    return f"after, {a} > 0", f"after, {a} ≤ 0" if state.outputs > 1 else f"after, {a} < 0"
