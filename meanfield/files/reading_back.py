"""Whether a new file holds, to the bit, what it was made of: HDF5 finds each dataset by its name, and its
bytes are compared with what is in memory, or in the segments. A chunk is read as it lies, without its
checksum, which takes half of the time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from . import hdf5, schema, sealing
from .durable import HARDLY_ANY, same_bits
from .hdf5 import File
from .pieces import Pieces

Rows = Callable[[int], np.ndarray]  # those from this one on, or some of them


def content_names(head: Any, pieces: Pieces) -> list[str]:
    """The datasets that the content hash is made of, but for the data, which have checksums."""
    return [*(name for names, _ in _columns(head, pieces) for name in names), *_framed(head)]


def holds_content(file: File, head: Any, pieces: Pieces) -> bool:
    """Whether the file has, to the bit, settings, clock, masses, series, events and frames."""
    return all(
        _holds(file, name, array)
        for names, made in _columns(head, pieces)
        for name, array in zip(names, made(), strict=True)
    ) and all(_holds_frames(file, name, pieces) for name in _framed(head))


def begins_with(path: Path, image: bytes) -> bool:
    """Whether the file is this, up to its seal."""
    at = 0
    with open(path, "rb", buffering=0) as file:
        while block := file.read(min(sealing.BLOCK, len(image) - at)):
            if not image.startswith(block, at):
                return False
            at += len(block)
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


def _holds(file: File, name: str, array: np.ndarray) -> bool:
    if not array.ndim:  # a text
        return same_bits(array, hdf5.read_array(file, name))
    dataset = hdf5.dataset(file, name)
    if dataset.shape != array.shape:
        return False
    if 0 < array.nbytes <= HARDLY_ANY:  # one chunk, most often: the short way
        chunk = hdf5.stored(dataset, (0,) * array.ndim)
        if len(chunk) == array.nbytes:
            return bytes(chunk) == array.tobytes()
    return _same(dataset, (), len(array), partial(_from, array))


def _holds_frames(file: File, name: str, pieces: Pieces) -> bool:
    """A chunk is rows of one frame, or, of masses, some frames; small frames are read some at a time."""
    dataset = hdf5.dataset(file, name)
    (count, *shape), dtype = dataset.shape, dataset.dtype
    most = hdf5.at_once(dtype.itemsize * math.prod(shape))
    if count != pieces.frames:
        return False
    if len(shape) == 1:
        return _same(dataset, (), count, lambda at: pieces.frames_from(at, name, most))
    first = 0
    while first < count:
        ours = pieces.frames_from(first, name, most)
        if ours.dtype != dtype or [*ours.shape[1:]] != shape:
            return False
        if most > 1:
            same = same_bits(ours, hdf5.read_rows(dataset, first, ours))
        else:
            same = _same(dataset, (first,), shape[0], partial(_from, ours[0]))
        if not same:
            return False
        first += len(ours)
    return True


def _same(dataset: Any, corner: tuple[int, ...], count: int, rows: Rows) -> bool:
    """Whether `count` rows of a dataset, from a corner on, are these. The last chunk may be padded."""
    done, chunk = 0, memoryview(b"")
    while done < count:
        ours = rows(done)
        if not chunk:
            chunk = hdf5.stored(dataset, (*corner, done) + (0,) * (ours.ndim - 1))
        ours = ours[: len(chunk) // ours[0].nbytes]
        theirs = np.frombuffer(chunk[: ours.nbytes], ours.dtype).reshape(ours.shape)
        if not (len(ours) and same_bits(ours, theirs)):
            return False
        done, chunk = done + len(ours), chunk[ours.nbytes :]
    return True


def _from(array: np.ndarray, row: int) -> np.ndarray:
    return array[row:]
