"""The panels of `scaling_exponents`, each with its verdict: numbers from its results, drawn by
`figures`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import meanfield as mf

from .. import figures
from ..figures import Figure
from ..lab import runs
from ..lab.exponents import AGREES, BETWEEN, KINKED, NEAR, QUANTITIES, TOLERANCE, Exponent, powers
from ..lab.fits import with_error

if TYPE_CHECKING:
    from . import Results

TITLES = {
    "displacement": "How far neurons move",
    "w2": "How far the law of the neurons moves",
    "kernel_drift": "Change of the tangent kernel",
    "linear_gap": "What linearising misses",
    "f0": "The untrained prediction",
}


def page(results: Results) -> Figure:
    """Exponent against γ for each quantity, and the values behind some of them against m."""
    with figures.house():
        sheet, axes = figures.sheet(1)
        for ax, quantity in zip(axes[0].flat, QUANTITIES, strict=False):
            of = [one for one in results.exponents if one.quantity == quantity]
            _draw_exponents(ax, quantity, of, _share(results) if quantity == "w2" else "")
        _draw_values(axes[0, 1, 2], results)
        figures.heading(sheet, axes[0, 0, 0], _about(results))
    return sheet


def _about(results: Results) -> str:
    rows = results.rows
    with mf.Trajectory(results.folder / rows[0].file) as run:
        law, data = run.law, run.data
    assert law is not None
    widths, seeds = sorted({row.m for row in rows}), len({row.seed for row in rows})
    return (
        f"Exponents of the width, measured and in theory\nn = {data.n} samples on the "
        f"sphere, d = {data.d}; squared loss; "
        f"symmetric start a = ±{law.a_std:g}, w ~ N(0, I), b = 0 (f_0: independent); α = "
        f"1; t = {rows[0].t_end:g}; "
        f"m = {widths[0]} … {widths[-1]}, {figures.seeds(seeds)}"
    )


def _draw_exponents(
    ax: Any, quantity: str, exponents: Sequence[Exponent], remark: str = ""
) -> None:
    """Markers with 95 % intervals, filled where there is theory; theory's lines in grey, one where
    all σ share it, and a band between two powers, of which the larger wins in the end.
    """
    names = sorted({one.activation for one in exponents}, key=lambda name: (name in KINKED, name))
    gammas = sorted({one.gamma for one in exponents})
    _draw_theory(ax, quantity, names, gammas)
    for number, name in enumerate(names):
        for one in exponents:
            if one.activation != name or one.slope is None:
                continue
            bars = np.array([[one.slope - (one.low or 0.0)], [(one.high or 0.0) - one.slope]])
            colour = figures.COLOURS[number % 6]
            # markers at one place stay both visible
            shift = 0.02 * (gammas[-1] - gammas[0]) * (number - (len(names) - 1) / 2)
            ax.errorbar(
                [one.gamma + shift], [one.slope], np.maximum(bars, 0.0), marker=figures.MARKERS[number % 6], color=colour,
                markerfacecolor="white" if one.theory is None else colour, linestyle="none", capsize=3, zorder=3,
                label=name if one.gamma == gammas[0] else None,
            )  # fmt: skip
    ax.set_xticks(gammas, [figures.fraction(gamma) for gamma in gammas])
    ax.set_xlabel("γ of the output scale m^(−γ)")
    ax.set_ylabel(f"exponent of {QUANTITIES[quantity]}")
    figures.panel(ax, TITLES[quantity], _verdict(exponents, remark))
    ax.legend(loc="lower left" if quantity == "f0" else "lower right")


def _share(results: Results) -> str:
    """How much shorter than the displacement W2 is."""
    share = min(
        (row.w2 / row.displacement for row in results.rows if row.w2 is not None), default=1.0
    )
    part = f"{math.floor(1e4 * share) / 1e4:.4f} of the displacement or more"
    return f"W2 is {'the displacement itself' if share > 1 - 1e-6 else part}"


def _draw_theory(ax: Any, quantity: str, names: Sequence[str], gammas: Sequence[float]) -> None:
    last = gammas[-1] if powers(quantity, gammas[-1], names[0]) else 1.0
    fine = np.linspace(min(gammas[0], last), last, 201)
    drawn: list[np.ndarray] = []
    for name in names:
        found = np.array([powers(quantity, gamma, name) for gamma in fine])  # (γ, powers)
        if any(np.array_equal(found, other) for other in drawn):
            continue
        two = found.shape[1] > 1
        if two:
            ax.fill_between(
                fine, found.min(axis=1), found.max(axis=1), color="0.92", linewidth=0, zorder=0
            )
        label = "theory, kink (band: finite m)" if two else "theory"
        ax.plot(
            fine,
            found.max(axis=1),
            color="0.3" if two else "0.6",
            linestyle=figures.LINES[int(two)],
            zorder=1,
            label=label,
        )
        drawn.append(found)


def _verdict(exponents: Sequence[Exponent], remark: str) -> str:
    """How many exponents agree, how many only to the tolerance, how many lie between two powers,
    and the one that is farthest off; where none is, the remark.
    """
    tested = [one for one in exponents if one.miss is not None]
    if not tested:
        return f"No exponent to compare with theory: {exponents[0].verdict}."
    agree, near, between = (
        sum(one.verdict.startswith(word) for one in tested) for word in (AGREES, NEAR, BETWEEN)
    )
    curved = sum(one.verdict.startswith(AGREES) and one.verdict != AGREES for one in tested)
    off = [one for one in tested if not one.verdict.startswith((AGREES, NEAR, BETWEEN))]
    worst = max(off or tested, key=lambda one: one.miss or 0.0)
    assert worst.slope is not None and worst.theory is not None
    text = f"{agree} of {len(tested)} agree within errors"
    text += f" ({curved} curved)" if curved else ""
    text += f", {near} only to within {TOLERANCE:g}" if near else ""
    text += f", {between} lie{'s' * (between == 1)} between the two powers" if between else ""
    if remark and not off:
        text += f"; {remark}"
    elif off or not (near or between):
        text += (
            f"; farthest {worst.activation} at {figures.fraction(worst.gamma)}, "
            f"{worst.slope:.3f} for {worst.theory:.3f}"
        )
    return f"{text}{'. Open: no theory' if len(tested) < len(exponents) else ''}.".replace("-", "−")


def _draw_values(ax: Any, results: Results) -> None:
    """|f - f_lin| against m at the smallest γ: what the fits are made of."""
    gamma = min(row.gamma for row in results.rows)
    curves, slopes, said = [], [], []
    of_gamma = [
        one for one in results.exponents if one.quantity == "linear_gap" and one.gamma == gamma
    ]
    for number, one in enumerate(
        sorted(of_gamma, key=lambda one: (one.activation in KINKED, one.activation))
    ):
        rows = [
            row for row in results.rows if (row.activation, row.gamma) == (one.activation, gamma)
        ]
        widths, values = runs.against_width(rows, "linear_gap")
        fitted = "no slope" if one.slope is None else f"slope {with_error(one.slope, one.error, 3)}"
        label = f"{one.activation}: {fitted}, theory {figures.fraction(one.theory or 0.0)}".replace(
            "-", "−"
        )
        curves.append(figures.Curve(label, widths, values, number))
        slopes.append(one.theory or 0.0)
        said.append(f"{values[:, -1].mean():.1e} for {one.activation}")
    figures.power_laws(ax, curves, slopes, "width m", "RMS of f − f_lin, held-out")
    verdict = (
        f"At m = {curves[0].x[-1]:g} the network is off its linearisation by {', '.join(said)}."
    )
    figures.panel(ax, f"Behind one exponent: γ = {figures.fraction(gamma)}", verdict)
