"""Whether a new file holds, to the bit, what it was made of: its bytes against what is in memory, or in
the segments. HDF5 has said where they lie (`new_files.places_of`); they are read without it,
which takes half of the time.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from . import schema, sealing
from .durable import canonical_json, same_bits
from .new_files import Place, Places
from .pieces import Pieces


def content_names(head: Any, pieces: Pieces) -> list[str]:
    """The datasets that the content hash is made of, but for the data, which have checksums."""
    return [*(name for names, _ in _columns(head, pieces) for name in names), *_framed(head)]


def _framed(head: Any) -> list[str]:
    kinds = ("position", "mass") if head.mass_varies else ("position",)
    return [f"particles/units/{kind}/value" for kind in kinds]


def _columns(head: Any, pieces: Pieces) -> Iterator[tuple[list[str], Callable[[], Any]]]:
    """What is compared whole: names, and what makes their arrays. All series at once, or all events,
    may be more than memory has.
    """
    yield ["parameters/config"], lambda: [schema.fixed_length(canonical_json(head.config))]
    yield [f"{schema.POSITION}/{name}" for name in ("step", "time")], pieces.clock
    for series in pieces.counts:
        names = [f"series/{series}/{name}" for name in ("step", "time", "value")]
        yield names, partial(pieces.series, series)
    if not head.mass_varies:
        yield ["particles/units/mass"], lambda: [head.start.mass]
    for name in schema.EVENT_COLUMNS if pieces.events else ():
        yield [f"events/{name}"], partial(map, pieces.event_column, [name])


def holds_content(path: Path, head: Any, pieces: Pieces, places: dict[str, Places]) -> bool:
    """Whether the file has, to the bit, settings, clock, masses, series, events and frames."""
    with open(path, "rb") as file:
        read = _Reader(file.fileno())
        return all(
            read.holds(array, places[name])
            for names, made in _columns(head, pieces)
            for name, array in zip(names, made(), strict=True)
        ) and all(read.holds_frames(name, pieces, places[name]) for name in _framed(head))


def begins_with(path: Path, image: bytes) -> bool:
    """Whether the file is this, up to its seal."""
    blocks = (image[at : at + sealing.BLOCK] for at in range(0, len(image), sealing.BLOCK))
    with open(path, "rb") as file:
        return all(file.read(len(block)) == block for block in blocks)


class _Reader:
    """Compares arrays with the bytes of a file."""

    def __init__(self, file: int) -> None:
        self._file, self._buffer = file, bytearray(1 << 16)

    def holds(self, array: np.ndarray, found: Places) -> bool:
        return found.shape == array.shape and array.size == sum(
            self._same(array, place, place.offset) for place in found.places
        )

    def holds_frames(self, name: str, pieces: Pieces, found: Places) -> bool:
        """Row by row of the leading axis, the frames: one is in memory twice."""
        same = size = 0
        held, frame = -1, np.empty(0)  # a large frame lies in several places, and is read once
        for place in found.places:
            first, each = place.corner[0], place.size // place.shape[0]
            rest = Place(place.corner[1:], place.shape[1:], place.offset, each)
            for number in range(first, min(first + place.shape[0], pieces.frames)):
                if number != held:
                    held, frame = number, pieces.frame(number, name)
                same += self._same(frame, rest, place.offset + (number - first) * each)
                size = pieces.frames * frame.size
        return found.shape[0] == pieces.frames and same == size

    def _same(self, array: np.ndarray, place: Place, offset: int) -> int:
        """How many numbers of the array lie there, to the bit; 0 where one differs."""
        if place.size != array.itemsize * math.prod(place.shape):
            return 0
        ours = np.asarray(array[tuple(map(_span, place.corner, place.shape))])
        if len(self._buffer) < place.size:
            self._buffer = bytearray(place.size)
        lent = memoryview(self._buffer)[: place.size]
        if os.preadv(self._file, [lent], offset) != place.size:
            return 0
        theirs = np.frombuffer(lent, array.dtype).reshape(place.shape)
        return ours.size if same_bits(ours, theirs[tuple(map(slice, ours.shape))]) else 0


def _span(start: int, length: int) -> slice:
    return slice(start, start + length)
