"""The panels of `deep_convergence`, each with its verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import figures
from ..figures import Curve, Figure
from ..lab import cells, runs
from ..lab.fits import Refused
from . import claims, measures

if TYPE_CHECKING:
    from . import Results

THEORY = -0.5


def page(results: Results) -> Figure:
    """A row of three panels; from the files alone."""
    files = {
        m: cells.read(cells.of_width(results.folder, m))[1] for m in sorted(results.config.widths)
    }
    with figures.house():
        sheet, axes = figures.sheet(1, 1, 3)
        _draw_residual(axes[0, 0, 0], results, files)
        _draw_layers(axes[0, 0, 1], results, files)
        _draw_start(axes[0, 0, 2], results)
        figures.heading(sheet, axes[0, 0, 0], _about(results))
    return sheet


def _about(results: Results) -> str:
    config = results.config
    return (
        "A convergence theorem of deep networks, at practical width\n"
        f"{config.depth} hidden layers of {config.activation}, γ = 1/2, α = 1, standard normal start, "
        f"all layers trained; {config.n} points of the sphere, y = ±1, ½ Σ (f − y)²; "
        f"{figures.seeds(config.seeds)}; flow time t"
    )


def _shown(files: dict[int, Any]) -> list[tuple[int, Any]]:
    """Three widths at most, the narrowest and the widest among them."""
    every = list(files.items())
    chosen = np.unique(np.linspace(0, len(every) - 1, min(3, len(every))).round().astype(int))
    return [every[k] for k in chosen]


def _draw_residual(ax: Any, results: Results, files: dict[int, Any]) -> None:
    curves = [
        Curve(f"m = {m}", file["times"], np.maximum(file["residual"], 1e-30), number)
        for number, (m, file) in enumerate(_shown(files))
    ]
    times = curves[0].x
    figures.lines(ax, curves, "flow time t", "‖f − y‖² / ‖f₀ − y‖²", "y")
    ax.plot(times, measures.kernel_flow(results.config, times), color="0.35",
            linestyle=figures.LINES[3], label="infinite width")  # fmt: skip
    ax.plot(times, np.exp(-results.lambda0 * times), color="0.35", linestyle=figures.LINES[1],
            label="theorem")  # fmt: skip
    ax.legend(loc="lower left")
    _, count, _ = claims(results, max(files))[-1]
    verdict = (
        f"Below the theorem's e^(−λ₀t), λ₀ = {results.lambda0:.2g}, in {count} of "
        f"{results.config.seeds} seeds at m = {max(files)}."
    )
    figures.panel(ax, "What is left to learn", verdict)


def _draw_layers(ax: Any, results: Results, files: dict[int, Any]) -> None:
    m, file = max(files.items())
    limit = measures.limit(results.config)
    names = [*limit, None]
    if len(names) > 5:
        names = [names[0], measures.last(results.config), "readout.weight", None]
    curves = []
    for number, name in enumerate(names):
        series = file["lambda_min" if name is None else f"lambda_min_{name}"]
        label = "all together" if name is None else name.removesuffix(".weight")
        curves.append(Curve(label, file["times"], np.maximum(series, 1e-12), number))
        kernel = sum(limit.values()) if name is None else limit[name]
        ax.axhline(max(float(np.linalg.eigvalsh(kernel)[0]), 1e-12), linewidth=0.9,
                   color=figures.COLOURS[number % 6], linestyle=(0, (1, 2)))  # fmt: skip
    figures.lines(ax, curves, "flow time t", "λ_min", "y")
    ax.axhline(results.lambda0 / 2, color="0.35", linewidth=1.1, linestyle=(0, (4, 3)))
    ax.plot([], [], color="0.35", linestyle=(0, (1, 2)), label="limit")
    ax.plot([], [], color="0.35", linestyle=(0, (4, 3)), label="λ₀/2")
    handles, labels = ax.get_legend_handles_labels()
    figures.legend_above(ax, handles, labels, columns=3)
    rows = [row for row in results.rows if row.m == m]
    lowest = min(row.lambda_lowest for row in rows) / results.lambda0
    verdict = (
        f"m = {m}: the last hidden layer, by which the theorem goes, keeps {lowest:.2f} λ₀ or more; all "
        f"together have {np.mean([row.lambda_whole for row in rows]) / results.lambda0:.1f} λ₀."
    )
    figures.panel(ax, "The smallest eigenvalue of each layer", verdict)


def _draw_start(ax: Any, results: Results) -> None:
    rows: Any = results.rows
    fit = runs.exponent(rows, "off")
    label = "theory −1/2" if isinstance(fit, Refused) else f"slope {fit.short}, theory −1/2"
    widths, off = runs.against_width(rows, "off")
    figures.power_laws(
        ax, [Curve(label, widths, off, 0)], [THEORY], "width m", "‖G − K‖ / ‖K‖ at the start"
    )
    first = [row for row in rows if row.m == max(results.config.widths)]
    moved = np.mean([row.moved for row in first])
    verdict = (
        f"G of the last hidden layer is {off[:, -1].mean():.2g} from its limit K at m = {widths[-1]:g}; "
        f"all weights moved by {moved:.1%} of their length."
    )
    figures.panel(ax, "The kernel at the start", verdict)
