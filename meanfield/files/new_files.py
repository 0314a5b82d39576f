"""New HDF5 files: a small one is made in memory and written in one piece, a large one piece by piece.

A file of fifty short arrays is some hundreds of small writes, each through HDF5's layer for files and
ours; in memory it takes a fifth of the time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import h5py
from h5py import h5f, h5p

from .durable import Scratch

# bytes of arrays: a file with more is written piece by piece, which is quicker then, and not in memory
# twice
IN_MEMORY = 1 << 23
GROWS_BY = 1 << 17  # bytes at least, of a file in memory


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
