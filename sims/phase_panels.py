"""The panels of `phase_diagram`, each with its verdict: numbers from its rows, drawn by `figures`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import meanfield as mf

from . import collapse, figures, runs
from .figures import Figure
from .fits import ExponentFit, fit_or_refuse
from .phase_measures import Point, Row, distance_to_critical_line, expected_slope, points
from .refinement import zero_line

if TYPE_CHECKING:
    from .phase_diagram import Results

SLOPES = np.array([-1.5, -1.25, -1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5])
ORDERS = np.array([0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])

SHOWN = (0.5, 0.75, 1.0, 1.25, 1.5)


def page(results: Results) -> Figure:
    """The plane of slopes with theory's lines, the order parameter, slopes along γ' = 0, and the two collapses."""
    plane = points(results.of("plane"))
    with figures.house():
        sheet, axes = figures.sheet(1)
        _draw_slopes(axes[0, 0, 0], plane)
        _draw_order(axes[0, 0, 1], plane, max(row.m for row in results.of("plane")))
        _draw_widths(axes[0, 0, 2], results.of("plane"))
        _draw_cut(axes[0, 1, 0], plane, results.of("scan"))
        _draw_scan(axes[0, 1, 1], results.of("scan"))
        _draw_scale(axes[0, 1, 2], results.of("scale"))
        figures.heading(sheet, axes[0, 0, 0], _about(results))
    return sheet


def _about(results: Results) -> str:
    with mf.Trajectory(results.folder / results.rows[0].file) as run:
        data, sigma = run.data, run.network.sigma.name
    late, worst = sum(not row.converged for row in results.rows), max(row.loss_left for row in results.rows)
    ends = f"all {len(results.rows)} runs to R/R(0) ≤ {results.tol:g}"
    if late:
        ends = f"{len(results.rows)} runs, {late} of them above R/R(0) = {results.tol:g} (up to {worst:.2g}), marked ×"
    samples = ", ".join(f"{value:g}" for value in data.x[:, 0]).replace("-", "−")
    labels = ", ".join(f"{value:g}" for value in data.y).replace("-", "−")
    return (
        f"Linear and condensed training in the plane of scales (Luo, Xu, Ma, Zhang 2021)\n{sigma}, d = 1, x = {{{samples}}}, "
        f"y = {{{labels}}}; symmetric start a ~ N(0, m^−γ′), (w, b) ~ N(0, m^γ′); gradient flow of the squared loss, {ends}"
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
        ax.tricontour(*_columns(known), [at.slope for at in known], levels=[0.0], colors="black", linewidths=2.2)
        found = f"Slope 0 (solid) within {distance_to_critical_line(*line.T).max():.2f} of theory (dashed)"
    verdict = f"{found}; {np.median(gaps):.2f} off the scaling argument in the median, {max(gaps):.2f} at most."
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
    figures.panel(ax, f"Alignment of the input weights, m = {m}", f"1: on one line; 0: isotropic. Median {ends} regime.")


def _draw_widths(ax: Any, rows: Sequence[Row]) -> None:
    """Relative change against m at γ' nearest 0, for the γ nearest 1/2, 3/4 … 3/2."""
    prime = min({row.gamma_prime for row in rows}, key=abs)
    gammas = np.array(sorted({row.gamma for row in rows if row.gamma_prime == prime}))
    curves, theory, misses = [], [], []
    for number, gamma in enumerate(sorted({float(gammas[np.argmin(abs(gammas - wanted))]) for wanted in SHOWN})):
        chosen = [row for row in rows if (row.gamma, row.gamma_prime) == (gamma, prime)]
        fit, expected = runs.exponent(chosen, "relative_change"), expected_slope(gamma, prime)
        label = f"γ = {figures.fraction(gamma)}: slope {getattr(fit, 'short', 'refused')}, theory {figures.fraction(expected)}"
        curves.append(figures.Curve(label, *runs.against_width(chosen, "relative_change"), number))
        theory.append(expected)
        misses.append((abs(getattr(fit, "slope", np.nan) - expected), gamma))
    figures.power_laws(ax, curves, theory, "width m", "‖Δw‖ / ‖w(0)‖")
    worst, gamma = max(misses)
    figures.panel(
        ax, f"Relative change against width, γ′ = {figures.fraction(prime)}",
        f"Slopes within {worst:.3f} of theory's, the worst at γ = {figures.fraction(gamma)}.",
    )  # fmt: skip


