"""The panels of `birth_death`, each with its verdict: numbers from its results and files, drawn by
`figures`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import meanfield as mf

from .. import figures
from ..figures import COLOURS, GREY, Curve, Figure
from ..lab.fits import Refused, fit_or_refuse
from . import GENEALOGY, LEVEL, Row, known, settings_of

if TYPE_CHECKING:
    from . import Results

STEEP = 10.0  # ρt from which ½/(1 + ρt) is a power law up to a tenth
POINTS = 60  # of a curve over the logarithm of time


def page(results: Results) -> Figure:
    """Six panels: the network above, genealogy and known cases below."""
    with figures.house():
        sheet, axes = figures.sheet(1, 2, 3)
        _draw_risk(axes[0, 0, 0], results)
        _draw_time(axes[0, 0, 1], results)
        _draw_share(axes[0, 0, 2], results)
        for ax in axes[0, 0, ::2]:
            ax.set_xlim(left=_since(results))
        _draw_genealogy(axes[0, 1, 0], results)
        _draw_fall(axes[0, 1, 1], results)
        _draw_lowest(axes[0, 1, 2], results)
        figures.heading(sheet, axes[0, 0, 0], _about(results))
    return sheet


def _about(results: Results) -> str:
    with mf.Trajectory(results.folder / results.rows[0].file) as run:
        data, m, sigma, t = run.data, run.start.m, run.network.sigma.name, run.times[-1]
    seeds = len({row.seed for row in results.rows})
    return (
        f"Masses that follow the landscape, and birth–death\nγ = 1, α = 1, {sigma}, a and w trained, "
        f"squared loss, m = {m}, a = ±1, w ~ N(0, I), b = 0; teacher of 3 neurons, n = {data.n}, d = "
        f"{data.d}, |x| = 1; {figures.seeds(seeds)}; flow time t = {t:g}"
    )


def _named(kind: str, rate: float) -> str:
    return {"transport": "transport alone", "masses": f"masses, ρ = {rate:g}"}.get(
        kind, f"birth–death, ρ = {rate:g}"
    )


def _of(results: Results, kind: str, rate: float) -> list[Row]:
    return [row for row in results.rows if (row.kind, row.rate) == (kind, rate)]


def _mean(values: Any) -> str:
    """Mean and standard error."""
    values = np.asarray(values, dtype=float)
    error = values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():.2g} ± {error:.1g}"


def _curves(results: Results, rows: list[Row], name: str) -> tuple[np.ndarray, np.ndarray]:
    """(t, values (seeds, t)) of a series on one logarithmic grid of times."""
    found = []
    for row in rows:
        with mf.Trajectory(results.folder / row.file) as run:
            found.append(run.series(name))
    t = np.geomspace(max(item.times[1] for item in found), found[0].times[-1], POINTS)
    return t, np.array([np.interp(t, item.times, item.values) for item in found])


def _since(results: Results) -> float:
    """The first time after 0 that all runs have."""
    times = []
    for row in results.rows:
        with mf.Trajectory(results.folder / row.file) as run:
            times.append(float(run.series("risk").times[1]))
    return max(times)


def _draw_risk(ax: Any, results: Results) -> None:
    ends = {}
    for number, flow in enumerate(settings_of(results.rows)):
        rows = _of(results, *flow)
        t, values = _curves(results, rows, "risk")
        ends[_named(*flow)] = _mean([row.risk_end for row in rows])
        figures.lines(ax, [Curve(_named(*flow), t, values, number)], "flow time t", "risk R", "xy")
    ax.legend(loc="lower left", fontsize=7)
    first, *_, last = ends
    text = f"At the end {ends[first]} by {first}, {ends[last]} by {last}."
    figures.panel(ax, "Risk along the flow", text)


def _draw_time(ax: Any, results: Results) -> None:
    alone = [row.time_to_level for row in _of(results, "transport", 0.0)]
    rates = [rate for kind, rate in settings_of(results.rows) if kind == "masses"]
    values = np.array(
        [[row.time_to_level for row in _of(results, "masses", rate)] for rate in rates]
    ).T
    shown = np.isfinite(values).all(axis=0)
    jumps = next(flow for flow in settings_of(results.rows) if flow[0] == "jumps")
    dying = np.array([[row.time_to_level for row in _of(results, *jumps)]]).T
    curves = [Curve("masses", np.array(rates)[shown], values[:, shown], 1)] if shown.any() else []
    if np.isfinite(dying).all():
        curves.append(Curve("birth–death", np.array([jumps[1]]), dying, 5))
    if curves:
        figures.lines(ax, curves, "rate ρ", "", "xy", markers=True)
    ax.set_xlabel("rate ρ")
    ax.set_ylabel(f"time to {LEVEL:g} of the risk")
    if not np.isfinite(alone).all():
        figures.panel(ax, "How much faster", "Transport alone does not come so far in all runs.")
        return
    figures.threshold(ax, float(np.mean(alone)))
    figures.name_threshold(ax, float(np.mean(alone)), "transport alone")
    ax.legend(loc="lower left")
    text = f"Transport alone takes {_mean(alone)}"
    if shown.any():
        best = int(np.argmin(values[:, shown].mean(axis=0)))
        taken = values[:, shown][:, best]
        text += f", masses at ρ = {np.array(rates)[shown][best]:g} {_mean(taken)}"
    if np.isfinite(dying).all():
        text += f", birth–death at ρ = {jumps[1]:g} {_mean(dying[:, 0])}"
    figures.panel(ax, "How much faster", f"{text}.")


def _draw_share(ax: Any, results: Results) -> None:
    ends = []
    for number, flow in enumerate(settings_of(results.rows)):
        rows = _of(results, *flow)
        if flow[0] == "transport":
            continue
        if flow[0] == "masses":
            t, values = _curves(results, rows, "effective_sample_size")
        else:
            t, values = _survivors(results, rows)
        with mf.Trajectory(results.folder / rows[0].file) as run:
            m = run.start.m
        figures.lines(
            ax, [Curve(_named(*flow), t, values / m, number)], "flow time t", "share of m", "x"
        )
        ends.append(f"{_mean([row.share for row in rows])} ({_named(*flow)})")
    ax.set_ylim(0, 1.02)
    ax.legend(loc="upper right", bbox_to_anchor=(1.0, 0.96), fontsize=7)
    verdict = f"At the end {ends[-2]}, {ends[-1]}."
    figures.panel(ax, "Neurons that count, or have descendants", verdict, 50)


def _survivors(results: Results, rows: list[Row]) -> tuple[np.ndarray, np.ndarray]:
    """(t, how many neurons of the start have descendants (seeds, t))."""
    found = []
    for row in rows:
        with mf.Trajectory(results.folder / row.file) as run:
            found.append([len(np.unique(run.ancestors(k))) for k in range(1, len(run))])
            t = run.times[1:]
    return t, np.array(found)


def _draw_genealogy(ax: Any, results: Results) -> None:
    """A line for each neuron of the last frame through its ancestors; those of one ancestor of the
    start share a colour.
    """
    with mf.Trajectory(results.folder / GENEALOGY) as run:
        times, m = run.times, run.start.m
        ancestors = np.array([run.ancestors(-1, k) for k in range(len(run))])
        rate, births = run.config["flow"]["reaction"], len(run.births.ids)
    rank = np.empty(m)
    rank[np.lexsort(ancestors[::-1])] = np.arange(m)  # relatives beside each other
    heights = np.array([
        (np.bincount(row, rank, m) / np.maximum(np.bincount(row, minlength=m), 1))[row]
        for row in ancestors
    ])  # fmt: skip
    founders, family = np.unique(ancestors[0], return_inverse=True)
    sizes = np.bincount(family)
    for k in range(m):
        ax.plot(times, heights[:, k], color=COLOURS[family[k] % len(COLOURS)], linewidth=0.9)
    ax.set_xlabel("flow time t")
    ax.set_ylabel("neurons of the last frame")
    ax.set_yticks([])
    verdict = (
        f"ρ = {rate:g}, {births} births: {len(founders)} of {m} neurons have descendants, the largest "
        f"family has {sizes.max() / m:.0%}."
    )
    figures.panel(ax, "Genealogy, from the file", verdict)


def _draw_fall(ax: Any, results: Results) -> None:
    t = np.array(results.times)
    exact = 0.5 / (1 + t)
    ax.plot(t, exact, color="0.85", linewidth=7, label="½/(1 + ρt), slope −1", zorder=0)
    for number, (name, values) in enumerate(
        (("masses", results.masses), ("birth–death", results.jumps))
    ):
        figures.lines(
            ax, [Curve(name, t, np.array(values), (1, 5)[number])], "ρt", "F = ∫x²/2 dμ", "xy"
        )
    ax.legend(loc="lower left")
    late = t >= STEEP
    fit = fit_or_refuse(t[late], np.array(results.masses)[:, late])
    expected = np.polyfit(np.log(t[late]), np.log(exact[late]), 1)[0]
    slope = (
        str(fit)
        if isinstance(fit, Refused)
        else f"(ρt)^{fit.slope:.3f} ± {fit.error:.1g}".replace("-", "−")
    )
    gap = np.array(results.jumps)[:, -1].mean() / exact[-1]
    verdict = f"Masses: {slope} for ρt ≥ {STEEP:g}, exact −{abs(expected):.3f}. Birth–death ends at {gap:.2g} times the exact F."
    figures.panel(ax, "A known case: nothing moves", verdict)


def _draw_lowest(ax: Any, results: Results) -> None:
    sizes = np.array([size for size, _, _ in results.lowest], dtype=float)
    share = np.array([left / count for _, count, left in results.lowest])
    count = np.array([count for _, count, _ in results.lowest])
    error = np.sqrt(np.maximum(share * (1 - share), 1 / count) / count)
    ax.errorbar(sizes, share, error, marker="o", color=COLOURS[5], capsize=2, label="birth–death")
    compared = [(size, known.DIRAC[int(size)]) for size in sizes if int(size) in known.DIRAC]
    if compared:
        ax.plot(*zip(*compared, strict=True), "_", color=GREY, markersize=18, markeredgewidth=3,
                label="continuous time", zorder=0)  # fmt: skip
    ax.set_xscale("log")
    ax.set_xticks(sizes, [f"{size:g}" for size in sizes])
    ax.minorticks_off()
    ax.set_ylim(0, 1.05)
    ax.set_xlabel("particles N")
    ax.set_ylabel("share of runs")
    ax.legend(loc="lower left")
    found = ", ".join(
        f"{value:.2f} ± {e:.2f} (N = {size:g})"
        for value, e, size in zip(share, error, sizes, strict=True)
    )
    figures.panel(ax, "One Dirac is left: the lowest?", f"On the lowest particle in {found}.")
