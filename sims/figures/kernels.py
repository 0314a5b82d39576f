"""Figures of the tangent kernel of a run: as an image, its change from one frame to another, as
ellipses for two data points.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

import meanfield as mf
import ntk
from meanfield.diagnostics.library.kernels import alignment
from meanfield.diagnostics.registry import SAMPLES

from .pages import panel
from .sources import caveat, milestones, network_of, number, open_run, scaling_text, some_frames
from .style import GREY, LINES, ages, axes_or_new, bare, canvas, drawn, resized

# m n² K² multiplications at most, some seconds: fewer samples for very wide networks
PRODUCTS = 4e9
COLOURS_OF_ENTRIES = "cividis"  # its luminance grows with the value


@drawn
def kernel_image(
    run: Any,
    frame: int = -1,
    sort: str | None = None,
    ax: Axes | None = None,
    flow: mf.GradientFlow | None = None,
) -> Axes:
    """The tangent kernel H_t(x_i, x_j) on the first samples (256 at most) of a frame as an image.

    run: a run, or an array (n, n), for example ntk.kernel(…); K outputs: the mean (1/K) Σ_c H_cc.
    sort: "label", samples in the order of their labels (of the first of several), those with equal
    ones in that of the leading eigenvector; "eigenvector", that order alone; "input", that of x,
    for d = 1; or "none". None: by input for d = 1, else by label; as it is for an array. The
    picture says which. Where a few entries are far larger than all others the scale of the colours
    ends before them, and the bar in a tip. flow: the run's own, for functions that a user wrote.
    """
    if isinstance(run, np.ndarray):
        H, title, sort = _square(run), f"A kernel on {len(run)} samples", sort or "none"
        order = order_of(H, None, None, sort)
    else:
        run = open_run(run)
        k, (x, labels) = number(run, frame), samples_of(run)
        sort = sort or usual_sort(x)
        H = scalar_kernel(network_of(run, flow), run[k], x)
        order = order_of(H, x, labels, sort)
        title = f"Tangent kernel at {scaling_text(run)}, t = {run.times[k]:.3g}"
    ax = axes_or_new(ax)
    values = np.linalg.eigvalsh(H)
    share = values[-1] / np.trace(H) if np.trace(H) > 0 else 0.0
    verdict = (
        f"{len(H)} samples; the largest eigenvalue {values[-1]:.3g} is {share:.0%} of the trace."
    )
    image = draw_kernel(ax, H[np.ix_(order, order)], sort)
    # so that the bar is as high as the axes are then, which it makes narrower
    panel(ax, title, verdict, 62)
    colour_bar(image, [ax], H)
    panel(ax, title, verdict, 62)
    return ax


@drawn
def kernel_change(
    run: Any,
    frames: tuple[int, int] = (0, -1),
    sort: str | None = None,
    axes: Sequence[Axes] | None = None,
    flow: mf.GradientFlow | None = None,
) -> tuple[Axes, Axes]:
    """Two `kernel_image`s side by side; returns (left, right), two Axes of one figure:
    save(axes[0].figure, "name").

    In one order (that of the first) and one scale. The verdicts give kernel drift and kernel
    alignment (centred, with the labels), before and after, of these samples and of all outputs:
    what mf.diagnose calls kernel_drift and kernel_alignment. axes: two Axes of one figure to draw
    on.
    """
    run = open_run(run)
    first, second = (number(run, frame) for frame in frames)
    network, (x, labels) = network_of(run, flow), samples_of(run)
    whole = [ntk.empirical(network, run[k], x) for k in (first, second)]
    before, after = map(mean_over_outputs, whole)
    sort = sort or usual_sort(x)
    order = order_of(before, x, labels, sort)
    if axes is None:
        axes = canvas(8.6, 4.8, "compressed").subplots(1, 2)
    left, right = axes
    verdicts = (
        f"{scaling_text(run)}; {len(x)} samples{_aligned(whole[0], labels)}.",
        "Kernel drift ‖H_t − H_0‖/‖H_0‖ = "
        f"{ntk.drift(*whole):.3g}{_aligned(whole[1], labels)}.{caveat(run)}",
    )
    for ax, k, H, verdict in zip(
        (left, right), (first, second), (before, after), verdicts, strict=True
    ):
        image = draw_kernel(ax, H[np.ix_(order, order)], sort)
        panel(ax, f"Tangent kernel, t = {run.times[k]:.3g}", verdict, 46)
        if bare():  # no title says when
            ax.set_xlabel(f"{ax.get_xlabel().removeprefix('samples, ')}, t = {run.times[k]:.3g}")
    right.set_ylabel("")
    colour_bar(image, [left, right], np.array([before, after]))
    return left, right


@drawn
def kernel_ellipse(
    run: Any,
    pair: tuple[int, int] = (0, -1),
    frames: int = 6,
    ax: Axes | None = None,
    flow: mf.GradientFlow | None = None,
) -> Axes:
    """The ellipses {v : vᵀ H_t^{-1} v = 1} of the 2 × 2 tangent kernel on two training samples,
    from light to dark in time.

    Half axes √λ_i along the eigenvectors v_i of H_t. With the squared loss, and if the two samples
    are the whole training set, ⟨v_i, f - y⟩ decays at the rate λ_i/n, n = 2 ("sum": λ_i), at that
    time: the longer the axis, the faster. In a larger set the other samples drive these two as
    well, and the ellipse says how strongly the two drive each other, no more. In the lazy limit all
    are one ellipse. A singular kernel gives a line. pair: which samples, the first and the last
    unless given. K outputs: of (1/K) Σ_c H_cc. The frames are chosen as in `function_evolution`, by
    the way of H_t.
    """
    run = open_run(run)
    if frames < 2:
        raise ValueError(f"kernel_ellipse draws 2 or more frames; got {frames}.")
    seen = some_frames(run)
    H, x = pair_kernels(run, pair, seen, flow)
    beside: dict[str, Any] = (
        {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)} if ax is None else {"loc": "best"}
    )
    ax = axes_or_new(ax)
    chosen = milestones(H, frames)
    for k, colour in zip(chosen, ages(len(chosen)), strict=True):
        width = resized(2.2 if k == chosen[-1] else 1.4)
        ax.plot(
            *ellipse(H[k]), color=colour, linewidth=width, label=f"t = {run.times[seen[k]]:.3g}"
        )
    frame_ellipses(ax, H, x)
    (short, long), (short_end, long_end) = (
        np.sqrt(np.maximum(np.linalg.eigvalsh(H[k]), 0)) for k in (0, -1)
    )
    verdict = (
        f"Half axes √λ from {long:.3g} and {short:.3g} to {long_end:.3g} and "
        f"{short_end:.3g}; the kernel drifted by "
    )
    verdict += f"{ntk.drift(H[0], H[-1]):.3g} on these two.{caveat(run)}"
    panel(ax, f"Tangent kernel of two samples at {scaling_text(run)}", verdict, 70)
    ax.legend(**beside)
    return ax


def samples_of(run: mf.Trajectory) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) of the first samples, as many as are drawn."""
    data, start = run.data, run.start
    count = max(2, min(SAMPLES, int((PRODUCTS / (start.m * start.outputs**2)) ** 0.5)))
    return data.x[:count], data.y[:count]


