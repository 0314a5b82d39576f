"""The panels of `many_processes`, each with its verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import figures
from ..figures import Curve, Figure
from . import measures

if TYPE_CHECKING:
    from . import Results, Row

MANY = 10**9  # particles


def page(results: Results) -> Figure:
    """A row of three panels."""
    return figures.page(_about(results), [
        [
            lambda ax: _draw_steps(ax, results),
            lambda ax: _draw_speed(ax, results),
            lambda ax: _draw_many(ax, results),
        ],
    ])  # fmt: skip


def _about(results: Results) -> str:
    config = results.config
    return (
        "One run in several processes\n"
        f"Euler steps, ReLU, γ = 1, α = 1, a = ±1, w ~ N(0, 1), seed 0, float64; n = {config.n}, d = {config.dim}; "
        f"{results.rows[0].cores} cores in all, load {results.load:.1f} before; the shortest of "
        f"{config.rounds * config.steps} steps and more, in turns"
    )


def _curves(results: Results, what: str) -> list[Curve]:
    """A Row's attribute against m, a curve for each number of processes."""
    m, found = np.array(results.config.widths), []
    for i, count in enumerate(results.config.processes):
        values = [getattr(row, what) for row in results.rows if row.processes == count]
        found.append(Curve(f"{count} process{'es' * (count > 1)}", m, np.array([values]), i))
    return found


def _name_widths(ax: Any, results: Results) -> None:
    widths = results.config.widths
    ax.set_xticks(widths, [f"{m / 1024:.4g} Ki" for m in widths])
    ax.minorticks_off()


def _draw_steps(ax: Any, results: Results) -> None:
    """Seconds of a step against m, with the model and the slope 1 of the arithmetic."""
    config, curves = results.config, _curves(results, "seconds")
    figures.lines(ax, curves, "particles m", "seconds a step", "xy", markers=True)
    _name_widths(ax, results)
    band = figures.expected_slope(ax, curves[0], 1.0)
    m = np.geomspace(config.widths[0], config.widths[-1], 50)
    for i, row in enumerate(results.rows[:: len(config.widths)]):
        predicted = results.model.step(m, config.n, row.cores, row.processes)
        ax.plot(m, predicted, color=figures.COLOURS[i % 6], linestyle=figures.LINES[3], zorder=2)
    line = ax.plot([], [], color="0.35", linestyle=figures.LINES[3])[0]
    handles, labels = ax.get_legend_handles_labels()
    labels = [*labels, "slope 1", "model"]
    figures.legend_above(ax, [*handles, band, line], labels, columns=2)
    figures.panel(ax, "A step, and a + c m n / cores + b (R − 1)", _tested(results))


def _tested(results: Results) -> str:
    """Measured over model, where it was fitted and where it was not."""

    def off(row: Row) -> float:
        return row.seconds / row.predicted

    known = [off(row) for row in results.rows if row.processes <= 2]
    said = f"Measured over model: {min(known):.2f} … {max(known):.2f} of R = 1, 2, the fit"
    most = results.config.processes[-1]
    if most == 2:
        return f"{said}; nothing else was timed."
    tests = [f"{off(row):.2f}" for row in results.rows if row.processes == most]
    return f"{said}; {', '.join(tests)} of R = {most}, not in it, as m grows."


def _draw_speed(ax: Any, results: Results) -> None:
    """The speed beside one process on the same cores."""
    figures.lines(
        ax, _curves(results, "speed")[1:], "particles m", "speed; one process is 1", "x", True
    )
    _name_widths(ax, results)
    figures.threshold(ax, 1.0)
    handles, labels = ax.get_legend_handles_labels()
    figures.legend_above(ax, handles, labels, columns=2)
    cores, widest = results.rows[0].cores, results.config.widths[-1]
    last = [row for row in results.rows if row.m == widest and row.processes > 1]
    said = ", ".join(
        f"{row.speed:.2f} of {row.processes}" + " (more than cores)" * (row.processes > cores)
        for row in last
    )
    figures.panel(ax, "Beside one process", f"Processes at m = {widest}: {said}.")


def _draw_many(ax: Any, results: Results) -> None:
    """A step of 10⁹ particles by the model, each core on a machine of its own."""
    cores, n = 2 ** np.arange(7), results.config.n
    for number, samples in enumerate((n, 64 * n)):
        work = _between_machines(results, samples, cores)
        look = {"color": figures.COLOURS[number], "marker": figures.MARKERS[number]}
        ax.loglog(cores, work, label=f"n = {samples}", **look)
        band = ax.plot(cores, work[0] / cores, color="0.85", linewidth=7, zorder=1)[0]
    ax.set_xlabel("cores, one a machine")
    ax.set_ylabel("seconds a step")
    ax.set_xticks(cores, [str(count) for count in cores])
    ax.minorticks_off()
    handles, labels = ax.get_legend_handles_labels()
    figures.legend_above(ax, [*handles, band], [*labels, "slope −1"])
    first, last = _between_machines(results, n, cores)[[0, -1]]
    verdict = (
        f"Predicted, not run: n = {n}, {first:.2g} s on 1, {last:.2g} s on {measures.SHARDS}, the most. "
        f"Network assumed: {1e6 * measures.LATENCY:.0f} µs, {8e-9 * measures.BANDWIDTH:.0f} Gbit/s."
    )
    figures.panel(ax, "10⁹ particles, by the model", verdict)


def _between_machines(results: Results, n: int, cores: np.ndarray) -> np.ndarray:
    """Seconds of a step; the messages are those of the assumed network."""
    arithmetic = results.model.step(MANY, n, cores, 1)
    return arithmetic + measures.messages_between(cores, n)
