"""New HDF5 files: a small one is made in memory and written in one piece, a large one piece by piece;
and where in it the bytes of its datasets lie.

A file of fifty short arrays is some hundreds of small writes, each through HDF5's layer for files and
ours; in memory it takes a fifth of the time.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import h5py
from h5py import h5d, h5f, h5g, h5p

from .durable import Scratch

# bytes of arrays: a file with more is written piece by piece, so that it is not in memory twice
IN_MEMORY = 1 << 24
GROWS_BY = 1 << 17  # bytes at least, of a file in memory
CHECKSUM = 4  # bytes that HDF5 puts behind a chunk


class Place(NamedTuple):
    """Where a piece of a dataset lies in a file: `size` bytes from `offset` on are what begins at
    `corner` of it, of this shape; beyond its edges they are padding.
    """

    corner: tuple[int, ...]
    shape: tuple[int, ...]
    offset: int
    size: int


class Places(NamedTuple):
    """A dataset as it lies in a file."""

    shape: tuple[int, ...]
    places: list[Place]


@contextmanager
def new_hdf5(
    path: Path, size: int, verify: Callable[[bytes | None], None] | None = None, synced: bool = True
) -> Iterator[tuple[h5py.File, Scratch]]:
    """A new file, complete, sealed and fsynced when the block ends; removed when anything fails. For
    temporary names only. synced: False leaves the fsync to the caller.

    size: bytes of its arrays, about. verify: called when all is written, while the disk syncs it, to
    read it back, with all its bytes where it was made in memory; what it raises is a failure too.
    """
    scratch, image = Scratch(path), None
    try:
        try:
            if size <= IN_MEMORY:
                with _in_memory(path, size) as file:
                    yield file, scratch
                    h5f.flush(file.id)
                    image = file.id.get_file_image()
                scratch.write(image)
            else:
                with h5py.File(scratch, "w", libver=("earliest", "v110")) as file:
                    yield file, scratch
        finally:
            scratch.check()  # a failed write explains whatever HDF5 stumbled over later
        if synced:
            scratch.begin()
        scratch.complete(verify and partial(verify, image), synced, image)
    except BaseException:
        with suppress(OSError):
            os.unlink(path)
        raise
    finally:
        scratch.close()


@contextmanager
def _in_memory(path: Path, size: int) -> Iterator[h5py.File]:
    """A file that is nowhere but in memory; h5py's own way to one takes longer than the file."""
    settings = h5p.create(h5p.FILE_ACCESS)
    settings.set_fapl_core(max(GROWS_BY, size), False)
    settings.set_libver_bounds(h5f.LIBVER_EARLIEST, h5f.LIBVER_V110)
    settings.set_fclose_degree(h5f.CLOSE_STRONG)
    with h5py.File(h5f.create(os.fsencode(path), h5f.ACC_TRUNC, fapl=settings)) as file:
        yield file


def names_of(file: h5py.File, group: str) -> list[str]:
    """What is in a group, in order."""
    return sorted(name.decode() for name in h5g.open(file.id, group.encode()))


def places_of(file: h5py.File, names: list[str]) -> dict[str, Places]:
    """Where the datasets of these names lie, by name; flushes the file."""
    h5f.flush(file.id)
    found = {}
    for name in names:
        dataset = h5d.open(file.id, name.encode())
        shape = dataset.shape
        found[name] = Places(shape, list(_places(dataset, shape)))
    return found


def _places(dataset: h5d.DatasetID, shape: tuple[int, ...]) -> Iterator[Place]:
    if (offset := dataset.get_offset()) is not None:  # in one piece
        yield Place((0,) * len(shape), shape, offset, dataset.get_storage_size())
    elif math.prod(shape):
        chunk = dataset.get_create_plist().get_chunk()
        for corner in itertools.product(*map(range, itertools.repeat(0), shape, chunk)):
            stored = dataset.get_chunk_info_by_coord(corner)
            yield Place(corner, chunk, stored.byte_offset or 0, stored.size - CHECKSUM)
