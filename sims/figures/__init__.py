"""Where matplotlib lives: functions that draw a run, or what they are given, on an Axes, in one house style.

Every panel has a verdict line. Nothing is trained or fitted here; functions and kernels of stored states are computed.
"""

import matplotlib as matplotlib
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .animations import animate
from .functions import function_1d, function_evolution
from .kernels import kernel_change, kernel_ellipse, kernel_image
from .panels import Curve, heading, lines, panel, particles, power_laws, sheet
from .planes import movement, plane, projected
from .portraits import phase_portrait
from .runs import compare, paths, series
from .style import COLOURS, GREY, HOUSE, INKS, LINES, MARKERS, NEGATIVE, POSITIVE, fraction, house, regime, save

__all__ = [
    "COLOURS", "GREY", "HOUSE", "INKS", "LINES", "MARKERS", "NEGATIVE", "POSITIVE", "Axes", "Curve", "Figure", "animate",
    "compare", "fraction", "function_1d", "function_evolution", "heading", "house", "kernel_change", "kernel_ellipse",
    "kernel_image", "lines", "matplotlib", "movement", "panel", "particles", "paths", "phase_portrait", "plane", "plt",
    "power_laws", "projected", "regime", "save", "series", "sheet",
]  # fmt: skip
