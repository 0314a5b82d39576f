"""What stands in panels: curves, power laws, thresholds, legends, neurons as points of a plane. Nothing is
trained or fitted here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.legend import Legend
from matplotlib.path import Path
from matplotlib.text import Annotation
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from .pages import place
from .style import (
    COLOURS,
    GREY,
    INKS,
    LINES,
    MARKERS,
    NEGATIVE,
    POSITIVE,
    in_paper,
    letters,
    resized,
)

RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Curve:
    """One line: x (n,), its values (repeats, n) of which mean and spread are drawn, and what to
    call it.
    """

    label: str
    x: np.ndarray
    values: np.ndarray
    style: int = 0


def lines(
    ax: Axes,
    curves: Sequence[Curve],
    xlabel: str,
    ylabel: str,
    log: str = "",
    markers: bool = False,
) -> None:
    """The mean of each curve over its repeats, with a band (or bars, with markers) of ± one
    standard error.

    log: "", "x", "y" or "xy". Labels stand in a legend.
    """
    for curve in curves:
        mean, error = curve.values.mean(axis=0), _standard_error(curve.values)
        look: dict[str, Any] = {
            "color": COLOURS[curve.style % 6],
            "linestyle": LINES[curve.style % 6],
            "label": curve.label,
        }
        if markers:
            ax.errorbar(
                curve.x,
                mean,
                error,
                marker=MARKERS[curve.style % 6],
                markeredgecolor="white",
                markeredgewidth=0.4,
                capsize=resized(2),
                **look,
            )
        else:
            ax.plot(curve.x, mean, **look)
            ax.fill_between(
                curve.x, mean - error, mean + error, color=look["color"], alpha=0.25, linewidth=0
            )
    if "x" in log:
        ax.set_xscale("log")
    if "y" in log:
        ax.set_yscale("log")
        low, high = ax.get_ylim()
        ax.yaxis.set_major_locator(_Few() if high / low < 50 else LogLocator())
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
        ax.yaxis.set_minor_formatter(NullFormatter())
    if markers:
        widths = sorted({float(x) for curve in curves for x in curve.x})
        ax.xaxis.set_major_locator(FixedLocator(widths))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xticklabels([f"{x:g}" for x in widths])
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)


class _Few(LogLocator):
    """Ticks at 1, 2 and 5 of each decade, on an axis made much longer since at 1 alone."""

    def tick_values(self, vmin: float, vmax: float) -> Any:
        self.set_params(subs=(1, 2, 5) if vmax / vmin < 500 else (1,))
        return super().tick_values(vmin, vmax)


def _short(value: float) -> str:
    """A number on a logarithmic axis: powers of ten as such where digits would need more room."""
    power = round(math.log10(value)) if value > 0 else 0
    if 1e-3 <= value < 1e5 or not math.isclose(value, 10.0**power):
        return f"{value:g}"
    return f"10{str(power).translate(RAISED)}"


def power_laws(
    ax: Axes, curves: Sequence[Curve], slopes: Sequence[float | None], xlabel: str, ylabel: str
) -> None:
    """Markers with error bars on log–log axes over a grey band of the expected slope, where one is
    known (None: no band).

    Labels stand beside the data, or, where one would cover another, in a legend above all data.
    """
    lines(ax, curves, xlabel, ylabel, log="xy", markers=True)
    pairs = zip(curves, slopes, strict=True)
    bands = [expected_slope(ax, curve, slope) for curve, slope in pairs if slope is not None]
    named = ["theory's slope"] * bool(bands)
    labels = [
        ax.annotate(
            curve.label, (curve.x[0], curve.values[:, 0].mean()), (6, 7), textcoords="offset points", va="bottom",
            fontsize=letters(8.8), color=INKS[curve.style % 6], fontweight="bold", gid="slope",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.4},
        )
        for curve in curves
    ]  # fmt: skip
    low, high = ax.get_ylim()
    ax.set_ylim(low, high * (high / low) ** 0.12)
    if not _crowded(ax, labels):
        if bands:
            ax.legend(bands[-1:], named, loc="lower left")
        return
    for label in labels:
        label.remove()
    handles, _ = ax.get_legend_handles_labels()
    legend_above(
        ax, [*handles, *bands[-1:]], [*(curve.label for curve in curves), *named], columns=1
    )


def expected_slope(ax: Axes, curve: Curve, slope: float) -> Any:
    """A grey band of this slope on log–log axes, through the middle of the curve; returns it, for a
    legend.
    """
    x, y = np.log(curve.x), np.log(curve.values.mean(axis=0))
    expected = np.exp(y.mean() + slope * (x - x.mean()))
    return ax.plot(
        curve.x, expected, color="0.85", linewidth=resized(7), solid_capstyle="butt", zorder=1
    )[0]


def threshold(ax: Axes, value: float) -> None:
    """A dashed line across the axes at this value, which the vertical axis then holds."""
    ax.axhline(
        value,
        color="0.35",
        linewidth=resized(1.1),
        linestyle=(0, (4, 3)),
        zorder=0.5,
        gid="threshold",
    )


def name_threshold(ax: Axes, value: float, label: str) -> None:
    """What a threshold means, above or below one end of its line, where it covers least of curves
    and words.
    """
    place(ax)
    drawn = [np.column_stack(line.get_data()) for line in ax.lines if line.get_gid() != "threshold"]
    curves = [Path(ax.transData.transform(points)) for points in drawn if len(points) > 1]
    legends = [item for item in ax.get_children() if isinstance(item, Legend)]
    words = [item.get_window_extent() for item in (*ax.texts, *legends) if item.get_visible()]
    look: dict[str, Any] = {"fontsize": letters(8.0), "color": "0.35", "gid": "threshold"}
    text = ax.annotate(
        label,
        (0, value),
        (0, 0),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        **look,
    )

    def covered(place: tuple[str, str]) -> int:
        _put(text, value, *place)
        box = text.get_window_extent()
        return sum(path.intersects_bbox(box, filled=False) for path in curves) + sum(
            box.overlaps(other) for other in words
        )

    _put(
        text,
        value,
        *min(
            ((side, edge) for edge in ("bottom", "top") for side in ("right", "left")), key=covered
        ),
    )


def _put(text: Annotation, value: float, side: str, edge: str) -> None:
    text.xy = (0.0 if side == "left" else 1.0, value)
    text.set_position((2 if side == "left" else -2, 2 if edge == "bottom" else -2))
    text.set(ha=side, va=edge)


def legend_above(ax: Axes, handles: Sequence[Any], labels: Sequence[str], columns: int = 3) -> None:
    """A legend above all data in `columns`, or as many as fit; the vertical axis is extended for
    it.
    """
    look: dict[str, Any] = {
        "columnspacing": 0.8 if in_paper() else 1.2,
        "handlelength": 1.8 if in_paper() else 2.2,
    }
    for fewer in range(columns, 0, -1):
        legend = ax.legend(
            handles, labels, loc="upper left", ncols=fewer, borderaxespad=0.2, **look
        )
        place(ax)
        if legend.get_window_extent().width <= ax.get_window_extent().width:
            break
    share = legend.get_window_extent().height / ax.get_window_extent().height + 0.03
    low, high = ax.get_ylim()
    grown = 1 / max(1 - share, 0.2)
    ax.set_ylim(
        low, low * (high / low) ** grown if ax.get_yscale() == "log" else low + grown * (high - low)
    )


def legend_below(ax: Axes, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """A second legend, in the lower left corner, beside that of the curves."""
    ax.add_artist(Legend(ax, list(handles), list(labels), loc="lower left", borderaxespad=0.2))


def legend_where_least(ax: Axes, points: np.ndarray, **look: Any) -> None:
    """A legend in the corner where it covers fewest of these points (…, 2), such as those of ways:
    matplotlib's "best" does not look at lines of a collection.
    """
    place(ax)
    at = ax.transData.transform(points.reshape(-1, 2))

    def covered(corner: Any) -> int:
        return ax.legend(loc=corner, **look).get_window_extent().count_contains(at)

    corners = ("upper right", "upper left", "lower right", "lower left")
    least: Any = min(corners, key=covered)
    ax.legend(loc=least, **look)


def _crowded(ax: Axes, labels: Sequence[Annotation]) -> bool:
    """Whether a label covers another one."""
    place(ax)
    boxes = [label.get_window_extent() for label in labels]
    return any(a.overlaps(b) for number, a in enumerate(boxes) for b in boxes[:number])


def particles(
    ax: Axes,
    frames: np.ndarray,
    positive: np.ndarray,
    limit: float | None = None,
    rays: np.ndarray | None = None,
    area: np.ndarray | None = None,
    names: tuple[str, str] = ("after, a > 0", "after, a < 0"),
) -> None:
    """Neurons as points of a plane: where they were (grey), their paths, where they are; colour and
    marker by the sign of a.

    frames (times, neurons, 2); positive (neurons,) booleans; rays (count, 2): directions drawn from
    the origin outwards. limit: half the height of what is shown; one unit is as long to the right
    as upwards. area (neurons,): of the points, 1 the usual one. names: of the two signs in the
    legend, where there are neurons of that sign.
    """
    if limit is None:
        limit = 1.05 * float(np.abs(frames).max()) or 1.0
    for ray in rays if rays is not None else ():
        end = 3 * limit * ray / np.linalg.norm(ray)
        look: dict[str, Any] = {
            "color": "0.35",
            "linewidth": resized(1.0),
            "linestyle": (0, (4, 3)),
            "zorder": 0,
        }
        ax.plot([0, end[0]], [0, end[1]], scalex=False, scaley=False, **look)
    for sign, colour, marker in ((True, POSITIVE, "^"), (False, NEGATIVE, "o")):
        chosen = positive == sign
        tails = LineCollection(
            list(frames[:, chosen].transpose(1, 0, 2)),
            colors=colour,
            linewidths=0.6,
            alpha=0.45,
            zorder=2,
        )
        ax.add_collection(tails)
        end = frames[-1, chosen]
        size = resized(13 if sign else 11) * (
            1.0 if area is None else np.clip(area[chosen], 0.1, 20.0)
        )
        ax.scatter(
            end[:, 0], end[:, 1], s=size, marker=marker, color=colour, edgecolors="white", linewidths=0.3, zorder=4,
            label=names[0 if sign else 1] if chosen.any() else None, gid=f"sign{'+' if sign else '−'}",
        )  # fmt: skip
    above = 3 if _still(frames) else 1
    ax.scatter(
        frames[0, :, 0],
        frames[0, :, 1],
        s=resized(5),
        color=GREY,
        linewidths=0,
        label="before",
        zorder=above,
    )
    box = ax.get_window_extent()
    ax.set_xlim(*(np.array([-1, 1]) * limit * box.width / box.height))
    ax.set_ylim(-limit, limit)


def fit(ax: Axes, frames: np.ndarray) -> str:
    """Limits that hold the whole way of 99 of 100 neurons, and the origin; one unit is as long to
    the right as upwards.

    frames (times, neurons, 2). Returns what a verdict has to say: how many leave the picture, or
    nothing.
    """
    low = np.minimum(np.quantile(frames.min(axis=0), 0.01, axis=0, method="lower"), 0.0)
    high = np.maximum(np.quantile(frames.max(axis=0), 0.99, axis=0, method="higher"), 0.0)
    place(ax)
    box = ax.get_window_extent()
    ratio = box.width / box.height
    centre, size = (low + high) / 2, high - low
    half = 0.54 * max(size[0] / ratio, size[1]) or 1.0
    ax.set_xlim(centre[0] - half * ratio, centre[0] + half * ratio)
    ax.set_ylim(centre[1] - half, centre[1] + half)
    gone = (np.abs(frames - centre) > half * np.array([ratio, 1.0])).any(axis=(0, 2)).sum()
    return f"; {gone} of {frames.shape[1]} leave the picture" if gone else ""


def _still(frames: np.ndarray) -> bool:
    """Whether the points moved by less than a hundredth of the picture: then grey goes on top,
    smaller than what it covers.
    """
    return bool(np.abs(frames[-1] - frames[0]).max() < 0.01 * np.abs(frames).max())


def _standard_error(values: np.ndarray) -> np.ndarray:
    repeats = len(values)
    return (
        values.std(axis=0, ddof=1) / np.sqrt(repeats) if repeats > 1 else np.zeros(values.shape[1])
    )
