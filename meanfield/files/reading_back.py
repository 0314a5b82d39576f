"""Whether a new file holds, to the bit, what it was made of: HDF5 finds each dataset by its name, and its
bytes, as they lie there, are compared with what is in memory, or in the segments.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from . import hdf5, schema
from .durable import HARDLY_ANY, same_bits
from .hdf5 import File
from .layout import Layout
from .pieces import Pieces

BLOCK = 1 << 17  # bytes at once, which the processor has at hand when they are compared
Rows = Callable[[int], np.ndarray]  # those from this one on, or some of them


def content_names(head: Any, pieces: Pieces) -> list[str]:
    """The datasets that the content hash is made of, but for the data, which have checksums."""
    return [*(name for names, _ in _columns(head, pieces) for name in names), *_framed(head)]


class Bytes:
    """The bytes of an open file, on the disk, or in memory where they are the same."""

    def __init__(self, file: File, image: bytes | None) -> None:
        self._file, self._image, self._block = file.id.get_vfd_handle(), image, bytearray(BLOCK)

    def has(self, at: int, array: np.ndarray) -> bool:
        """Whether those from there on are those of the array."""
        ours = np.ascontiguousarray(array).data
        if self._image is not None:
            return self._image.startswith(ours, at)
        ours, block = ours.cast("B"), memoryview(self._block)
        for start in range(0, len(ours), BLOCK):
            part = ours[start : start + BLOCK]
            if os.preadv(self._file, [block[: len(part)]], at + start) < len(part):
                return False
            if not self._block.startswith(part):
                return False
        return True


def holds_content(file: File, head: Any, pieces: Pieces, image: bytes | None = None) -> bool:
    """Whether the file has, to the bit, settings, clock, masses, series, events and frames. image: all
    its bytes, where they are in memory.
    """
    there = Bytes(file, image)
    return all(
        _holds(file, name, array, there)
        for names, made in _columns(head, pieces)
        for name, array in zip(names, made(), strict=True)
    ) and all(_holds_frames(file, name, pieces, there) for name in _framed(head))


def holds_again(
    layout: Layout, image: bytes, head: Any, pieces: Pieces, sums: dict[str, str]
) -> bool:
    """As `holds_content`, of a file in memory that is like one of this layout; False also where nobody
    knows. sums: of the data.
    """
    return (
        layout.knows(image, sums)
        and all(
            layout.has(image, name, array)
            for names, made in _columns(head, pieces)
            for name, array in zip(names, made(), strict=True)
        )
        and all(
            layout.has_rows(image, name, (pieces.frame(k, name) for k in range(pieces.frames)))
            if name == f"{schema.POSITION}/value"
            else layout.has(image, name, pieces.frames_from(0, name, pieces.frames))
            for name in _framed(head)
        )
    )


def begins_with(path: Path, image: bytes) -> bool:
    """Whether the file is this, up to its seal."""
    block, at = memoryview(bytearray(BLOCK)), 0
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(block[: len(image) - at]):
            if not image.startswith(block[:count], at):
                return False
            at += count
    return at == len(image)


def _framed(head: Any) -> list[str]:
    kinds = ("position", "mass") if head.mass_varies else ("position",)
    return [f"particles/units/{kind}/value" for kind in kinds]


def _columns(head: Any, pieces: Pieces) -> Iterator[tuple[list[str], Callable[[], Any]]]:
    """What is compared whole: names, and what makes their arrays. All series at once, or all events,
    may be more than memory has.
    """
    yield ["parameters/config"], lambda: [hdf5.fixed_length(hdf5.json_text(head.config))]
    yield [f"{schema.POSITION}/{name}" for name in ("step", "time")], pieces.clock
    for series in pieces.counts:
        names = [f"series/{series}/{name}" for name in ("step", "time", "value")]
        yield names, partial(pieces.series, series)
    if not head.mass_varies:
        yield ["particles/units/mass"], lambda: [head.start.mass]
    for name in schema.EVENT_COLUMNS if pieces.events else ():
        yield [f"events/{name}"], partial(map, pieces.event_column, [name])


def _holds(file: File, name: str, array: np.ndarray, there: Bytes) -> bool:
    if not array.ndim:  # a text
        return same_bits(array, hdf5.read_array(file, name))
    dataset = hdf5.dataset(file, name)
    if dataset.shape != array.shape:
        return False
    if 0 < array.nbytes <= HARDLY_ANY:  # one chunk, most often: the short way
        chunk = hdf5.stored(dataset, (0,) * array.ndim)
        if len(chunk) == array.nbytes:
            return bytes(chunk) == array.tobytes()
    return _same(dataset, (), len(array), partial(_from, array), there)


def _holds_frames(file: File, name: str, pieces: Pieces, there: Bytes) -> bool:
    """A chunk is rows of one frame, or, of masses, some frames; small frames are asked for together."""
    dataset = hdf5.dataset(file, name)
    (count, *shape), dtype = dataset.shape, dataset.dtype
    most = hdf5.at_once(dtype.itemsize * math.prod(shape))
    if count != pieces.frames:
        return False
    if len(shape) == 1:
        return _same(dataset, (), count, lambda at: pieces.frames_from(at, name, most), there)
    first = 0
    while first < count:
        ours = pieces.frames_from(first, name, most)
        if ours.dtype != dtype or [*ours.shape[1:]] != shape:
            return False
        for number, frame in enumerate(ours, first):
            at, size = hdf5.place_of(dataset, (number, 0, 0))
            if size == frame.nbytes:  # the short way
                same = there.has(at, frame)
            else:
                same = _same(dataset, (number,), len(frame), partial(_from, frame), there)
            if not same:
                return False
        first += len(ours)
    return True


def _same(dataset: Any, corner: tuple[int, ...], count: int, rows: Rows, there: Bytes) -> bool:
    """Whether `count` rows of a dataset, from a corner on, are these. The last chunk may be padded."""
    done = at = left = 0
    while done < count:
        ours = rows(done)
        if not left:
            at, left = hdf5.place_of(dataset, (*corner, done) + (0,) * (ours.ndim - 1))
        ours = ours[: left // ours[0].nbytes]
        if not (len(ours) and there.has(at, ours)):
            return False
        done, at, left = done + len(ours), at + ours.nbytes, left - ours.nbytes
    return True


def _from(array: np.ndarray, row: int) -> np.ndarray:
    return array[row:]
