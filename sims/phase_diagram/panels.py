"""The panels of `phase_diagram`, each with its verdict: numbers from its rows, drawn by `figures`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import meanfield as mf

from .. import figures
from ..figures import Figure
from ..lab import runs
from . import collapse_panels
from .measures import Point, Row, distance_to_critical_line, expected_slope, points
from .refinement import zero_line

if TYPE_CHECKING:
    from . import Results

SLOPES = np.array([-1.5, -1.25, -1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5])
ORDERS = np.array([0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])

SHOWN = (0.5, 0.75, 1.0, 1.25, 1.5)


def page(results: Results) -> Figure:
    """The plane of slopes with theory's lines, the order parameter, slopes along γ' = 0, and the
    two collapses.
    """
    plane = points(results.of("plane"))
    with figures.house():
        sheet, axes = figures.sheet(1)
        _draw_slopes(axes[0, 0, 0], plane)
        _draw_order(axes[0, 0, 1], plane, max(row.m for row in results.of("plane")))
        _draw_widths(axes[0, 0, 2], results.of("plane"))
        _draw_cut(axes[0, 1, 0], plane, results.of("scan"))
        collapse_panels.draw_scan(axes[0, 1, 1], results.of("scan"))
        collapse_panels.draw_scale(axes[0, 1, 2], results.of("scale"))
        figures.heading(sheet, axes[0, 0, 0], _about(results))
    return sheet


def _about(results: Results) -> str:
    with mf.Trajectory(results.folder / results.rows[0].file) as run:
        data, sigma = run.data, run.network.sigma.name
    late = sum(not row.converged for row in results.rows)
    worst = max(row.loss_left for row in results.rows)
    ends = f"all {len(results.rows)} runs to R/R(0) ≤ {results.tol:g}"
    if late:
        ends = (
            f"{len(results.rows)} runs, {late} of them above R/R(0) = {results.tol:g} (up "
            f"to {worst:.2g}), marked ×"
        )
    samples = ", ".join(f"{value:g}" for value in data.x[:, 0]).replace("-", "−")
    labels = ", ".join(f"{value:g}" for value in data.y).replace("-", "−")
    return (
        "Linear and condensed training in the plane of scales (Luo, Xu, Ma, Zhang "
        f"2021)\n{sigma}, d = 1, x = {{{samples}}}, "
        f"y = {{{labels}}}; symmetric start a ~ N(0, m^−γ′), (w, b) ~ N(0, m^γ′); "
        f"gradient flow of the squared loss, {ends}"
    )


def _draw_slopes(ax: Any, plane: Sequence[Point]) -> None:
    known = [at for at in plane if np.isfinite(at.slope)]
    values = {(at.gamma, at.gamma_prime): at.slope for at in known}
    _map(ax, known, [at.slope for at in known], SLOPES)
    _critical_line(ax, plane)
    gaps = [abs(at.slope - expected_slope(at.gamma, at.gamma_prime)) for at in known]
    line = zero_line(values)
    found = "The slope has one sign everywhere"
    if len(line):
        ax.tricontour(
            *_columns(known),
            [at.slope for at in known],
            levels=[0.0],
            colors="black",
            linewidths=2.2,
        )
        found = (
            f"Slope 0 (solid) within {distance_to_critical_line(*line.T).max():.2f} of "
            "theory (dashed)"
        )
    verdict = (
        f"{found}; {np.median(gaps):.2f} off the scaling argument in the median, "
        f"{max(gaps):.2f} at most."
    )
    figures.panel(ax, "S in ‖Δw‖/‖w(0)‖ ~ m^S", verdict)


def _draw_order(ax: Any, plane: Sequence[Point], m: int) -> None:
    _map(ax, plane, [at.alignment for at in plane], ORDERS)
    _critical_line(ax, plane)
    sides: dict[bool, list[float]] = {True: [], False: []}
    for at in plane:
        if abs(expected := expected_slope(at.gamma, at.gamma_prime)) > 0.1:
            sides[expected > 0].append(at.alignment)
    ends = " and ".join(
        f"{np.median(values):.2f} in the {name}"
        for name, values in zip(("condensed", "linear"), sides.values(), strict=True)
        if values
    )
    figures.panel(
        ax,
        f"Alignment of the input weights, m = {m}",
        f"1: on one line; 0: isotropic. Median {ends} regime.",
    )


def _draw_widths(ax: Any, rows: Sequence[Row]) -> None:
    """Relative change against m at γ' nearest 0, for the γ nearest 1/2, 3/4 … 3/2."""
    prime = min({row.gamma_prime for row in rows}, key=abs)
    gammas = np.array(sorted({row.gamma for row in rows if row.gamma_prime == prime}))
    curves, theory, misses = [], [], []
    for number, gamma in enumerate(
        sorted({float(gammas[np.argmin(abs(gammas - wanted))]) for wanted in SHOWN})
    ):
        chosen = [row for row in rows if (row.gamma, row.gamma_prime) == (gamma, prime)]
        fit, expected = runs.exponent(chosen, "relative_change"), expected_slope(gamma, prime)
        label = (
            f"γ = {figures.fraction(gamma)}: slope {getattr(fit, 'short', 'refused')}, "
            f"theory {figures.fraction(expected)}"
        )
        curves.append(figures.Curve(label, *runs.against_width(chosen, "relative_change"), number))
        theory.append(expected)
        misses.append((abs(getattr(fit, "slope", np.nan) - expected), gamma))
    figures.power_laws(ax, curves, theory, "width m", "‖Δw‖ / ‖w(0)‖")
    worst, gamma = max(misses)
    figures.panel(
        ax, f"Relative change against width, γ′ = {figures.fraction(prime)}",
        f"Slopes within {worst:.3f} of theory's, the worst at γ = {figures.fraction(gamma)}; w: all w and b.",
    )  # fmt: skip


