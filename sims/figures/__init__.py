"""Where matplotlib lives: functions that draw a run, or what they are given, on an Axes, in one house style.

Every panel has a verdict line. Nothing is trained or fitted here; risks and kernels of stored states are computed.
"""

import matplotlib as matplotlib
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .panels import Curve, heading, lines, panel, particles, power_laws, sheet
from .planes import movement, plane, projected
from .runs import compare, function_1d, paths
from .style import COLOURS, GREY, HOUSE, INKS, LINES, MARKERS, NEGATIVE, POSITIVE, fraction, house, regime, save

__all__ = [
    "COLOURS", "GREY", "HOUSE", "INKS", "LINES", "MARKERS", "NEGATIVE", "POSITIVE", "Axes", "Curve", "Figure", "compare",
    "fraction", "function_1d", "heading", "house", "lines", "matplotlib", "movement", "panel", "particles", "paths", "plane",
    "plt", "power_laws", "projected", "regime", "save", "sheet",
]  # fmt: skip
