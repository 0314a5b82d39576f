"""The panels of `global_convergence`, one a teacher, each with its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from .. import figures
from ..figures import COLOURS, LINES, MARKERS, Figure
from . import measures

if TYPE_CHECKING:
    from . import Config, Results, Row

APART = 0.04  # in powers of 2, so that bars do not cover each other


def page(results: Results) -> Figure:
    """A row of panels; from the rows alone."""
    teachers = sorted({row.teacher for row in results.rows})
    with figures.house():
        sheet, axes = figures.sheet(1, 1, max(2, len(teachers)))
        for number, teacher in enumerate(teachers):
            rows = [row for row in results.rows if row.teacher == teacher]
            _draw(axes[0, 0, number], teacher, rows, results.config)
        for spare in axes[0, 0, len(teachers) :]:
            _draw_risk(spare, results)
        figures.heading(sheet, axes[0, 0, 0], _about(results))
    return sheet


def _about(results: Results) -> str:
    config = results.config
    return (
        "Networks that find their teacher\n"
        f"γ = 1, α = 1, ReLU, d = {config.dim}, population risk; a = ±1, |w| = 1, {config.seeds} seeds; flow time "
        f"{config.t_end:g}; found: R < {config.threshold:g} R(0)"
    )


def _label(mode: str, config: Config) -> str:
    more = {"reaction": f", ρ = {config.reaction:g}", "injection": f" of {config.injections}"}
    return mode + more.get(mode, "")


def interval(found: int, seeds: int) -> tuple[float, float]:
    """Of a share, 68 %, by Wilson's formula: as wide as one standard error, and never empty."""
    result = stats.binomtest(found, seeds).proportion_ci(0.683, method="wilson")
    return float(result.low), float(result.high)


def _draw(ax: Any, teacher: int, rows: Sequence[Row], config: Config) -> None:
    for number, mode in enumerate(measures.MODES):
        mine = [row for row in rows if row.flow == mode]
        at = np.array([row.m for row in mine]) * 2.0 ** (APART * (number - 1))
        share = np.array([row.share for row in mine])
        low, high = np.array([interval(row.found, row.seeds) for row in mine]).T
        ax.errorbar(
            at, share, [share - low, high - share], color=COLOURS[number], linestyle=LINES[number],
            marker=MARKERS[number], capsize=2, label=_label(mode, config),
        )  # fmt: skip
    widths = sorted({row.m for row in rows})
    ax.set_xscale("log", base=2)
    ax.set_xticks(widths, [str(m) for m in widths])
    ax.minorticks_off()
    ax.set_ylim(-0.05, 1.05)
    ax.set_xlabel("width m at the start")
    ax.set_ylabel("share of seeds that find it")
    handles, labels = ax.get_legend_handles_labels()
    figures.legend_above(ax, handles, labels, columns=3)
    figures.panel(ax, f"A teacher of {teacher} neurons", verdict(rows), 54)


def verdict(rows: Sequence[Row]) -> str:
    """The counts at the least width, Fisher's p-value of injection against the plain flow, and from
    where on the plain flow always finds it.
    """
    first = min(row.m for row in rows)
    counts = {row.flow: row for row in rows if row.m == first}
    said = ", ".join(f"{mode} {counts[mode].found}" for mode in measures.MODES)
    seeds = counts["plain"].seeds
    pairs = [[counts[mode].found, seeds - counts[mode].found] for mode in ("plain", "injection")]
    p = float(stats.fisher_exact(pairs).pvalue)
    plain = [row for row in rows if row.flow == "plain"]
    sure = [row.m for row in plain if all(r.found == r.seeds for r in plain if r.m >= row.m)]
    always = f"Plain in all seeds from m = {min(sure)}" if sure else "Plain in all seeds at no m"
    return f"Of {seeds} at m = {first}: {said} (p = {p:.1g}). {always}."


def _draw_risk(ax: Any, results: Results) -> None:
    """The median risk, where one teacher leaves room for it."""
    curves = []
    for number, mode in enumerate(measures.MODES):
        mine = [row for row in results.rows if row.flow == mode]
        m, risk = (np.array([getattr(row, name) for row in mine]) for name in ("m", "median"))
        curves.append(figures.Curve(mode, m, risk[None], number))
    figures.lines(ax, curves, "width m at the start", "R / R(0), median", "xy", markers=True)
    ax.axhline(results.config.threshold, color="black", linewidth=0.8)
    handles, labels = ax.get_legend_handles_labels()
    figures.legend_above(ax, handles, labels, columns=3)
    figures.panel(ax, "Risk at the end", "The line is the threshold.", 54)
