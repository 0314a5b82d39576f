"""The panels of `approach_to_lazy`, each with its verdict: numbers from its files, drawn by
`figures`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import figures
from ..figures import COLOURS, MARKERS, Curve, Figure
from ..lab import runs
from ..lab.fits import ExponentFit, Refused

if TYPE_CHECKING:
    from . import Results

SHOWN = 4  # values of γ in the first panel
BEST = 5 / 6


def page(results: Results) -> Figure:
    """Two rows of two panels; from the files alone."""
    return figures.page(_about(results), [
        [
            lambda ax: _draw_widths(ax, results),
            lambda ax: _draw_exponents(ax, results),
        ],
        [
            lambda ax: _draw_terms(ax, results),
            lambda ax: _draw_seeds(ax, results),
        ],
    ])  # fmt: skip


def _about(results: Results) -> str:
    config = results.config
    return (
        "From an independent start to the kernel limit\n"
        f"f = m^(−γ) Σ a σ(⟨w, x⟩), α = 1, {config.activation}; a, w ~ N(0, 1), {figures.seeds(config.seeds)}"
        f"; teacher, n = {config.n}, d = {config.dim}; flow time t = {config.t_end:g}"
    )


def _of(results: Results, gamma: float) -> list[Any]:
    return [row for row in results.rows if row.gamma == gamma]


def _gammas(results: Results) -> list[float]:
    return sorted({row.gamma for row in results.rows})


def _draw_widths(ax: Any, results: Results) -> None:
    from . import theory

    gammas = _gammas(results)
    best = min(gammas, key=lambda gamma: abs(gamma - BEST))
    wanted = {gammas[0], gammas[len(gammas) // 2 - 1], best, gammas[-1]}
    shown = sorted(wanted)[:SHOWN]
    curves = [
        Curve(
            f"γ = {figures.fraction(gamma)}", *runs.against_width(_of(results, gamma), "to_limit"), number
        )
        for number, gamma in enumerate(shown)
    ]  # fmt: skip
    figures.power_laws(
        ax, curves, [theory(gamma) for gamma in shown], "width m", "RMS of f − f∞, test"
    )
    last = {gamma: np.mean(curve.values[:, -1]) for gamma, curve in zip(shown, curves, strict=True)}
    nearest = min(last, key=lambda gamma: last[gamma])
    figures.panel(
        ax,
        "Distance to the kernel limit, which starts at 0",
        f"At m = {curves[0].x[-1]:g} nearest at γ = {figures.fraction(nearest)}, "
        f"{last[nearest]:.2g} off; {last[shown[0]]:.2g} at γ = {figures.fraction(shown[0])} and "
        f"{last[shown[-1]]:.2g} at γ = {figures.fraction(shown[-1])}.",
    )


def _fits(results: Results, name: str) -> dict[float, ExponentFit]:
    fits = {gamma: runs.exponent(_of(results, gamma), name) for gamma in _gammas(results)}
    return {gamma: fit for gamma, fit in fits.items() if isinstance(fit, ExponentFit)}


def _draw_exponents(ax: Any, results: Results) -> None:
    from . import theory

    gammas = _gammas(results)
    held: list[str] = []
    said = ""
    grid = np.linspace(min(gammas), max(gammas), 200)
    for number, (name, label, own) in enumerate(
        (("to_limit", "from 0", False), ("to_own", "from its own f₀", True))
    ):
        fits = _fits(results, name)
        ax.plot(grid, [theory(gamma, own) for gamma in grid], color="0.85", linewidth=7, zorder=0)
        slopes, errors = ([getattr(fit, what) for fit in fits.values()] for what in ("slope", "error"))  # fmt: skip
        ax.errorbar(
            list(fits), slopes, errors, linestyle="", marker=MARKERS[number], color=COLOURS[number], capsize=2, label=label
        )  # fmt: skip
        hold = sum(fit.agrees(theory(gamma, own)) for gamma, fit in fits.items())
        held.append(f"{hold}")
        if fits and not own:
            fastest = min(fits, key=lambda gamma: fits[gamma].slope)
            said = f"Steepest at γ = {figures.fraction(fastest)}, {_short(fits[fastest])}; "
    ax.set_xlabel("exponent γ")
    ax.set_ylabel("slope in m")
    ax.set_ylim(-0.68, 0.34)
    ax.set_xticks(gammas, [figures.fraction(gamma) for gamma in gammas])
    handles, labels = ax.get_legend_handles_labels()
    ax.legend([*handles, ax.lines[0]], [*labels, "theory"], loc="upper left", ncols=3)
    verdict = f"{said}theory within errors at {' and '.join(held)} of {len(gammas)} γ."
    figures.panel(ax, "The exponent against γ", verdict if said else "No exponent from so few widths.", 54)  # fmt: skip


def _draw_terms(ax: Any, results: Results) -> None:
    gammas = _gammas(results)
    gamma = min(gammas, key=lambda gamma: abs(gamma - BEST))
    slopes = {"f0_term": 0.5 - gamma, "kernel_term": -0.5, "drift_term": 2 * (gamma - 1)}
    curves, said = [], []
    for number, (name, expected) in enumerate(slopes.items()):
        label = {"f0_term": "f₀", "kernel_term": "kernel", "drift_term": "drift"}[name]
        curves.append(Curve(label, *runs.against_width(_of(results, gamma), name), number))
        fit = runs.exponent(_of(results, gamma), name)
        if isinstance(fit, ExponentFit):
            said.append(f"{label} {_short(fit)} (theory {figures.fraction(expected)})")
    figures.power_laws(ax, curves, list(slopes.values()), "width m", "RMS of the term, test")
    verdict = ", ".join(said) if said else "no exponents from so few widths"
    figures.panel(ax, f"The three terms at γ = {figures.fraction(gamma)}", f"Slopes: {verdict}.")


def _draw_seeds(ax: Any, results: Results) -> None:
    rows = results.groups
    widths = np.array(sorted({row.m for row in rows}), dtype=float)
    count = results.config.groups
    values = {
        name: np.array([[getattr(row, name) for row in rows if row.m == m] for m in widths]).T
        for name in ("rms", "mean")
    }
    mean, said = values["mean"], []
    usable = bool((mean > 0).all())
    curves = [Curve("RMS over seeds", widths, values["rms"], 0)]
    if usable:
        curves.append(Curve("mean over seeds", widths, mean, 1))
    figures.power_laws(ax, curves, [-0.5, -1.0][: len(curves)], "width m", "RMS over test inputs")
    for curve, expected, name in zip(curves, (-0.5, -1.0), ("RMS", "mean"), strict=False):
        fit = _fit(curve)
        if isinstance(fit, ExponentFit):
            said.append(f"{name} {_short(fit)} (theory {figures.fraction(expected)})")
    unseen = "" if usable else "; the mean is not told from 0 with so few seeds"
    verdict = ", ".join(said) if said else "no exponents from so few widths"
    size = results.config.group
    figures.panel(
        ax,
        "From its own f₀, γ = 1/2: what seeds share",
        f"Slopes: {verdict}; {count} groups of {size} seeds{unseen}.",
        54,
    )


def _fit(curve: Curve) -> ExponentFit | Refused:
    from ..lab.fits import fit_or_refuse

    return fit_or_refuse(curve.x, curve.values)


def _short(fit: ExponentFit) -> str:
    return f"{fit.slope:.2f} ± {fit.error:.2f}".replace("-", "−")