def _draw_cut(ax: Any, plane: Sequence[Point], scan: Sequence[Row]) -> None:
    """Slopes with their 95 % intervals along γ' = 0, from the plane and from the scan, over
    theory's.
    """
    prime = min({at.gamma_prime for at in plane}, key=abs)
    sets = [[at for at in plane if at.gamma_prime == prime]]
    if prime == 0:
        sets.append(points(scan))
    grid = np.linspace(sets[0][0].gamma, sets[0][-1].gamma, 201)
    ax.plot(
        grid,
        [expected_slope(gamma, prime) for gamma in grid],
        color="0.8",
        linewidth=6,
        zorder=0,
        label="theory, m → ∞",
    )
    worst, inside, total, critical = 0.0, 0, 0, ""
    for number, chosen in enumerate(sets):
        fitted: list[Any] = [at for at in chosen if np.isfinite(at.slope)]
        if not fitted:
            continue
        fit = fitted[0].fit
        name = f"m = {fit.widths[0]:g} … {fit.widths[-1]:g}, seeds: {fit.seeds}"
        x, y = np.array([at.gamma for at in fitted]), np.array([at.slope for at in fitted])
        ends = np.array([(at.slope - at.fit.low, at.fit.high - at.slope) for at in fitted])
        # the interval of two seeds is too wide to say anything
        told = all(at.fit.dof > 1 for at in fitted)
        ax.errorbar(
            x, y, np.maximum(ends.T, 0.0) if told else None, fmt=figures.MARKERS[number], color=figures.COLOURS[number],
            markersize=4.5, capsize=2, linewidth=1, label=name, markeredgecolor="white", markeredgewidth=0.4,
        )  # fmt: skip
        worst = max([worst, *(abs(at.slope - expected_slope(at.gamma, prime)) for at in fitted)])
        if told:
            inside += sum(at.fit.agrees(expected_slope(at.gamma, prime), 0.05) for at in fitted)
            total += len(fitted)
            critical = "".join(f"; {at.fit.short} at γ = 1" for at in fitted if at.gamma == 1)
    if prime == 0:
        _draw_drift(ax, scan)
    reach = np.array([expected_slope(gamma, prime) for gamma in grid])
    ax.set_ylim(reach.min() - 0.15, reach.max() + 0.45)
    ax.axhline(0, color="0.6", linewidth=0.8, zorder=0)
    ax.set_xlabel("γ")
    ax.set_ylabel("slope against log m")
    ax.legend(loc="upper left")
    agree = f"; {inside} of {total} 95 % intervals hold it within 0.05" if total else ""
    title = f"The exponent across the transition, γ′ = {figures.fraction(prime)}"
    figures.panel(ax, title, f"At most {worst:.2f} off theory{agree}{critical}.")


def _draw_drift(ax: Any, scan: Sequence[Row]) -> None:
    """Exponents of the kernel drift over theory's: first orders cancel in symmetric pairs, 2(γ -
    1); H ~ m^(γ - 1) for γ > 1.
    """
    gammas = np.array(sorted({row.gamma for row in scan}))
    ax.plot(
        gammas,
        np.where(gammas < 1, 2, 1) * (gammas - 1),
        color="0.55",
        linewidth=1.2,
        linestyle=figures.LINES[1],
        zorder=0,
    )
    fits = [
        runs.exponent([row for row in scan if row.gamma == gamma], "kernel_drift")
        for gamma in gammas
    ]
    y = [getattr(fit, "slope", np.nan) for fit in fits]
    label = f"kernel drift, m = {min(row.m for row in scan)} … {max(row.m for row in scan)}"
    ax.plot(
        gammas,
        y,
        figures.MARKERS[2],
        color=figures.COLOURS[2],
        markersize=4.5,
        fillstyle="none",
        label=label,
    )


def _map(ax: Any, plane: Sequence[Point], values: Sequence[float], levels: np.ndarray) -> None:
    """Filled contours with labelled lines, and the points measured: × where a run had not
    converged.
    """
    x, y = _columns(plane)
    ax.tricontourf(x, y, values, levels=levels, cmap="cividis", extend="both", zorder=0)
    drawn = levels[1:][levels[1:] != 0]
    # on the dark and on the light end of the map
    ink = ["white" if level < np.median(levels) else "black" for level in drawn]
    lines = ax.tricontour(
        x, y, values, levels=drawn, colors=ink, linewidths=0.6, linestyles="solid"
    )
    ax.clabel(lines, fontsize=7, fmt=lambda value: f"{value:g}".replace("-", "−"))
    done = np.array([at.converged for at in plane])
    ax.plot(x[done], y[done], ".", color="black", markersize=2.5)
    ax.plot(x[~done], y[~done], "x", color="black", markersize=5)
    ax.set_xlabel("γ")
    ax.set_ylabel("γ′")


def _critical_line(ax: Any, plane: Sequence[Point]) -> None:
    x, y = _columns(plane)
    low, end = y.min(), min(x.max() - 1, y.max())
    line = np.array([(1.0, min(low, 0.0)), (1.0, 0.0), (1.0 + max(end, 0.0), max(end, 0.0))])
    ax.plot(*line.T, color="white", linewidth=3.2, scalex=False, scaley=False)
    ax.plot(
        *line.T, color="#C4380D", linewidth=1.8, linestyle=(0, (4, 2)), scalex=False, scaley=False
    )


def _columns(plane: Sequence[Point]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([at.gamma for at in plane]), np.array([at.gamma_prime for at in plane])
