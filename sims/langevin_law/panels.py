"""The panels of `langevin_law`, each with its verdict: numbers from its files, drawn by `figures`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import linalg, stats

from .. import figures
from ..figures import COLOURS, GREY, LINES, MARKERS, Curve, Figure
from ..lab import cells
from ..lab.fits import ExponentFit, fit_or_refuse
from . import measures

if TYPE_CHECKING:
    from . import Results, Row

SHORT = {
    "euler_maruyama": "Euler–Maruyama",
    "stochastic_heun": "stochastic Heun",
    "leimkuhler_matthews": "averaged noise",
}


def page(results: Results) -> Figure:
    """Two rows of two panels; from the files alone."""
    file = cells.read(results.folder / "relaxation.npz")[1]
    return figures.page(_about(results), [
        [
            lambda ax: _draw_cloud(ax, results, file),
            lambda ax: _draw_way(ax, results, file),
        ],
        [
            lambda ax: _draw_steps(ax, results),
            lambda ax: _draw_widths(ax, results),
        ],
    ])  # fmt: skip


def _about(results: Results) -> str:
    config = results.config
    return (
        "The stationary law of mean-field Langevin\n"
        f"γ = 1, α = 1, linear features ⟨w, x⟩, d = 2, n = {config.n}, λ = {config.ridge:g}, T = "
        f"{config.temperature:g}; w ~ N(0, {config.start:g}² I), {figures.seeds(config.seeds)}; "
        "flow time t"
    )


def within(rows: Sequence[Row]) -> str:
    """How the deviations from theory compare with the scatter over seeds: the largest, in standard
    errors, and p, the smallest of Student's t tests times their number, at most 1.
    """
    away = np.array([row.away for row in rows])
    p = 2 * stats.t.sf(np.abs(away), [row.seeds - 1 for row in rows])
    together = float(min(1.0, len(p) * p.min()))
    most = float(np.abs(away).max())
    word = "theory holds" if together >= 0.05 else "theory fails"
    return f"{word}, at most {most:.1f} standard errors off (p = {together:.2g}, {len(p)} numbers)"


def _draw_cloud(ax: Any, results: Results, file: dict[str, np.ndarray]) -> None:
    config, cloud = results.config, file["cloud"]
    best = measures.curvature(config)[1]
    angle = np.linspace(0, 2 * np.pi, 200)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    ax.scatter(*cloud.T, s=3, color=GREY, linewidths=0, label=f"{len(cloud)} neurons, seed 0")
    root = linalg.sqrtm(np.cov(cloud.T)).real
    radius = np.sqrt(config.temperature / config.ridge)
    for scale in (1.0, 2.0):
        theory = best + scale * radius * circle
        ax.plot(*theory.T, color="black", linewidth=1.2, label="theory" if scale == 1 else None)
        measured = cloud.mean(axis=0) + scale * circle @ root
        ax.plot(*measured.T, color=COLOURS[2], linestyle=LINES[1], label="measured" if scale == 1 else None)  # fmt: skip
    half = 3.6 * radius
    box = ax.get_window_extent()
    ax.set_ylim(best[1] - half, best[1] + 1.25 * half)
    wide = 1.125 * half * box.width / box.height
    ax.set_xlim(best[0] - wide, best[0] + wide)
    ax.set_xlabel("w₁")
    ax.set_ylabel("w₂")
    handles, labels = ax.get_legend_handles_labels()
    figures.legend_above(ax, handles, labels, columns=3)
    rows = [row for row in results.rows if row.quantity.startswith(("mean", "covariance"))]
    verdict = f"Mean and covariance: {within(rows)}."
    figures.panel(ax, "At the end: 1 and 2 deviations", verdict, 54)


def _draw_way(ax: Any, results: Results, file: dict[str, np.ndarray]) -> None:
    config, t = results.config, file["times"]
    H, best = measures.curvature(config)
    decay = np.array([linalg.expm(-(H + config.ridge * np.eye(2)) * time) for time in t])
    expected = best - decay @ best  # E w̄_0 = 0
    limit = config.temperature / config.ridge
    spread = np.exp(-2 * config.ridge * t)
    variance = spread * config.start**2 + limit * (1 - spread)
    curves = [
        Curve("mean w₁", t, file["mean"][:, :, 0], 0),
        Curve("mean w₂", t, file["mean"][:, :, 1], 1),
        Curve("variance", t, file["variance"], 2),
    ]
    for theory in (*expected.T, variance):
        ax.plot(t, theory, color="0.85", linewidth=7, zorder=0)
    figures.lines(ax, curves, "flow time t", "over the neurons")
    handles, labels = ax.get_legend_handles_labels()
    ax.legend([*handles, ax.lines[0]], [*labels, "theory"], loc="upper right")
    theories = dict(zip(("mean w₁", "mean w₂", "variance"), (*expected.T, variance), strict=True))
    off = [
        float(np.abs(curve.values.mean(axis=0) - theories[curve.label]).max()) for curve in curves
    ]
    verdict = (
        f"Largest distance from theory at any time: {max(off[:2]):.2g} of a mean, {off[2]:.2g} of "
        f"the variance; {len(file['mean'])} seeds of m = {config.m}."
    )
    figures.panel(ax, "On the way", verdict, 54)


def _draw_steps(ax: Any, results: Results) -> None:
    config, said = results.config, []
    z = np.linspace(0, max(config.steps), 200)
    for number, (method, name) in enumerate(SHORT.items()):
        rows = [row for row in results.rows if row.quantity == method]
        ax.plot(z, measures.inflation(method, z), color="0.85", linewidth=7, zorder=0)
        values, errors = ([getattr(row, what) for row in rows] for what in ("value", "error"))
        ax.errorbar(
            [row.at for row in rows], values, errors, linestyle="", marker=MARKERS[number], color=COLOURS[number],
            capsize=2, label=name,
        )  # fmt: skip
        last = max(rows, key=lambda row: row.at)
        said.append(f"{last.value:.3f}")
    ax.set_xlabel("step λ dt")
    ax.set_ylabel("λ Var / T")
    handles, labels = ax.get_legend_handles_labels()
    figures.legend_above(ax, [*handles, ax.lines[0]], [*labels, "theory"], columns=2)
    rows = [row for row in results.rows if row.quantity in SHORT]
    verdict = f"{', '.join(said)} at λ dt = {max(config.steps):g}: {within(rows)}."
    figures.panel(ax, "Variance against the step", verdict, 54)


def _draw_widths(ax: Any, results: Results) -> None:
    config = results.config
    widths = np.array(sorted(config.widths), dtype=float)
    files = [results.folder / f"risk_m{int(m):06}.npz" for m in widths]
    values = np.array([cells.read(path)[1]["excess"] for path in files]).T
    c = measures.excess(config)
    figures.lines(ax, [Curve("measured", widths, values, 0)], "width m", "E R − R(w*)", "xy", markers=True)  # fmt: skip
    ax.plot(widths, c / widths, color="0.85", linewidth=7, zorder=0, label="theory c/m")
    ax.legend(loc="upper right")
    rows = [row for row in results.rows if row.quantity == "m × excess risk"]
    weights = np.array([row.error**-2 for row in rows])
    mean = float(np.average([row.value for row in rows], weights=weights))
    error = float(weights.sum() ** -0.5)
    fit = fit_or_refuse(widths, values)
    slope = "no slope from so few widths"
    if isinstance(fit, ExponentFit):
        slope = f"slope {fit.short}"
    verdict = f"c = {mean:.3f} ± {error:.3f}, theory {c:.3f}; {slope}, theory −1."
    figures.panel(ax, "Risk of m neurons", verdict, 54)
