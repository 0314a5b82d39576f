"""The two data collapses of `phase_diagram`: its scan of γ at several widths, and its α and m as
one number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import figures
from ..lab import collapse, runs
from ..lab.fits import ExponentFit, fit_or_refuse
from .measures import Row

ONE_CURVE = 0.1  # spread below which curves are called one


def draw_scan(ax: Any, rows: Sequence[Row]) -> None:
    """Relative change against (γ - γ_c) log m with the γ_c that makes the widths one curve; against
    γ in the inset.
    """
    gammas, widths, values = _log_changes(rows)
    try:
        found: collapse.CriticalPoint | None = collapse.critical_point(gammas, widths, values)
    except ValueError:  # no crossing between the gammas
        found = None
    raw = ax.inset_axes((0.1, 0.62, 0.36, 0.34))
    centre = found.value if found else 1.0
    curves = [
        figures.Curve(
            f"m = {m:g}", (gammas - centre) * np.log(m), np.exp(values[:, number]), number
        )
        for number, m in enumerate(widths)
    ]
    figures.lines(ax, curves, "(γ − γ_c) log m", "‖Δw‖ / ‖w(0)‖", log="y", markers=True)
    _free_ticks(ax)
    for curve in curves:
        look = {
            "color": figures.COLOURS[curve.style % 6],
            "linestyle": figures.LINES[curve.style % 6],
        }
        raw.plot(gammas, curve.values.mean(axis=0), linewidth=1.2, **look)
    raw.set_yscale("log")
    raw.tick_params(labelsize=7)
    raw.set_yticks([])
    raw.set_yticks([], minor=True)
    raw.set_xlabel("γ", fontsize=8, labelpad=0)
    ax.legend(loc="lower right")
    verdict = "The curves do not cross between these γ."
    if found:
        interval = (
            f" ({found.level:.0%}: {found.low:.3f} … {found.high:.3f})"
            if np.isfinite(found.low)
            else ""
        )
        word = "One curve" if found.spread < ONE_CURVE else "Closest to one curve"
        verdict = f"{word} for γ_c = {found.value:.3f}{interval}; theory 1. "
        verdict += (
            f"Relative spread {found.spread:.3f}, against γ (inset) {found.spread_before:.2f}."
        )
    figures.panel(ax, "Finite-size scaling at γ′ = 0", verdict)


def draw_scale(ax: Any, rows: Sequence[Row]) -> None:
    """Relative change and kernel drift against s, and how much better that is than α; exponents of
    the ends.
    """
    widths, spreads = sorted({row.m for row in rows}), []
    for style, (name, what) in enumerate(
        (("relative_change", "‖Δw‖/‖w(0)‖"), ("kernel_drift", "‖ΔH‖/‖H_0‖"))
    ):
        tables = [against_scale([row for row in rows if row.m == m], name) for m in widths]
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
    s, values = against_scale([row for row in rows if row.m == widths[-1]], "relative_change")
    ends = [
        fit_or_refuse(s[chosen], values[:, chosen])
        for chosen in (s >= 4, s <= 0.25)
        if chosen.any()
    ]
    slopes = [f"{end.slope:.2f}".replace("-", "−") for end in ends if isinstance(end, ExponentFit)]
    fits = (
        f" Exponent {slopes[0]} at s ≥ 4, {slopes[1]} at s ≤ ¼; theory −1, −½."
        if len(slopes) == 2
        else ""
    )
    left = ", ".join(f"{after:.3f}" for after, _ in spreads)
    before = ", ".join(f"{value:.2f}" for _, value in spreads)
    figures.panel(
        ax,
        "α and width as one number, s = α√m",
        f"Relative spread {left} (against α {before}).{fits}",
    )


def _log_changes(rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(γ, m, log relative change (seeds, widths, gammas)) of the scan."""
    gammas = sorted({row.gamma for row in rows})
    tables = [
        runs.against_width([row for row in rows if row.gamma == gamma], "relative_change")
        for gamma in gammas
    ]
    return (
        np.array(gammas),
        tables[0][0],
        np.log(np.stack([values for _, values in tables], axis=2)),
    )


def against_scale(rows: Sequence[Row], name: str) -> tuple[np.ndarray, np.ndarray]:
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
