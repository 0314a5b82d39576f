"""Layout: where a file that is written again and again (again.py) has what differs from run to run.

The first files of a layout are read back by HDF5, name by name (reading_back.py). Of those that follow the
arrays are looked for where the last one had them, and all that belongs to no array and no attribute has to
be as it was: the same check, without the milliseconds that HDF5 takes to find fifty short arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from . import hdf5

Place = tuple[tuple[int, ...], np.dtype[Any], list[int]]  # shape, dtype, where each chunk begins
NOWHERE: Place = (), np.dtype(np.void), []


class Layout:
    """Of a file in memory. image: all its bytes; written: from where to where something is written in it
    again.
    """

    def __init__(self, image: bytes, written: Iterable[tuple[int, int]]) -> None:
        self._size, self._rest, end = len(image), [], 0
        for first, last in [*sorted(written), (len(image), len(image))]:
            if end < first:
                self._rest.append((end, image[end:first]))
            end = max(end, last)
        self._places: dict[str, Place] = {}  # of arrays
        self._texts: dict[str, int] = {}  # of attributes

    def learn(self, file: hdf5.File, image: bytes, names: Iterable[str], texts: Mapping[str, str]) -> None:  # fmt: skip
        """From a file of this layout that HDF5 has read back. names: of the arrays that will be asked
        for; texts: of attributes, by any names.
        """
        places = {}
        for name in names:
            dataset = hdf5.dataset(file, name)
            chunks = [at for at, _ in hdf5.places_of(dataset)]
            places[name] = dataset.shape, dataset.dtype, chunks
        # of two that are equal nobody knows which is where
        self._texts = {
            name: image.find(text) if image.count(text) == 1 else len(image)
            for name, text in ((name, text.encode()) for name, text in texts.items())
        }
        self._places = places

    def knows(self, image: bytes, texts: Mapping[str, str]) -> bool:
        """Whether the image has this layout, and these texts in it."""
        return (
            bool(self._places)
            and len(image) == self._size
            and all(image.startswith(part, at) for at, part in self._rest)
            and texts.keys() == self._texts.keys()
            and all(image.startswith(texts[name].encode(), at) for name, at in self._texts.items())
        )

    def has(self, image: bytes, name: str, array: np.ndarray) -> bool:
        """Whether the image has this array under this name, as one chunk."""
        shape, dtype, places = self._places.get(name, NOWHERE)
        if array.shape != shape or array.dtype != dtype:
            return False
        return not array.size or (len(places) == 1 and image.startswith(array.tobytes(), places[0]))

    def has_rows(self, image: bytes, name: str, rows: Iterable[np.ndarray]) -> bool:
        """The same of all rows of an array, each of them a chunk."""
        shape, dtype, places = self._places.get(name, NOWHERE)
        return shape[:1] == (len(places),) and all(
            row.shape == shape[1:] and row.dtype == dtype and image.startswith(row.tobytes(), at)
            for row, at in zip(rows, places, strict=True)
        )


def written(made: list[Any], image: bytes, image_now: Callable[[], bytes]) -> list[tuple[int, int]]:
    """From where to where a file in memory has what was written into these, its datasets and attributes
    (others are left out). image: all its bytes; image_now(): those of this moment.

    HDF5 does not say where an attribute is: what changes when all of them are written otherwise.
    """
    made = [item.id if isinstance(item, hdf5.Dataset) else item for item in made]
    attributes = [item for item in made if isinstance(item, hdf5.AttributeID)]
    datasets = [item for item in made if isinstance(item, hdf5.DatasetID)]
    found = [(at, at + size) for item in datasets for at, size in hdf5.places_of(item)]
    kept = [hdf5.read_attribute(item) for item in attributes]
    for item, value in zip(attributes, kept, strict=True):
        other = np.frombuffer(value.tobytes(), np.uint8) ^ 255
        hdf5.write_attribute(item, other.view(value.dtype).reshape(value.shape))
    before, after = (np.frombuffer(each, np.uint8) for each in (image, image_now()))
    (changed,) = np.nonzero(before != after)
    for item, value in zip(attributes, kept, strict=True):
        hdf5.write_attribute(item, value)
    for run in np.split(changed, 1 + np.flatnonzero(np.diff(changed) > 1)):
        found += [(run[0], run[-1] + 1)] if run.size else []
    return found
