"""The HDF5 layout of a run (H5MD 1.1, de Buyl et al., Comput. Phys. Commun. 185 (2014) 1546): how
each group is written and read.

Segments, checkpoints and the finished file are cut from the same groups, so one reader serves all;
the table of the schema is in the docstring of `Trajectory`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..columns import Columns
from ..scaling import TIME_UNIT
from ..state import State
from .durable import IncompatibleFile, InUse, canonical_json

Dataset, File, Group = h5py.Dataset, h5py.File, h5py.Group  # for the modules that pass these on
SCALAR = h5py.h5s.create(h5py.h5s.SCALAR)

SCHEMA_VERSION = 1
# readers of any minor version read all of them; what each added is in the docstring of Trajectory
SCHEMA_MINOR = 2
# bytes: HDF5 refuses more than 64 KB; what would be longer is a dataset of that name
LARGEST_ATTRIBUTE = 1 << 12
# bytes: small frames are written and read by so many, for a call into HDF5 takes 0.05 ms
AT_ONCE = 1 << 18
# a chunk is a frame, or rows of one: HDF5 allows 4 GB, and a reader holds one in memory
LARGEST_CHUNK = 1 << 27
CHECKSUM = 4  # bytes that HDF5 puts behind a chunk
KEPT = 1 << 20  # bytes: chunks that every version of HDF5 keeps while they are written in pieces
SLOTS = 521  # of its table of them
HARMLESS = 1 << 20  # bytes: less is read without a look at what the file can hold
DAMAGE = (
    OSError,
    LookupError,
    RuntimeError,
    AttributeError,
    TypeError,
    ValueError,
    OverflowError,
)  # fmt: skip  what h5py and JSON raise of files that are not as we write them
SETTINGS = "settings_sha256"  # of /parameters
POSITION = "particles/units/position"
EVENT_COLUMNS: dict[str, np.dtype[Any]] = {
    "step": np.dtype(np.int64), "time": np.dtype(np.float64), "kind": np.dtype(np.uint8), "neuron": np.dtype(np.int32),
    "other": np.dtype(np.int32), "value": np.dtype(np.float64),
}  # fmt: skip
EVENT_BYTES = sum(dtype.itemsize for dtype in EVENT_COLUMNS.values())  # of a row


def open_hdf5(path: Path) -> h5py.File:
    """Open for reading, as a bare h5py.File(path) would: HDF5 refuses one file with two settings in
    one process.
    """
    try:
        return h5py.File(path, "r")
    except FileNotFoundError:
        raise
    except BlockingIOError as error:
        raise InUse(
            f"{path} is open for writing in another process; wait until it is closed."
        ) from error
    except OSError as error:
        if not os.access(path, os.R_OK):
            raise
        raise IncompatibleFile(
            f"{path} is not a readable HDF5 file, or a truncated one ({_short(error)})."
        ) from error


def check_schema(file: h5py.File, path: Path) -> None:
    """Raise unless the file is one of ours, of a version that this code knows."""
    with reading(path):
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


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say which file is damaged when a checksum fails, or a group is missing, inside HDF5, or when
    what is there is of another kind or shape.
    """
    try:
        yield
    except (FileNotFoundError, IncompatibleFile, InUse):
        raise
    except DAMAGE as error:
        raise IncompatibleFile(f"{path} is damaged: {_short(error)}.") from error


def _short(error: BaseException) -> str:
    return str(error).split("\n")[0].strip("'\". ")


def ascii_text(text: str) -> bytes:
    """With JSON's escapes for what is not ASCII: Octave stops at the first text in UTF-8, and loses
    all that follows.
    """
    return (text if text.isascii() else json.dumps(text)[1:-1]).encode("ascii")


def fixed_length(text: str | list[str]) -> np.ndarray:
    """Texts as a file holds them."""
    encoded = ascii_text(text) if isinstance(text, str) else [ascii_text(item) for item in text]
    width = max(map(len, [encoded] if isinstance(encoded, bytes) else encoded))
    return np.array(encoded, dtype=f"S{max(width, 1)}")


