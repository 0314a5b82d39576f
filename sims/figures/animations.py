"""animate: a run as an animated GIF (Pillow) or an MP4 (ffmpeg), with the axes the same in every
frame.
"""

from __future__ import annotations

import io
import math
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.animation import FFMpegWriter
from matplotlib.figure import Figure
from PIL import Image
from tqdm.auto import tqdm

import meanfield as mf
from meanfield.files.durable import replacing

from .scenes import Draw, scene
from .sources import thinned, usable
from .style import canvas, drawn

FORMATS = (".gif", ".mp4")
MOST = 150  # frames of an animation
LAST = 2.0  # seconds that a GIF rests on its last frame before it starts again


@drawn
def animate(
    run: Any,
    kind: str,
    out: Any,
    fps: float = 12.0,
    most: int = MOST,
    progress: bool = True,
    flow: mf.GradientFlow | None = None,
) -> Path:
    """Write the run as an animation to `out`, a .gif or .mp4, and return its path.

    kind: "paths" (neurons with tails), "function" (f_t for scalar inputs), "kernel" (the tangent
    kernel as an image) or "ellipse" (that of two samples). Every recorded frame is shown for 1/fps
    seconds, the last of a GIF for 2; of more than `most` frames, that many, evenly spaced among the
    recorded ones, the first and the last among them. To see more of the fast beginning record with
    mf.log_spaced. Limits of the axes and scale of the colours are those of all frames. The file is
    written beside `out` and then renamed: a complete animation or none; one that is there is
    replaced. progress: a bar where stderr is a terminal. flow: the run's own, for functions that a
    user wrote. Errors: ValueError for what cannot be drawn; RuntimeError where .mp4 is asked for
    and ffmpeg is not installed.
    """
    out = Path(out)
    run, make = scene(run, kind)
    _check(out, fps, most)
    frames = thinned(usable(run, least=2), most)
    figure = canvas(6.0, 4.4)
    figure.set_dpi(max(120, figure.dpi))
    try:
        draw = make(run, frames, figure.add_subplot(), flow)
    except BaseException:
        plt.close(figure)
        raise
    return film(figure, draw, len(frames), out, fps, progress)


def film(
    figure: Figure, draw: Draw, frames: int, out: Any, fps: float = 12.0, progress: bool = True
) -> Path:
    """Write draw(0) … draw(frames - 1), which change what is on a figure of yours, as `animate`
    does; the figure is closed.
    """
    out = Path(out)
    try:
        _check(out, fps, frames)
        draw(frames - 1)
        figure.canvas.draw()
        figure.set_layout_engine("none")  # where the last frame put the axes is where they stay
        with (
            replacing(out) as new,
            tqdm(
                range(frames),
                unit="frame",
                disable=None if progress else True,
                leave=False,
                file=sys.stderr,
            ) as bar,
        ):
            write = _write_gif if out.suffix.lower() == ".gif" else _write_mp4
            write(figure, draw, bar, fps, new)
    finally:
        plt.close(figure)
    return out


def _check(out: Path, fps: float, most: int) -> None:
    """Raise before anything is drawn."""
    if out.suffix.lower() not in FORMATS:
        raise ValueError(f"out must end in .gif or .mp4; got {out.name!r}.")
    if not (math.isfinite(fps) and 0 < fps <= 50):
        raise ValueError(
            f"fps must be positive and at most 50, which is what a GIF can do; got {fps!r}."
        )
    if most < 2:
        raise ValueError(f"most must be at least 2 frames; got {most!r}.")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {out.parent} to write {out.name} to.")
    if out.suffix.lower() == ".mp4" and not FFMpegWriter.isAvailable():
        raise RuntimeError(
            "an .mp4 needs ffmpeg, which is not on the PATH: install it, or write "
            f"{out.with_suffix('.gif')}."
        )


def _write_gif(figure: Figure, draw: Draw, frames: Any, fps: float, path: Path) -> None:
    """Pillow; the palette is that of the last frame, so that colours do not flicker."""
    palette = _pixels(figure).quantize(256, dither=Image.Dither.NONE)
    colours = np.array(palette.getpalette()).reshape(-1, 3)
    colours[colours.min(axis=1) > 246] = (
        255  # Pillow looks colours up in steps of 4: else paper may come out grey
    )
    palette.putpalette(colours.ravel().tolist())
    pictures = []
    for k in frames:
        draw(k)
        pictures.append(_pixels(figure).quantize(palette=palette, dither=Image.Dither.NONE))
    durations = np.full(len(pictures), round(1000 / fps))
    durations[-1] = max(durations[-1], round(1000 * LAST))
    first, *others = pictures
    with open(path, "wb") as file:
        first.save(
            file,
            format="gif",
            save_all=True,
            append_images=others,
            duration=durations.tolist(),
            loop=0,
            optimize=False,
        )


def _write_mp4(figure: Figure, draw: Draw, frames: Any, fps: float, path: Path) -> None:
    """ffmpeg, as matplotlib calls it."""
    writer = FFMpegWriter(fps=fps)  # type: ignore[arg-type]
    with writer.saving(figure, str(path), dpi=figure.dpi):
        for k in frames:
            draw(k)
            writer.grab_frame()


def _pixels(figure: Figure) -> Image.Image:
    pixels = io.BytesIO()
    figure.savefig(pixels, format="png", dpi=figure.dpi, pil_kwargs={"compress_level": 1})
    return Image.open(pixels).convert("RGB")
