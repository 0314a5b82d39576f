"""Where matplotlib lives: the house style, and functions that draw what they are given on an Axes.

Every panel has a verdict line: what a reader should see in it, with numbers taken from the data by the caller. Colours are
those of Okabe and Ito; line styles and markers tell the same apart in grayscale. Nothing is trained or fitted here.
"""

from __future__ import annotations

import io
import os
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import matplotlib

if sys.platform.startswith("linux") and not {"DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND"} & set(os.environ):
    matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator
from PIL import Image

import meanfield as mf

COLOURS = ("#0072B2", "#E69F00", "#C4380D", "#009E73", "#7B3294", "#56B4E9")
INKS = ("#005A8E", "#946300", "#A62D08", "#007352", "#652A78", "#2B7FAE")  # the same, dark enough for text
LINES = ("-", (0, (5, 1.5)), (0, (5, 1.2, 1, 1.2)), (0, (1, 1)), (0, (8, 2)), "-")
MARKERS = ("o", "s", "^", "D", "v", "P")
POSITIVE, NEGATIVE, GREY = "#C4380D", "#0072B2", "0.72"  # the sign of a neuron's output weight; where it was before
HOUSE: Any = {
    "font.size": 9.5, "axes.titlesize": 10.5, "axes.labelsize": 9.5, "legend.fontsize": 8.5, "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    "lines.linewidth": 1.6, "lines.markersize": 6, "figure.dpi": 100, "savefig.dpi": 110, "pdf.fonttype": 42,
}  # fmt: skip


@dataclass(frozen=True)
class Curve:
    """One line: x (n,), its values (repeats, n) of which mean and spread are drawn, and what to call it."""

    label: str
    x: np.ndarray
    values: np.ndarray
    style: int = 0


def regime(gamma: float) -> str:
    """γ as a fraction, with the name of its limit."""
    name = {0.5: " (lazy)", 1.0: " (mean-field)"}.get(gamma, "")
    return f"γ = {fraction(gamma)}{name}"


def fraction(value: float) -> str:
    """1/2 rather than 0.5 where the denominator is small."""
    near = Fraction(value).limit_denominator(8)
    return str(near).replace("-", "−") if abs(float(near) - value) < 1e-9 else f"{value:g}".replace("-", "−")


def house() -> Any:
    """Context manager: the house style for what is made inside."""
    return plt.rc_context(HOUSE)


def sheet(blocks: int, rows: int = 2, columns: int = 3) -> tuple[Figure, np.ndarray]:
    """A page of `blocks` with a heading each over rows × columns panels: (figure, axes (blocks, rows, columns))."""
    wide, high, left, gap, title, label, top = 3.55, 2.75, 0.72, 0.66, 0.72, 0.52, 0.62
    block = top + rows * (title + high + label)
    size = left + columns * (wide + gap) - gap + 0.15, blocks * block
    figure = plt.figure(figsize=size)
    axes = np.empty((blocks, rows, columns), dtype=object)
    for number, row, column in np.ndindex(axes.shape):
        x = left + column * (wide + gap)
        y = size[1] - number * block - top - (row + 1) * (title + high) - row * label
        axes[number, row, column] = figure.add_axes((x / size[0], y / size[1], wide / size[0], high / size[1]))
    return figure, axes


def heading(figure: Figure, ax: Axes, text: str) -> None:
    """The heading of a block of panels, over the first of them: a bold line and smaller ones."""
    first, _, rest = text.partition("\n")
    style: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "baseline"}
    ax.annotate(first, (0, 1), (-42, 76), fontsize=14, fontweight="bold", **style)
    ax.annotate(rest, (0, 1), (-42, 61), fontsize=10, color="0.25", **style)


def panel(ax: Axes, title: str, verdict: str, width: int = 58) -> None:
    """Title and, below it, the verdict over the axes: left-aligned, wrapped at `width` characters to two lines as a rule."""
    text = textwrap.fill(verdict, width)
    above = 8 + 12.2 * max(2, text.count("\n") + 1)
    style: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "left"}
    ax.annotate(text, (0, 1), (0, above - 2), va="top", fontsize=8.8, style="italic", color="0.2", linespacing=1.15, **style)
    ax.annotate(title, (0, 1), (0, above + 3), va="bottom", fontsize=10.5, fontweight="bold", **style)


