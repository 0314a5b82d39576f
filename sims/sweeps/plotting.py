"""Figures of a sweep: collected quantities against one axis, a line for each value of another,
means over the seeds.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from meanfield.checks import hint
from meanfield.diagnostics import registry
from meanfield.diagnostics.defects import LIMIT

from ..lab.config import BadSettings
from ..lab.crossings import SIGNS, Crossing, find_crossing
from ..lab.fits import ExponentFit, Refused, fit_or_refuse
from . import theory
from .indexing import CIRCUMSTANCES, TEXTS

if TYPE_CHECKING:
    from ..figures import Curve, Figure

REPEATS = "seed"  # the axis over which lines are means, with standard errors
COLUMNS = 3  # panels side by side
LETTERS = 13.6  # of the heading's smaller text on one inch
LINE = 12.2  # points, of a verdict and of the heading's smaller text
NAMES = {
    "m": "neurons m",
    "gamma": "exponent γ",
    "alpha": "scale α",
    "gamma_prime": "exponent γ′",
    "t_end": "flow time t",
}
QUANTITIES = {
    "displacement": "RMS displacement", "path": "path length", "risk": "risk R", "train_risk": "training risk",
    "test_risk": "test risk", "train_error": "training error", "test_error": "test error", "kernel_drift": "kernel drift",
    "w2_lower": "W2(start, end), lower bound", "w2_upper": "W2(start, end), upper bound", "speed2": "∫|v|² dμ",
    "energy": "energy F",
}  # fmt: skip
# quantities below whose threshold a network is called lazy
LAZY = (
    "laziness",
    "departure",
    "kernel_drift",
)


def figure(
    data: Any,
    quantities: Sequence[str],
    x: str,
    by: str | None = None,
    where: Mapping[str, Any] | None = None,
    log: str | None = None,
) -> Figure:
    """One panel a quantity (of `open_sweep`) against the axis x, a line for each value of `by`.

    where: values of axes to stay at; every axis but x, by and seed must have one value left. log:
    "", "x", "y" or "xy"; None: "xy" where x is m and all values are positive, "y" for what has a
    threshold. On log–log axes the verdict gives the slopes of sims.lab.fits, and theory's where it
    is known (grey bands). Laziness and kernel drift have a line at 0.1, below which a network is
    called lazy, and the verdict says where they pass it (sims.lab.crossings).
    """
    for name in quantities:
        if name not in data.data_vars or name in TEXTS:
            known = sorted(name for name in data if name not in (*TEXTS, *CIRCUMSTANCES))
            raise BadSettings(
                f"no quantity {name!r} in this sweep.{_advice(name, known)} Known: "
                f"{', '.join(known)}."
            )
    data = _selected(data, x, by, where or {}, log)
    from .. import figures

    rows = -(-len(quantities) // COLUMNS)
    with figures.house():
        page, axes = figures.sheet(1, rows, min(COLUMNS, len(quantities)))
        texts = [
            _panel(axes[0].flat[number], data, name, x, by, log)
            for number, name in enumerate(quantities)
        ]
        for spare in axes[0].flat[len(quantities) :]:
            spare.remove()
        title, about = _about(data, x, by, where or {})
        about = textwrap.fill(about, int(LETTERS * (page.get_figwidth() - 0.2)))
        most = [
            max(text.count("\n") for text in texts[row * COLUMNS : (row + 1) * COLUMNS]) - 1
            for row in range(rows)
        ]
        if not figures.bare():
            _make_room(
                page, axes[0], [LINE * max(0, lines) for lines in most], LINE * about.count("\n")
            )
        # inches; the heading stands at the top, however many lines there are
        above = page.get_figheight() - 0.06
        left, size = 0.14 / page.get_figwidth(), page.get_figheight()
        if not figures.bare():
            page.text(left, above / size, title, fontsize=14, fontweight="bold", va="top")
            page.text(left, (above - 0.26) / size, about, fontsize=10, color="0.25", va="top")
    return page


def _make_room(page: Figure, axes: Any, rows: Sequence[float], top: float) -> None:
    """Make the page higher by `top` points above all panels, and by rows[r] above the panels of row
    r.
    """
    (width, height), more = page.get_size_inches(), (top + sum(rows)) / 72
    page.set_size_inches(width, height + more)
    for row, column in np.ndindex(axes.shape):
        x, y, wide, high = axes[row, column].get_position(original=True).bounds
        y = (y * height + more - (top + sum(rows[: row + 1])) / 72) / (height + more)
        axes[row, column].set_position((x, y, wide, high * height / (height + more)))


def _advice(name: str, known: Sequence[str]) -> str:
    """The nearest name; for a diagnostic that is not collected yet, how it is."""
    if near := [
        other for other in known if other.removesuffix("_lower").removesuffix("_upper") == name
    ]:
        return f" It is an interval: {' and '.join(near)}."
    if name in registry.names():
        return f" It is a diagnostic: scripts/sweep collect FOLDER --diagnose {name}."
    return hint(name, known)


def _selected(data: Any, x: str, by: str | None, where: Mapping[str, Any], log: str | None) -> Any:
    """The data at `where`, with no axis left but x, by and the seeds."""
    dims = [str(name) for name in data.dims]
    for name in (x, *([by] if by else []), *where):
        if name not in dims:
            raise BadSettings(
                f"no axis {name!r} in this sweep.{hint(name, dims)} Its axes: {', '.join(dims)}."
            )
    if data[x].dtype.kind not in "iuf" or ("x" in (log or "") and data[x].values.min() <= 0):
        raise BadSettings(
            f"--x needs an axis of numbers, positive ones for a logarithm; {x} is "
            f"{data[x].values.tolist()}."
        )
    if by == x:
        raise BadSettings(f"--x and --by are both {x}: choose two axes.")
    for name, value in where.items():
        values = data[name].values.tolist()
        near = [
            v
            for v in values
            if str(v) == str(value) or (isinstance(v, (int, float)) and _number(value) == v)
        ]
        if not near:
            raise BadSettings(
                f"{name} has no value {value}; it has: {', '.join(map(str, values))}."
            )
        data = data.sel({name: near[0]})
    for name in [str(name) for name in data.dims]:
        if name not in (x, by, REPEATS):
            if data.sizes[name] > 1:
                values = ", ".join(map(str, data[name].values.tolist()))
                raise BadSettings(
                    f"{name} has the values {values}: choose one with --where "
                    f"{name}=VALUE, or draw lines --by {name}."
                )
            data = data.isel({name: 0})
    return data


def _panel(ax: Any, data: Any, name: str, x: str, by: str | None, log: str | None) -> str:
    """Draw one quantity; returns the verdict as it stands there."""
    from ntk.runs.laziness import LAZY as limit

    from .. import figures

    base = json.loads(data.attrs["base"])
    curves: list[Curve] = []
    slopes: list[ExponentFit | Refused | None] = []
    expected: list[float | None] = []
    choices: list[Any] = data[by].values.tolist() if by else [None]
    positive = bool((data[name].values[np.isfinite(data[name].values)] > 0).all())
    scale = ("xy" if x == "m" else "y" if name in LAZY else "") * positive if log is None else log
    if "y" in scale and not positive:
        raise BadSettings(
            f"{name} has values that are not positive: no logarithm. Leave y out of --log."
        )
    for style, choice in enumerate(choices):
        line = data[name] if by is None else data[name].sel({by: choice})
        values = (
            line.transpose(REPEATS, x).values
            if REPEATS in line.dims and x != REPEATS
            else line.values[None]
        )
        there = np.isfinite(values).all(axis=0)
        if there.any():
            label = (
                f"{SIGNS.get(str(by), by)} = {_text(_base_name(str(by), choice))}" if by else name
            )
            curves.append(
                figures.Curve(label, data[x].values[there].astype(float), values[:, there], style)
            )
            slopes.append(
                fit_or_refuse(curves[-1].x, curves[-1].values, axis=x) if scale == "xy" else None
            )
            expected.append(
                theory.slope(line.assign_attrs(base=base), name, x) if scale == "xy" else None
            )
    if not curves:
        raise BadSettings(
            f"no run of this selection has a {name} for every seed; collect again when "
            "more are finished."
        )

    units = data[name].attrs.get("units", "1")
    title = QUANTITIES.get(name, name.replace("_", " ")) + f" [{units}]" * (
        units not in ("1", "R", "F", name)
    )
    if name in LAZY:
        figures.threshold(ax, limit)
    figures.lines(ax, curves, NAMES.get(x, x), title, log=scale, markers=True)
    pairs = zip(curves, expected, strict=True)
    bands = [
        figures.expected_slope(ax, curve, known) for curve, known in pairs if known is not None
    ]
    if by:
        figures.legend_above(ax, *ax.get_legend_handles_labels())
    if bands:
        figures.legend_below(ax, bands[:1], ["theory's slope"])
    if "y" in scale:
        _ticks(ax)
    if name in LAZY:
        figures.name_threshold(ax, limit, f"lazy below {limit:g}")
    crossings = _crossings(curves, x, limit) if name in LAZY and x != REPEATS and positive else []
    left = _leaves(curves, crossings, name, x)
    said = [_verdict(curves, slopes, expected, x, not left), left, _mark(data)]
    return figures.panel(ax, title, " ".join(filter(None, said))).get_text()


def _crossings(curves: Sequence[Curve], x: str, limit: float) -> list[Crossing | None]:
    """Where each curve passes the limit; None for a curve of one point."""
    log_x = x in ("m", "alpha")
    return [
        find_crossing(curve.x, curve.values, limit, log_x=log_x) if len(curve.x) > 1 else None
        for curve in curves
    ]


def _leaves(
    curves: Sequence[Curve], crossings: Sequence[Crossing | None], name: str, x: str
) -> str:
    """Where each curve passes the limit, and which never do; against m, where most never do, only
    the former.
    """
    what, several = QUANTITIES.get(name, name), len(curves) > 1
    found: dict[bool, str] = {}
    never = []
    for curve, crossing in zip(curves, crossings, strict=False):
        whose = f" for {curve.label}" * several
        if crossing is None or (crossing.at is None and x == "m"):
            continue
        if crossing.at is None:
            never.append(f"{crossing.sentence(x, what)}{whose}.")
        elif crossing.rises in found:
            found[crossing.rises] += f"; at {crossing}{whose}"
        else:
            found[crossing.rises] = f"{crossing.sentence(x, what)}{whose}"
    sentences = [*(f"{text}." for text in found.values()), *never]
    return " ".join(text[:1].upper() + text[1:] for text in sentences)


def _ticks(ax: Any) -> None:
    """A logarithmic axis of less than a decade needs other labels than powers of ten: at least
    three.
    """
    from ..figures import matplotlib

    low, high = ax.get_ylim()
    for subs in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), tuple(range(1, 10))):
        ticks = [
            value
            for value in matplotlib.ticker.LogLocator(subs=subs).tick_values(low, high)
            if low <= value <= high
        ]
        if len(ticks) >= 3:
            break
    else:
        ticks = [
            value
            for value in matplotlib.ticker.MaxNLocator(4).tick_values(low, high)
            if low <= value <= high
        ]
    ax.yaxis.set_major_locator(matplotlib.ticker.FixedLocator(ticks))
    ax.yaxis.set_minor_locator(
        matplotlib.ticker.NullLocator() if high / low < 10 else ax.yaxis.get_minor_locator()
    )


def _mark(data: Any) -> str:
    """What is to be said of finished runs that have not followed the flow."""
    if "energy_defect" not in data:
        return ""
    finished = data["status"].values == "finished"
    if "sliding" in data:  # of these the steps are no fault
        finished &= data["sliding"].values != 1
    found = data["energy_defect"].values[finished & (data["energy_defect"].values > LIMIT)]
    if not found.size:
        return ""
    return (
        f"Steps too long in {found.size} of {int(finished.sum())} runs: energy_defect > "
        f"{LIMIT:g}, up to {found.max():.3g}."
    )


def _verdict(
    curves: Sequence[Curve],
    fits: Sequence[ExponentFit | Refused | None],
    expected: Sequence[float | None],
    x: str,
    ends: bool,
) -> str:
    """The slopes, and why some have none; if none has, and `ends`, between which values they lie."""
    from ..figures import fraction

    found: list[str] = []
    refused: dict[str, list[str]] = {}  # by the reason, which is mostly that of all
    for curve, fit, known in zip(curves, fits, expected, strict=True):
        if isinstance(fit, Refused):
            refused.setdefault(fit.why, []).append(curve.label)
        elif isinstance(fit, ExponentFit):
            beside = "" if known is None else f" (theory {fraction(known)})"
            found.append(fit.short + beside + f" at {curve.label}" * (len(curves) > 1))
    said = []
    if found:
        said = [f"Fitted slope in {x}: {', '.join(found)}."]
    elif ends:
        means = [curve.values.mean(axis=0) for curve in curves]
        low, high = min(np.min(mean) for mean in means), max(np.max(mean) for mean in means)
        said = [f"Between {low:.3g} and {high:.3g}."]
    for why, labels in refused.items():
        whose = "" if len(labels) == len(curves) else f" at {', '.join(labels)}"
        said.append(f"No slope in {x}{whose} {why}.")
    return " ".join(said)


def _about(data: Any, x: str, by: str | None, where: Mapping[str, Any]) -> tuple[str, str]:
    """(heading, what all panels share)."""
    seeds = (
        f"means over {data.sizes[REPEATS]} seeds, ± standard errors"
        if data.sizes.get(REPEATS, 1) > 1
        else "one seed"
    )
    if REPEATS in (x, by):
        seeds = "each point one run"
    fixed = "".join(
        f", {SIGNS.get(name, name)}\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{_base_name(name, value)}"
        for name, value in where.items()
    )
    base, done = json.loads(data.attrs["base"]), int((data["status"].values == "finished").sum())
    about = {"data.name": Path(base["data"]["name"]).name, "activation": base["activation"]}
    same = "".join(f"{value}, " for name, value in about.items() if name not in data.coords)
    return f"Sweep: {done} of {data['status'].size} runs finished", f"{same}{seeds}{fixed}"


def _base_name(name: str, value: Any) -> Any:
    """A file of data by its own name, wherever it lies."""
    return Path(str(value)).name if name == "data.name" else value


def _text(value: Any) -> str:
    from ..figures import fraction

    return fraction(value) if isinstance(value, float) else str(value)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
