"""The panels of `wasserstein_geometry`, each with its verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import figures
from ..figures import COLOURS, GREY, LINES, Curve, Figure
from ..lab import cells
from . import measures

if TYPE_CHECKING:
    from . import Results

SHORT = {
    "potential": "∫ ½|x|² dμ", "attraction": "½∬ ½|x − y|²", "repulsion": "½∬ e^(−|x−y|²/2)",
    "risk": "risk of a network",
}  # fmt: skip
WORDS = {
    "potential": "potential",
    "attraction": "attraction",
    "repulsion": "repulsion",
    "risk": "risk",
}


def page(results: Results) -> Figure:
    """Two rows of three panels; from the file alone."""
    file = cells.read(results.folder / "geometry.npz")[1]
    return figures.page(_about(results), [
        [
            lambda ax: _draw_half(ax, results, file),
            lambda ax: _draw_distances(ax, file),
            lambda ax: _draw_quotients(ax, file),
        ],
        [
            lambda ax: _draw_energies(ax, results, file, 0),
            lambda ax: _draw_energies(ax, results, file, 1),
            lambda ax: _draw_factor(ax, file),
        ],
    ])  # fmt: skip


def _about(results: Results) -> str:
    config = results.config
    return (
        "Mixture and displacement\n"
        f"{config.n} particles each of N((∓{config.distance / 2:g}, 0), ·), covariances I and "
        f"{config.spread:g}² I; networks of {config.n} tanh neurons, γ = 1, α = 1, untrained and "
        f"trained to t = {measures.T_END:g} on a sine; seeds {config.seed}, {config.seed + 1}; flow "
        "time t"
    )


def _value(results: Results, name: str, way: str) -> Any:
    return next(row for row in results.rows if (row.functional, row.way) == (name, way))


def _draw_half(ax: Any, results: Results, file: dict[str, np.ndarray]) -> None:
    """Both clouds, which together are the mixture, and the displacement half-way."""
    shown = slice(None, 60)
    both = np.concatenate([file["first"], file["second"]])
    ax.plot(*both.T, "o", color=COLOURS[0], markersize=2.5, alpha=0.6, label="half-way mixture")
    for start, end in zip(file["origin"][shown], file["partner"][shown], strict=True):
        ax.plot(*np.array([start, end]).T, color=GREY, linewidth=0.4, zorder=0)
    ax.plot(*file["half"].T, "^", color=COLOURS[2], markersize=2.5, label="half-way displacement")
    # one unit as long in both directions, in axes of 3.55 × 2.75, with room for the legend
    high = max(1.05 * np.abs(both[:, 1]).max(), 0.35 * np.ptp(both[:, 0]))
    ax.set_ylim(-high, 1.3 * high)
    ax.set_xlim(both[:, 0].mean() + np.array([-1, 1]) * 1.15 * high * 3.55 / 2.75)
    ax.set_xlabel("x₁")
    ax.set_ylabel("x₂")
    ax.legend(loc="upper center", ncols=2, columnspacing=1.0, handletextpad=0.2)
    mixture, displaced = (_value(results, "attraction", way).half for way in measures.WAYS)
    verdict = (
        f"½∬ ½|x − y|² is {mixture:.3g} in the mixture and {displaced:.3g} in the displacement."
    )
    figures.panel(ax, "Half-way between two clouds", verdict)


def _draw_distances(ax: Any, file: dict[str, np.ndarray]) -> None:
    t, (mixture, geodesic) = file["fine"], file["distances"]
    curves = [Curve("mixture", t, mixture[None], 0), Curve("displacement", t, geodesic[None], 2)]
    figures.lines(ax, curves, "t", "W2(μ₀, μ_t)", "xy")
    bands = [
        ax.plot(t, curve.values[0, 0] * (t / t[0]) ** slope, color="0.85", linewidth=7, zorder=0)[0]
        for curve, slope in zip(curves, (0.5, 1.0), strict=True)
    ]
    handles, labels = ax.get_legend_handles_labels()
    ax.legend([*handles, bands[0]], [*labels, "slopes 1/2 and 1"], loc="lower right")
    off = np.abs(geodesic / (t * float(file["w2"])) - 1).max()
    early = slice(0, 3)
    slope = np.polyfit(np.log(t[early]), np.log(mixture[early]), 1)[0]
    verdict = (
        f"The displacement has constant speed, to {off:.0e}; the mixture begins with slope "
        f"{slope:.3f}, theory 1/2: infinite speed."
    )
    figures.panel(ax, "The way in W2", verdict)


def _draw_quotients(ax: Any, file: dict[str, np.ndarray]) -> None:
    """|difference quotient - ∫δF/δμ dσ| over the latter, with the right and a wrong factor."""
    epsilons = measures.EPSILONS
    names = ("½∬W, δF/δμ = ∫W dμ", "risk of a network", "∬W, δF/δμ = 2∫W dμ")
    curves = []
    for number, (name, row) in enumerate(zip(names, file["quotients"], strict=True)):
        off = np.abs(row[:-1] / row[-1] - 1)
        curves.append(Curve(name, epsilons, off[None], number))
    wrong = np.abs(2 * file["quotients"][2, :-1] / file["quotients"][2, -1] - 1)
    curves.append(Curve("∬W, with ∫W dμ: wrong", epsilons, wrong[None], 3))
    figures.lines(ax, curves, "ε of μ₁ mixed in", "relative error of ∫ δF/δμ d(μ₁ − μ₀)", "xy")
    for curve in curves[:3]:
        line = curve.values[0, 0] * epsilons / epsilons[0]
        (band,) = ax.plot(epsilons, line, color="0.85", linewidth=7, zorder=0)
    ax.set_ylim(1e-5, 3e4)
    handles, labels = ax.get_legend_handles_labels()
    ax.legend([*handles, band], [*labels, "slope 1"], loc="upper left")
    slopes = [np.polyfit(np.log(epsilons), np.log(curve.values[0]), 1)[0] for curve in curves]
    verdict = (
        f"Slopes {', '.join(f'{slope:.2f}' for slope in slopes[:3])}, theory 1; without the factor "
        f"2 the error stays {wrong[0]:.2f}."
    )
    figures.panel(ax, "First variation by difference quotients", verdict)


def _draw_energies(ax: Any, results: Results, file: dict[str, np.ndarray], number: int) -> None:
    """F less its chord, in units of the larger deviation of the two ways."""
    way, t = measures.WAYS[number], file["t"]
    said: dict[str, list[str]] = {}
    for k, name in enumerate(measures.NAMES):
        chords = np.array([(1 - t) * v[0] + t * v[-1] for v in file["along"][k]])
        bent = file["along"][k] - chords
        values = bent[number] / np.abs(bent).max()
        ax.plot(t, values, color=COLOURS[k], linestyle=LINES[k], label=SHORT[name])
        said.setdefault(_value(results, name, way).verdict, []).append(WORDS[name])
    ax.axhline(0, color="0.6", linewidth=0.8, zorder=0)
    ax.set_ylim(-1.15, 1.9)
    ax.set_xlabel("t")
    ax.set_ylabel("F less its chord, scaled")
    ax.legend(loc="upper center", ncols=2, columnspacing=1.0)
    told = [f"{word}: {', '.join(names)}" for word, names in said.items()]
    figures.panel(ax, f"Along the {way}", f"{'; '.join(told).capitalize()}.")


def _draw_factor(ax: Any, file: dict[str, np.ndarray]) -> None:
    t, curves = file["times"], []
    for number, (name, rate, values) in enumerate(
        zip(("½∬W", "∬W"), (1, 2), file["stds"], strict=True)
    ):
        ax.plot(t, np.exp(-rate * t), color="0.85", linewidth=7, zorder=0)
        curves.append(Curve(f"F = {name}", t, values[None], number))
    figures.lines(ax, curves, "flow time t", "standard deviation, of its start", "y")
    handles, labels = ax.get_legend_handles_labels()
    ax.legend([*handles, ax.lines[0]], [*labels, "e^(−t), e^(−2t)"], loc="lower left")
    rates = [-np.log(values[-1]) / t[-1] for values in file["stds"]]
    verdict = (
        f"W = ½|x − y|²: the cloud contracts at the rates {rates[0]:.3f} and {rates[1]:.3f}, "
        "theory 1 and 2."
    )
    figures.panel(ax, "The factor 2 in the flow", verdict)
