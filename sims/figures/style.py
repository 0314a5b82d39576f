"""The house style: colours that differ in grayscale too, how a figure is made and saved, and how γ is written.

Colours are those of Okabe and Ito; line styles and markers tell the same apart without them.
"""

from __future__ import annotations

import io
import os
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import matplotlib

if sys.platform.startswith("linux") and not {"DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND"} & set(os.environ):
    matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

COLOURS = ("#0072B2", "#E69F00", "#C4380D", "#009E73", "#7B3294", "#56B4E9")
INKS = ("#005A8E", "#946300", "#A62D08", "#007352", "#652A78", "#2B7FAE")  # the same, dark enough for text
LINES = ("-", (0, (5, 1.5)), (0, (5, 1.2, 1, 1.2)), (0, (1, 1)), (0, (8, 2)), "-")
MARKERS = ("o", "s", "^", "D", "v", "P")
POSITIVE, NEGATIVE, GREY = "#C4380D", "#0072B2", "0.72"  # the sign of a neuron's output weight; where it was before
HOUSE: Any = {
    "font.size": 9.5, "axes.titlesize": 10.5, "axes.labelsize": 9.5, "legend.fontsize": 8.5, "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    "lines.linewidth": 1.6, "lines.markersize": 6, "figure.dpi": 100, "savefig.dpi": 110, "pdf.fonttype": 42,
}  # fmt: skip


def regime(gamma: float, alpha: float = 1.0) -> str:
    """γ as a fraction, α unless it is 1, and the name of the scaling.

    Whether a run is lazy is not said: a small α at γ = 1/2 is rich, a large one at γ = 1 lazy. ntk.laziness measures it.
    """
    name = {0.5: " (NTK scaling)", 1.0: " (mean-field scaling)"}.get(gamma, "")
    scale = "" if alpha == 1 else f", α = {alpha:g}"
    return f"γ = {fraction(gamma)}{scale}{name}"


def fraction(value: float) -> str:
    """1/2 rather than 0.5 where the denominator is small."""
    near = Fraction(value).limit_denominator(8)
    return str(near).replace("-", "−") if abs(float(near) - value) < 1e-9 else f"{value:g}".replace("-", "−")


def house() -> Any:
    """Context manager: the house style for what is made inside."""
    return plt.rc_context(HOUSE)


def axes_or_new(ax: Axes | None) -> Axes:
    """`ax`, or the one Axes of a new figure."""
    if ax is not None:
        return ax
    return plt.figure(figsize=(6.0, 4.4), layout="constrained").add_subplot()


@house()
def save(figure: Figure, stem: Path | str) -> tuple[Path, Path]:
    """stem.png (256 colours, for size) and stem.pdf (vector), without dates, each complete or not there at all.

    An ending .png or .pdf of `stem` is not doubled.
    """
    stem = str(stem).removesuffix(".png").removesuffix(".pdf")
    png, pdf = Path(f"{stem}.png"), Path(f"{stem}.pdf")
    pixels = io.BytesIO()
    figure.savefig(pixels, format="png", dpi="figure")
    picture = Image.open(pixels).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    for path in (png, pdf):
        temporary = path.with_name(f".tmp-{path.name}")
        if path is png:
            picture.save(temporary, format="png", optimize=True)
        else:
            figure.savefig(temporary, format="pdf", metadata={"CreationDate": None})
        os.replace(temporary, path)
    return png, pdf


def ages(count: int) -> np.ndarray:
    """(count, 4): colours from light (early) to dark (late), in grayscale too."""
    return plt.get_cmap("viridis")(np.linspace(0.82, 0.0, count) if count > 1 else [0.0])
