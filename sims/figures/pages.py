"""A page of panels: a sheet, its heading, and title and verdict of each panel.

Every panel has a verdict line: what a reader should see in it, with numbers taken from the data by
the caller; a bare one keeps it for `said`.
"""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from .style import bare, house, in_paper

EDGE = 0.08  # inches of a page that no words come to
TOP_MARGIN = 24.0  # points above the first row of a plain grid of subplots that are free for words
PITCH = 1.15  # from panel to panel of a sheet, in widths of one, less a gap
# verdict on an Axes -> what `panel` was given
_WORDS: WeakKeyDictionary[Any, tuple[str, str, int]] = WeakKeyDictionary()


def sheet(blocks: int, rows: int = 2, columns: int = 3) -> tuple[Figure, np.ndarray]:
    """A page of `blocks` with a heading each over rows × columns panels: (figure, axes (blocks,
    rows, columns)).
    """
    wide, high, left, gap, title, label, top = 3.55, 2.75, 0.72, 0.66, 0.72, 0.52, 0.62
    if in_paper():  # a panel alone is one column wide, three are two columns
        wide = 2.8 if columns == 1 else 1.72
        high = 1.6
        left = 0.48
        gap = 0.5
        title = 0.06
        label = 0.36
        top = 0.08
    elif bare():
        title = top = 0.2
    block = top + rows * (title + high + label)
    size = left + columns * (wide + gap) - gap + 0.15, blocks * block
    figure = plt.figure(figsize=size)
    axes = np.empty((blocks, rows, columns), dtype=object)
    for number, row, column in np.ndindex(axes.shape):
        x = left + column * (wide + gap)
        y = size[1] - number * block - top - (row + 1) * (title + high) - row * label
        axes[number, row, column] = figure.add_axes(
            (x / size[0], y / size[1], wide / size[0], high / size[1])
        )
    return figure, axes


def page(about: str, draws: Sequence[Sequence[Callable[[Axes], None]]]) -> Figure:
    """A sheet of one block in the house style: its heading, and what draws each panel, by rows."""
    with house():
        figure, axes = sheet(1, len(draws), len(draws[0]))
        for ax, draw in zip(axes.ravel(), itertools.chain(*draws), strict=True):
            draw(ax)
        heading(figure, axes[0, 0, 0], about)
    return figure


def heading(figure: Figure, ax: Axes, text: str) -> None:
    """The heading of a block of panels, over the first of them: a bold line and smaller ones; none
    on a bare figure.
    """
    if bare():
        return
    first, _, rest = text.partition("\n")
    style: dict[str, Any] = {
        "xycoords": "axes fraction",
        "textcoords": "offset points",
        "va": "baseline",
    }
    ax.annotate(first, (0, 1), (-42, 76), fontsize=14, fontweight="bold", **style)
    ax.annotate(rest, (0, 1), (-42, 61), fontsize=10, color="0.25", **style)


def panel(ax: Axes, title: str, verdict: str, width: int = 58) -> Annotation:
    """Title and, below it, the verdict over the axes: left-aligned, wrapped at `width` characters
    to two lines as a rule.

    In a grid of subplots both are wrapped to the width of the axes, and, where no layout engine
    does it, these are lowered to make room. Called again it takes the place of what it wrote.
    Returns the verdict, whose text an animation changes. On a bare figure (style "paper", or
    bare=True) nothing of it is seen; `said` tells it all the same.
    """
    if bare():
        return _unseen(ax, title, verdict, width)
    if _engine(ax) is None:
        return _write(ax, title, verdict, width)
    figure, words = ax.figure.get_figure(root=True), {ax: (title, verdict, width)}
    words |= {
        item: _WORDS[text]
        for item in figure.axes
        if item is not ax
        for text in item.texts
        if text in _WORDS
    }
    # what is drawn and said here may narrow the panels beside it: all are wrapped to where they
    # come to be
    for _ in range(2):
        written = [_write(item, *said) for item, said in words.items()]
        figure.draw_without_rendering()
    return written[0]


