"""New HDF5 files: a small one is made in memory and written in one piece, a large one piece by piece.

A file of fifty short arrays is some hundreds of small writes, each through HDF5's layer for files and
ours; in memory it takes a fifth of the time, and less where the file before was like it (again.py).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import h5py
from h5py import h5f, h5p

from . import hdf5
from .again import Again, Another
from .following import Followed
from .layout import Layout

# bytes of arrays: a file with more is written piece by piece, which is quicker then, and not in memory
# twice
IN_MEMORY = 1 << 23
GROWS_BY = 1 << 17  # bytes at least, of a file in memory
KEPT = 1 << 21  # bytes: a file up to this size stays open in memory, to be written again

Image = tuple[bytes, Layout | None]
Verify = Callable[[bytes | None, Layout | None], None]

_kept: dict[str, tuple[h5py.File, Again]] = {}
_numbers = itertools.count()  # HDF5 takes two files in memory of one name for the same


@contextmanager
def new_hdf5(
    path: Path, size: int, verify: Verify | None = None, synced: bool = True
) -> Iterator[tuple[h5py.File, Followed]]:
    """A new file, complete, sealed and fsynced when the block ends; removed when anything fails. For
    temporary names only. synced: False leaves the fsync to the caller.

    size: bytes of its arrays, about. verify: called when all is written, while the disk syncs it, to
    read it back, with all its bytes where it was made in memory, and where it is one of several their
    Layout; what it raises is a failure too.
    """
    with _new(path, verify, synced) as (scratch, images):
        if size <= IN_MEMORY:
            with _created(size) as file:
                yield file, scratch
                images.append((_image(file), None))
        else:
            with h5py.File(scratch, "w", libver=("earliest", "v110")) as file:
                yield file, scratch


def write_hdf5(
    path: Path,
    size: int,
    fill: Callable[[h5py.File, Followed], None],
    verify: Verify | None = None,
    synced: bool = True,
) -> None:
    """As `new_hdf5` with `fill` as its block. A small file is written over the one before of its name,
    where the two differ in bytes alone; fill is called once more where they do not.
    """
    if size > min(KEPT, IN_MEMORY):
        with new_hdf5(path, size, verify, synced) as (file, scratch):
            fill(file, scratch)
        return
    with _new(path, verify, synced) as (scratch, images):
        filled = partial(_written_again, path.name, size, lambda file: fill(file, scratch))
        images.append(filled(read_back=verify is not None))


def leave_for_last(file: h5py.File, array: h5py.Dataset, scratch: Followed) -> None:
    """Before an array is written, after all else: the file is hashed at the same time. Where its chunks
    are small, or the file is in memory, that would take longer.
    """
    size = hdf5.chunk_size(array)
    if size and hdf5.at_once(size) == 1 and file.driver != "core":
        with scratch.placing(size):
            hdf5.place(array)
        file.flush()
        scratch.follow()


@contextmanager
def _new(path: Path, verify: Verify | None, synced: bool) -> Iterator[tuple[Followed, list[Image]]]:
    """The file on the disk, for what the block writes into it, or leaves in the list."""
    scratch = Followed(path)
    images: list[Image] = []
    try:
        try:
            yield scratch, images
            for image, _ in images:
                scratch.write(image)
        finally:
            scratch.check()  # a failed write explains whatever HDF5 stumbled over later
        made, layout = images[0] if images else (None, None)
        scratch.complete(verify and partial(verify, made, layout), synced, made)
    except BaseException:
        with suppress(OSError):
            os.unlink(path)
        raise
    finally:
        scratch.close()


def _written_again(
    name: str, size: int, fill: Callable[[h5py.File], None], read_back: bool
) -> Image:
    """All bytes of the file, and where they are, if it is not the first and is to be read back."""
    # out of the way while it is written: another thread makes its own
    kept = _kept.pop(name, None)
    file, again = _to_keep(size) if kept is None else kept
    try:
        if not _fills(fill, file, again):
            _close(file, again)
            kept = None
            file, again = _to_keep(size)
            _fills(fill, file, again)
        image = _image(file)
        if read_back and kept is not None and again.layout is None:
            again.find(image, partial(_image, file))
    except BaseException:
        _close(file, again)
        raise
    # in one step: of threads that are ready at once, one leaves its file
    if len(image) > KEPT or _kept.setdefault(name, (file, again))[0] is not file:
        _close(file, again)
    return image, again.layout


def _fills(fill: Callable[[h5py.File], None], file: h5py.File, again: Again) -> bool:
    """Whether the file could be written again; a new one always can."""
    try:
        fill(file)
        again.ends()
    except Another:
        return False
    return True


def _to_keep(size: int) -> tuple[h5py.File, Again]:
    file, again = _created(size), Again()
    file.again = again
    return file, again


def _close(file: h5py.File, again: Again) -> None:
    again.forget()
    file.close()


def _created(size: int) -> h5py.File:
    """A file that is nowhere but in memory; h5py's own way to one takes longer than the file."""
    settings = h5p.create(h5p.FILE_ACCESS)
    settings.set_fapl_core(max(GROWS_BY, size), False)
    settings.set_libver_bounds(h5f.LIBVER_EARLIEST, h5f.LIBVER_V110)
    settings.set_fclose_degree(h5f.CLOSE_STRONG)
    name = f"meanfield-{next(_numbers)}".encode()
    return h5py.File(h5f.create(name, h5f.ACC_TRUNC, fapl=settings))


def _image(file: h5py.File) -> bytes:
    h5f.flush(file.id)
    return file.id.get_file_image()
