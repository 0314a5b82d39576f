"""The styles: colours that differ in grayscale too, "house" and "paper", how a figure is made and
saved, how γ is written.

Colours are those of Okabe and Ito; line styles and markers tell the same apart without them.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import matplotlib

if sys.platform.startswith("linux") and not {"DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND"} & set(
    os.environ
):
    matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from meanfield.files.durable import replacing

T = TypeVar("T")

COLOURS = ("#0072B2", "#E69F00", "#C4380D", "#009E73", "#7B3294", "#56B4E9")
# the same, dark enough for text
INKS = (
    "#005A8E",
    "#946300",
    "#A62D08",
    "#007352",
    "#652A78",
    "#2B7FAE",
)
LINES = ("-", (0, (5, 1.5)), (0, (5, 1.2, 1, 1.2)), (0, (1, 1)), (0, (8, 2)), "-")
MARKERS = ("o", "s", "^", "D", "v", "P")
# the sign of a neuron's output weight; where it was before
POSITIVE, NEGATIVE, GREY = (
    "#C4380D",
    "#0072B2",
    "0.72",
)
HOUSE: Any = {
    "font.size": 9.5, "axes.titlesize": 10.5, "axes.labelsize": 9.5, "legend.fontsize": 8.5, "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    "lines.linewidth": 1.6, "lines.markersize": 6, "figure.dpi": 100, "savefig.dpi": 110, "pdf.fonttype": 42,
}  # fmt: skip


PAPER: Any = {
    **HOUSE, "font.size": 7.0, **dict.fromkeys(
        ("axes.titlesize", "axes.labelsize", "legend.fontsize", "xtick.labelsize", "ytick.labelsize"), 7.0
    ),
    "lines.linewidth": 1.0, "lines.markersize": 3.5, "axes.linewidth": 0.6, "legend.handlelength": 1.8,
    **{f"{axis}tick.{kind}.{what}": value for axis in "xy" for kind, what, value in (
        ("major", "width", 0.6), ("minor", "width", 0.4), ("major", "size", 2.5), ("minor", "size", 1.5), ("major", "pad", 2.0)
    )},
    "axes.labelpad": 2.0, "figure.dpi": 300, "savefig.dpi": 300,
}  # fmt: skip
STYLES = {"house": HOUSE, "paper": PAPER}
COLUMN = 3.4  # inches, the width of a figure in style "paper": one column of a journal


@dataclass(frozen=True)
class Look:
    """What is drawn with: the name of a style, and whether titles and verdicts are left out."""

    style: str = "house"
    bare: bool = False


USUAL = Look()
_LOOK: ContextVar[Look] = ContextVar("look", default=USUAL)


def regime(gamma: float, alpha: float = 1.0) -> str:
    """γ as a fraction, α unless it is 1, and the name of the scaling.

    Whether a run is lazy is not said: a small α at γ = 1/2 is rich, a large one at γ = 1 lazy.
    ntk.laziness measures it.
    """
    name = {0.5: " (NTK scaling)", 1.0: " (mean-field scaling)"}.get(gamma, "")
    scale = "" if alpha == 1 else f", α = {alpha:g}"
    return f"γ = {fraction(gamma)}{scale}{name}"


def seeds(count: int) -> str:
    """The seeds of a study in its heading: "seed 0", or "seeds 0 … 4"."""
    return "seed 0" if count == 1 else f"seeds 0 … {count - 1}"


def fraction(value: float) -> str:
    """1/2 rather than 0.5 where the denominator is small."""
    near = Fraction(value).limit_denominator(8)
    return (
        str(near).replace("-", "−")
        if abs(float(near) - value) < 1e-9
        else f"{value:g}".replace("-", "−")
    )


@contextlib.contextmanager
def house(style: str | None = None, bare: bool | None = None) -> Iterator[None]:
    """Context manager: the style for what is made inside, "house" unless given, and without title
    and verdict if `bare`.

    "paper" is for print, and bare: letters of 7 points, 300 dpi, figures 3.4 inches wide. What is
    left out stays as around it.
    """
    outer = _LOOK.get()
    style = outer.style if style is None else style
    if style not in STYLES:
        raise ValueError(f"style must be one of {', '.join(map(repr, STYLES))}; got {style!r}.")
    token = _LOOK.set(Look(style, style == "paper" or (outer.bare if bare is None else bool(bare))))
    try:
        with plt.rc_context(STYLES[style]):
            yield
    finally:
        _LOOK.reset(token)


def drawn(function: Callable[..., T]) -> Callable[..., T]:
    """Decorator of a function that draws: it takes style= and bare= too, as `house` does, and draws
    in it.
    """

    @functools.wraps(function)
    def draw(
        *arguments: Any, style: str | None = None, bare: bool | None = None, **options: Any
    ) -> T:
        with house(style, bare):
            made = function(*arguments, **options)
            for ax in made if isinstance(made, tuple) else (made,):
                if isinstance(ax, Axes) and in_paper():
                    _dress(ax)
            # what verdicts are measured by otherwise: some layouts need a second pass
            if isinstance(ax, Axes) and _LOOK.get().bare:
                ax.figure.get_figure(root=True).draw_without_rendering()
        return made

    signature = inspect.signature(function)
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in (("style", "str | None"), ("bare", "bool | None"))
    ]
    draw.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *more])  # type: ignore[attr-defined]
    return draw


def bare() -> bool:
    """Whether titles and verdicts are left out here."""
    return _LOOK.get().bare


def in_paper() -> bool:
    """Whether the style here is "paper"."""
    return _LOOK.get().style == "paper"


def letters(points: float) -> float:
    """The size of small letters: `points`, and 7 in style "paper"."""
    return PAPER["font.size"] if in_paper() else points


def resized(points: float) -> float:
    """A length on paper, a line's width or a marker's: `points`, and 0.6 of it in style "paper"."""
    return 0.6 * points if in_paper() else points


def canvas(width: float, height: float, layout: str = "constrained") -> Figure:
    """A new figure of this size in inches; in style "paper" 3.4 inches wide and as flat, but no
    flatter than two to one.
    """
    size = (COLUMN, max(COLUMN * height / width, COLUMN / 2)) if in_paper() else (width, height)
    return plt.figure(figsize=size, layout=layout)


def _dress(ax: Axes) -> None:
    """Letters and ticks of Axes that may have been made in another style, and of ticks that are
    made when it is drawn.
    """
    ax.tick_params(labelsize=PAPER["font.size"])
    for which in ("major", "minor"):
        ax.tick_params(
            which=which, width=PAPER[f"xtick.{which}.width"], length=PAPER[f"xtick.{which}.size"]
        )
    for spine in ax.spines.values():
        spine.set_linewidth(PAPER["axes.linewidth"])
    for label in (ax.xaxis.label, ax.yaxis.label):
        label.set_fontsize(PAPER["font.size"])


def axes_or_new(ax: Axes | None) -> Axes:
    """`ax`, or the one Axes of a new figure."""
    return ax if ax is not None else canvas(6.0, 4.4).add_subplot()


@house()
def save(figure: Figure, stem: Path | str) -> tuple[Path, Path]:
    """stem.png (256 colours, for size) and stem.pdf (vector), without dates, each complete or not
    there at all.

    An ending .png or .pdf of `stem` is not doubled.
    """
    stem = str(stem).removesuffix(".png").removesuffix(".pdf")
    png, pdf = Path(f"{stem}.png"), Path(f"{stem}.pdf")
    pixels = io.BytesIO()
    figure.savefig(pixels, format="png", dpi="figure")
    picture = Image.open(pixels).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    with replacing(png) as new:
        picture.save(new, format="png", optimize=True)
    with replacing(pdf) as new:
        figure.savefig(new, format="pdf", metadata={"CreationDate": None})
    return png, pdf


def ages(count: int) -> np.ndarray:
    """(count, 4): colours from light (early) to dark (late), in grayscale too."""
    return plt.get_cmap("viridis")(np.linspace(0.82, 0.0, count) if count > 1 else [0.0])
