"""The panels of `kappa_against_width`, each with its verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import figures
from ..figures import Curve, Figure
from ..lab import cells, runs
from ..lab.fits import ExponentFit
from . import measures, of

if TYPE_CHECKING:
    from . import Results


def page(results: Results) -> Figure:
    """A row of three panels; from the files alone."""
    widest = max(results.config.widths)
    scaled = cells.read(cells.of_width(results.folder, widest))[1]["scaled"]
    return figures.page(_about(results), [
        [
            lambda ax: _draw_widths(ax, results),
            lambda ax: _draw_scales(ax, np.array(results.config.alphas), scaled, widest),
            lambda ax: _draw_drift(ax, results),
        ],
    ])  # fmt: skip


def _about(results: Results) -> str:
    config = results.config
    return (
        "The relative scale κ before training\n"
        f"{config.activation}, a = ±1 or (LeCun, γ = 0) a ~ N(0, 1/m), w ~ N(0, 1), symmetric, a and "
        f"w trained; n = {len(measures.X)}, d = 1, sin 2x, squared loss; α = 1 unless given; {figures.seeds(config.seeds)}"
        f"; flow time t"
    )


def _draw_widths(ax: Any, results: Results) -> None:
    curves, said = [], []
    for number, (name, theory) in enumerate(measures.SLOPES.items()):
        rows = of(results, name)
        curves.append(Curve(name, *runs.against_width(rows, "kappa"), number))
        fit = runs.exponent(rows, "kappa")
        slope = f"{fit.slope:.2f}" if isinstance(fit, ExponentFit) else "none"
        said.append(f"{slope} ({theory:g})")
    figures.lines(ax, curves, "width m", "κ at the start", "xy", markers=True)
    for curve, theory in zip(curves, measures.SLOPES.values(), strict=True):
        band = figures.expected_slope(ax, curve, theory)
    _legend(ax, band, "theory's slope", "upper center", 40)
    verdict = f"Slopes, in brackets theory's: {', '.join(said)}.".replace("-", "−")
    figures.panel(ax, "κ against the width", verdict)


def _legend(ax: Any, band: Any, name: str, place: str, room: float) -> None:
    """The legend with the band in it, and `room` times the range above the data for it."""
    low, high = ax.get_ylim()
    ax.set_ylim(low, high * room)
    handles, labels = ax.get_legend_handles_labels()
    ax.legend([*handles, band], [*labels, name], loc=place, ncols=2, columnspacing=1.0)


def _draw_scales(ax: Any, alphas: np.ndarray, scaled: np.ndarray, m: int) -> None:
    names = [*measures.SLOPES, "γ = 1/2, f₀ ≠ 0"]
    curves = [
        Curve(name, alphas, values, number)
        for number, (name, values) in enumerate(zip(names, scaled, strict=True))
    ]
    figures.lines(ax, curves, "output scale α", "κ at the start", "xy", markers=True)
    for curve in curves[:-1]:
        band = figures.expected_slope(ax, curve, -1.0)
    _legend(ax, band, "slope −1", "upper center", 300)
    means = scaled.mean(axis=1)
    slopes = np.log(means[:, -1] / means[:, -2]) / np.log(alphas[-1] / alphas[-2])
    worst = slopes[:-1][np.abs(slopes[:-1] + 1).argmax()]
    verdict = (
        f"f₀ = 0: slope {worst:.3f}, theory −1. Of independent neurons f₀ grows with α, and the last "
        f"slope is {slopes[-1] + 0.0:.2f}."
    ).replace("-", "−")
    figures.panel(ax, f"κ against the output scale, m = {m}", verdict)


def _draw_drift(ax: Any, results: Results) -> None:
    """Measured change of the kernel over κ, one point a width and kind of network."""
    said = []
    for number, name in enumerate(measures.SLOPES):
        rows = of(results, name)
        kappa, drift = (
            runs.against_width(rows, what)[1].mean(axis=0) for what in ("kappa", "drift")
        )
        ax.plot(
            kappa, drift, marker=figures.MARKERS[number], color=figures.COLOURS[number],
            linestyle=figures.LINES[number], label=name,
        )  # fmt: skip
        if measures.SLOPES[name] < 0:
            x = np.array([kappa.min(), kappa.max()])
            middle = np.exp(np.log(drift).mean() - 2 * np.log(kappa).mean())
            (band,) = ax.plot(x, middle * x**2, color="0.85", linewidth=7, zorder=0)
            slope = np.polyfit(np.log(kappa), np.log(drift), 1)[0]
            said.append(f"{slope:.2f}")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("κ at the start")
    ax.set_ylabel("‖H_T − H₀‖ / ‖H₀‖")
    _legend(ax, band, "slope 2", "upper left", 30)
    verdict = (
        f"Slopes {', '.join(said)}, theory 2 for small κ: a symmetric start cancels the first order "
        f"(t = {results.config.t_end:g})."
    )
    figures.panel(ax, "What the kernel did", verdict)
