"""The panels of `kernel_limits`, each with its verdict: numbers from its files, drawn by `figures`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

import meanfield as mf
import ntk

from .. import figures
from ..figures import Figure
from ..lab import runs
from ..lab.fits import Refused

if TYPE_CHECKING:
    from . import Results

THEORY = -0.5


def page(results: Results) -> Figure:
    """Kernel error and held-out gap against m with the slope -1/2 expected, and the loss with a
    repeated input.
    """
    with figures.house():
        sheet, axes = figures.sheet(1, 1, 3)
        _draw_width(
            axes[0, 0, 0], results, "kernel_error", "‖H_m − H∞‖ / ‖H∞‖", "The kernel at the start"
        )
        _draw_width(
            axes[0, 0, 1],
            results,
            "test_gap",
            "RMS of f_m − f∞, held-out",
            "Predictions after training",
        )
        _draw_floor(axes[0, 0, 2], results)
        figures.heading(sheet, axes[0, 0, 0], _about(results))
    return sheet


def _about(results: Results) -> str:
    row = results.rows[0]
    with mf.Trajectory(results.folder / row.file) as run:
        data, sigma = run.data, run.network.sigma.name
    return (
        "Networks of growing width against the infinite-width kernel\nγ = 1/2, α = 1, "
        f"{sigma}, a and w trained, squared loss; "
        f"symmetric start a = ±1, w ~ N(0, I), b = 0; teacher of 3 neurons, n = {data.n} "
        f"+ {data.n_test} held-out, "
        f"d = {data.d}, |x| = 1; flow time t = {row.t_end:.3g}"
    )


def _draw_width(ax: Any, results: Results, name: str, ylabel: str, title: str) -> None:
    rows: Any = results.rows
    fit = runs.exponent(rows, name)
    widths, values = runs.against_width(rows, name)
    label = "theory −1/2" if isinstance(fit, Refused) else f"slope {fit.short}, theory −1/2"
    figures.power_laws(ax, [figures.Curve(label, widths, values, 0)], [THEORY], "width m", ylabel)
    if isinstance(fit, Refused):
        falls = fit.reason
    else:
        off = abs(fit.slope - THEORY)
        falls = "falls as theory says" if off < 0.07 else f"falls {off:.2f} off what theory says"
    first, last = values[:, 0].mean(), values[:, -1].mean()
    size = (
        ""
        if name == "kernel_error"
        else f", {last / np.mean([row.test_size for row in rows]):.1%} of the prediction's size"
    )
    verdict = f"{first:.2g} at m = {widths[0]:g}, {last:.2g} at m = {widths[-1]:g}{size}: {falls}."
    figures.panel(ax, title, verdict)


def _draw_floor(ax: Any, results: Results) -> None:
    """R along two runs and along the kernel flow, over the floor (y1 - y2)²/4 of the input that has
    two labels.
    """
    smallest, floor = math.inf, 0.0
    for number, name in enumerate(results.duplicates):
        with mf.Trajectory(results.folder / name) as run:
            steps, data, network, law = run.series("risk"), run.data, run.network, run.law
        t, risk = steps.times, steps.values
        assert law is not None
        if number == 0:
            H = ntk.kernel(network, law, data.x)
            floor = ntk.loss_floor(H, -data.y, reduction="sum")
            curve = ntk.KernelFlow(H, data.y, reduction="sum").risk(t)
            ax.plot(
                t[1:],
                curve[1:],
                color="black",
                linestyle=figures.LINES[3],
                linewidth=2.2,
                label="kernel flow, H∞",
                zorder=5,
            )
        figures.lines(
            ax,
            [figures.Curve(figures.regime(network.scaling.gamma), t[1:], risk[None, 1:], number)],
            "",
            "",
        )
        smallest = min(smallest, float(risk.min()))
    ax.axhline(floor, color="0.6", linewidth=1, zorder=0)
    ax.set_xscale("log")
    ax.set_xlabel("flow time t")
    ax.set_ylabel("summed loss ½ Σ (f − y)²")
    ax.set_ylim(0, None)
    if not results.duplicates:
        return
    verdict = (
        f"One input with both labels ±1: the loss stops at {floor:.3g}, the part of the "
        "labels in the null space of H∞ "
    )
    verdict += f"(lowest: {smallest:.6g})."
    figures.panel(ax, "What is never learnt", verdict)
    ax.legend(loc="upper right")