def write_text(group: h5py.Group, name: str, text: str | list[str]) -> None:
    """A scalar fixed-length string, or an array of them (an attribute could not hold more than 64
    KB).
    """
    array = fixed_length(text)
    space = _space(array.shape) if array.ndim else SCALAR
    kind = _type(array.dtype)
    dataset = h5py.h5d.create(group.id, name.encode(), kind, space, _layout(()))
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, array, mtype=kind)


def read_json(group: h5py.Group, name: str) -> Any:
    return json.loads(whole(group[name]))


def whole(dataset: h5py.Dataset) -> Any:
    """All of a dataset, after `check_size`."""
    check_size(dataset.id)
    return dataset[()]


def check_size(dataset: h5py.h5d.DatasetID) -> None:
    """Raise before memory is taken for more than the file can hold: what we write is not compressed."""
    claimed = math.prod(dataset.shape) * dataset.dtype.itemsize
    if claimed < HARMLESS:
        return
    file = h5py.h5i.get_file_id(dataset)
    if claimed > file.get_filesize():
        raise IncompatibleFile(
            f"{os.fsdecode(file.name)} is damaged: {h5py.h5i.get_name(dataset).decode()} claims "
            f"{claimed:.3g} bytes, and the file has {file.get_filesize()}."
        )


def new_group(place: h5py.Group, name: str) -> h5py.Group:
    """A group, with those that lead to it."""
    encoded = name.encode()
    return h5py.Group(h5py.h5g.create(place.id, encoded, lcpl=_linked(encoded)))


def set_values(place: h5py.Group | h5py.Dataset, **values: Any) -> None:
    """Attributes: numbers, texts, or arrays of either."""
    for name, value in values.items():
        array = fixed_length(value) if isinstance(value, (str, list)) else np.asarray(value)
        space = _space(array.shape) if array.ndim else SCALAR
        kind = _type(array.dtype)
        h5py.h5a.create(place.id, name.encode(), kind, space).write(array, mtype=kind)


def set_text_of_any_length(group: h5py.Group, name: str, text: str | list[str]) -> None:
    """An attribute where it is short, else a dataset of that name."""
    if fixed_length(text).nbytes <= LARGEST_ATTRIBUTE:
        set_values(group, **{name: text})
    else:
        write_text(group, name, text)


def texts_of(group: h5py.Group, name: str) -> dict[str, str]:
    """The attribute of that name, a text, of all that is in a group; by their names, in order."""
    found = {}
    for member in sorted(group.id):
        attribute = h5py.h5a.open(group.id, name.encode(), obj_name=member)
        text = np.empty(attribute.shape, attribute.dtype)
        attribute.read(text)
        found[member.decode()] = text.item().decode()
    return found


def get_text(attributes: h5py.AttributeManager, name: str) -> str:
    value = attributes[name]
    return value.decode() if isinstance(value, bytes) else str(value)


