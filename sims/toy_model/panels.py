"""The panels of `toy_model`, each with its verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import figures
from ..figures import Curve, Figure
from . import measures

if TYPE_CHECKING:
    from . import Results, Row


def page(results: Results) -> Figure:
    """A row of three panels."""
    with figures.house():
        sheet, axes = figures.sheet(1, 1, 3)
        shown = [results.rows[k] for k in (0, len(results.rows) // 2, -1)]
        _draw_tangent(axes[0, 0, 0], shown)
        _draw_loss(axes[0, 0, 1], shown)
        _draw_way(axes[0, 0, 2], results.rows)
        about = (
            "One weight, one point\nαf(w), f = (wx + w²x + sin e^(w/10))(w − 0.4), x = 1.5, from w = "
            f"0.4 to the target 1; γ = 1, gradient flow to t = {results.config.t_end:g}; no random "
            "numbers"
        )
        figures.heading(sheet, axes[0, 0, 0], about)
    return sheet


def _draw_tangent(ax: Any, shown: list[Row]) -> None:
    """Output against the output of the tangent: every tangent is the diagonal."""
    tangent = np.linspace(-0.5, 1.1, 300)
    curves, off = [], []
    for number, row in enumerate(shown):
        w = measures.START + tangent * row.tangent / measures.TARGET
        curves.append(
            Curve(f"α = {row.alpha:g}", tangent, row.alpha * measures.model(w)[None], number)
        )
        there = row.alpha * float(measures.model(np.array(measures.START + row.tangent)))
        off.append(f"{there - measures.TARGET:.2g}")
    ax.plot(tangent, tangent, color="0.85", linewidth=7, zorder=0, label="tangent")
    figures.lines(ax, curves, "output of the tangent α f′(w₀)(w − w₀)", "output of the model αf(w)")
    ax.legend(loc="upper left")
    names = ", ".join(f"{row.alpha:g}" for row in shown)
    verdict = (
        f"Where the tangent hits the target 1 the model is {', '.join(off)} off at α = {names}."
    )
    figures.panel(ax, "The model over its tangent", verdict)


def _draw_loss(ax: Any, shown: list[Row]) -> None:
    """The loss of the model and of its tangent against w, minima marked."""
    moved = np.linspace(-0.12, 0.62, 600)
    for number, row in enumerate(shown):
        for model, line in (
            (row.alpha * measures.model(measures.START + moved), figures.LINES[0]),
            (row.alpha * measures.slope() * moved, figures.LINES[3]),
        ):
            loss = 0.5 * (model - measures.TARGET) ** 2
            label = f"α = {row.alpha:g}" if line == figures.LINES[0] else None
            ax.plot(moved, loss, color=figures.COLOURS[number], linestyle=line, label=label)
        ax.plot(row.minimum, 0, marker=figures.MARKERS[number], color=figures.COLOURS[number], clip_on=False, zorder=5)  # fmt: skip
    ax.plot([], [], color="0.35", linestyle=figures.LINES[3], label="of the tangent")
    ax.axvline(0, color="0.6", linewidth=0.8, zorder=0)
    ax.set_ylim(0, 1.5)
    ax.set_xlim(moved[0], moved[-1])
    ax.set_xlabel("w − w₀")
    ax.set_ylabel("loss ½(αf − 1)²")
    ax.legend(loc="upper right")
    ends = ", ".join(f"{row.minimum:.3g}" for row in shown)
    verdict = f"The minimum is {ends} from the start: the larger α, the nearer, and the loss there a parabola."
    figures.panel(ax, "The loss", verdict)


def _draw_way(ax: Any, rows: tuple[Row, ...]) -> None:
    """Trained distance and κ against α, of slope -1."""
    alphas = np.array([row.alpha for row in rows])
    curves, said = [], []
    for number, (name, label) in enumerate((("kappa", "κ"), ("moved", "w − w₀"))):
        values = np.array([[getattr(row, name) for row in rows]])
        slope = np.log(values[0, -1] / values[0, -2]) / np.log(alphas[-1] / alphas[-2])
        curves.append(Curve(label, alphas, values, number))
        said.append(f"{slope:.3f} for {label}".replace("-", "−"))
    figures.lines(ax, curves, "output scale α", "relative scale κ, and w − w₀", "xy", markers=True)
    for curve in curves:
        band = figures.expected_slope(ax, curve, -1.0)
    handles, labels = ax.get_legend_handles_labels()
    ax.legend([*handles, band], [*labels, "slope −1"], loc="upper right")
    off = max(abs(row.moved / row.minimum - 1) for row in rows)
    verdict = (
        f"Slope at the end {', '.join(said)}, theory −1; trained to within {off:.0e} of the "
        "minimum."
    )
    figures.panel(ax, "The way of the weight", verdict)
