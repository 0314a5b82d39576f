"""Whether a new file holds, to the bit, what it was made of: its bytes against what is in memory, or in
the segments. HDF5 has said where they lie (`new_files.places_of`); they are read without it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from . import schema
from .durable import canonical_json, same_bits
from .new_files import Place, Places
from .pieces import Pieces


def content_names(head: Any, pieces: Pieces) -> list[str]:
    """The datasets that the content hash is made of, but for the data, which have checksums."""
    return [*_columns(head, pieces), *_framed(head)]


def _framed(head: Any) -> list[str]:
    kinds = ("position", "mass") if head.mass_varies else ("position",)
    return [f"particles/units/{kind}/value" for kind in kinds]


def _columns(head: Any, pieces: Pieces) -> dict[str, np.ndarray]:
    """What is in memory whole."""
    expected = {"parameters/config": schema.fixed_length(canonical_json(head.config))}
    groups: dict[str, Iterable[np.ndarray]] = {schema.POSITION: pieces.clock()}
    groups |= {f"series/{name}": pieces.series(name) for name in pieces.counts}
    for group, columns in groups.items():
        for name, column in zip(("step", "time", "value"), columns, strict=False):
            expected[f"{group}/{name}"] = column
    if not head.mass_varies:
        expected["particles/units/mass"] = head.start.mass
    for name in schema.EVENT_COLUMNS if pieces.events else ():
        expected[f"events/{name}"] = pieces.event_column(name)
    return expected


def holds_content(path: Path, head: Any, pieces: Pieces, places: dict[str, Places]) -> bool:
    """Whether the file has, to the bit, settings, clock, masses, series, events and frames."""
    with open(path, "rb") as file:
        read = _Reader(file.fileno())
        columns = _columns(head, pieces).items()
        return all(read.holds(array, places[name]) for name, array in columns) and all(
            read.holds_frames(name, pieces, places[name]) for name in _framed(head)
        )


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
        for place in found.places:
            first, each = place.corner[0], place.size // place.shape[0]
            rest = Place(place.corner[1:], place.shape[1:], place.offset, each)
            for number in range(first, min(first + place.shape[0], pieces.frames)):
                frame = pieces.frame(number, name)
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
