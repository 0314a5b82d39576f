"""A run over its limit."""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from meanfield import limits
from meanfield.limits.hypotheses import starts_differ

from .pages import panel
from .panels import Curve, lines
from .runs import DECADES
from .sources import caveat, open_run
from .style import axes_or_new, drawn


@drawn
def overlay(run: Any, limit: Any, name: str = "risk", ax: Axes | None = None) -> Axes:
    """A series of a run over that of its limit against flow time: mf.limits.overlay, drawn.

    limit: a run of a density (mf.limits.FINITE_VOLUMES), or what has a method `name` of times, such
    as an mf.limits.OrderParameters or an ntk.KernelFlow. The vertical axis is logarithmic where
    both are positive and span more than 1.5 decades. The verdict says so where the start of the run
    shows that it is no sample of the limit's: then the two differ by more than a finite m. Raises
    ValueError and TypeError as mf.limits.overlay.
    """
    both = limits.overlay(run, limit, name)
    run = open_run(run)
    limit = open_run(limit) if isinstance(limit, (str, PathLike)) else limit
    ax = axes_or_new(ax)
    values = np.concatenate([both.run, both.limit])
    log = "y" if values.min() > 0 and np.log10(values.max() / values.min()) > DECADES else ""
    ax.plot(
        both.times,
        both.limit,
        color="0.75",
        linewidth=5,
        solid_capstyle="butt",
        label="the limit m → ∞",
        zorder=1,
    )
    word = name.replace("_", " ")
    m = run.start.m
    lines(ax, [Curve(f"m = {m}", both.times, both.run[None], 0)], "flow time t", word, log)
    size = float(np.abs(both.limit).max())
    share = f", {100 * both.gap / size:.2g} % of the largest value" if size > 0 else ""
    told = f"At m = {m} the two are {both.gap:.2g} apart at most{share}"
    if differ := starts_differ(run, limit):
        told = f"The starts differ in law, so not m alone sets them apart: {differ}. {told}"
    panel(
        ax,
        f"{word.capitalize()} of a run and of its limit",
        f"{told}.{caveat(run)}",
        70,
    )
    ax.legend()
    return ax