def _draw_cut(ax: Any, plane: Sequence[Point], scan: Sequence[Row]) -> None:
    """Slopes with their 95 % intervals along γ' = 0, from the plane and from the scan, over theory's."""
    prime = min({at.gamma_prime for at in plane}, key=abs)
    sets = [("plane", [at for at in plane if at.gamma_prime == prime])]
    widths = sorted({row.m for row in scan})
    if len(widths) > 2 and prime == 0:
        sets.append((f"scan, m = {widths[0]} … {widths[-1]}", points(scan)))
    grid = np.linspace(sets[0][1][0].gamma, sets[0][1][-1].gamma, 201)
    ax.plot(grid, [expected_slope(gamma, prime) for gamma in grid], color="0.8", linewidth=6, zorder=0, label="theory, m → ∞")
    worst, inside, total = 0.0, 0, 0
    for number, (name, chosen) in enumerate(sets):
        fitted: list[Any] = [at for at in chosen if np.isfinite(at.slope)]
        x, y = np.array([at.gamma for at in fitted]), np.array([at.slope for at in fitted])
        ends = np.array([(at.slope - at.fit.low, at.fit.high - at.slope) for at in fitted])
        told = all(at.fit.dof > 1 for at in fitted)  # the interval of two seeds is too wide to say anything
        ax.errorbar(
            x, y, np.maximum(ends.T, 0.0) if told else None, fmt=figures.MARKERS[number], color=figures.COLOURS[number],
            markersize=4.5, capsize=2, linewidth=1, label=name, markeredgecolor="white", markeredgewidth=0.4,
        )  # fmt: skip
        worst = max([worst, *(abs(at.slope - expected_slope(at.gamma, prime)) for at in fitted)])
        if told:
            inside += sum(at.fit.agrees(expected_slope(at.gamma, prime), 0.05) for at in fitted)
            total += len(fitted)
    reach = np.array([expected_slope(gamma, prime) for gamma in grid])
    ax.set_ylim(reach.min() - 0.25, reach.max() + 0.25)
    ax.axhline(0, color="0.6", linewidth=0.8, zorder=0)
    ax.set_xlabel("γ")
    ax.set_ylabel("slope against log m")
    ax.legend(loc="upper left")
    agree = f"; {inside} of {total} agree within 0.05 plus their 95 % intervals (bars)" if total else ""
    title = f"The exponent across the transition, γ′ = {figures.fraction(prime)}"
    figures.panel(ax, title, f"At most {worst:.2f} off theory{agree}.")


def _draw_scan(ax: Any, rows: Sequence[Row]) -> None:
    gammas, widths, values = _log_changes(rows)
    try:
        found: collapse.CriticalPoint | None = collapse.critical_point(gammas, widths, values)
    except ValueError:  # no crossing between the gammas
        found = None
    raw = ax.inset_axes((0.1, 0.62, 0.36, 0.34))
    centre = found.value if found else 1.0
    curves = [
        figures.Curve(f"m = {m:g}", (gammas - centre) * np.log(m), np.exp(values[:, number]), number)
        for number, m in enumerate(widths)
    ]
    figures.lines(ax, curves, "(γ − γ_c) log m", "‖Δw‖ / ‖w(0)‖", log="y", markers=True)
    _free_ticks(ax)
    for curve in curves:
        look = {"color": figures.COLOURS[curve.style % 6], "linestyle": figures.LINES[curve.style % 6]}
        raw.plot(gammas, curve.values.mean(axis=0), linewidth=1.2, **look)
    raw.set_yscale("log")
    raw.tick_params(labelsize=7)
    raw.set_yticks([])
    raw.set_yticks([], minor=True)
    raw.set_xlabel("γ", fontsize=8, labelpad=0)
    ax.legend(loc="lower right")
    verdict = "The curves do not cross between these γ."
    if found:
        interval = f" ({found.level:.0%}: {found.low:.3f} … {found.high:.3f})" if np.isfinite(found.low) else ""
        verdict = f"One curve for γ_c = {found.value:.3f}{interval}; theory 1. Spread {found.spread:.3f}, "
        verdict += f"{found.spread_before:.2f} against γ (inset)."
    figures.panel(ax, "Finite-size scaling at γ′ = 0", verdict)