def lines(ax: Axes, curves: Sequence[Curve], xlabel: str, ylabel: str, log: str = "", markers: bool = False) -> None:
    """The mean of each curve over its repeats, with a band (or bars, with markers) of ± one standard error.

    log: "", "x", "y" or "xy". Labels stand in a legend.
    """
    for curve in curves:
        mean, error = curve.values.mean(axis=0), _standard_error(curve.values)
        look: dict[str, Any] = {"color": COLOURS[curve.style % 6], "linestyle": LINES[curve.style % 6], "label": curve.label}
        if markers:
            ax.errorbar(
                curve.x,
                mean,
                error,
                marker=MARKERS[curve.style % 6],
                markeredgecolor="white",
                markeredgewidth=0.4,
                capsize=2,
                **look,
            )
        else:
            ax.plot(curve.x, mean, **look)
            ax.fill_between(curve.x, mean - error, mean + error, color=look["color"], alpha=0.25, linewidth=0)
    if "x" in log:
        ax.set_xscale("log")
    if "y" in log:
        ax.set_yscale("log")
        low, high = ax.get_ylim()
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 50 else (1,)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())
    if markers:
        widths = sorted({float(x) for curve in curves for x in curve.x})
        ax.xaxis.set_major_locator(FixedLocator(widths))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xticklabels([f"{x:g}" for x in widths])
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)


def power_laws(ax: Axes, curves: Sequence[Curve], slopes: Sequence[float], xlabel: str, ylabel: str) -> None:
    """Markers with error bars on log–log axes over a grey band of the expected slope; labels stand beside the data."""
    lines(ax, curves, xlabel, ylabel, log="xy", markers=True)
    for curve, slope in zip(curves, slopes, strict=True):
        x, y = np.log(curve.x), np.log(curve.values.mean(axis=0))
        expected = np.exp(y.mean() + slope * (x - x.mean()))
        (band,) = ax.plot(curve.x, expected, color="0.85", linewidth=7, solid_capstyle="butt", zorder=1)
        ax.annotate(
            curve.label, (curve.x[0], np.exp(y[0])), (1, 7), textcoords="offset points", va="bottom", fontsize=8.8,
            color=INKS[curve.style % 6], fontweight="bold",
        )  # fmt: skip
    low, high = ax.get_ylim()
    ax.set_ylim(low, high * (high / low) ** 0.12)
    ax.legend([band], ["theory's slope"], loc="lower left")


def particles(
    ax: Axes, frames: np.ndarray, positive: np.ndarray, limit: float | None = None, rays: np.ndarray | None = None
) -> None:
    """Neurons as points of a plane: where they were (grey), their paths, where they are; colour and marker by the sign of a.

    frames (times, neurons, 2); positive (neurons,) booleans; rays (count, 2): directions drawn from the origin outwards.
    limit: half the height of what is shown; one unit is as long to the right as upwards.
    """
    if limit is None:
        limit = 1.05 * float(np.abs(frames).max())
    for ray in rays if rays is not None else ():
        end = 3 * limit * ray / np.linalg.norm(ray)
        ax.plot(
            [0, end[0]], [0, end[1]], color="0.35", linewidth=1.0, linestyle=(0, (4, 3)), zorder=0, scalex=False, scaley=False
        )
    for sign, colour, marker in ((True, POSITIVE, "^"), (False, NEGATIVE, "o")):
        chosen = positive == sign
        tails = LineCollection(list(frames[:, chosen].transpose(1, 0, 2)), colors=colour, linewidths=0.6, alpha=0.45, zorder=2)
        ax.add_collection(tails)
        end = frames[-1, chosen]
        name = "+" if sign else "−"
        ax.scatter(
            end[:, 0], end[:, 1], s=13 if sign else 11, marker=marker, color=colour, edgecolors="white", linewidths=0.3,
            label=f"after, a {'>' if sign else '<'} 0", zorder=4, gid=f"sign{name}",
        )  # fmt: skip
    ax.scatter(frames[0, :, 0], frames[0, :, 1], s=5, color=GREY, linewidths=0, label="before", zorder=3 if _still(frames) else 1)
    box = ax.get_window_extent()
    ax.set_xlim(*(np.array([-1, 1]) * limit * box.width / box.height))
    ax.set_ylim(-limit, limit)


