"""The panels of `propagation_of_chaos`, each with its verdict: numbers from its files, drawn by
`figures`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from .. import figures
from ..figures import COLOURS, MARKERS, Curve, Figure
from ..lab.fits import slope_text

if TYPE_CHECKING:
    from . import Results


def page(results: Results) -> Figure:
    """Two rows of two panels; from the files alone."""
    return figures.page(_about(results), [
        [
            lambda ax: _draw_widths(ax, results),
            lambda ax: _draw_times(ax, results),
        ],
        [
            lambda ax: _draw_law(ax, results),
            lambda ax: _draw_distances(ax, results),
        ],
    ])  # fmt: skip


def _about(results: Results) -> str:
    config = results.config
    return (
        "From m neurons to the mean-field limit\n"
        f"γ = 1, α = 1, tanh; a, w ~ N(0, 1); 3-neuron teacher, n = {config.n}, d = {config.dim}; "
        f"nested in M = {results.rows[0].wide}, {figures.seeds(config.seeds)}; flow time t"
    )


def _draw_widths(ax: Any, results: Results) -> None:
    times = sorted(results.config.times)
    curves = []
    for number, (name, t) in enumerate((("test", times[-1]), ("train", times[-2]), ("train", times[-1]))):  # fmt: skip
        m, values = results.scaled(name, t)
        curves.append(Curve(f"{name}, t = {t:g}", m, 1e3 * values / m, number))
    figures.power_laws(ax, curves, [-1.0] * 3, "width m", "1000 E(f_m − f_M)²")
    slopes = [slope_text(curve.x, curve.values) for curve in curves]
    verdict = f"With the factor 1/(1 − m/M): slopes {', '.join(slopes)}; theory −1 for all."
    figures.panel(ax, "Against m", verdict)


def _draw_times(ax: Any, results: Results) -> None:
    times = np.array(sorted(results.config.times))
    curves, said = [], []
    for number, name in enumerate(("test", "train")):
        values = np.array([results.scaled(name, t)[1].mean(axis=1) for t in times]).T
        curves.append(Curve(f"{name} points", times, values, number))
        mean, error = values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))
        said.append(f"{name} {mean[-2]:.2g} and {mean[-1]:.2g} ± {error[-1]:.1g}")
    figures.lines(ax, curves, "flow time t", "m E(f_m − f_M)², corrected", "y")
    ax.set_xscale("symlog", linthresh=max(times[1] if times[0] == 0 else times[0], 1e-3))
    ax.set_xticks(times, [f"{t:g}" for t in times])
    ax.set_xlim(times[0], 1.2 * times[-1])
    ax.minorticks_off()
    ax.legend(loc="lower left")
    verdict = f"At t = {times[-2]:g} and {times[-1]:g}: {'; '.join(said)}."
    figures.panel(ax, "m times as much, against time", verdict, 54)


def _draw_law(ax: Any, results: Results) -> None:
    said = []
    for number, (m, rows) in enumerate(sorted(results.functions.items())):
        f = np.array(rows)
        away = f - f.mean(axis=0)
        # the direction in which networks differ most
        values = np.linalg.svd(away, full_matrices=False)[0][:, 0]
        ordered = np.sort(values / values.std(ddof=1))
        normal = stats.norm.ppf((np.arange(len(ordered)) + 0.5) / len(ordered))
        ax.plot(
            normal, ordered, linestyle="", marker=MARKERS[number], markersize=3, color=COLOURS[number],
            label=f"m = {m}, {len(ordered)} networks",
        )  # fmt: skip
        kurtosis = float(stats.kurtosis(away, axis=0).mean())
        p = float(stats.shapiro(values).pvalue)
        said.append(f"p = {p:.2g}, excess kurtosis {kurtosis:.2f} at m = {m}".replace("-", "−"))
    ends = np.array(ax.get_xlim())
    ax.plot(ends, ends, color="0.85", linewidth=7, zorder=0, label="normal")
    ax.set_xlabel("quantiles of the normal law")
    ax.set_ylabel("of f_m − mean, main direction")
    ax.legend(loc="upper left")
    figures.panel(ax, "Are fluctuations Gaussian?", f"Shapiro and Wilk: {'; '.join(said)}.")


def _draw_distances(ax: Any, results: Results) -> None:
    end, p = max(results.config.times), results.config.dim + 1
    names = {
        "floor": "floor: independent",
        "w2": "W2(μ_m, μ_M)",
        "coupled": "neuron by neuron",
    }
    slopes = {"floor": -1 / max(p, 4), "w2": -1 / max(p, 4), "coupled": -0.5}
    curves = [
        Curve(label, *results.of(name, end), number) for number, (name, label) in enumerate(names.items())
    ]  # fmt: skip
    figures.lines(ax, curves, "width m", f"distance at t = {end:g}", "xy", markers=True)
    bands = [
        figures.expected_slope(ax, curve, slope)
        for curve, slope in zip(curves, slopes.values(), strict=True)
    ]
    handles, labels = ax.get_legend_handles_labels()
    figures.legend_above(ax, [*handles, bands[0]], [*labels, "theory's slope"], columns=2)
    fitted = {name: slope_text(curve.x, curve.values) for name, curve in zip(names, curves, strict=True)}  # fmt: skip
    share = np.mean(curves[1].values[:, -1]) / np.mean(curves[0].values[:, -1])
    verdict = (
        f"W2 {fitted['w2']} (theory {figures.fraction(slopes['w2'])}), {share:.2f} of the floor; "
        f"neuron by neuron {fitted['coupled']} (theory −1/2)."
    )
    figures.panel(ax, f"What W2 sees, p = {p} columns", verdict, 54)