def _write(ax: Axes, title: str, verdict: str, width: int) -> Annotation:
    """Title and verdict over the axes, in the place of what was there, wrapped to where these are
    now.
    """
    for old in [text for text in ax.texts if text.get_gid() in ("title", "verdict", "room")]:
        old.remove()
    style: dict[str, Any] = {
        "xycoords": "axes fraction",
        "textcoords": "offset points",
        "ha": "left",
    }
    looks: dict[str, Any] = {
        "fontsize": 8.8,
        "style": "italic",
        "color": "0.2",
        "linespacing": 1.15,
        "gid": "verdict",
    }
    above = ax.annotate(
        "", (0, 1), (0, 0), va="bottom", fontsize=10.5, fontweight="bold", gid="title", **style
    )
    below = ax.annotate("", (0, 1), (0, 0), va="top", **looks, **style)
    _wrap(ax, below, verdict, width)
    if ax.get_subplotspec() is None:
        _two_lines(ax, below, verdict, width)
    height = 8 + 12.2 * max(2, below.get_text().count("\n") + 1)
    below.set_position((0, height - 2))
    above.set_position((0, height + 3))
    _wrap(ax, above, title)
    top = height + 3 + 14.5 * (above.get_text().count("\n") + 1)
    _make_room(ax, top)
    # it shall make room above, by a blank, and not narrow the axes, to which the words are cut
    if _engine(ax) is not None:
        above.set_in_layout(False)
        below.set_in_layout(False)
        ax.annotate(" ", (0, 1), (0, top), va="top", fontsize=10.5, gid="room", **style)
    _WORDS[below] = title, verdict, width
    return below


def _unseen(ax: Axes, title: str, verdict: str, width: int) -> Annotation:
    """The verdict of a bare panel: there to be asked for, and to be changed by an animation, but
    not drawn.
    """
    for old in [text for text in ax.texts if text.get_gid() in ("title", "verdict", "room")]:
        old.remove()
    below = ax.annotate("", (0, 1), gid="verdict", visible=False)
    below.set_in_layout(False)
    _WORDS[below] = title, verdict, width
    return below


def said(figure: Figure) -> list[tuple[str, str]]:
    """(title, verdict) of each panel of a figure, shown or not: for a caption, or the terminal."""
    return [_WORDS[text][:2] for ax in figure.axes for text in ax.texts if text in _WORDS]


def _engine(ax: Axes) -> Any:
    """The layout engine that places these axes, or None."""
    return ax.figure.get_figure(root=True).get_layout_engine()


def _wrap(ax: Axes, text: Annotation, words: str, width: int | None = None) -> None:
    """Write words in lines of at most `width` characters; in a grid of subplots, in lines no longer
    than the axes are wide; on a sheet, in lines that end before the page.
    """
    together = words.replace(" = ", "\u00a0=\u00a0").replace(" %", "\u00a0%")
    text.set_text(textwrap.fill(together, width).replace("\u00a0", " ") if width else words)
    ax.apply_aspect()
    if ax.get_subplotspec() is None:
        figure = ax.figure.get_figure(root=True)
        limit = figure.bbox.width - EDGE * figure.dpi - ax.get_window_extent().x0
    else:  # a plain grid has a gap before the next axes
        limit = ax.get_window_extent().width * (1.0 if _engine(ax) else 1.08)
    for fewer in range(width or len(words), 12, -1):
        text.set_text(textwrap.fill(together, fewer, break_on_hyphens=False).replace("\u00a0", " "))
        if text.get_window_extent().width <= limit:
            break


def _two_lines(ax: Axes, text: Annotation, words: str, width: int) -> None:
    """On a sheet, whose headings leave room for two lines: what takes three is written in longer ones,
    where it is two then and ends before the next panel.
    """
    for wider in range(width + 1, width + 10):
        if text.get_text().count("\n") < 2:
            break
        _wrap(ax, text, words, wider)
    if text.get_text().count("\n") > 1 or text.get_window_extent().width > PITCH * ax.bbox.width:
        _wrap(ax, text, words, width)


def place(ax: Axes) -> None:
    """Let all that is in the axes take its place; where a layout engine puts the axes it looks at
    the whole figure.
    """
    if _engine(ax) is not None:
        ax.figure.get_figure(root=True).draw_without_rendering()
    else:
        ax.get_tightbbox()


def _make_room(ax: Axes, points: float) -> None:
    """Lower the top of subplots that no layout engine places, so that the words above need no more
    than a plain title's room.
    """
    cell, figure = ax.get_subplotspec(), ax.figure.get_figure(root=True)
    if cell is None or ax.figure is not figure or _engine(ax) is not None:
        return
    box, spare = ax.get_position(original=True), 0.0 if cell.rowspan.start else TOP_MARGIN
    top = cell.get_position(figure).y1 - (points - spare) / 72 / figure.get_figheight()
    if box.y0 < top < box.y1:
        ax.set_position((box.x0, box.y0, box.width, top - box.y0))
        ax.set_in_layout(True)  # set_position took it out of any layout that may be asked for later
