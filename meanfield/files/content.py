"""The content of a run: what belongs to it whatever wrote it, when, where and in which files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from . import schema
from .durable import canonical_json, feed
from .pieces import Pieces, SeriesData

if TYPE_CHECKING:
    from .trajectory import Trajectory


def content_hash(run: Trajectory, mass: np.ndarray, pieces: Pieces) -> str:
    """See Trajectory.content_hash. mass: of its start; pieces: what it is read from."""
    digest = hashlib.sha256()
    for name, item in _content(run, mass, pieces):
        if isinstance(item, str):
            digest.update(f"{name} {item}\n".encode())
        else:
            feed(digest, name, item)
    return digest.hexdigest()


def _content(
    run: Trajectory, mass: np.ndarray, pieces: Pieces
) -> Iterator[tuple[str, str | np.ndarray]]:
    """(name, text or array) of all that belongs to the run itself, in a fixed order."""
    yield "meanfield", f"{schema.SCHEMA_VERSION}\n{canonical_json(run.config)}"
    for name, checksum in run.data_sha256.items():
        yield f"data {name}", checksum
    yield "id", np.arange(mass.size)
    yield "step", run.steps
    yield "time", run.times
    if not run.mass_varies:
        yield "mass", mass
    for frame in run:
        yield "position", frame.theta
        if run.mass_varies:
            yield "mass", frame.mass
    yield "observables", " ".join(run.aligned())
    for name in run.series_names:
        for kind, column in zip(SeriesData._fields, run.series(name), strict=True):
            yield f"{name} {kind}", column
    # runs of before events keep their hash
    for name in schema.EVENT_COLUMNS if run.event_count else ():
        yield f"events {name}", pieces.event_column(name)
