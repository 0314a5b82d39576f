"""The panels of `kernel_regime`, each with its verdict, and its animation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import figures
from ..figures import COLOURS, GREY, MARKERS, Curve, Figure
from ..lab import cells
from . import measures, path_of

if TYPE_CHECKING:
    from . import Results

PUBLISHED = {
    0.01: 108.5,
    0.0681292: 26.6,
    0.4641589: 2.63,
    3.1622777: 0.101,
}  # TRUTHS.md, section 5


def page(results: Results) -> Figure:
    """Two rows of three panels; from the files alone."""
    files = _files(results)
    with figures.house():
        sheet, axes = figures.sheet(1, 2, 3)
        _draw_ways(axes[0, 0, 0], results, files)
        _draw_functions(axes[0, 0, 1], results, files)
        _draw_change(axes[0, 0, 2], results)
        for ax, number in zip(axes[0, 1], _chosen(len(files)), strict=True):
            alpha, file = list(files.items())[number]
            _draw_ellipses(ax, results, alpha, file, _colours(len(files))[number])
        figures.heading(sheet, axes[0, 0, 0], _about(results))
    return sheet


def _files(results: Results) -> dict[float, dict[str, np.ndarray]]:
    return {alpha: cells.read(path_of(results.folder, alpha))[1] for alpha in results.config.alphas}


def _chosen(count: int) -> list[int]:
    return [0, count // 2, count - 1]


def _colours(count: int) -> np.ndarray:
    return figures.ages(count)


def _named(alpha: float) -> str:
    """α with three digits, 1000 and not 1e+03."""
    return f"α = {float(f'{alpha:.3g}'):g}"


def _about(results: Results) -> str:
    config = results.config
    return (
        "From features that move to the kernel regime\n"
        f"α(f − f₀), f = 1 – {config.width} – {config.width} – 1 of ReLU, PyTorch's start, s = α; x = −3, "
        f"0.5, y = 2, −1; rate {config.rate:g} on MSE/α², {config.steps} steps of t = "
        f"{2 * config.rate:g}; {figures.seeds(config.seeds)}"
    )


def _plane(ax: Any, ways: list[np.ndarray], room: float = 1.35) -> None:
    """Axes for the outputs on the two points, start and target named, units as long in both."""
    points = np.concatenate([*ways, [[0.0, 0.0], measures.DATA.y]])
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    half = room * max(np.ptp(points[:, 0]) / 2 / 3.55, np.ptp(points[:, 1]) / 2 / 2.75)
    ax.set_xlim(middle[0] - 3.55 * half, middle[0] + 3.55 * half)
    ax.set_ylim(middle[1] - 2.75 * half, middle[1] + 2.75 * half)
    ax.plot(0, 0, "o", color="0.35", markersize=4, zorder=6)
    ax.plot(*measures.DATA.y, "*", color="0.1", markersize=11, zorder=6)
    ax.set_xlabel("output at x = −3")
    ax.set_ylabel("output at x = 0.5")


def contour(H: np.ndarray, level: float) -> np.ndarray:
    """(2, points): y + v with vᵀHv = level; half axes √(level/λ)."""
    values, vectors = np.linalg.eigh(H)
    angle = np.linspace(0.0, 2 * np.pi, 200)
    circle = np.array([np.cos(angle), np.sin(angle)])
    size = np.sqrt(level / np.maximum(values, 1e-12 * values[-1]))
    return measures.DATA.y[:, None] + vectors @ (size[:, None] * circle)


def level_of(H: np.ndarray) -> float:
    """The level of the ellipse of the first kernel that is drawn: long half axis ‖y‖/4."""
    values = np.linalg.eigvalsh(H)
    return float(max(values[0], 1e-3 * values[-1]) * np.sum((0.25 * measures.DATA.y) ** 2))


def _draw_ways(ax: Any, results: Results, files: dict[float, dict[str, np.ndarray]]) -> None:
    ways = [file["outputs"][0] for file in files.values()]
    times = next(iter(files.values()))["times"]
    lazy = measures.linear(next(iter(files.values()))["kernels"][0, 0], times)
    ax.plot(*lazy.T, color="0.85", linewidth=7, zorder=0, label="first kernel")
    for (alpha, _), way, colour in zip(files.items(), ways, _colours(len(files)), strict=True):
        ax.plot(*way.T, color=colour, label=_named(alpha))
    _plane(ax, ways)
    ax.legend(loc="lower left", ncols=3, columnspacing=0.9, handlelength=1.3)  # below all ways
    alphas = results.config.alphas
    apart = [
        np.mean([row.apart for row in results.rows if row.alpha == alpha])
        for alpha in (alphas[0], alphas[-1])
    ]
    verdict = (
        f"The way of the first kernel is left by at most {apart[0]:.2g} ‖y‖ at {_named(alphas[0])}, "
        f"{apart[1]:.2g} ‖y‖ at {_named(alphas[-1])}."
    )
    figures.panel(ax, "The way of the two outputs", verdict)


def _draw_functions(ax: Any, results: Results, files: dict[float, dict[str, np.ndarray]]) -> None:
    x = measures.GRID[:, 0]
    for file, colour in zip(files.values(), _colours(len(files)), strict=True):
        ax.plot(x, file["functions"][-1], color=colour)
    ax.plot(measures.DATA.x[:, 0], measures.DATA.y, "*", color="0.1", markersize=11, zorder=6)
    ax.set_xlabel("x")
    ax.set_ylabel("α(f − f₀) at the end")
    ends = np.array([file["functions"][-1] for file in files.values()])
    left = max(row.left for row in results.rows if row.seed == 0)
    verdict = (
        f"Within {left:.1g} ‖y‖ of the same two points; elsewhere they differ by up to "
        f"{np.ptp(ends, axis=0).max():.2g}."
    )
    figures.panel(ax, "The functions at the end", verdict)


def _draw_change(ax: Any, results: Results) -> None:
    alphas = np.array(results.config.alphas)
    drift = np.array([
        [row.drift for row in results.rows if row.seed == seed] for seed in range(results.config.seeds)
    ])  # fmt: skip
    curve = Curve("measured", alphas, drift, 0)
    figures.lines(ax, [curve], "output scale α", "‖H_T − H₀‖ / ‖H₀‖", "xy")
    ax.plot(alphas, drift.mean(axis=0), MARKERS[0], color=COLOURS[0])
    late = Curve("", alphas[-3:], drift[:, -3:])
    band = figures.expected_slope(ax, late, -1.0)
    if (results.config.width, results.config.steps, results.config.rate) == (100, 4000, 3e-4):
        ax.plot(*zip(*PUBLISHED.items(), strict=True), "x", color=COLOURS[2], markersize=9, label="published")  # fmt: skip
    low, high = ax.get_ylim()
    ax.set_ylim(low, 10 * high)
    handles, labels = ax.get_legend_handles_labels()
    ax.legend([*handles, band], [*labels, "slope −1"], loc="upper right")
    mean = drift.mean(axis=0)
    slope = np.log(mean[-1] / mean[-2]) / np.log(alphas[-1] / alphas[-2])
    verdict = (
        f"From {mean[0]:.3g} to {mean[-1]:.1e}; last slope {slope:.2f}, theory −1 in the kernel regime."
    ).replace("-", "−")
    figures.panel(ax, "The change of the kernel", verdict)


def _draw_ellipses(
    ax: Any, results: Results, alpha: float, file: dict[str, np.ndarray], colour: Any
) -> None:
    """Ellipses of H_t about the target at four moments, and the way."""
    way, kernels = file["outputs"][0], file["kernels"][0]
    level, times = level_of(kernels[0]), file["times"]
    moments = np.unique(np.linspace(0, len(times) - 1, 4).round().astype(int))
    for k, age in zip(moments, figures.ages(len(moments)), strict=True):
        ax.plot(*contour(kernels[k], level), color=age, label=f"t = {times[k]:.2g}")
    ax.plot(*way.T, color=COLOURS[2], linewidth=2.2, zorder=5)
    ax.plot(*way.T, "o", color=COLOURS[2], markersize=2.5, zorder=5)
    _plane(ax, [way], 1.55)
    ax.legend(loc="lower left")
    first, last = (np.sqrt(level / np.linalg.eigvalsh(H)) for H in (kernels[0], kernels[-1]))
    row = next(row for row in results.rows if (row.alpha, row.seed) == (alpha, 0))
    verdict = (
        f"Half axes from {first[1]:.2g}, {first[0]:.2g} to {last[1]:.2g}, {last[0]:.2g}; the kernel "
        f"changed by {row.drift:.2g}, "
    )
    verdict += (
        f"and steps bounce: dt λ_max/2 up to {row.stiffness:.2g}."
        if row.stiffness > 1
        else f"dt λ_max/2 at most {row.stiffness:.2g}."
    )
    figures.panel(ax, f"Ellipses of the kernel, {_named(alpha)}", verdict)


def movie(results: Results, out: Path) -> Path:
    """Ways and ellipses of all α in one plane, the functions beside it, as a .gif."""
    files = _files(results)
    colours, times = _colours(len(files)), next(iter(files.values()))["times"]
    with figures.house():
        sheet, axes = figures.sheet(1, 1, 2)
        left, right = axes[0, 0]
        ways = [file["outputs"][0] for file in files.values()]
        kernels = [file["kernels"][0] for file in files.values()]
        level = level_of(kernels[0][0])
        _plane(left, ways)
        rings = [left.plot([], [], color=c, linewidth=1.0)[0] for c in colours]
        tails = [left.plot([], [], color=c, linewidth=2.2)[0] for c in colours]
        heads = [left.plot([], [], "o", color=c, markersize=5)[0] for c in colours]
        x = measures.GRID[:, 0]
        shapes = [
            right.plot(x, 0 * x, color=c, label=_named(alpha))[0]
            for c, alpha in zip(colours, files, strict=True)
        ]
        right.plot(measures.DATA.x[:, 0], measures.DATA.y, "*", color="0.1", markersize=11)
        every = np.array([file["functions"] for file in files.values()])
        low, high = every.min(), every.max()
        right.set_ylim(low - 0.05 * (high - low), high + 0.5 * (high - low))
        right.set_xlabel("x")
        right.set_ylabel("α(f − f₀)")
        right.legend(loc="upper right", ncols=2)
        right.axhline(0, color=GREY, linewidth=0.7, zorder=0)
        said = figures.panel(left, "Outputs, and ellipses of the kernel", "t = 0")
        figures.panel(right, "The functions", "Seven output scales, one clock." if len(files) == 7 else "One clock.")  # fmt: skip
        config = results.config
        about = (
            f"α(f − f₀), f = 1 – {config.width} – {config.width} – 1 of ReLU, seed 0; x = −3, 0.5, y = 2, "
            f"−1; {config.steps} steps of t = {2 * config.rate:g}"
        )
        figures.heading(sheet, left, f"From features that move to the kernel regime\n{about}")

        def draw(k: int) -> None:
            for number, way in enumerate(ways):
                rings[number].set_data(*contour(kernels[number][k], level))
                tails[number].set_data(*way[: k + 1].T)
                heads[number].set_data(*way[k : k + 1].T)
                shapes[number].set_ydata(every[number, k])
            said.set_text(f"t = {times[k]:.3f}")

        return figures.film(sheet, draw, len(times), out)
