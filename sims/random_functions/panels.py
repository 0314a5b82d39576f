"""The panels of `random_functions`, each with its verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import figures
from ..figures import Curve, Figure
from ..lab import cells, runs
from ..lab.fits import Refused
from . import measures

if TYPE_CHECKING:
    from . import Results

THEORY = -0.5
GAUSSIAN = 0.9545  # of a normal law lies within two standard deviations


def page(results: Results) -> Figure:
    """A row of three panels; from the files alone."""
    widths = sorted(results.config.widths)
    with figures.house():
        sheet, axes = figures.sheet(1, 1, 3)
        for ax, m in zip(axes[0, 0], (widths[0], widths[-1]), strict=False):
            _draw_functions(ax, results, m)
        _draw_scatter(axes[0, 0, 2], results)
        figures.heading(sheet, axes[0, 0, 0], _about(results))
    return sheet


def _about(results: Results) -> str:
    config = results.config
    return (
        "Networks before training\n"
        f"1 – m – m – 1 of {config.activation}, γ = 1/2, α = 1; weights and biases standard normal, "
        f"v = {config.w_std:g}, β = {config.b_std:g}; {figures.seeds(config.networks)}; flow time t = 0"
    )


def _draw_functions(ax: Any, results: Results, m: int) -> None:
    config = results.config
    x, f = measures.points(config)[:, 0], cells.read(cells.of_width(results.folder, m))[1]["f"]
    sd = measures.deviation(config)
    ax.fill_between(x, -2 * sd, 2 * sd, color="0.85", linewidth=0, label="limit, ±2 sd", zorder=0)
    ax.plot(x, f.T, color=figures.COLOURS[0], linewidth=0.6, alpha=0.35)
    ax.plot([], [], color=figures.COLOURS[0], label=f"{len(f)} networks")
    measured = 2 * f.std(axis=0, ddof=1)
    for sign in (-1, 1):
        ax.plot(x, sign * measured, color=figures.COLOURS[2], linestyle=figures.LINES[1],
                label="their ±2 sd" if sign > 0 else None)  # fmt: skip
    ax.set_xlim(x[0], x[-1])
    high = 2.1 * max(float(sd.max()) * 2, 1e-9)
    ax.set_ylim(-high, high)
    ax.set_xlabel("x")
    ax.set_ylabel("f(x)")
    ax.legend(loc="lower left", ncols=3, columnspacing=0.9, handlelength=1.6)
    rows = [row for row in results.rows if row.m == m]
    inside = np.mean([row.inside for row in rows])
    lost = int((np.abs(f).max(axis=1) > high).sum())
    gone = f"; {lost} of the networks leave the picture" if lost else ""
    verdict = (
        f"{inside:.1%} of the values lie in the band of the limit, a normal law has "
        f"{GAUSSIAN:.1%}{gone}."
    )
    figures.panel(ax, f"m = {m}", verdict)


def _draw_scatter(ax: Any, results: Results) -> None:
    rows: Any = results.rows
    fit = runs.exponent(rows, "off")
    label = "theory −1/2" if isinstance(fit, Refused) else f"slope {fit.short}, theory −1/2"
    widths, off = runs.against_width(rows, "off")
    figures.power_laws(
        ax, [Curve(label, widths, off, 0)], [THEORY], "width m", "‖K_m − K‖ / ‖K‖, one network"
    )
    means = off.mean(axis=0)
    verdict = (
        f"A network's covariance, given its hidden layers, is {means[0]:.0%} off the limit's at "
        f"m = {widths[0]:g}, {means[-1]:.1%} at m = {widths[-1]:g}."
    )
    figures.panel(ax, "How random the covariance is", verdict)
