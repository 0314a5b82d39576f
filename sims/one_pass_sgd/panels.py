"""The panels of `one_pass_sgd`, each with its verdict: numbers from its files, drawn by `figures`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from .. import figures
from ..figures import Curve, Figure
from ..lab.fits import NO_SLOPE, ExponentFit, fit_or_refuse, slope_text

if TYPE_CHECKING:
    from . import Results


def page(results: Results) -> Figure:
    """Two rows of two panels; from the files alone."""
    return figures.page(_about(results), [
        [
            lambda ax: _draw_steps(ax, results),
            lambda ax: _draw_way(ax, results),
        ],
        [
            lambda ax: _draw_widths(ax, results),
            lambda ax: _draw_pass(ax, results),
        ],
    ])  # fmt: skip


def _about(results: Results) -> str:
    config = results.config
    return (
        "Stochastic gradient descent beside the gradient flow\n"
        f"γ = 1, α = 1, tanh, a and w ~ N(0, 1) trained, x on the circle, n = {config.n}; {figures.seeds(config.seeds)}"
        f"; flow time t, rate dt·m"
    )


def _root(curve: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return curve[0], np.sqrt(curve[1])


def _draw_steps(ax: Any, results: Results) -> None:
    names = {"replaced": "with replacement", "reshuffled": "once an epoch"}
    curves = [
        Curve(label, *_root(results.of(kind)), number) for number, (kind, label) in enumerate(names.items())
    ]  # fmt: skip
    label = "|θ − θ_flow|, RMS over neurons"
    figures.lines(ax, curves, "step dt", label, "xy", markers=True)
    bands = [figures.expected_slope(ax, *one) for one in zip(curves, (0.5, 1.0), strict=True)]
    handles, labels = ax.get_legend_handles_labels()
    figures.legend_above(ax, [*handles, bands[0]], [*labels, "theory's slope"], columns=2)
    ax.set_xticks(curves[0].x, [f"{dt:.2g}" for dt in curves[0].x])
    slopes = [slope_text(curve.x, curve.values) for curve in curves]
    verdict = (
        f"Slopes: {slopes[0]} with replacement (theory 1/2), {slopes[1]} each sample once an epoch "
        "(theory 1 to 1.2)."
    )
    figures.panel(ax, f"Against the step, m = {results.config.m}", verdict)


def _draw_way(ax: Any, results: Results) -> None:
    rows = [row for row in results.rows if row.kind == "replaced"]
    t = np.array(sorted({row.t for row in rows}))
    curves, ends = [], []
    steps = sorted({row.dt for row in rows}, reverse=True)
    for number, dt in enumerate(steps[:6]):
        found = {(row.seed, row.t): row.square / dt for row in rows if row.dt == dt}
        seeds = sorted({seed for seed, _ in found})
        values = np.array([[found[seed, time] for time in t] for seed in seeds])
        curves.append(Curve(f"dt = {dt:.2g}", t, values, number))
        ends.append(values[:, -1])
    figures.lines(ax, curves, "flow time t", "E|θ − θ_flow|² / dt")
    ax.set_ylim(0, None)
    handles, labels = ax.get_legend_handles_labels()
    figures.legend_above(ax, handles, labels, columns=2)
    spread = [float(end.mean()) for end in ends]
    verdict = (
        f"At the end {min(spread):.3g} … {max(spread):.3g} over steps that differ by a factor "
        f"{max(steps) / min(steps):.3g}: {_constant(np.array(ends))}."
    )
    figures.panel(ax, "With replacement: per step length", verdict, 54)


def _constant(samples: np.ndarray) -> str:
    """samples (groups, seeds): whether their means are equal, by Welch's tests between the groups,
    the smallest p times the number of pairs.
    """
    pairs = [(i, j) for i in range(len(samples)) for j in range(i)]
    p = min(stats.ttest_ind(samples[i], samples[j], equal_var=False).pvalue for i, j in pairs)
    together = min(1.0, p * len(pairs))
    return f"{'constant' if together >= 0.05 else 'not constant'} within errors, p = {together:.2g}"


def _draw_widths(ax: Any, results: Results) -> None:
    x, values = _root(results.of("width", by="m"))
    curve = Curve("one step for all m", x, values, 0)
    figures.power_laws(ax, [curve], [0.0], "width m", "|θ − θ_flow|, RMS over neurons")
    low, high = ax.get_ylim()
    ax.set_ylim(low / 2, high * 2)
    dt = next(row.dt for row in results.rows if row.kind == "width")
    fit, means = fit_or_refuse(x, values), values.mean(axis=0)
    change = f"{means[0]:.3g} at m = {x[0]:g}, {means[-1]:.3g} at m = {x[-1]:g}"
    verdict = f"dt = {dt:.2g} for all m: {change}; {NO_SLOPE}."
    if isinstance(fit, ExponentFit):
        verdict = f"dt = {dt:.2g}: {change}; slope {fit.short}, theory 0 for large m (p = {fit.p_value(0):.1g})."  # fmt: skip
    figures.panel(ax, "Against m at a fixed step", verdict)


def _draw_pass(ax: Any, results: Results) -> None:
    curves, said = [], []
    names = {"square": "|θ − θ_flow|²", "function": "(f − f_flow)²"}
    for number, (name, label) in enumerate(names.items()):
        x, values = results.of("pass", name, "m")
        curves.append(Curve(label, x, x * values, number))
        means = curves[-1].values.mean(axis=0)
        said.append(f"{means.min():.2g} … {means.max():.2g}")
    figures.power_laws(ax, curves, [0.0, 0.0], "width m, number of samples", "m × mean square")
    low, high = ax.get_ylim()
    ax.set_ylim(low / 1.5, high * 1.5)
    config = results.config
    verdict = f"m × mean square: {said[0]} (neurons), {said[1]} (function), {_constant(curves[1].values.T)}."
    figures.panel(ax, f"One pass, t = {config.t_pass:g}, {config.passes} seeds", verdict, 54)
