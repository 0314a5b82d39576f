"""The panels of `random_features`, each with its verdict: numbers from its results and files, drawn
by `figures`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.stats

import meanfield as mf
from ntk.theorems import bounds

from .. import figures
from ..figures import COLOURS, GREY, LINES, Curve, Figure

if TYPE_CHECKING:
    from . import Results

LEVEL = 0.25  # of the error whose rarity the histogram's verdict states


def page(results: Results) -> Figure:
    """Histogram against the Beta law, mean error against m, and the loss along the two runs."""
    with figures.house():
        sheet, axes = figures.sheet(1, 1, 3)
        _draw_law(axes[0, 0, 0], results)
        _draw_width(axes[0, 0, 1], results)
        _draw_training(axes[0, 0, 2], results)
        about = (
            f"Random features and one linear function\nx ~ N(0, I) in d = {results.dim}, "
            "target ⟨β, x⟩ with |β| = 1, "
            "features ⟨w_k, x⟩ with w_k ~ N(0, I); training: γ = 1, α = 1, a = ±1, "
            "squared loss, whitened samples"
        )
        figures.heading(sheet, axes[0, 0, 0], about)
    return sheet


def _draw_law(ax: Any, results: Results) -> None:
    errors, d, m = np.array(results.errors), results.dim, results.m
    law = scipy.stats.beta((d - m) / 2, m / 2)
    grid = np.linspace(0, 1, 400)[1:-1]
    ax.hist(
        errors,
        bins=np.linspace(0, 1, 61),
        density=True,
        color=GREY,
        histtype="stepfilled",
        label=f"{len(errors)} draws",
    )
    ax.plot(grid, law.pdf(grid), color=COLOURS[0], label=f"Beta({(d - m) / 2:g}, {m / 2:g})")
    ax.set_xlabel("smallest mean squared error")
    ax.set_ylabel("density")
    ax.set_ylim(0, 1.3 * ax.get_ylim()[1])
    ax.legend(loc="upper left")
    rare, expected = int((errors < LEVEL).sum()), law.cdf(LEVEL) * len(errors)
    p = scipy.stats.kstest(errors, law.cdf).pvalue
    fits = "the Beta law" if p > 0.001 else f"NOT the Beta law (p = {p:.1g})"
    verdict = (
        f"Mean {errors.mean():.3f}, theory {1 - m / d:g}; below ¼ in {rare} draws, theory "
        f"{expected:.1f}: {fits}."
    )
    figures.panel(ax, f"Error of m = {m} features, best readout", verdict)


def _draw_width(ax: Any, results: Results) -> None:
    widths = np.array([row.m for row in results.rows])
    theory = np.maximum(0, 1 - np.arange(0, widths.max() + 1) / results.dim)
    ax.plot(
        np.arange(0, widths.max() + 1) / results.dim,
        theory,
        color="0.85",
        linewidth=7,
        label="bound, mean 1 − m/d",
    )
    below = worst = 0.0
    for number, (name, label) in enumerate(
        (("linear", "linear features"), ("relu", "relu features"))
    ):
        values = np.array([getattr(row, name) for row in results.rows]).T
        figures.lines(
            ax,
            [Curve(label, widths / results.dim, values, number)],
            "features per dimension m/d",
            "error",
        )
    for row in results.rows:
        below = max(below, float(np.max(np.array(row.linear) - row.relu)))
        worst = max(worst, abs(float(np.mean(row.linear)) - max(0.0, 1 - row.m / results.dim)))
    ax.set_ylim(0, 1.02)
    ax.legend(loc="upper right")
    never = (
        "no relu feature does better" if below < 1e-6 else f"relu features do better by {below:.1g}"
    )
    verdict = f"Linear features stay within {worst:.2g} of 1 − m/d; {never}, draw by draw."
    figures.panel(ax, "Mean error of the best readout", verdict)


def _draw_training(ax: Any, results: Results) -> None:
    left, floor, most = {}, 0.0, 1.0
    for number, name in enumerate(results.files):
        with mf.Trajectory(results.folder / name) as run:
            series, first = run.series("risk"), run[0]
            beta = run.data.y @ run.data.x / run.data.n
            trains = " and ".join(run.network.trainable)
        floor = bounds.distance2(first.w, beta)
        error = 2 * series.values
        left[trains], most = float(error[-1]), max(most, float(error[1]))
        figures.lines(
            ax, [Curve(f"{trains} trained", series.times[1:], error[None, 1:], number)], "", ""
        )
    ax.axhline(
        floor, color="0.5", linewidth=1.2, linestyle=LINES[3], label="bound for these features"
    )
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_ylim(max(1e-6, 0.5 * min(left.values())), 1.5 * most)
    ax.set_xlabel("flow time t")
    ax.set_ylabel("mean squared error")
    ax.legend(loc="lower left")
    ends = ", ".join(
        f"{'< 1e-6' if value < 1e-6 else f'{value:.3g}'} with {name} trained"
        for name, value in left.items()
    )
    figures.panel(ax, "Frozen and moving features", f"Bound {floor:.3f}; left at the end: {ends}.")
