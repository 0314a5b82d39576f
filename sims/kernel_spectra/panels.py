"""The panels of `kernel_spectra`, each with its verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import figures
from ..figures import COLOURS, MARKERS, Curve, Figure
from ..lab import cells
from ..lab.fits import ExponentFit, fit_or_refuse
from . import measures

if TYPE_CHECKING:
    from . import Results


def page(results: Results) -> Figure:
    """A row of three panels; from the files alone."""
    widths = sorted(results.config.widths)
    files = {m: cells.read(results.folder / f"m{m:06}.npz")[1] for m in widths}
    with figures.house():
        sheet, axes = figures.sheet(1, 1, 3)
        _draw_spectrum(axes[0, 0, 0], results)
        _draw_modes(axes[0, 0, 1], files[widths[-1]], widths[-1])
        _draw_error(axes[0, 0, 2], files)
        figures.heading(sheet, axes[0, 0, 0], _about(results))
    return sheet


def _about(results: Results) -> str:
    config = results.config
    return (
        "Waves on the circle\n"
        f"ReLU, γ = 1/2, α = 1, symmetric start a = ±1 (fixed), w ~ N(0, I), b = 0; n = {config.n} "
        f"equispaced points, squared loss; seeds 0 … {config.seeds - 1}; flow time t"
    )


def _draw_spectrum(ax: Any, results: Results) -> None:
    """Theory as bars, the kernel of infinite width on the points, and the widest network."""
    config = results.config
    k = np.arange(config.degrees)
    off = 0.0
    for number, trained in enumerate(measures.TRAINED):
        theory = np.array([measures.eigenvalue(int(degree), trained) for degree in k])
        place = k + 0.4 * number - 0.2
        ax.bar(
            place,
            theory,
            width=0.36,
            color=COLOURS[number],
            alpha=0.3,
            label=f"theory, {trained} trained",
        )
        points = measures.limit(config, trained)
        off = max(off, float(np.abs(points - theory).max()))
        ax.plot(place, np.maximum(points, 0), MARKERS[number], color=COLOURS[number], markersize=5)
    ax.plot([], [], "o", color="0.35", markersize=5, label="kernel on the points")
    ax.set_yscale("log")
    ax.set_ylim(3e-4, 3)
    ax.set_xlabel("degree k")
    ax.set_ylabel("eigenvalue λ_k")
    ax.set_xticks(k)
    ax.legend(loc="upper right")
    verdict = (
        f"Odd degrees from 3 on have λ = 0 unless a bias is trained; {config.n} points are within "
        f"{off:.1g} of theory."
    )
    figures.panel(ax, "Spectrum of the kernel, m = ∞", verdict)


def _draw_modes(ax: Any, file: dict[str, np.ndarray], m: int) -> None:
    """What is left of each wave of the target, over e^(-λ_k t)."""
    t, curves, ends = file["times"], [], []
    for number, k in enumerate(measures.LEARNT):
        ax.plot(t, np.exp(-measures.eigenvalue(k) * t), color="0.85", linewidth=7, zorder=0)
        curves.append(Curve(f"k = {k}", t, file["left"][:, :, number], number))
        ends.append(f"{file['left'][:, -1, number].mean():.2g}")
    figures.lines(ax, curves, "flow time t", "amplitude left in y − f")
    handles, labels = ax.get_legend_handles_labels()
    ax.set_ylim(-0.05, 1.6)
    ax.legend([*handles, ax.lines[0]], [*labels, "e^(−λ_k t)"], loc="upper right", ncols=2)
    verdict = f"At t = {t[-1]:g} there is left of k = 1, 2, 3, 4: {', '.join(ends)}; of k = 3 in theory all, for ever."
    figures.panel(ax, f"Waves while w trains, m = {m}", verdict)


def _draw_error(ax: Any, files: dict[int, dict[str, np.ndarray]]) -> None:
    """‖H - H∞‖/n in operator norm, which bounds the error of every eigenvalue, over m."""
    widths = np.array(sorted(files), dtype=float)
    values = np.array([files[int(m)]["apart"] for m in widths]).T
    curve = Curve("measured", widths, values, 0)
    figures.lines(ax, [curve], "width m", "‖H − H∞‖ / n at the start", "xy", markers=True)
    band = figures.expected_slope(ax, curve, -0.5)
    handles, labels = ax.get_legend_handles_labels()
    ax.legend([*handles, band], [*labels, "slope −1/2"], loc="upper right")
    fit = fit_or_refuse(widths, values)
    slope = f"slope {fit.short}" if isinstance(fit, ExponentFit) else "no slope from so few widths"
    verdict = f"No eigenvalue is farther off than this: {slope}, theory −1/2."
    figures.panel(ax, "The spectrum at finite width", verdict)