def scalar_kernel(network: mf.Network, state: mf.State, x: np.ndarray) -> np.ndarray:
    """H_t (n, n), for K outputs the mean (1/K) Σ_c H_cc: H itself where the limit is I_K ⊗ H."""
    return mean_over_outputs(ntk.empirical(network, state, x))


def mean_over_outputs(H: np.ndarray) -> np.ndarray:
    """(n, n): a kernel (n, n, K, K) as (1/K) Σ_c H_cc."""
    return H if H.ndim == 2 else np.trace(H, axis1=2, axis2=3) / H.shape[2]


def usual_sort(x: np.ndarray) -> str:
    """By input where there is one, else by label."""
    return "input" if x.shape[1] == 1 else "label"


def order_of(
    H: np.ndarray, x: np.ndarray | None, labels: np.ndarray | None, sort: str
) -> np.ndarray:
    """The order of the samples: by "label", "eigenvector", "input", or "none"."""
    known = (
        ["eigenvector", "none"]
        if x is None
        else ["label", "eigenvector", "none"] + ["input"] * (x.shape[1] == 1)
    )
    if sort not in known:
        why = "an array has no labels" if x is None else 'by "input" is for d = 1'
        raise ValueError(f"sort must be one of {', '.join(known)} here ({why}); got {sort!r}.")
    if sort == "none":
        return np.arange(len(H))
    if sort == "input" and x is not None:
        return np.argsort(x[:, 0], kind="stable")
    leading = np.linalg.eigh(H)[1][:, -1]
    leading = leading if leading.sum() >= 0 else -leading
    if sort == "eigenvector" or labels is None:
        return np.argsort(leading, kind="stable")
    return np.lexsort((leading, labels if labels.ndim == 1 else labels[:, 0]))


