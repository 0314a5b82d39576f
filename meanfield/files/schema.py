"""The HDF5 layout of a run (H5MD 1.1, de Buyl et al., Comput. Phys. Commun. 185 (2014) 1546): how
each group is written and read.

Segments, checkpoints and the finished file are cut from the same groups, so one reader serves all;
the table of the schema is in the docstring of `Trajectory`.
"""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..columns import Columns
from ..scaling import TIME_UNIT
from ..state import State
from . import hdf5
from .durable import IncompatibleFile, canonical_json
from .hdf5 import Dataset, File, Group

SCHEMA_VERSION = 1
# readers of any minor version read all of them; what each added is in the docstring of Trajectory
SCHEMA_MINOR = 2
SETTINGS = "settings_sha256"  # of /parameters
POSITION = "particles/units/position"
EVENT_COLUMNS: dict[str, np.dtype[Any]] = {
    "step": np.dtype(np.int64), "time": np.dtype(np.float64), "kind": np.dtype(np.uint8), "neuron": np.dtype(np.int32),
    "other": np.dtype(np.int32), "value": np.dtype(np.float64),
}  # fmt: skip
EVENT_BYTES = sum(dtype.itemsize for dtype in EVENT_COLUMNS.values())  # of a row


def check_schema(file: File, path: Path) -> None:
    """Raise unless the file is one of ours, of a version that this code knows."""
    with hdf5.reading(path):
        parameters = file.get("parameters")
        found = ", ".join(sorted(file)) or "nothing"
        said = None if parameters is None else parameters.attrs.get("schema_version")
        version = 0 if said is None else int(said)
    if version == 0 or "h5md" not in found.split(", "):
        raise IncompatibleFile(
            f"{path} is HDF5, but not a run of meanfield: it holds {found}; expected "
            "h5md, particles, parameters."
        )
    if version > SCHEMA_VERSION:
        raise IncompatibleFile(
            f"{path} has schema version {version}; this meanfield reads up to "
            f"{SCHEMA_VERSION}: install a newer one."
        )


def write_head(
    file: File,
    config: dict[str, Any],
    provenance: dict[str, Any],
    start: State,
    mass_varies: bool,
) -> Group:
    """/h5md and /parameters but for the data: what is known before the first step."""
    h5md = hdf5.new_group(file, "h5md")
    hdf5.set_values(h5md, version=np.array([1, 1], dtype=np.int32))
    hdf5.set_values(hdf5.new_group(h5md, "author"), name=str(provenance.get("author", "unknown")))
    version = str(provenance.get("versions", {}).get("meanfield", "unknown"))
    hdf5.set_values(hdf5.new_group(h5md, "creator"), name="meanfield", version=version)
    parameters = hdf5.new_group(file, "parameters")
    hdf5.set_values(parameters, schema_version=SCHEMA_VERSION, schema_minor=SCHEMA_MINOR)
    # h5py makes a bool an enumeration, which netCDF4 leaves out
    hdf5.set_values(parameters, mass_varies=int(mass_varies))
    hdf5.write_json(parameters, "config", config)
    hdf5.set_values(parameters, **{SETTINGS: settings_sha256(config, start, mass_varies)})
    hdf5.write_json(parameters, "provenance", provenance)
    group = hdf5.new_group(parameters, "start")
    hdf5.set_values(group, outputs=start.outputs, step=start.step, t=start.t)
    hdf5.write_array(group, "theta", start.theta)
    hdf5.write_array(group, "mass", start.mass)
    if start.columns is not None:
        hdf5.write_json(group, "columns", start.columns.to_dict())
    # of a centred network that goes on from another run
    if start.start is not None and start.start.theta is not start.theta:
        hdf5.write_array(group, "theta_of_f0", start.start.theta)
        hdf5.write_array(group, "mass_of_f0", start.start.mass)
    return parameters


def settings_sha256(config: dict[str, Any], start: State, mass_varies: bool) -> str:
    """Of what a run can be made again from, but for its arrays, which have checksums of their own."""
    settings = [config, start.outputs, start.step, start.t, bool(mass_varies)]
    return hashlib.sha256(canonical_json(settings).encode()).hexdigest()


def read_mass(group: Group) -> np.ndarray:
    """The masses of the start, (m,)."""
    found = hdf5.whole(group["mass"])
    if not isinstance(found, np.ndarray) or found.ndim != 1 or found.dtype.kind != "f":
        raise ValueError("the masses of its start are not an array (m,) of numbers")
    return found


def read_start(group: Group, origin: Any) -> State:
    outputs, step, t = (group.attrs[name].item() for name in ("outputs", "step", "t"))
    columns = Columns.from_dict(hdf5.read_json(group, "columns")) if "columns" in group else None
    began = None
    if "theta_of_f0" in group:
        earlier = hdf5.whole(group["theta_of_f0"]), outputs, hdf5.whole(group["mass_of_f0"]), 0, 0.0
        began = State.trusted(*earlier, columns=columns)
    theta, mass = hdf5.whole(group["theta"]), read_mass(group)
    if theta.ndim != 2 or mass.shape != theta.shape[:1] or theta.dtype.kind != "f":
        raise ValueError(
            f"theta {theta.shape} {theta.dtype} and masses {mass.shape} {mass.dtype} are no start"
        )
    if outputs < 0 or (columns is None and outputs and theta.shape[1] < outputs + 2):
        raise ValueError(f"theta {theta.shape} has not the columns of {outputs} outputs")
    return State.trusted(theta, outputs, mass, step, t, origin, columns, began)


