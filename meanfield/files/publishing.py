"""Publishing: the parts of a run that has ended become one verified file under its final name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..state import State
from . import hdf5, schema
from .durable import SHORT, IncompatibleFile, array_sha256, check_space, move
from .following import Followed
from .genealogy import Genealogy, replaces
from .layout import Layout
from .memory import size_of, write_memory
from .new_files import leave_for_last, write_hdf5
from .parts import Parts, check_seal
from .pieces import Pieces
from .reading_back import begins_with, content_names, holds_again, holds_content
from .stored_data import checksums, copy_data, write_data
from .trajectory import IDENTITY, Trajectory


class Head(NamedTuple):
    """What start.h5 says."""

    config: dict[str, Any]
    start: State
    mass_varies: bool
    provenance: dict[str, Any]


class Given(NamedTuple):
    """What else start.h5 says, as the process that begins the run has it: its data, their sha256, and what
    tells formulas of one name apart. small: the arrays are copies, to be kept.
    """

    arrays: dict[str, np.ndarray]
    sums: dict[str, str]
    identity: dict[str, Any] | None
    small: bool

    @classmethod
    def of(cls, arrays: dict[str, np.ndarray], identity: dict[str, Any] | None) -> Given:
        small = sum(array.nbytes for array in arrays.values()) <= SHORT
        arrays = {name: arrays[name] for name in sorted(arrays)}  # as HDF5 lists them
        if small:
            arrays = {name: array.copy() for name, array in arrays.items()}
        sums = {name: array_sha256(array) for name, array in arrays.items()}
        return cls(arrays, sums, identity, small)

    def write(self, parameters: hdf5.Group) -> None:
        """Into /parameters."""
        write_data(parameters, self.arrays, self.sums)
        if self.identity:
            hdf5.write_json(parameters, IDENTITY, self.identity)


def write_start(parts: Parts, config: dict[str, Any], provenance: dict[str, Any], start: State, mass_varies: bool,
                data: Given | Trajectory) -> None:  # fmt: skip
    """start.h5: from now on the run exists. data: also of the run that has them and its identity.

    Of data that are Given it is durable from the first checkpoint on (`Recording._publish`), until
    which a power cut would lose all that was computed anyway; what is left of it then is no run
    (`Parts.begun`). A kill loses nothing.
    """
    temporary = parts.folder / ".tmp-start.h5"
    if isinstance(data, Given):
        size = sum(array.nbytes for array in data.arrays.values())
    else:
        size = data.path.stat().st_size

    def fill(file: hdf5.File, _: Followed) -> None:
        parameters = schema.write_head(file, config, provenance, start, mass_varies)
        if isinstance(data, Given):
            data.write(parameters)
            return
        copy_data(data.parameters, parameters, data.data_sha256)
        if data.identity:
            hdf5.write_json(parameters, IDENTITY, data.identity)

    synced = not isinstance(data, Given)
    write_hdf5(temporary, size + 2 * start.theta.nbytes, fill, synced=synced)
    os.replace(temporary, parts.start)


def publish(parts: Parts, head: Head, pieces: Pieces, memory: dict[str, Any], final: dict[str, Any],
            checkpoint: str, guard: Callable[[], None] | None = None, given: Given | None = None) -> None:  # fmt: skip
    """Merge into a temporary file, read it back and compare it to the bit, rename. A frame and its
    copy are in memory at a time.

    pieces: frames, series and events, of the segments or still in memory. final: {"status",
    "summary"}; checkpoint: the name of the last one, or the mark of start.h5, by which the parts of
    a file can be recognised when the process is killed between the renaming and the removal of the
    parts. guard: called before the renaming, which what it raises prevents. given: what start.h5 need not
    be opened for.
    """
    config, start, mass_varies, provenance = head
    born = replaces(config)
    rows = (mass_varies + born) * 8 * start.m  # of a frame: masses, ids
    needed = (pieces.frames + 2) * start.theta.nbytes + pieces.frames * rows
    needed += schema.EVENT_BYTES * pieces.events
    check_space(needed, parts.folder, "merging the parts")
    merged = parts.folder / ".tmp-merged.h5"
    size = needed + 24 * sum(pieces.counts.values()) + size_of(memory)

    with _data_of(parts, given) as (sums, write_data_of):
        size += parts.start.stat().st_size

        def verify(image: bytes | None, layout: Layout | None) -> None:
            same = image is None or begins_with(merged, image)
            if same and image and layout and holds_again(layout, image, head, pieces, sums):
                return
            with hdf5.open_hdf5(merged) as again, hdf5.reading(merged):
                same = same and checksums(again["parameters"]) == sums
                same = same and hdf5.names_of(again, "observables") == pieces.aligned()
                same = same and holds_content(again, head, pieces, image)
                if same and image and layout:
                    layout.learn(again, image, content_names(head, pieces), sums)
            if not same:
                raise IncompatibleFile(
                    f"the merged file differs from the parts in {parts.folder}, which are kept."
                )

        def fill(file: hdf5.File, scratch: Followed) -> None:
            parameters = schema.write_head(file, config, provenance, start, mass_varies)
            write_data_of(parameters)
            hdf5.set_values(parameters, status=final["status"], checkpoint=checkpoint)
            hdf5.write_json(parameters, "summary", final["summary"])
            write_memory(hdf5.new_group(parameters, "checkpoint"), memory)
            rest = partial(fill_the_rest, file, scratch)
            schema.write_frames(file, pieces, start, mass_varies, scratch.check, rest)

        def fill_the_rest(file: hdf5.File, scratch: Followed, frames: hdf5.Dataset) -> None:
            hdf5.new_group(file, "series")
            for name in sorted(pieces.counts):
                schema.write_series(file, name, *pieces.series(name))
            if pieces.events:
                schema.write_events(file, pieces.events, pieces.event_blocks())
            clock, ids = pieces.clock(), None
            if born:
                columns = {name: pieces.event_column(name) for name in schema.EVENT_COLUMNS}
                ids = Genealogy(columns, start.m).ids(clock[0])
            schema.write_views(file, config, start, clock, pieces.aligned(), mass_varies, ids)
            leave_for_last(file, frames, scratch)

        write_hdf5(merged, size, fill, verify)
    try:
        if guard is not None:
            guard()
        move(merged, parts.final)
    except BaseException:
        merged.unlink(missing_ok=True)
        raise


@contextmanager
def _data_of(
    parts: Parts, given: Given | None
) -> Iterator[tuple[dict[str, str], Callable[[hdf5.Group], None]]]:
    """The sha256 of a run's data, and what writes them and its formulas into /parameters."""
    if given is not None:
        check_seal(parts.start)
        yield given.sums, given.write
        return

    with hdf5.open_hdf5(parts.start) as began:
        with hdf5.reading(parts.start):
            there = began["parameters"]
            sums = checksums(there)

        def copy(parameters: hdf5.Group) -> None:
            with hdf5.reading(parts.start):
                copy_data(there, parameters, sums)
                if IDENTITY in there:
                    hdf5.write_json(parameters, IDENTITY, hdf5.read_json(there, IDENTITY))

        yield sums, copy