def draw_kernel(ax: Axes, H: np.ndarray, sort: str) -> AxesImage:
    """The image of a kernel whose samples stand in this order."""
    image = ax.imshow(H, cmap=COLOURS_OF_ENTRIES, interpolation="nearest")
    words = {
        "label": "by label",
        "eigenvector": "by the leading eigenvector",
        "input": "by x",
        "none": "as they come",
    }
    ax.set_xlabel(f"samples, {words[sort]}")
    ax.set_ylabel(f"samples, {words[sort]}")
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    return image


def colour_bar(image: AxesImage, axes: Sequence[Axes], H: np.ndarray) -> None:
    """One scale for all images on these Axes and the bar that explains it: the range of H, or
    `middle` of it.
    """
    low, high = middle(H)
    for ax in axes:
        ax.images[0].set_clim(low, high)
    ends = {
        (False, False): "neither",
        (True, False): "min",
        (False, True): "max",
        (True, True): "both",
    }
    beyond = ends[bool(H.min() < low), bool(H.max() > high)]
    axes[0].figure.colorbar(image, ax=list(axes), label="H(x, x')", shrink=0.85, extend=beyond)


def middle(H: np.ndarray) -> tuple[float, float]:
    """The range of all entries; that of the middle 99 in 100 where the others would take up more
    than a third of it.
    """
    low, high = np.quantile(H, [0.005, 0.995])
    whole = float(H.min()), float(H.max())
    return (float(low), float(high)) if high - low < 2 / 3 * (whole[1] - whole[0]) else whole


def pair_kernels(
    run: mf.Trajectory, pair: tuple[int, int], frames: np.ndarray, flow: mf.GradientFlow | None
) -> tuple[np.ndarray, np.ndarray]:
    """(H (frames, 2, 2), x (2, d)) of two training samples."""
    network, data = network_of(run, flow), run.data
    n = len(data.x)
    if len(pair) != 2 or not all(-n <= i < n for i in pair) or pair[0] % n == pair[1] % n:
        raise ValueError(
            f"pair must be two different samples of the {n} there are; got {tuple(pair)}."
        )
    x = data.x[list(pair)]
    return np.stack([scalar_kernel(network, run[int(k)], x) for k in frames]), x


def ellipse(H: np.ndarray, points: int = 200) -> np.ndarray:
    """{v : vᵀ H^{-1} v = 1} = H^{1/2} of the unit circle: (2, points)."""
    values, vectors = np.linalg.eigh(H)
    angle = np.linspace(0.0, 2 * np.pi, points)
    return vectors @ (
        np.sqrt(np.maximum(values, 0.0))[:, None] * np.array([np.cos(angle), np.sin(angle)])
    )


def frame_ellipses(ax: Axes, H: np.ndarray, x: np.ndarray) -> None:
    """Axes for the ellipses of all of H (frames, 2, 2): |v_i| <= √H_ii on them; one unit as long in
    both directions.
    """
    limit = 1.1 * np.sqrt(H[:, [0, 1], [0, 1]].max(axis=0))
    limit = np.maximum(limit, 0.4 * np.max(limit) or 1.0)
    ax.axhline(0, color=GREY, linewidth=0.7, linestyle=LINES[3], zorder=0)
    ax.axvline(0, color=GREY, linewidth=0.7, linestyle=LINES[3], zorder=0)
    ax.set_xlim(-limit[0], limit[0])
    ax.set_ylim(-limit[1], limit[1])
    ax.set_aspect("equal")
    names = [f" (x = {value[0]:.3g})" if len(value) == 1 else "" for value in x]
    ax.set_xlabel(f"first sample{names[0]}")
    ax.set_ylabel(f"second sample{names[1]}")


def _square(H: np.ndarray) -> np.ndarray:
    H = np.asarray(H, dtype=np.float64)
    if H.ndim != 2 or H.shape[0] != H.shape[1] or not len(H) or not np.isfinite(H).all():
        raise ValueError(f"a kernel to draw is a finite array (n, n); got {H.shape}.")
    return H


def _aligned(H: np.ndarray, labels: np.ndarray) -> str:
    """The diagnostic kernel_alignment of a kernel (n, n) or (n, n, K, K); nothing where labels or
    kernel vanish, centred.
    """
    y = np.eye(H.shape[2])[labels] if H.ndim == 4 and labels.ndim == 1 else labels
    value = alignment(H, y, centred=True)
    return f"; kernel alignment {value:.3f}" if np.isfinite(value) else ""
