"""The panels of `two_layer_convergence`, each with its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import figures
from ..figures import Curve, Figure
from ..lab import cells, runs
from ..lab.fits import ExponentFit
from . import claims, kept

if TYPE_CHECKING:
    from . import Results


def page(results: Results) -> Figure:
    """Two rows of two panels; from the files alone."""
    widths = sorted({row.m for row in results.rows})
    files = {m: cells.read(cells.of_width(results.folder, m))[1] for m in widths}
    return figures.page(_about(results), [
        [
            lambda ax: _draw_smallest(ax, results, files),
            lambda ax: _draw_residual(ax, results, files),
        ],
        [
            lambda ax: _draw_way(ax, results),
            lambda ax: _draw_times(ax, results),
        ],
    ])  # fmt: skip


def _about(results: Results) -> str:
    config = results.config
    return (
        "A convergence proof and what it is about\n"
        f"ReLU, γ = 1/2, α = 1, a = ±1 fixed, w ~ N(0, I) trained; {config.n} points, y = ±1, "
        f"½ Σ (f − y)²; δ = {config.delta:g}; {figures.seeds(config.seeds)}; flow time t"
    )


def _shown(files: dict[int, Any]) -> list[tuple[int, Any]]:
    """Four widths at most, the narrowest and the widest among them."""
    every = list(files.items())
    chosen = np.unique(np.linspace(0, len(every) - 1, min(4, len(every))).round().astype(int))
    return [every[k] for k in chosen]


def _draw_smallest(ax: Any, results: Results, files: dict[int, Any]) -> None:
    curves = [
        Curve(f"m = {m}", file["times"], file["smallest"], number)
        for number, (m, file) in enumerate(_shown(files))
    ]
    figures.lines(ax, curves, "flow time t", "λ_min(H_t)")
    for share, name in ((1.0, "λ₀"), (0.75, "¾λ₀"), (0.5, "λ₀/2")):
        figures.threshold(ax, share * results.lambda0)
        ax.annotate(name, (0.985, share * results.lambda0), (0, 2), xycoords=("axes fraction", "data"),
                    textcoords="offset points", ha="right", fontsize=8.5)  # fmt: skip
    ax.set_ylim(0, 1.5 * results.lambda0)
    ax.set_xlim(right=1.13 * curves[0].x[-1])
    ax.legend(loc="upper center", ncols=2)
    figures.panel(ax, "The kernel's smallest eigenvalue", _counted(results, 0, 1))


def _draw_residual(ax: Any, results: Results, files: dict[int, Any]) -> None:
    curves = [
        Curve(f"m = {m}", file["times"], file["residual"], number)
        for number, (m, file) in enumerate(_shown(files))
    ]
    t = curves[0].x
    ax.plot(t, np.exp(-results.lambda0 * t), color="0.85", linewidth=7, zorder=0)
    figures.lines(ax, curves, "flow time t", "‖y − f‖² / ‖y − f₀‖²", "y")
    handles, labels = ax.get_legend_handles_labels()
    ax.legend([*handles, ax.lines[0]], [*labels, "e^(−λ₀t), the bound"], loc="lower left")
    figures.panel(ax, "The residual", _counted(results, 3, 4))


def _counted(results: Results, *numbers: int) -> str:
    """From which width on the claims of these numbers are kept in all seeds."""
    widths = sorted({row.m for row in results.rows})
    said = []
    for k in numbers:
        if k >= len(claims(results, widths[0])):
            continue
        every = [claims(results, m)[k] for m in widths]
        name, bound, _, sense = every[0]
        whole = [kept(*item[1:]) == results.config.seeds for item in every]
        if all(whole):
            where = "at every width"
        elif whole[-1]:
            start = max(i for i, good in enumerate(whole) if not good) + 1
            where = f"from m = {widths[start]} on"
        else:
            where = f"not even at m = {widths[-1]}"
        said.append(f"{name} {'≤' if sense == '<=' else '≥'} {bound:.3g} in all seeds {where}")
    return f"Promised: {'; '.join(said)}."


def _draw_way(ax: Any, results: Results) -> None:
    widths, moved = runs.against_width(results.rows, "moved")
    bound = runs.against_width(results.rows, "movement_bound")[1]
    curves = [
        Curve("measured", widths, moved, 0),
        Curve("promised at most", widths, bound, 1),
    ]
    figures.lines(ax, curves, "width m", "largest |w_k(t) − w_k(0)|", "xy", markers=True)
    band = figures.expected_slope(ax, curves[0], -0.5)
    radius = max(row.radius for row in results.rows)
    figures.threshold(ax, radius)
    ax.annotate("R, the ball of the proof", (0, radius), (4, 3), xycoords=("axes fraction", "data"),
                textcoords="offset points", fontsize=8.5)  # fmt: skip
    low, high = ax.get_ylim()
    ax.set_ylim(min(low, radius / 2), 30 * high)
    handles, labels = ax.get_legend_handles_labels()
    ax.legend([*handles, band], [*labels, "slope −1/2"], loc="upper right")
    asked = max(row.asked_throughout for row in results.rows)
    verdict = (
        f"{_slope(results.rows, 'moved')}, theory −1/2. The hypothesis is m ≥ {asked:.1e}, where the "
        "bound meets R."
    )
    figures.panel(ax, "How far the farthest neuron goes", verdict.replace("e+", "e"))


def _draw_times(ax: Any, results: Results) -> None:
    widths, first = runs.against_width(results.rows, "first")
    second = runs.against_width(results.rows, "second")[1]
    left = np.isfinite(first).all(axis=0)  # widths at which all runs lasted until T₁
    curve = Curve("T₁, a neuron leaves the ball", widths[left], first[:, left], 0)
    figures.lines(ax, [curve] if left.any() else [], "width m", "flow time", "xy", markers=True)
    bands = [figures.expected_slope(ax, curve, 0.5)] if left.any() else []
    there = np.isfinite(second)
    if there.any():
        at = np.broadcast_to(widths, second.shape)[there]
        ax.plot(at, second[there], figures.MARKERS[2], color=figures.COLOURS[2], label="T₂, λ_min(H_t) < λ₀/2")  # fmt: skip
    ax.axhline(results.config.t_end, color="0.6", linewidth=0.8, zorder=0, label="end of the run")
    end = results.config.t_end
    ax.set_ylim(min(end, *first.ravel()) / 3, 1e3 * end)
    handles, labels = ax.get_legend_handles_labels()
    ax.legend([*handles, *bands], [*labels, *["slope 1/2"] * len(bands)], loc="upper left")
    order = int((first <= second).sum())
    never = ", ".join(
        f"in {count} {name} does not come"
        for name, count in (("T₁", int(np.isinf(first).sum())), ("T₂", int((~there).sum())))
        if count or name == "T₂"
    )
    rows = [row for row in results.rows if row.m in widths[left]]
    slope = f"{_slope(rows, 'first')} for T₁, theory 1/2." if rows else ""
    verdict = f"T₁ ≤ T₂ in {order} of {first.size} runs; {never}. {slope}".rstrip()
    figures.panel(ax, "Why the proof asks for so much", verdict)


def _slope(rows: Sequence[Any], name: str) -> str:
    fit = runs.exponent(rows, name)
    return f"Slope {fit.short}" if isinstance(fit, ExponentFit) else "No slope from so few widths"
