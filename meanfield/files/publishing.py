"""Publishing: the parts of a run that has ended become one verified file under its final name."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from ..state import State
from . import schema
from .durable import IncompatibleFile, canonical_json, check_space, move
from .memory import write_memory
from .new_files import new_hdf5
from .parts import Parts
from .pieces import Buffer
from .stored_data import write_data
from .trajectory import IDENTITY, Trajectory


def write_start(parts: Parts, config: dict[str, Any], provenance: dict[str, Any], start: State, mass_varies: bool,
                data: dict[str, np.ndarray] | Trajectory, identity: dict[str, Any] | None = None) -> None:  # fmt: skip
    """start.h5: from now on the run exists. data: the arrays, or the run that has them and its
    identity.

    Its content is durable before it has its name; the name itself with the first checkpoint, until
    which a power cut would lose all that was computed anyway. (A kill loses neither.)
    """
    temporary = parts.folder / ".tmp-start.h5"
    if isinstance(data, dict):
        size = sum(array.nbytes for array in data.values())
    else:
        size = data.path.stat().st_size
    with new_hdf5(temporary, size + 2 * start.theta.nbytes) as (file, _):
        parameters = schema.write_head(file, config, provenance, start, mass_varies)
        if isinstance(data, dict):
            write_data(parameters, data)
            if identity:
                schema.write_text(parameters, IDENTITY, canonical_json(identity))
        else:
            data.copy("data", parameters)
            data.copy(IDENTITY, parameters)
    os.replace(temporary, parts.start)


def publish(parts: Parts, provenance: dict[str, Any], start: State, memory: dict[str, Any], final: dict[str, Any],
            checkpoint: str, held: Buffer, guard: Callable[[], None] | None = None) -> None:  # fmt: skip
    """Merge into a temporary file, read it back and compare it to the bit, rename. A frame and its
    copy are in memory at a time.

    final: {"status", "summary"}; checkpoint: the name of the last one, or the mark of start.h5, by
    which the parts of a file can be recognised when the process is killed between the renaming and
    the removal of the parts. held: what is still in memory, of the last segment, or of a run that
    has none. guard: called before the renaming, which what it raises prevents.
    """
    with Trajectory(parts.folder) as run:
        if held:
            run.hold(held)
        rows = (run.mass_varies + run.replaces) * 8 * start.m  # of a frame: masses, ids
        needed = (len(run) + 2) * start.theta.nbytes + len(run) * rows
        needed += schema.EVENT_BYTES * run.event_count
        check_space(needed, parts.folder, "merging the parts")
        merged = parts.folder / ".tmp-merged.h5"

        def verify() -> None:
            with Trajectory(merged) as copy:
                if not copy.has_content_of(run):
                    raise IncompatibleFile(
                        f"the merged file differs from the parts in {parts.folder}, which are kept."
                    )

        size = needed + held.bytes + parts.start.stat().st_size
        with new_hdf5(merged, size, verify) as (file, scratch):
            parameters = schema.write_head(file, run.config, provenance, start, run.mass_varies)
            run.copy("data", parameters)
            run.copy(IDENTITY, parameters)
            schema.set_text(parameters.attrs, "status", final["status"])
            schema.set_text(parameters.attrs, "checkpoint", checkpoint)
            schema.write_text(parameters, "summary", canonical_json(final["summary"]))
            write_memory(parameters.create_group("checkpoint"), memory)
            run.write_frames(file, start, scratch.check)
            file.create_group("series")
            for name in run.series_names:
                schema.write_series(file, name, *run.series(name))
            if run.event_count:
                schema.write_events(file, run.event_count, run.event_blocks())
            ids = run.each_ids() if run.replaces else None
            schema.write_views(file, run.config, start, run.aligned(), run.mass_varies, ids)
    try:
        if guard is not None:
            guard()
        move(merged, parts.final)
    except BaseException:
        merged.unlink(missing_ok=True)
        raise
