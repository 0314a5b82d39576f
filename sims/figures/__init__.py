"""Where matplotlib lives: functions that draw a run, or what they are given, on an Axes, in a house
style or for print.

Each takes a run or its path, and `ax=` to draw on an Axes of yours; it returns the Axes, whose
`.figure` it is on:

    paths               neurons in the plane of |a|(w, b), or that of most movement, and the ways they went
    phase_portrait      |a| against |(w, b)|, or that plane, with velocities
    function_1d         f before and after, for scalar inputs
    function_evolution  f at several times
    series              what was recorded along the run: the risk unless named
    compare             one quantity of several runs: the risk, or compare([run_a, run_b], "test_error")
    overlay             a run over its limit m → ∞: overlay(run, limit), the risk unless named
    kernel_image        the tangent kernel of a frame as an image, or a kernel given as an array
    kernel_ellipse      the tangent kernel of two samples at several times
    kernel_change       two kernel_images side by side: `axes=` takes two Axes, and two are returned, axes[0].figure

    animate(run, kind, "run.gif")    a run as an animation
    save(ax.figure, "name")          name.png and name.pdf

On a grid of yours, `figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4.4),
layout="constrained")`, with that layout or without, titles and verdicts are wrapped to the width of
their Axes and room is made for them. `sheet` gives a page of panels.

Every one of them, and `animate`, takes bare=True, which leaves title and verdict out, and
style="paper", for print: bare, letters of 7 points, 300 dpi, 3.4 inches wide; `with
figures.house("paper"):` for all that is drawn inside. `said(figure)` has titles and verdicts all
the same, for a caption.

Every panel has a verdict line. Nothing is trained or fitted here; functions and kernels of stored
states are computed. The rest are tools of the house style.
"""

import matplotlib as matplotlib
import matplotlib.pyplot as plt  # noqa: F401  figures.plt, for modules that may not import matplotlib
from matplotlib.axes import Axes as Axes
from matplotlib.figure import Figure as Figure

from .animations import animate
from .animations import film as film
from .functions import function_1d, function_evolution
from .kernels import kernel_change, kernel_ellipse, kernel_image
from .overlays import overlay
from .pages import heading, panel, sheet
from .pages import page as page
from .pages import said as said
from .panels import Curve, lines, particles, power_laws
from .panels import expected_slope as expected_slope
from .panels import legend_above as legend_above
from .panels import legend_below as legend_below
from .panels import name_threshold as name_threshold
from .panels import threshold as threshold
from .planes import movement, plane, projected
from .portraits import phase_portrait
from .runs import compare, paths, series
from .style import (
    COLOURS,
    GREY,
    HOUSE,
    INKS,
    LINES,
    MARKERS,
    NEGATIVE,
    POSITIVE,
    fraction,
    house,
    regime,
    save,
)
from .style import ages as ages
from .style import bare as bare
from .style import seeds as seeds

__all__ = [  # what help(figures) shows, so no Axes, Figure and plt, which are matplotlib's
    "COLOURS", "GREY", "HOUSE", "INKS", "LINES", "MARKERS", "NEGATIVE", "POSITIVE", "Curve", "animate", "compare",
    "fraction", "function_1d", "function_evolution", "heading", "house", "kernel_change", "kernel_ellipse",
    "kernel_image", "lines", "movement", "overlay", "panel", "particles", "paths", "phase_portrait", "plane", "power_laws",
    "projected", "regime", "save", "series", "sheet",
]  # fmt: skip
