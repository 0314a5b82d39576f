"""The panels of `both_limits`, each with its verdict: numbers from its files, drawn by `figures`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import meanfield as mf

from .. import figures
from ..figures import Curve, Figure
from ..lab import runs
from ..lab.fits import Refused
from . import Row, called, function, limits, reference

if TYPE_CHECKING:
    from . import Results

LIMIT_STYLES = {
    "to_ntk": ("infinite-width kernel", 0),
    "to_frozen": ("frozen kernel H₀", 3),
    "to_mean_field": ("mean-field limit", 2),
}


def page(results: Results) -> Figure:
    """Functions and their differences at one width, distances to the limits against γ; to each
    limit against m.
    """
    with figures.house():
        sheet, axes = figures.sheet(1)
        _draw_functions(axes[0, 0, :2], results)
        _draw_gammas(axes[0, 0, 2], results.rows)
        _draw_width(
            axes[0, 1, 0], results.rows, "to_ntk", "The kernel limit", "infinite-width kernel"
        )
        _draw_width(axes[0, 1, 1], results.rows, "to_linear", "The linearised network", "f_lin")
        _draw_scatter(axes[0, 1, 2], results)
        _draw_width(
            axes[0, 1, 2], results.rows, "to_mean_field", "The mean-field limit", "mean-field limit"
        )
        figures.heading(sheet, axes[0, 0, 0], _about(results))
    return sheet


def verdict(rows: Sequence[Row]) -> str:
    """Which limit the widest networks follow at the ends of the γ axis, and what ntk.laziness calls
    them.
    """
    widest = max(row.m for row in rows)
    parts = []
    for gamma in (min(row.gamma for row in rows), max(row.gamma for row in rows)):
        chosen = [row for row in rows if (row.gamma, row.m) == (gamma, widest)]
        kernel, field = (
            100 * _mean(chosen, name) / chosen[0].size for name in ("to_ntk", "to_mean_field")
        )
        parts.append(f"γ = {figures.fraction(gamma)}: {kernel:.2g} % from the kernel's, {field:.2g} % from the mean-field limit "
                     f"(ntk.laziness: {called(chosen)})")  # fmt: skip
    return f"At m = {widest}, in % of the target, " + "; ".join(parts) + "."


def _about(results: Results) -> str:
    with mf.Trajectory(results.folder / results.rows[0].file) as run:
        data, dt = run.data, float(run.config["dt"])
    slope, width = data.origin["arguments"]["slope"], _width(results, results.references[0])
    start = "(w, b) on the unit circle" if results.density else "w, b ~ N(0, 1)"
    task = (
        f"ReLU on y = {slope:g}|x|, n = {data.n}; start a = ±1, {start}, "
        "symmetric, all trained, α = 1"
    )
    seeds = len(results.references)
    field = f"γ = 1, M = {width}, {seeds} seeds"
    if results.density:
        field = f"a density in {width // 2} cells"
    how = f"flow time {results.rows[0].t_end:g}, RK4, dt = {dt:g}; mean-field limit: {field}"
    return f"Finite networks between their two limits\n{task}; {how}"


def _width(results: Results, name: str) -> int:
    with mf.Trajectory(results.folder / name) as run:
        return run.start.m


def _draw_functions(axes: Any, results: Results) -> None:
    """f over x of the first seed's networks of a middle width, with all limits; and the same less
    the kernel's prediction.
    """
    widths = sorted({row.m for row in results.rows})
    gammas = sorted({row.gamma for row in results.rows})
    m, shown = widths[len(widths) // 2], sorted({gammas[0], gammas[len(gammas) // 2], gammas[-1]})
    curves = {}
    for gamma in shown:
        with mf.Trajectory(results.folder / _one(results.rows, gamma, m, 0).file) as run:
            curves[gamma], data = function(run), run.data
    assert data.x_test is not None and data.y_test is not None
    x, found = data.x_test[:, 0], limits(results.folder, m, 0)
    fields, band = _field(results, m)
    for ax, less in zip(axes, (np.zeros(len(x)), found.ntk), strict=True):
        ax.plot(
            x,
            fields - less,
            color="0.8",
            linewidth=6,
            solid_capstyle="butt",
            label="mean-field limit",
            zorder=1,
        )
        ax.fill_between(
            x, fields - less - band, fields - less + band, color="0.8", linewidth=0, zorder=1
        )
        ax.plot(x, found.ntk - less, color="black", linewidth=0.9, label="infinite-width kernel")
        ax.plot(
            x,
            found.frozen - less,
            color="black",
            linestyle=figures.LINES[3],
            linewidth=1.2,
            label="frozen kernel H₀ = f_lin",
        )
        ylabel = "f(x) − infinite-width kernel's" if less.any() else "f(x)"
        drawn = [
            Curve(f"γ = {figures.fraction(gamma)}", x, (f - less)[None], gammas.index(gamma))
            for gamma, f in curves.items()
        ]
        figures.lines(ax, drawn, "x", ylabel)
        ax.set_xticks([-1, -0.5, 0, 0.5, 1])
    axes[0].plot(data.x[:, 0], data.y, "o", color="black", markersize=3.5, zorder=6, label="data")
    lazy, rich = curves[gammas[0]], curves[gammas[-1]]
    names = [f"γ = {figures.fraction(gamma)}" for gamma in (gammas[0], gammas[-1])]
    target = [_rms(values - data.y_test) for values in (lazy, found.ntk, rich, fields)]
    learned = (
        f"RMS error {target[0]:.2g} at {names[0]} (kernel limit {target[1]:.2g}), "
        f"{target[2]:.2g} at {names[1]} "
    )
    figures.panel(
        axes[0], f"What is learned, m = {m}", f"{learned}(mean-field limit {target[3]:.2g})."
    )
    parted = (
        f"{names[0]}: {_rms(lazy - found.ntk):.2g} from the kernel limit, "
        f"{_rms(lazy - found.frozen):.2g} from its own H₀; "
    )
    parted += f"{names[1]}: {_rms(rich - fields):.2g} from the mean-field limit"
    parted += "." if results.density else f" (m^(−1/2) band {_rms(band):.2g})."
    figures.panel(axes[1], "The same, less the kernel limit", parted, 62)
    for ax in axes:
        _headroom(ax, 0.75)
        ax.legend(loc="upper center", ncols=2, columnspacing=1.0, handlelength=2.6)


def _field(results: Results, m: int) -> tuple[np.ndarray, np.ndarray]:
    """The mean-field limit, as the mean of the references over seeds, and the scatter it predicts
    at width m.

    Fluctuations go as m^(-1/2): the standard deviation over seeds at width M times √(M/m). A density
    has none.
    """
    if results.density:
        values = reference(results.folder / results.references[0])
        return values, np.zeros_like(values)
    values = np.array([reference(results.folder / name) for name in results.references])
    return values.mean(axis=0), values.std(axis=0, ddof=1) * np.sqrt(
        _width(results, results.references[0]) / m
    )


def _draw_gammas(ax: Any, rows: Sequence[Row]) -> None:
    """Distance to each limit against γ, at the largest width."""
    widest = max(row.m for row in rows)
    gammas = sorted({row.gamma for row in rows})
    seeds = sorted({row.seed for row in rows})
    for name, (label, style) in LIMIT_STYLES.items():
        values = np.array(
            [[getattr(_one(rows, gamma, widest, seed), name) for gamma in gammas] for seed in seeds]
        )
        figures.lines(
            ax,
            [Curve(f"to the {label}", np.array(gammas), values, style)],
            "exponent γ",
            "RMS distance",
            "y",
            True,
        )
    ax.set_xticks(gammas, [figures.fraction(gamma) for gamma in gammas])
    names = [
        (gamma, called([row for row in rows if (row.gamma, row.m) == (gamma, widest)]))
        for gamma in gammas
    ]
    said = "; ".join(
        f"γ = {figures.fraction(gamma)} {text}" for gamma, text in (names[0], names[-1])
    )
    crossing = _crossing(rows, gammas, widest)
    figures.panel(
        ax,
        f"Both limits against γ, m = {widest}",
        f"{crossing} ntk.laziness: {said} of {len(seeds)} seeds.",
    )
    _headroom(ax, 0.5)
    ax.legend(loc="upper center")


def _crossing(rows: Sequence[Row], gammas: Sequence[float], m: int) -> str:
    """Up to which γ the kernel limit is the nearer one."""
    nearer = [
        gamma for gamma in gammas
        if _mean(chosen := [row for row in rows if (row.gamma, row.m) == (gamma, m)], "to_ntk") < _mean(chosen, "to_mean_field")
    ]  # fmt: skip
    if len(nearer) == len(gammas):
        return "The kernel limit is the nearer one at every γ."
    return (
        f"The kernel limit is the nearer one up to γ = {figures.fraction(max(nearer))}."
        if nearer
        else "The mean-field limit is nearer."
    )


def _draw_width(ax: Any, rows: Sequence[Row], name: str, title: str, limit: str) -> None:
    """Distance to one limit against m, for each γ; the slope at the γ whose limit it is."""
    gammas = sorted({row.gamma for row in rows})
    for number, gamma in enumerate(gammas):
        widths, values = runs.against_width([row for row in rows if row.gamma == gamma], name)
        curve = Curve(f"γ = {figures.fraction(gamma)}", widths, values, number)
        figures.lines(
            ax,
            [curve],
            "width m",
            f"RMS distance to the {limit}" if limit != "f_lin" else "RMS of f − f_lin",
            "xy",
            True,
        )
    own, other = (gammas[-1], gammas[0]) if name == "to_mean_field" else (gammas[0], gammas[-1])
    chosen = [row for row in rows if row.gamma == own]
    fit = runs.exponent(chosen, name)
    falls = f"slope {fit.short}" if not isinstance(fit, Refused) else fit.reason
    widest = max(row.m for row in rows)
    left, stays = (
        _mean([row for row in rows if (row.gamma, row.m) == (gamma, widest)], name)
        for gamma in (own, other)
    )
    expected = ", theory −1/2" if name != "to_linear" else ""
    names = [f"γ = {figures.fraction(gamma)}" for gamma in (own, other)]
    text = (
        f"{names[0]}: {falls}{expected}; {left:.2g} at m = {widest}, where {names[1]} "
        f"keeps {stays:.2g}."
    )
    if name == "to_linear":
        apart = max(abs(row.to_linear - row.to_frozen) for row in rows)
        text += f" Trained f_lin and frozen H₀: {apart:.0e} apart."
    figures.panel(ax, title, text)
    _headroom(ax, 0.42)
    ax.legend(loc="upper center", ncols=3, columnspacing=1.0, handletextpad=0.4)


def _draw_scatter(ax: Any, results: Results) -> None:
    """What the scatter of the references predicts at γ = 1: the RMS of the band, times √(1 - m/M),
    as runs are nested. A density predicts none.
    """
    if results.density:
        return
    widths, wide = sorted({row.m for row in results.rows}), _width(results, results.references[0])
    expected = [_rms(_field(results, m)[1]) * np.sqrt(1 - m / wide) for m in widths]
    ax.plot(
        widths,
        expected,
        color="0.85",
        linewidth=7,
        solid_capstyle="butt",
        zorder=1,
        label="from the scatter at M",
    )


def _headroom(ax: Any, share: float) -> None:
    """Room for a legend over the curves."""
    low, high = ax.get_ylim()
    if ax.get_yscale() == "log":
        ax.set_ylim(low, high * (high / low) ** share)
    else:
        ax.set_ylim(low, high + share * (high - low))


def _one(rows: Sequence[Row], gamma: float, m: int, seed: int) -> Row:
    return next(row for row in rows if (row.gamma, row.m, row.seed) == (gamma, m, seed))


def _mean(rows: Sequence[Row], name: str) -> float:
    return float(np.mean([getattr(row, name) for row in rows]))


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