def _draw_scale(ax: Any, rows: Sequence[Row]) -> None:
    """Relative change and kernel drift against s, and how much better that is than α; exponents of the ends."""
    widths, spreads = sorted({row.m for row in rows}), []
    for style, (name, what) in enumerate((("relative_change", "‖Δw‖/‖w(0)‖"), ("kernel_drift", "‖ΔH‖/‖H_0‖"))):
        tables = [_against_scale([row for row in rows if row.m == m], name) for m in widths]
        for number, (m, (s, values)) in enumerate(zip(widths, tables, strict=True)):
            mean = np.exp(np.log(values).mean(axis=0))
            ax.plot(
                s, mean, marker=figures.MARKERS[number % 6], color=figures.COLOURS[style], linestyle=figures.LINES[number % 6],
                markersize=4.5, linewidth=1.1, markerfacecolor="white" if style else None,
                label=f"{what}, m = {m}" if number == 0 else f"m = {m}",
            )  # fmt: skip
        logs = [(np.log(s), np.log(values).mean(axis=0)) for s, values in tables]
        by_alpha = [(x - 0.5 * np.log(m), y) for (x, y), m in zip(logs, widths, strict=True)]
        spreads.append((collapse.spread(logs), _spread_or_nan(by_alpha)))
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("s = α √m   (γ = 1/2)")
    ax.legend(loc="lower left", ncols=2, columnspacing=0.8)
    low, high = ax.get_ylim()
    ax.set_ylim(low * (low / high) ** 0.35, high)
    s, values = _against_scale([row for row in rows if row.m == widths[-1]], "relative_change")
    ends = [fit_or_refuse(s[chosen], values[:, chosen]) for chosen in (s >= 4, s <= 0.25) if chosen.any()]
    slopes = [end.short for end in ends if isinstance(end, ExponentFit)]
    fits = f" s ≥ 4: exponent {slopes[0]}, theory −1; s ≤ ¼: {slopes[1]}, −½." if len(slopes) == 2 else ""
    left = " and ".join(f"{after:.3f}" for after, _ in spreads)
    before = " and ".join(f"{value:.2f}" for _, value in spreads)
    figures.panel(ax, "α and m act through s = α√m alone", f"Spread {left}; against α {before}.{fits}")


def _map(ax: Any, plane: Sequence[Point], values: Sequence[float], levels: np.ndarray) -> None:
    """Filled contours with labelled lines, and the points measured: × where a run had not converged."""
    x, y = _columns(plane)
    ax.tricontourf(x, y, values, levels=levels, cmap="cividis", extend="both", zorder=0)
    drawn = levels[1:][levels[1:] != 0]
    ink = ["white" if level < np.median(levels) else "black" for level in drawn]  # on the dark and on the light end of the map
    lines = ax.tricontour(x, y, values, levels=drawn, colors=ink, linewidths=0.6, linestyles="solid")
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
    ax.plot(*line.T, color="#C4380D", linewidth=1.8, linestyle=(0, (4, 2)), scalex=False, scaley=False)


def _columns(plane: Sequence[Point]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([at.gamma for at in plane]), np.array([at.gamma_prime for at in plane])


def _log_changes(rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(γ, m, log relative change (seeds, widths, gammas)) of the scan."""
    gammas = sorted({row.gamma for row in rows})
    tables = [runs.against_width([row for row in rows if row.gamma == gamma], "relative_change") for gamma in gammas]
    return np.array(gammas), tables[0][0], np.log(np.stack([values for _, values in tables], axis=2))


def _against_scale(rows: Sequence[Row], name: str) -> tuple[np.ndarray, np.ndarray]:
    """(s, values (seeds, scales)) of rows of one m."""
    found = {(row.seed, round(row.scale, 9)): getattr(row, name) for row in rows}
    seeds, scales = sorted({seed for seed, _ in found}), sorted({scale for _, scale in found})
    return np.array(scales), np.array([[found[seed, scale] for scale in scales] for seed in seeds])


def _spread_or_nan(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    try:
        return collapse.spread(curves)
    except ValueError:  # no overlap
        return float("nan")


def _free_ticks(ax: Any) -> None:
    """Ticks where matplotlib wants them, not at every x."""
    ax.xaxis.set_major_locator(figures.plt.AutoLocator())
    ax.xaxis.set_major_formatter(figures.plt.ScalarFormatter())
