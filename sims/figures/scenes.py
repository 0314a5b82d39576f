"""Scenes of a run to animate: each draws what stays on an Axes, with limits for all frames, and
returns what draws frame k.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

import meanfield as mf
import ntk

from .functions import check_scalar, draw_data, inputs, predictions
from .kernels import (
    colour_bar,
    draw_kernel,
    ellipse,
    frame_ellipses,
    mean_over_outputs,
    order_of,
    pair_kernels,
    samples_of,
    usual_sort,
)
from .pages import panel
from .panels import fit, legend_where_least, particles
from .planes import homogeneous, plane, projected, shown
from .runs import sign_names, teacher
from .sources import flow_of, network_of, open_run, scaling_text, travelled
from .style import COLOURS, GREY, LINES, resized

Draw = Callable[[int], None]
TAIL = 12  # frames that a neuron's tail is long
WIDTH = 70  # characters of a verdict


def paths_scene(
    run: mf.Trajectory, frames: np.ndarray, ax: Axes, flow: Any = None, count: int = 400
) -> Draw:
    """Neurons in the plane of `figures.paths`, each with a tail of its last 12 frames; grey where
    they started.
    """
    scaled = homogeneous(run)
    basis, xlabel, ylabel = plane(run, scaled)
    places, positive = projected(run, basis, count, scaled, frames)
    start, moment = run[0], _moments(run)
    first = np.repeat(places[:1], 2, axis=0)
    names = tuple(name.replace("after, ", "") for name in sign_names(start))
    particles(
        ax,
        first,
        positive,
        float(np.abs(places).max()) or 1.0,
        teacher(run, basis),
        start.m * start.mass[shown(run, count)],
        (names[0], names[1]),
    )
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    tails = [item for item in ax.collections if isinstance(item, LineCollection)]
    points = [item for item in ax.collections if item.get_gid()]
    groups = [positive, ~positive]
    verdict = panel(ax, f"Neurons at {scaling_text(run)}, m = {start.m}", "", WIDTH)
    fit(ax, places)
    legend_where_least(ax, places)

    def draw(k: int) -> None:
        behind = places[max(0, k - TAIL) : k + 1]
        for tail, cloud, chosen in zip(tails, points, groups, strict=True):
            tail.set_segments(list(behind[:, chosen].transpose(1, 0, 2)) if k else [])
            cloud.set_offsets(places[k, chosen])
        state = run[int(frames[k])]
        how, moved = travelled(run, state)
        verdict.set_text(f"{moment(state.t)}, {how} {moved:.3g}")

    return draw


def function_scene(
    run: mf.Trajectory, frames: np.ndarray, ax: Axes, flow: Any = None, points: int = 400
) -> Draw:
    """f_t of a run with scalar inputs over the training data, dashed where it started."""
    check_scalar(run, "this animation")
    flow = flow_of(run, flow)
    x = inputs(flow, points)
    f = predictions(run, flow, x, frames)
    draw_data(ax, flow)
    ax.plot(x, f[0], color=GREY, linestyle=LINES[1], label="f at the start")
    (line,) = ax.plot(x, f[0], color=COLOURS[0], label="f")
    low, high = min(f.min(), flow.functional.y.min()), max(f.max(), flow.functional.y.max())
    margin = 0.06 * (high - low) or 1.0
    ax.set_xlim(x[0, 0], x[-1, 0])
    ax.set_ylim(low - margin, high + margin)
    ax.legend(loc="best")
    verdict = panel(ax, f"The function at {scaling_text(run)}, m = {run.start.m}", "", WIDTH)
    moment = _moments(run)

    def draw(k: int) -> None:
        line.set_ydata(f[k])
        verdict.set_text(moment(run.times[int(frames[k])]))

    return draw


def kernel_scene(run: mf.Trajectory, frames: np.ndarray, ax: Axes, flow: Any = None) -> Draw:
    """The tangent kernel as an image, samples in the order of `figures.kernel_image` at the start,
    one scale for all frames.
    """
    network, (x, labels) = network_of(run, flow), samples_of(run)
    start = ntk.empirical(network, run[int(frames[0])], x)
    size, drifts, shown = float(np.linalg.norm(start)) or 1.0, [], []
    for k in frames:  # of all outputs there are two kernels in memory at a time
        whole = ntk.empirical(network, run[int(k)], x)
        drifts.append(float(np.linalg.norm(whole - start)) / size)
        shown.append(mean_over_outputs(whole))
    H = np.stack(shown)
    order = order_of(H[0], x, labels, usual_sort(x))
    H = H[:, order][:, :, order]
    image = draw_kernel(ax, H[0], usual_sort(x))
    colour_bar(image, [ax], H)
    verdict = panel(ax, f"Tangent kernel at {scaling_text(run)}", "", WIDTH)
    moment = _moments(run)

    def draw(k: int) -> None:
        image.set_data(H[k])
        verdict.set_text(f"{moment(run.times[int(frames[k])])}, kernel drift {drifts[k]:.3g}")

    return draw


def ellipse_scene(
    run: mf.Trajectory,
    frames: np.ndarray,
    ax: Axes,
    flow: Any = None,
    pair: tuple[int, int] = (0, -1),
) -> Draw:
    """The ellipse of `figures.kernel_ellipse`, dashed where it started."""
    H, x = pair_kernels(run, pair, frames, flow)
    frame_ellipses(ax, H, x)
    ax.plot(*ellipse(H[0]), color="0.45", linestyle=LINES[1], label="at the start")
    (line,) = ax.plot(*ellipse(H[0]), color=COLOURS[0], linewidth=resized(2.2), label="now")
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    verdict = panel(ax, f"Tangent kernel of two samples at {scaling_text(run)}", "", WIDTH)
    moment = _moments(run)

    def draw(k: int) -> None:
        line.set_data(*ellipse(H[k]))
        long, short = np.sqrt(np.maximum(np.linalg.eigvalsh(H[k]), 0.0))[::-1]
        verdict.set_text(
            f"{moment(run.times[int(frames[k])])}, half axes √λ = {long:.3g} and {short:.3g}"
        )

    return draw


SCENES: dict[str, Callable[..., Draw]] = {
    "paths": paths_scene, "function": function_scene, "kernel": kernel_scene, "ellipse": ellipse_scene,
}  # fmt: skip


def scene(run: Any, kind: str) -> tuple[mf.Trajectory, Callable[..., Draw]]:
    """The run opened and the scene of that name; ValueError for another name."""
    if kind not in SCENES:
        raise ValueError(f"kind must be one of {', '.join(SCENES)}; got {kind!r}.")
    return open_run(run), SCENES[kind]


def _moments(run: mf.Trajectory) -> Callable[[float], str]:
    """What is said of a moment: t, and R there, from the run's own series where it has one."""
    if "risk" not in run.series_names:
        return lambda t: f"t = {t:.4g}"
    _, times, values = run.series("risk")
    return lambda t: f"t = {t:.4g}, risk {np.interp(t, times, values):.3g}"