def save(figure: Figure, stem: Path) -> tuple[Path, Path]:
    """stem.png (256 colours, for size) and stem.pdf (vector), without dates, each complete or not there at all."""
    png, pdf = stem.with_suffix(".png"), stem.with_suffix(".pdf")
    pixels = io.BytesIO()
    figure.savefig(pixels, format="png")
    picture = Image.open(pixels).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    for path in (png, pdf):
        temporary = path.with_name(f".tmp-{path.name}")
        if path is png:
            picture.save(temporary, format="png", optimize=True)
        else:
            figure.savefig(temporary, format="pdf", metadata={"CreationDate": None})
        os.replace(temporary, path)
    return png, pdf


@house()
def compare(runs: Sequence[Any], ax: Axes | None = None) -> Axes:
    """The risk of runs (mf.Trajectory or paths) against flow time on one Axes, with how far the neurons of each travelled."""
    opened = [_opened(run) for run in runs]
    if not opened:
        raise ValueError("compare needs at least one run: figures.compare([run_a, run_b]).")
    ax = _axes(ax)
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


def plane(run: Any) -> tuple[np.ndarray, str, str]:
    """(basis, labels) of the plane to see a run's |a|(w, b) in: basis (d + 1, 2).

    d = 1: (|a|w, |a|b). d = 2: |a|w itself. Beyond: the two principal directions in which |a|w moved.
    """
    run = _opened(run)
    d = run.start.dim
    if d > 2:
        return movement(run[0], run[-1], scaled=True), "|a|⟨w, e₁⟩, e₁ the main direction of movement", "|a|⟨w, e₂⟩"
    basis = np.zeros((d + 1, 2))
    basis[:2] = np.eye(2)
    return basis, "|a| w" if d == 1 else "|a| w₁", "|a| b" if d == 1 else "|a| w₂"


def movement(first: mf.State, last: mf.State, scaled: bool = False) -> np.ndarray:
    """(d + 1, 2): the two principal directions in which w (scaled: |a|w) moved from one state to another; 0 for b."""
    moved = (_weights(last, scaled) - _weights(first, scaled))[:, :-1]
    basis = np.zeros((moved.shape[1] + 1, 2))
    basis[:-1] = np.linalg.eigh(moved.T @ moved)[1][:, :-3:-1]
    return basis


def projected(run: Any, basis: np.ndarray, count: int = 400, scaled: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """(frames, positive) of `particles`: (w, b) @ basis, or |a|(w, b) @ basis, of the first `count` neurons in every frame."""
    states = list(_opened(run))
    positive = states[-1].a[:count].sum(axis=1) > 0
    return np.stack([_weights(state, scaled)[:count] @ basis for state in states]), positive


@house()
def paths(run: Any, ax: Axes | None = None, count: int = 400) -> Axes:
    """The paths of a run's neurons in the plane of |a|w (for d > 2 the plane in which they moved most)."""
    run = _opened(run)
    ax = _axes(ax)
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
    run = _opened(run)
    if run.start.dim != 1 or run.start.outputs != 1:
        found = f"d = {run.start.dim}, K = {run.start.outputs}"
        raise ValueError(f"function_1d draws f: R → R; {run.path} has {found}. figures.paths(run) shows its neurons.")
    ax = _axes(ax)
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


def _opened(run: Any) -> mf.Trajectory:
    return run if isinstance(run, mf.Trajectory) else mf.Trajectory(run)


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    return plt.figure(figsize=(6.0, 4.4), layout="constrained").add_subplot()


def _weights(state: mf.State, scaled: bool) -> np.ndarray:
    """(w, b) or |a|(w, b): (m, d + 1). For ReLU a neuron is the latter point and the sign of a."""
    inner = state.theta[:, state.outputs :].astype(np.float64)
    return np.linalg.norm(state.a, axis=1, keepdims=True) * inner if scaled else inner


def _still(frames: np.ndarray) -> bool:
    """Whether the points moved by less than a hundredth of the picture: then grey goes on top, smaller than what it covers."""
    return bool(np.abs(frames[-1] - frames[0]).max() < 0.01 * np.abs(frames).max())


def _standard_error(values: np.ndarray) -> np.ndarray:
    repeats = len(values)
    return values.std(axis=0, ddof=1) / np.sqrt(repeats) if repeats > 1 else np.zeros(values.shape[1])
