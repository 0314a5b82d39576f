"""Phase portraits: where neurons are at one time, and how fast and where the flow carries them."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

import meanfield as mf
from meanfield.diagnostics.needs import balanced

from .pages import panel
from .panels import fit, legend_where_least
from .planes import homogeneous, plane, said_of, shown, signs, weights
from .sources import caveat, flow_of, number, open_run, scaling_text, some_frames, usable
from .style import GREY, NEGATIVE, POSITIVE, axes_or_new, drawn, resized

KEPT = 0.1  # of the size of |w|² + b² - p|a|²: beyond it is not kept
ARROW = 0.12  # length of the longest arrow, in parts of what the axes show


@drawn
def phase_portrait(
    run: Any,
    coordinates: str = "sizes",
    frame: int = 0,
    ax: Axes | None = None,
    count: int = 200,
    flow: mf.GradientFlow | None = None,
) -> Axes:
    """The neurons of a frame and, as arrows, their velocities -∇ δF/δμ there, over the ways they go
    in the whole run.

    Grey: one thin line for each neuron drawn, through all frames of the run; where there are many
    they make a grey region, which is where neurons pass, and has no other meaning. The legend names
    it. Where particles are killed and duplicated, the ways are those of the ancestors of the last.

    coordinates "sizes": |a| against |(w, b)|. Where σ is p-homogeneous, a and w train and nothing
    else acts, the flow keeps |w|² + b² - p|a|² of every neuron (THEORY.md, section 2): its level
    lines are dashed. "plane": that of `figures.paths`, for example |a|(w, b), whose velocity is |a|
    dw/dt + w d|a|/dt. The longest arrow has a fixed length; the verdict gives the largest speed.
    Of more than `count` neurons the heaviest, or evenly spaced pairs; flow: the run's own, for functions that a user wrote.
    """
    run = open_run(run)
    if coordinates not in ("sizes", "plane"):
        raise ValueError(
            f'coordinates must be "sizes", |a| against |(w, b)|, or "plane"; got {coordinates!r}.'
        )
    if not run.start.neurons:
        raise ValueError(
            f"{run.path} has whole rows of θ for particles, no a, w and b: "
            "figures.paths(run) shows them."
        )
    flow, frame, last = flow_of(run, flow), number(run, frame), usable(run) - 1
    state = run[frame]
    biased = bool(state.b.any() or run[last].b.any())
    velocity = flow.velocity(state).astype(np.float64)
    ax = axes_or_new(ax)
    if coordinates == "sizes":
        place, labels = sizes, ("|(w, b)|" if biased else "|w|", "|a|")
        point, arrow = sizes(state), size_velocity(state, velocity)
    else:
        scaled = homogeneous(run)
        basis, *names = plane(run, scaled)
        labels = (names[0], names[1])

        def place(state: mf.State) -> np.ndarray:
            return weights(state, scaled) @ basis

        point, arrow = place(state), weight_velocity(state, velocity, scaled) @ basis
    chosen = shown(run, count)
    ways = np.stack(
        [place(run[int(k)])[run.ancestors(last, int(k))[chosen]] for k in some_frames(run)], axis=1
    )
    seen = np.concatenate(
        [ways.transpose(1, 0, 2), point[chosen][None]]
    )  # some have no descendants
    whose = "ancestors of the last" if run.replaces else "neurons"
    name = f"ways of the {whose}, t = {run.times[0]:g} … {run.times[last]:g}"
    ax.add_collection(
        LineCollection(list(ways), colors=GREY, linewidths=resized(0.7), zorder=1, label=name)
    )
    ax.set_xlabel(labels[0])
    ax.set_ylabel(labels[1])
    title = f"Phase portrait at {scaling_text(run)}, t = {state.t:.3g}"
    panel(ax, title, "", 70)  # first, for `fit` looks at where the words leave the axes
    gone = ""
    if coordinates == "plane":
        gone = fit(ax, seen)
    else:
        ax.set_xlim(0.0, 1.05 * float(seen[..., 0].max()) or 1.0)
        ax.set_ylim(0.0, 1.05 * float(seen[..., 1].max()) or 1.0)
    kept = coordinates == "sizes" and flow.temperature == 0 and balanced(flow, state)
    power = flow.network.sigma.homogeneity or 0.0 if kept else 0.0
    law = f"|w|²{' + b²' if biased else ''} − {'' if power == 1.0 else f'{power:g}'}|a|²"
    if power:
        _levels(ax, point[chosen], power)
    point, arrow, positive = point[chosen], arrow[chosen], signs(state)[chosen]
    _arrows(ax, point, arrow, positive)
    _cloud(ax, point, positive, "a" if state.outputs == 1 else "Σ a")
    fastest = float(np.linalg.norm(arrow, axis=1).max())
    verdict = (
        f"Arrows: velocities in this plane, at most {fastest:.3g}"
        if fastest > 0
        else "Nothing moves"
    )
    if power:
        change, by = _kept(run, power), f"by t = {run.times[last]:g}"
        verdict += f". Dashed: {law} = const, " + (
            f"kept to {change:.1g} of its size {by}"
            if change <= KEPT
            else f"not kept: {change:.2g} of its size {by}"
        )
    verdict += said_of(run, chosen)
    panel(ax, title, f"{verdict}{gone}.{caveat(run)}", 70)
    look: dict[str, Any] = {"handletextpad": 0.2, "framealpha": 0.9, "edgecolor": "none"}
    legend_where_least(ax, seen, frameon=True, **look)
    return ax


def sizes(state: mf.State) -> np.ndarray:
    """(|(w, b)|, |a|) of each neuron: (m, 2)."""
    theta, K = state.theta.astype(np.float64), state.outputs
    return np.column_stack(
        [np.linalg.norm(theta[:, K:], axis=1), np.linalg.norm(theta[:, :K], axis=1)]
    )


def size_velocity(state: mf.State, velocity: np.ndarray) -> np.ndarray:
    """d/dt (|(w, b)|, |a|) = (⟨(w, b), v⟩/|(w, b)|, ⟨a, v_a⟩/|a|): (m, 2); |v| of what is 0 now."""
    theta, K = state.theta.astype(np.float64), state.outputs
    columns = []
    for part in (slice(K, None), slice(0, K)):
        size = np.linalg.norm(theta[:, part], axis=1)
        inner = np.sum(theta[:, part] * velocity[:, part], axis=1)
        speed = np.linalg.norm(velocity[:, part], axis=1)
        columns.append(np.divide(inner, size, out=speed, where=size > 0))
    return np.column_stack(columns)


def weight_velocity(state: mf.State, velocity: np.ndarray, scaled: bool) -> np.ndarray:
    """d/dt of (w, b), or of |a|(w, b) = |a| (v_w, v_b) + (w, b) d|a|/dt: (m, d + 1)."""
    inner = velocity[:, state.outputs :]
    if not scaled:
        return inner
    growth = size_velocity(state, velocity)[:, 1:]
    return sizes(state)[:, 1:] * inner + state.theta[:, state.outputs :] * growth


def _arrows(ax: Axes, point: np.ndarray, arrow: np.ndarray, positive: np.ndarray) -> None:
    """Arrows of lengths proportional to the speed, the longest ARROW of the axes; directions as the
    eye sees a path.
    """
    span = np.array([np.ptp(ax.get_xlim()), np.ptp(ax.get_ylim())])
    longest = float(np.linalg.norm(arrow / span, axis=1).max())
    if longest > 0:
        style: dict[str, Any] = {
            "angles": "xy",
            "scale_units": "xy",
            "scale": longest / ARROW,
            "width": 0.0028,
            "headwidth": 4,
            "headlength": 5,
        }
        ax.quiver(
            *point.T,
            *arrow.T,
            color=np.where(positive, POSITIVE, NEGATIVE),
            alpha=0.8,
            zorder=3,
            **style,
        )


def _cloud(ax: Axes, point: np.ndarray, positive: np.ndarray, a: str) -> None:
    """Full triangles for a > 0, circles around nothing for a ≤ 0, so that both are seen where two
    neurons share a place.
    """
    for sign, colour, marker, inside in (
        (True, POSITIVE, "^", POSITIVE),
        (False, NEGATIVE, "o", "none"),
    ):
        chosen = positive == sign
        if chosen.any():
            style: dict[str, Any] = {
                "marker": marker,
                "edgecolors": colour,
                "facecolors": inside,
                "linewidths": resized(0.7),
            }
            style |= {"s": resized(7 if sign else 22), "zorder": 4}
            ax.scatter(*point[chosen].T, label=f"{a} {'>' if sign else '≤'} 0", **style)


def _levels(ax: Axes, point: np.ndarray, power: float) -> None:
    """Level lines of X² - pY² through seven evenly spaced sizes |(w, b)| at the usual |a|."""
    start = np.linspace(point[:, 0].min(), point[:, 0].max(), 7)
    levels = np.unique((start**2 - power * np.median(point[:, 1]) ** 2).round(12))
    X, Y = np.meshgrid(np.linspace(*ax.get_xlim(), 200), np.linspace(*ax.get_ylim(), 200))
    shown = np.where((X >= 0) & (Y >= 0), X**2 - power * Y**2, np.nan)
    ax.contour(
        X,
        Y,
        shown,
        levels=levels,
        colors="0.35",
        linewidths=resized(0.8),
        linestyles=[(0, (4, 3))],
        zorder=2,
    )


def _kept(run: mf.Trajectory, power: float) -> float:
    """The largest change of |w|² + b² - p|a|² from a neuron's ancestor in the first frame to the last
    frame, in parts of its largest size; of balanced neurons, where it is 0, of |w|² + b² + p|a|².
    """
    end = usable(run) - 1
    begin, now = sizes(run[0])[run.ancestors(end, 0)] ** 2, sizes(run[end]) ** 2
    change, first = (now - begin) @ [1.0, -power], begin @ [1.0, -power]
    whole = float((begin @ [1.0, power]).max())
    size = float(np.abs(first).max())
    return float(np.abs(change).max() / ((size if size > 1e-3 * whole else whole) or 1.0))