def write_frames(file: File, frames: Any, start: State, mass_varies: bool, check: Callable[[], None],
                 before: Callable[[Dataset], None] | None = None) -> None:  # fmt: skip
    """/particles/units/position, and mass where it varies: explicit step and time; one frame, or
    some small ones, at a time. frames: the Pieces they are in. before: called with the dataset of the
    positions before they are written, which is last.
    """
    shapes = {"mass": ((start.m,), np.dtype(np.float64))} if mass_varies else {}
    shapes["position"] = start.theta.shape, start.theta.dtype
    made = {}
    for name, (shape, dtype) in shapes.items():
        group = hdf5.new_group(file, f"particles/units/{name}")
        made[name] = hdf5.new_array(group, "value", (frames.frames, *shape), dtype)
        _write_clock(group, *frames.clock())
    for name, (shape, dtype) in shapes.items():
        if name == "position" and before is not None:
            before(made[name])
        together, first = hdf5.at_once(dtype.itemsize * math.prod(shape)), 0
        while first < frames.frames:
            block = frames.frames_from(first, f"particles/units/{name}/value", together)
            hdf5.write_rows(made[name], first, block)
            first += len(block)
            check()


def _write_clock(group: Group, steps: np.ndarray, times: np.ndarray) -> None:
    """Of its own: H5MD advises to link equal clocks, and readers that follow no links then find a
    value without its time.
    """
    hdf5.write_array(group, "step", steps)
    hdf5.write_array(group, "time", times)


def check_series_name(name: Any) -> None:
    """Raise for what cannot be the name of an HDF5 group and of a column: ".", "a/b", "", NUL."""
    if not isinstance(name, str):
        raise TypeError(f"the name of a series must be a string; got {name!r}.")
    printable = all(unicodedata.category(character)[0] != "C" for character in name)
    if "/" in name:
        raise ValueError(f"a series needs a name without a slash; got {name!r}.")
    if name in ("", ".", "..") or name != name.strip() or not printable:
        raise ValueError(
            'a series is a group of the HDF5 file and needs a name: not empty, not "." or "..", '
            f"without spaces at its ends and control characters; got {name!r}."
        )


def write_series(
    file: File, name: str, steps: np.ndarray, times: np.ndarray, values: np.ndarray
) -> None:
    group = hdf5.new_group(file, f"series/{name}")
    _write_clock(group, steps, times)
    hdf5.write_array(group, "value", values)


def write_events(file: File, count: int, blocks: Iterable[dict[str, np.ndarray]]) -> None:
    """/events: the columns of `count` rows, one block of them in memory at a time."""
    group = hdf5.new_group(file, "events")
    columns = {
        name: hdf5.new_array(group, name, (count,), dtype) for name, dtype in EVENT_COLUMNS.items()
    }
    done = 0
    for rows in blocks:
        for name, column in columns.items():
            hdf5.write_rows(column, done, rows[name])
        done += len(rows["step"])


def write_views(
    file: File,
    config: dict[str, Any],
    start: State,
    clock: tuple[np.ndarray, np.ndarray],
    aligned: Sequence[str],
    mass_varies: bool,
    ids: Iterable[np.ndarray] | None = None,
) -> None:
    """What other programs look for: id, mass, boxes, the 3-D view, frame-aligned observables
    (links, no second copy). clock: steps and times of the frames; ids: of each, where they change.
    """
    units = hdf5.member(file, "particles/units")
    m, p = start.theta.shape
    names = start.labels
    hdf5.write_text(units, "columns", names)
    if len(text := " ".join(names)) <= hdf5.LARGEST_ATTRIBUTE:
        hdf5.set_values(units, columns=text)
    hdf5.set_values(units, outputs=start.outputs)
    scaling = (config.get("network") or {}).get("scaling")
    if scaling is not None:
        gamma, alpha = float(scaling["gamma"]), float(scaling["alpha"])
        hdf5.set_values(units, gamma=gamma, alpha=alpha, time_unit=TIME_UNIT)
    _write_ids(units, m, ids, clock)
    if not mass_varies:
        hdf5.write_array(units, "mass", start.mass)
    _write_box(units, p)
    if p >= 3:
        # a0 w0 w1, or a0 w0 b when d = 1
        neurons = start.outputs and start.columns is None
        chosen = [0, start.outputs, start.outputs + 1] if neurons else [0, 1, 2]
        _write_view(file, [names[j] for j in chosen], chosen, clock)
    hdf5.link(hdf5.new_group(file, "observables"), hdf5.member(file, "series"), aligned)


def _write_ids(
    units: Group,
    m: int,
    ids: Iterable[np.ndarray] | None,
    clock: tuple[np.ndarray, np.ndarray],
) -> None:
    if ids is None:
        hdf5.write_array(units, "id", np.arange(m))
        return
    group = hdf5.new_group(units, "id")
    value = hdf5.new_array(group, "value", (len(clock[0]), m), np.int64)
    for number, row in enumerate(ids):
        hdf5.write_rows(value, number, row[None])
    _write_clock(group, *clock)


def _write_box(group: Group, dimension: int) -> None:
    box = hdf5.new_group(group, "box")
    hdf5.set_values(box, dimension=dimension)
    hdf5.set_text_of_any_length(box, "boundary", ["none"] * dimension)


def _write_view(
    file: File, names: list[str], chosen: list[int], clock: tuple[np.ndarray, np.ndarray]
) -> None:
    """/particles/trajectory: sorts before `units`, so that readers which take the first group get
    three dimensions.
    """
    group = hdf5.new_group(file, "particles/trajectory")
    hdf5.set_values(group, columns=" ".join(names))
    _write_box(group, 3)
    position = hdf5.new_group(group, "position")
    hdf5.write_columns_of(position, "value", hdf5.member(file, f"{POSITION}/value"), chosen)
    _write_clock(position, *clock)
