"""The panels of `weights_budge`, each with its verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import figures
from ..figures import Curve, Figure
from ..lab import cells
from ..lab.runs import against_width

if TYPE_CHECKING:
    from . import Results


def page(results: Results) -> Figure:
    """A row of three panels; from the files alone."""
    widths = sorted(results.config.widths)
    shown = [widths[0], widths[len(widths) // 2], widths[-1]] if len(widths) > 3 else widths
    files = {m: cells.read(cells.of_width(results.folder, m))[1] for m in shown}
    return figures.page(_about(results), [
        [
            lambda ax: _draw_loss(ax, files),
            lambda ax: _draw_way(ax, files),
            lambda ax: _draw_widths(ax, results),
        ],
    ])  # fmt: skip


def _about(results: Results) -> str:
    config = results.config
    return (
        "Two hidden layers, two points\n"
        "1 – m – m – 1 of ReLU, one particle, s = 1, PyTorch's start; x = −3, 0.5, y = 2, −1; rate "
        f"{config.rate:g} on the mean squared error: a step is t = {2 * config.rate:g}; {figures.seeds(config.seeds)}"
    )


def _draw_loss(ax: Any, files: dict[int, dict[str, np.ndarray]]) -> None:
    curves = [
        Curve(f"m = {m}", file["steps"], np.maximum(file["loss"], 1e-12), number)
        for number, (m, file) in enumerate(files.items())
    ]
    figures.lines(ax, curves, "steps", "squared error", "y")
    ax.set_ylim(1e-8, 1e4)
    ax.legend(loc="upper right")
    said = []
    for m, file in files.items():
        mean = file["loss"].mean(axis=0)
        below = np.flatnonzero(mean <= 0.01 * mean[0])
        said.append(f"{file['steps'][below[0]]}" if below.size else "never")
        said[-1] += f" at m = {m}"
    figures.panel(ax, "Loss", f"Steps until 1 % is left: {', '.join(said)}.")


def _draw_way(ax: Any, files: dict[int, dict[str, np.ndarray]]) -> None:
    curves = [
        Curve(f"m = {m}", file["steps"], 100 * file["moved"], number)
        for number, (m, file) in enumerate(files.items())
    ]
    figures.lines(ax, curves, "steps", "‖w − w₀‖ / ‖w₀‖, %")
    ax.legend(loc="center right")
    ends = ", ".join(f"{curve.values[:, -1].mean():.2g} % at {curve.label}" for curve in curves)
    figures.panel(ax, "How far all weights have moved", f"At the end {ends}.")


def _draw_widths(ax: Any, results: Results) -> None:
    widths, moved = against_width(results.rows, "moved")
    curve = Curve("measured", widths, moved, 0)
    figures.lines(ax, [curve], "width m", "‖w − w₀‖ / ‖w₀‖ at the end", "xy", markers=True)
    band = figures.expected_slope(ax, Curve("", widths[-2:], moved[:, -2:]), -1.0)
    handles, labels = ax.get_legend_handles_labels()
    ax.legend([*handles, band], [*labels, "slope −1"], loc="upper right")
    ends = moved.mean(axis=0)[-2:]
    slope = np.log(ends[1] / ends[0]) / np.log(widths[-1] / widths[-2])
    verdict = (
        f"Slope {slope:.2f} between the two widest; theory −1 for wide networks that are trained to "
        "the end."
    ).replace("-", "−")
    figures.panel(ax, "Relative weight change", verdict)
