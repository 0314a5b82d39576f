"""The panels of `gaussian_process_view`, each with its verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import figures
from ..figures import Curve, Figure
from ..lab import cells, runs
from ..lab.fits import Refused
from . import measures

if TYPE_CHECKING:
    from . import Results

BOUND = -0.5  # by which the gap falls at least


def page(results: Results) -> Figure:
    """A row of three panels; from the files alone."""
    with figures.house():
        sheet, axes = figures.sheet(1, 1, 3)
        _draw_ensemble(axes[0, 0, 0], results, "readout", "The readout trained")
        _draw_ensemble(axes[0, 0, 1], results, "all", "All layers trained")
        _draw_gap(axes[0, 0, 2], results)
        figures.heading(sheet, axes[0, 0, 0], _about(results))
    return sheet


def _about(results: Results) -> str:
    config = results.config
    return (
        "Trained networks as draws of a Gaussian process\n"
        f"1 – m – m – 1 of {config.activation}, γ = 1/2, α = 1; weights and biases standard normal, "
        f"v = {config.w_std:g}, β = {config.b_std:g}; {config.n} points of sin 3x, ½ mean (f − y)²; "
        f"{figures.seeds(config.networks)}; flow time t = {config.t_end:g}"
    )


def _draw_ensemble(ax: Any, results: Results, name: str, title: str) -> None:
    config, m = results.config, max(results.config.widths)
    data, f = measures.dataset(config), cells.read(cells.of_width(results.folder, m))[1][name]
    mean, sd = measures.theory(config, name == "readout")
    assert data.x_test is not None
    x = data.x_test[:, 0]
    ax.fill_between(
        x, mean - 2 * sd, mean + 2 * sd, color="0.85", linewidth=0, zorder=0, label="limit, ±2 sd"
    )
    ax.plot(x, f.T, color=figures.COLOURS[0], linewidth=0.6, alpha=0.35)
    ax.plot([], [], color=figures.COLOURS[0], label=f"{len(f)} networks, m = {m}")
    ax.plot(x, mean, color="0.35", linestyle=figures.LINES[3], label="its mean")
    ax.plot(
        x, f.mean(axis=0), color=figures.COLOURS[2], linestyle=figures.LINES[1], label="their mean"
    )
    ax.plot(data.x[:, 0], data.y, "o", color="black", markersize=4, label="data", zorder=5)
    ax.set_xlim(x[0], x[-1])
    low = min(float((mean - 2.2 * sd).min()), 1.1 * float(data.y.min()))
    high = max(float((mean + 2.2 * sd).max()), 1.1 * float(data.y.max()))
    ax.set_ylim(low - 0.45 * (high - low), high)
    ax.set_xlabel("x")
    ax.set_ylabel("f(x)")
    ax.legend(loc="lower center", ncols=2, columnspacing=1.0, handlelength=1.8)
    item = next(item for item in results.ensembles if (item.m, item.trained) == (m, name))
    verdict = (
        f"Their mean is {item.mean_off:.2f} sd off the limit's, by chance {item.expected:.2f}; their "
        f"spread is {item.spread:.2f} times the limit's."
    )
    figures.panel(ax, title, verdict)


def _draw_gap(ax: Any, results: Results) -> None:
    rows: Any = results.rows
    fit = runs.exponent(rows, "gap")
    label = "measured" if isinstance(fit, Refused) else f"slope {fit.short}, bound −1/2"
    widths, gap = runs.against_width(rows, "gap")
    figures.power_laws(
        ax, [Curve(label, widths, gap, 0)], [BOUND], "width m", "RMS of f − f_lin, test inputs"
    )
    means, moved = gap.mean(axis=0), runs.against_width(rows, "moved")[1].mean(axis=0)
    verdict = (
        f"A network and its own linearisation are {means[-1]:.2g} apart at m = {widths[-1]:g}; its "
        f"weights moved by {moved[-1]:.1%} of their length."
    )
    figures.panel(ax, "The linearised network", verdict)
