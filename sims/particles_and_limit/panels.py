"""The panels of `particles_and_limit`, each with its verdict: numbers from its files, drawn by
`figures`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import meanfield as mf

from .. import figures
from ..figures import Curve, Figure
from ..lab import runs
from ..lab.fits import Refused, fit_or_refuse
from . import directions

if TYPE_CHECKING:
    from . import Results

THEORY = -0.5


def page(results: Results) -> Figure:
    """Two rows of two panels; from the files alone."""
    with figures.house():
        sheet, axes = figures.sheet(1, 2, 2)
        _draw_density(axes[0, 0, 0], results)
        _draw_risk(axes[0, 0, 1], results)
        _draw_widths(axes[0, 1, 0], results)
        _draw_cells(axes[0, 1, 1], results)
        figures.heading(sheet, axes[0, 0, 0], _about(results))
    return sheet


def verdict(results: Results) -> str:
    """The rates, and how far the widest networks are."""
    rows, parts = results.rows, []
    widest = max(row.m for row in rows)
    for name, what in (("w1", "W1 of the directions"), ("f_gap", "RMS of f_m − f_∞")):
        fit = runs.exponent(rows, name)
        mean = float(np.mean([getattr(row, name) for row in rows if row.m == widest]))
        if isinstance(fit, Refused):
            parts.append(f"{what} {mean:.2g} at m = {widest} ({fit.reason})")
        else:
            parts.append(f"{what} {mean:.2g} at m = {widest}, slope {fit.verdict(THEORY)}")
    return "; ".join(parts) + "."


def _about(results: Results) -> str:
    row = results.rows[0]
    with mf.Trajectory(results.folder / row.file) as run:
        data, dt = run.data, float(run.config["dt"])
    seeds = len({row.seed for row in results.rows})
    return (
        "Neurons and the density that they tend to\n"
        f"γ = α = 1, ReLU on {data.origin['arguments']['slope']:g}|x|, inputs (x, 1), n = {data.n}; start a = ±1, |w| = 1, "
        f"symmetric, {seeds} seeds; flow time t = {row.t_end:g}, dt = {dt:g}"
    )


def _some(results: Results, m: int) -> str:
    """The file of the first seed of a width."""
    return next(row.file for row in results.rows if row.m == m)


def _draw_density(ax: Any, results: Results) -> None:
    """The share of neurons, a > 0, up to each angle: of the density at several times and of one
    network at the end.
    """
    widths = sorted({row.m for row in results.rows})
    m = widths[len(widths) // 2]
    with mf.Trajectory(results.folder / results.limit) as limit:
        frames = [limit[0], limit[-1]]
    for state, label, colour in zip(frames, ("at the start", "at the end"), ("0.8", "0.6"), strict=True):  # fmt: skip
        angle, mass = directions(state, 1.0)
        ax.plot(
            angle, np.cumsum(mass) / mass.sum(), color=colour, linewidth=5, solid_capstyle="butt",
            label=f"density, {label}",
        )  # fmt: skip
    with mf.Trajectory(results.folder / _some(results, m)) as run:
        angle, mass = directions(run[-1], 1.0)
    order = np.argsort(angle)
    share = np.cumsum(mass[order]) / mass.sum()
    ax.step(
        angle[order], share, where="post", color=figures.COLOURS[0], label=f"m = {m}, at the end"
    )
    ax.set_xlabel("direction of w, a > 0 (radians)")
    ax.set_ylabel("share of the neurons below")
    ax.set_xticks([-np.pi, -np.pi / 2, 0, np.pi / 2, np.pi], ["−π", "−π/2", "0", "π/2", "π"])
    ax.set_ylim(-0.03, 1.35)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1])
    ax.legend(loc="upper left")
    apart = np.mean([row.w1 for row in results.rows if row.m == m])
    figures.panel(
        ax,
        "Where the neurons go",
        f"They gather at kinks of ReLU. m = {m}: W1 to the density {apart:.2g} radians, mean over seeds.",
        54,
    )


def _draw_risk(ax: Any, results: Results) -> None:
    """The risk of the limit and of some networks against time."""
    widths = sorted({row.m for row in results.rows})
    gaps = []
    with mf.Trajectory(results.folder / results.limit) as limit:
        series = limit.series("risk")
        ax.plot(
            series.times, series.values, color="0.75", linewidth=5, solid_capstyle="butt",
            label="density, m = ∞",
        )  # fmt: skip
        for number, m in enumerate(sorted({widths[0], widths[-1]})):
            with mf.Trajectory(results.folder / _some(results, m)) as run:
                both = mf.limits.overlay(run, limit)
            figures.lines(ax, [Curve(f"m = {m}", both.times, both.run[None], number)], "flow time t", "risk", "y")  # fmt: skip
            gaps.append(f"{both.gap:.2g} at m = {m}")
    ax.legend(loc="upper right")
    figures.panel(
        ax,
        "The risk on the way",
        f"Largest distance to the limit, one seed: {', '.join(gaps)}.",
        54,
    )


def _draw_widths(ax: Any, results: Results) -> None:
    """W1 and f against m, with the slope -1/2."""
    rows, curves, said, agrees = results.rows, [], [], []
    for number, (name, what) in enumerate(
        (("w1", "W1 of directions"), ("f_gap", "RMS of f_m − f_∞"))
    ):
        widths, values = runs.against_width(rows, name)
        fit = runs.exponent(rows, name)
        curves.append(Curve(what, widths, values, number))
        short = "W1" if number == 0 else "f"
        said.append(f"{short}: {fit.reason if isinstance(fit, Refused) else fit.short}")
        agrees.append(not isinstance(fit, Refused) and fit.verdict(THEORY).startswith("agrees"))
    word = "both agree with" if all(agrees) else "theory:"
    figures.power_laws(ax, curves, [THEORY, THEORY], "width m", "distance to the limit")
    figures.panel(ax, "The rate", f"Slopes {', '.join(said)}; {word} −1/2.", 54)


def _draw_cells(ax: Any, results: Results) -> None:
    """W1 of coarser densities to the finest."""
    cells, gaps = (np.array(column, dtype=float) for column in zip(*results.coarser, strict=True))
    finest = int(results.limit.split("_")[1].split(".")[0])
    curve = Curve("coarser cells", cells, gaps[None], 2)
    figures.lines(ax, [curve], "cells on a circle", f"W1 to {finest} cells", "xy", True)
    fit = fit_or_refuse(cells, np.stack([gaps, gaps]))
    band = figures.expected_slope(ax, curve, -1.0)
    ax.legend([band], ["order 1"], loc="lower left")
    slope = ""
    if not isinstance(fit, Refused):
        slope = f" Slope {fit.slope:.2f}, theory −1 where mass gathers.".replace("-", "−")
    widest = max(row.m for row in results.rows)
    apart = float(np.mean([row.w1 for row in results.rows if row.m == widest]))
    figures.panel(
        ax,
        "What the cells err by",
        f"{gaps[-1]:.2g} radians at {int(cells[-1])} cells; m = {widest} neurons err by {apart:.2g}.{slope}",
        54,
    )