def _new(
    group: h5py.Group, name: str, shape: tuple[int, ...], dtype: Any, in_pieces: bool = False
) -> h5py.h5d.DatasetID:
    """A checksummed array in chunks of one index of the leading axis (of a frame, or of rows where
    that is too large).
    """
    item = np.dtype(dtype).itemsize
    chunk: tuple[int, ...] = ()
    if len(shape) and math.prod(shape):
        rest = shape[1:] if len(shape) > 2 else shape
        rows = max(1, min(rest[0], LARGEST_CHUNK // (item * math.prod(rest[1:]))))
        rows = math.ceil(rest[0] / math.ceil(rest[0] / rows))
        chunk = (1,) * (len(shape) > 2) + (rows, *rest[1:])
    space = _space(tuple(shape)) if len(shape) else SCALAR
    access = _keeping(item * math.prod(chunk)) if in_pieces and len(shape) < 3 else None
    name_, kind = name.encode(), _type(np.dtype(dtype))
    return h5py.h5d.create(group.id, name_, kind, space, _layout(chunk), dapl=access)


# Each identifier of HDF5 is an object of h5py, with a weak reference that h5py keeps count of: what
# many datasets have in common is made once.
@lru_cache(256)
def _space(shape: tuple[int, ...]) -> h5py.h5s.SpaceID:
    return h5py.h5s.create_simple(shape)


@lru_cache(256)
def _type(dtype: np.dtype) -> h5py.h5t.TypeID:
    return h5py.h5t.py_create(dtype, logical=True)


@cache
def _links(characters: int) -> h5py.h5p.PropLCID:
    options = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    options.set_char_encoding(characters)
    options.set_create_intermediate_group(True)
    return options


def _linked(name: bytes) -> h5py.h5p.PropLCID:
    """How a link says in which characters its name is."""
    return _links(h5py.h5t.CSET_ASCII if name.isascii() else h5py.h5t.CSET_UTF8)


@lru_cache(64)
def _layout(chunk: tuple[int, ...]) -> h5py.h5p.PropDCID:
    """How a dataset is laid out, without the date that HDF5 gives it; contiguous without a chunk.

    Kept, and used without h5py's layer, of which a file of fifty short arrays would see little else.
    """
    options = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    options.set_obj_track_times(False)
    if chunk:
        options.set_chunk(chunk)
        options.set_fletcher32()
    return options


@lru_cache(64)
def _keeping(size: int) -> h5py.h5p.PropDAID | None:
    """For an array whose chunks, of so many bytes, are written in pieces: HDF5 keeps the one at hand.
    Otherwise it would read and write all of it for each piece.
    """
    if size <= KEPT:
        return None
    options = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
    options.set_chunk_cache(SLOTS, size, 0.75)
    return options


def write_absent(group: h5py.Group, name: str, dtype: np.dtype) -> h5py.Dataset:
    """A dataset without elements, to carry attributes."""
    return group.create_dataset(name, data=h5py.Empty(dtype))


def new_array(group: h5py.Group, name: str, shape: tuple[int, ...], dtype: Any) -> h5py.Dataset:
    """An array that is written in pieces (`write_rows`)."""
    return h5py.Dataset(_new(group, name, shape, dtype, in_pieces=True))


def write_array(group: h5py.Group, name: str, array: np.ndarray) -> h5py.h5d.DatasetID:
    dataset = _new(group, name, array.shape, array.dtype)
    if array.size:
        whole, kind = h5py.h5s.ALL, _type(array.dtype)
        dataset.write(whole, whole, np.ascontiguousarray(array), mtype=kind)
    return dataset


def dataset(file: h5py.File, path: str) -> h5py.h5d.DatasetID:
    return h5py.h5d.open(file.id, path.encode())


def length(file: h5py.File, path: str) -> int:
    """Of the dataset of that path, which has one axis."""
    (found,) = dataset(file, path).shape
    return int(found)


def stored(dataset: h5py.h5d.DatasetID, corner: tuple[int, ...]) -> memoryview:
    """The bytes of the chunk at a corner, as they lie in the file, without its checksum."""
    return memoryview(dataset.read_direct_chunk(corner)[1])[:-CHECKSUM]


def names_of(file: h5py.File, group: str) -> list[str]:
    """What is in a group, in order."""
    return sorted(name.decode() for name in h5py.h5g.open(file.id, group.encode()))


def read_array(file: h5py.File, path: str) -> np.ndarray:
    """All of the dataset of that path."""
    found = dataset(file, path)
    check_size(found)
    array = np.empty(found.shape, found.dtype)
    if array.size:
        found.read(h5py.h5s.ALL, h5py.h5s.ALL, array, mtype=_type(array.dtype))
    return array


def write_head(
    file: h5py.File,
    config: dict[str, Any],
    provenance: dict[str, Any],
    start: State,
    mass_varies: bool,
) -> h5py.Group:
    """/h5md and /parameters but for the data: what is known before the first step."""
    h5md = new_group(file, "h5md")
    set_values(h5md, version=np.array([1, 1], dtype=np.int32))
    set_values(new_group(h5md, "author"), name=str(provenance.get("author", "unknown")))
    version = str(provenance.get("versions", {}).get("meanfield", "unknown"))
    set_values(new_group(h5md, "creator"), name="meanfield", version=version)
    parameters = new_group(file, "parameters")
    set_values(parameters, schema_version=SCHEMA_VERSION, schema_minor=SCHEMA_MINOR)
    # h5py makes a bool an enumeration, which netCDF4 leaves out
    set_values(parameters, mass_varies=int(mass_varies))
    write_text(parameters, "config", canonical_json(config))
    set_values(parameters, **{SETTINGS: settings_sha256(config, start, mass_varies)})
    write_text(parameters, "provenance", canonical_json(provenance))
    group = new_group(parameters, "start")
    set_values(group, outputs=start.outputs, step=start.step, t=start.t)
    write_array(group, "theta", start.theta)
    write_array(group, "mass", start.mass)
    if start.columns is not None:
        write_text(group, "columns", canonical_json(start.columns.to_dict()))
    # of a centred network that goes on from another run
    if start.start is not None and start.start.theta is not start.theta:
        write_array(group, "theta_of_f0", start.start.theta)
        write_array(group, "mass_of_f0", start.start.mass)
    return parameters


def settings_sha256(config: dict[str, Any], start: State, mass_varies: bool) -> str:
    """Of what a run can be made again from, but for its arrays, which have checksums of their own."""
    settings = [config, start.outputs, start.step, start.t, bool(mass_varies)]
    return hashlib.sha256(canonical_json(settings).encode()).hexdigest()


def read_mass(group: h5py.Group) -> np.ndarray:
    """The masses of the start, (m,)."""
    found = whole(group["mass"])
    if not isinstance(found, np.ndarray) or found.ndim != 1 or found.dtype.kind != "f":
        raise ValueError("the masses of its start are not an array (m,) of numbers")
    return found


def read_start(group: h5py.Group, origin: Any) -> State:
    outputs, step, t = (group.attrs[name].item() for name in ("outputs", "step", "t"))
    columns = Columns.from_dict(read_json(group, "columns")) if "columns" in group else None
    began = None
    if "theta_of_f0" in group:
        earlier = whole(group["theta_of_f0"]), outputs, whole(group["mass_of_f0"]), 0, 0.0
        began = State.trusted(*earlier, columns=columns)
    theta, mass = whole(group["theta"]), read_mass(group)
    if theta.ndim != 2 or mass.shape != theta.shape[:1] or theta.dtype.kind != "f":
        raise ValueError(
            f"theta {theta.shape} {theta.dtype} and masses {mass.shape} {mass.dtype} are no start"
        )
    if outputs < 0 or (columns is None and outputs and theta.shape[1] < outputs + 2):
        raise ValueError(f"theta {theta.shape} has not the columns of {outputs} outputs")
    return State.trusted(theta, outputs, mass, step, t, origin, columns, began)


def write_frames(file: h5py.File, frames: Any, start: State, mass_varies: bool,
                 check: Callable[[], None]) -> None:  # fmt: skip
    """/particles/units/position, and mass where it varies: explicit step and time; one frame, or
    some small ones, at a time. frames: the Pieces they are in.
    """
    count, clock = frames.frames, frames.clock()
    shapes = {"position": (start.theta.shape, start.theta.dtype)}
    if mass_varies:
        shapes["mass"] = ((start.m,), np.dtype(np.float64))
    for name, (shape, dtype) in shapes.items():
        group = new_group(file, f"particles/units/{name}")
        value = new_array(group, "value", (count, *shape), dtype)
        together, first = at_once(dtype.itemsize * math.prod(shape)), 0
        while first < count:
            block = frames.frames_from(first, f"particles/units/{name}/value", together)
            write_rows(value, first, block)
            first += len(block)
            check()
        _write_clock(group, *clock)


def write_rows(array: h5py.Dataset, first: int, block: np.ndarray) -> None:
    """array[first : first + len(block)] = block."""
    block = np.ascontiguousarray(block)
    here = _rows(array.shape, first, block)
    array.id.write(_space(block.shape), here, block, mtype=_type(block.dtype))


def read_rows(dataset: h5py.h5d.DatasetID, first: int, like: np.ndarray) -> np.ndarray:
    """As many rows from the first one on as an array of the same dtype has."""
    found = np.empty(like.shape, like.dtype)
    here = _rows(dataset.shape, first, found)
    dataset.read(_space(found.shape), here, found, mtype=_type(found.dtype))
    return found


def _rows(shape: tuple[int, ...], first: int, block: np.ndarray) -> h5py.h5s.SpaceID:
    here = h5py.h5s.create_simple(shape)
    here.select_hyperslab((first,) + (0,) * (block.ndim - 1), block.shape)
    return here


def at_once(size: int) -> int:
    """How many frames of this size in bytes are moved in one call: one unless they are small."""
    return max(1, AT_ONCE // max(1, size))


def _write_clock(group: h5py.Group, steps: np.ndarray, times: np.ndarray) -> None:
    """Of its own: H5MD advises to link equal clocks, and readers that follow no links then find a
    value without its time.
    """
    write_array(group, "step", steps)
    write_array(group, "time", times)


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
    file: h5py.File, name: str, steps: np.ndarray, times: np.ndarray, values: np.ndarray
) -> None:
    group = new_group(file, f"series/{name}")
    _write_clock(group, steps, times)
    write_array(group, "value", values)


def write_events(file: h5py.File, count: int, blocks: Iterable[dict[str, np.ndarray]]) -> None:
    """/events: the columns of `count` rows, one block of them in memory at a time."""
    group = new_group(file, "events")
    columns = {
        name: new_array(group, name, (count,), dtype) for name, dtype in EVENT_COLUMNS.items()
    }
    done = 0
    for rows in blocks:
        for name, column in columns.items():
            write_rows(column, done, rows[name])
        done += len(rows["step"])


def write_views(
    file: h5py.File,
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
    units = file["particles/units"]
    m, p = start.theta.shape
    names = start.labels
    write_text(units, "columns", names)
    if len(text := " ".join(names)) <= LARGEST_ATTRIBUTE:
        set_values(units, columns=text)
    set_values(units, outputs=start.outputs)
    scaling = (config.get("network") or {}).get("scaling")
    if scaling is not None:
        gamma, alpha = float(scaling["gamma"]), float(scaling["alpha"])
        set_values(units, gamma=gamma, alpha=alpha, time_unit=TIME_UNIT)
    _write_ids(units, m, ids, clock)
    if not mass_varies:
        write_array(units, "mass", start.mass)
    _write_box(units, p)
    if p >= 3:
        # a0 w0 w1, or a0 w0 b when d = 1
        neurons = start.outputs and start.columns is None
        chosen = [0, start.outputs, start.outputs + 1] if neurons else [0, 1, 2]
        _write_view(file, [names[j] for j in chosen], chosen, clock)
    observables, series = new_group(file, "observables").id, file["series"].id
    for name in map(str.encode, aligned):
        observables.links.create_hard(name, series, name, lcpl=_linked(name))


def _write_ids(
    units: h5py.Group,
    m: int,
    ids: Iterable[np.ndarray] | None,
    clock: tuple[np.ndarray, np.ndarray],
) -> None:
    if ids is None:
        write_array(units, "id", np.arange(m))
        return
    group = new_group(units, "id")
    value = new_array(group, "value", (len(clock[0]), m), np.int64)
    for number, row in enumerate(ids):
        write_rows(value, number, row[None])
    _write_clock(group, *clock)


def _write_box(group: h5py.Group, dimension: int) -> None:
    box = new_group(group, "box")
    set_values(box, dimension=dimension)
    set_text_of_any_length(box, "boundary", ["none"] * dimension)


def _write_view(
    file: h5py.File, names: list[str], chosen: list[int], clock: tuple[np.ndarray, np.ndarray]
) -> None:
    """/particles/trajectory: sorts before `units`, so that readers which take the first group get
    three dimensions.
    """
    source = file[POSITION]["value"]
    frames, m, p = source.shape
    group = new_group(file, "particles/trajectory")
    set_values(group, columns=" ".join(names))
    _write_box(group, 3)
    position = new_group(group, "position")
    options = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    # the reason for not using h5py.VirtualLayout, which dates what it makes
    options.set_obj_track_times(False)
    # what is seen by readers that do not follow the source: never zeros
    options.set_fill_value(np.array(np.nan, source.dtype))
    space = h5py.h5s.create_simple((frames, m, 3))
    for j, column in enumerate(chosen if frames else []):
        here, there = h5py.h5s.create_simple((frames, m, 3)), h5py.h5s.create_simple((frames, m, p))
        here.select_hyperslab((0, 0, j), (frames, m, 1))
        there.select_hyperslab((0, 0, column), (frames, m, 1))
        options.set_virtual(here, b".", f"/{POSITION}/value".encode(), there)
    h5py.h5d.create(position.id, b"value", source.id.get_type(), space, dcpl=options)
    _write_clock(position, *clock)
