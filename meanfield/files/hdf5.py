"""HDF5 as the files of runs use it: opening, groups, texts, attributes and arrays.

h5py's own layer is left out where a file of fifty short arrays would see little else.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .durable import IncompatibleFile, InUse, canonical_json

# for the modules that pass these on
Dataset, File, Group = h5py.Dataset, h5py.File, h5py.Group
DatasetID, AttributeID = h5py.h5d.DatasetID, h5py.h5a.AttrID
SCALAR = h5py.h5s.create(h5py.h5s.SCALAR)

# bytes: HDF5 refuses more than 64 KB; what would be longer is a dataset of that name
LARGEST_ATTRIBUTE = 1 << 12
# bytes: small frames are written and read by so many, for a call into HDF5 takes 0.05 ms
AT_ONCE = 1 << 18
# a chunk is a frame, or rows of one: HDF5 allows 4 GB, and a reader holds one in memory
LARGEST_CHUNK = 1 << 27
CHECKSUM = 4  # bytes that HDF5 puts behind a chunk
# characters: JSON is as long as a multiple of them, so that files of runs that are alike have one layout
LENGTHS = 1024
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
        _raise_of_the_disk(path, error)
        raise IncompatibleFile(
            f"{path} is not a readable HDF5 file, or a truncated one ({_short(error)})."
        ) from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say which file is damaged when a checksum fails, or a group is missing, inside HDF5, or when
    what is there is of another kind or shape; OSError where the disk does not let it be read.
    """
    try:
        yield
    except (FileNotFoundError, IncompatibleFile, InUse):
        raise
    except DAMAGE as error:
        _raise_of_the_disk(path, error)
        raise IncompatibleFile(f"{path} is damaged: {_short(error)}.") from error


def _raise_of_the_disk(path: Path, error: BaseException) -> None:
    """OSError where a call to the system has failed: h5py says so in words, of any kind of error."""
    found = re.search(r"\berrno = ([1-9]\d*)", str(error))
    number = int(found[1]) if found else getattr(error, "errno", None)
    if number:
        raise OSError(number, os.strerror(number), str(path)) from error


def _short(error: BaseException) -> str:
    return str(error).split("\n")[0].strip("'\". ")


def _made(place: Any, what: tuple[Any, ...], make: Callable[[], Any]) -> Any:
    """make(), or, in a file that is written again (again.py), what that has made there before."""
    again = getattr(place, "again", None)
    return make() if again is None else again.made((place.id.id, *what), make)


def _as(place: Any, made: Any) -> Any:
    """Written again where the other is."""
    if (again := getattr(place, "again", None)) is not None:
        made.again = again
    return made


def new_group(place: h5py.Group, name: str) -> h5py.Group:
    """A group, with those that lead to it."""

    def make() -> h5py.Group:
        encoded = name.encode()
        made = h5py.Group(h5py.h5g.create(place.id, encoded, lcpl=_linked(encoded)))
        return _as(place, made)

    return _made(place, ("group", name), make)


def member(place: h5py.Group, path: str) -> Any:
    """The group or dataset of that path, which is there."""
    return _made(place, ("member", path), lambda: _as(place, place[path]))


@cache
def _links(characters: int) -> h5py.h5p.PropLCID:
    options = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    options.set_char_encoding(characters)
    options.set_create_intermediate_group(True)
    return options


def _linked(name: bytes) -> h5py.h5p.PropLCID:
    """How a link says in which characters its name is."""
    return _links(h5py.h5t.CSET_ASCII if name.isascii() else h5py.h5t.CSET_UTF8)


def link(group: h5py.Group, source: h5py.Group, names: Sequence[str]) -> None:
    """Members of another group under their own names, too: links, no second copy."""

    def make() -> None:
        for name in map(str.encode, names):
            group.id.links.create_hard(name, source.id, name, lcpl=_linked(name))

    _made(group, ("links", *names), make)


def names_of(file: h5py.File, group: str) -> list[str]:
    """What is in a group, in order."""
    return sorted(name.decode() for name in h5py.h5g.open(file.id, group.encode()))


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
    dataset = _made(
        group,
        ("text", name, array.dtype, array.shape),
        lambda: h5py.h5d.create(group.id, name.encode(), kind, space, _layout(())),
    )
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, array, mtype=kind)


def json_text(value: Any) -> str:
    """As a file holds it: with spaces at its end."""
    text = canonical_json(value)
    return text.ljust(math.ceil(len(text) / LENGTHS) * LENGTHS)


def write_json(group: h5py.Group, name: str, value: Any) -> None:
    write_text(group, name, json_text(value))


def read_json(group: h5py.Group, name: str) -> Any:
    return json.loads(whole(group[name]))


def set_values(place: h5py.Group | h5py.Dataset, **values: Any) -> None:
    """Attributes: numbers, texts, or arrays of either."""
    for name, value in values.items():
        array = fixed_length(value) if isinstance(value, (str, list)) else np.asarray(value)
        space = _space(array.shape) if array.ndim else SCALAR
        kind = _type(array.dtype)
        what = "attribute", name, array.dtype, array.shape
        make = partial(h5py.h5a.create, place.id, name.encode(), kind, space)
        write_attribute(_made(place, what, make), array)


def write_attribute(attribute: h5py.h5a.AttrID, array: np.ndarray) -> None:
    attribute.write(array, mtype=_type(array.dtype))


def read_attribute(attribute: h5py.h5a.AttrID) -> np.ndarray:
    array = np.empty(attribute.shape, attribute.dtype)
    attribute.read(array)
    return array


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
        found[member.decode()] = read_attribute(attribute).item().decode()
    return found


def get_text(attributes: h5py.AttributeManager, name: str) -> str:
    value = attributes[name]
    return value.decode() if isinstance(value, bytes) else str(value)


def new_array(group: h5py.Group, name: str, shape: tuple[int, ...], dtype: Any) -> h5py.Dataset:
    """An array that is written in pieces (`write_rows`)."""
    what = "pieces", name, tuple(shape), np.dtype(dtype)
    return _made(group, what, lambda: h5py.Dataset(_new(group, name, shape, dtype, in_pieces=True)))


def write_array(group: h5py.Group, name: str, array: np.ndarray) -> h5py.h5d.DatasetID:
    what = "array", name, array.shape, array.dtype
    dataset = _made(group, what, lambda: _new(group, name, array.shape, array.dtype))
    if array.size:
        whole, kind = h5py.h5s.ALL, _type(array.dtype)
        dataset.write(whole, whole, np.ascontiguousarray(array), mtype=kind)
    return dataset


def write_absent(group: h5py.Group, name: str, dtype: np.dtype) -> h5py.Dataset:
    """A dataset without elements, to carry attributes."""
    make = partial(group.create_dataset, name, data=h5py.Empty(dtype))
    return _made(group, ("absent", name, dtype), make)


def write_columns_of(group: h5py.Group, name: str, source: h5py.Dataset, chosen: list[int]) -> None:
    """Some columns, those of the last axis, of a (frames, m, p) array of the same file, as a virtual
    one: no second copy.
    """
    what = "columns", name, source.shape, source.dtype, *chosen
    _made(group, what, lambda: _write_columns_of(group, name, source, chosen))


def _write_columns_of(
    group: h5py.Group, name: str, source: h5py.Dataset, chosen: list[int]
) -> None:
    frames, m, p = source.shape
    options = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    # the reason for not using h5py.VirtualLayout, which dates what it makes
    options.set_obj_track_times(False)
    # what is seen by readers that do not follow the source: never zeros
    options.set_fill_value(np.array(np.nan, source.dtype))
    shape = frames, m, len(chosen)
    space = h5py.h5s.create_simple(shape)
    for j, column in enumerate(chosen if frames else []):
        here, there = h5py.h5s.create_simple(shape), h5py.h5s.create_simple((frames, m, p))
        here.select_hyperslab((0, 0, j), (frames, m, 1))
        there.select_hyperslab((0, 0, column), (frames, m, 1))
        options.set_virtual(here, b".", source.name.encode(), there)
    h5py.h5d.create(group.id, name.encode(), source.id.get_type(), space, dcpl=options)


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
    access = _keeping(item * math.prod(chunk) if len(shape) < 3 else 0) if in_pieces else None
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
    Otherwise it would read and write all of it for each piece. 0: they are written whole, and at once,
    while the processor has them at hand.
    """
    if 0 < size <= KEPT:
        return None
    options = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
    options.set_chunk_cache(SLOTS, size, 0.75)
    return options


def dataset(group: h5py.Group, path: str) -> h5py.h5d.DatasetID:
    return h5py.h5d.open(group.id, path.encode())


def length(file: h5py.File, path: str) -> int:
    """Of the dataset of that path, which has one axis."""
    (found,) = dataset(file, path).shape
    return int(found)


def whole(dataset: h5py.Dataset) -> Any:
    """All of a dataset, after `check_size`."""
    check_size(dataset.id)
    return dataset[()]


def read_array(group: h5py.Group, path: str) -> np.ndarray:
    """All of the dataset of that path."""
    found = dataset(group, path)
    check_size(found)
    array = np.empty(found.shape, found.dtype)
    if array.size:
        found.read(h5py.h5s.ALL, h5py.h5s.ALL, array, mtype=_type(array.dtype))
    return array


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


def write_rows(array: h5py.Dataset, first: int, block: np.ndarray) -> None:
    """array[first : first + len(block)] = block."""
    block = np.ascontiguousarray(block)
    here = h5py.h5s.create_simple(array.shape)
    here.select_hyperslab((first,) + (0,) * (block.ndim - 1), block.shape)
    array.id.write(_space(block.shape), here, block, mtype=_type(block.dtype))


def chunk_size(array: h5py.Dataset) -> int:
    """Bytes of a chunk in the file; 0 without chunks."""
    return math.prod(array.chunks) * array.dtype.itemsize + CHECKSUM if array.chunks else 0


def place(array: h5py.Dataset) -> None:
    """Write zeros, with their checksum, by chunks: each has its place from then on."""
    zeros = bytes(chunk_size(array))
    for corner in itertools.product(*map(range, itertools.repeat(0), array.shape, array.chunks)):
        array.id.write_direct_chunk(corner, zeros)


def at_once(size: int) -> int:
    """How many frames of this size in bytes are moved in one call: one unless they are small."""
    return max(1, AT_ONCE // max(1, size))


def stored(dataset: h5py.h5d.DatasetID, corner: tuple[int, ...]) -> memoryview:
    """The bytes of the chunk at a corner, as they lie in the file, without its checksum."""
    return memoryview(dataset.read_direct_chunk(corner)[1])[:-CHECKSUM]


def place_of(dataset: h5py.h5d.DatasetID, corner: tuple[int, ...]) -> tuple[int, int]:
    """Where the chunk at a corner begins in the file, and how many bytes it has, but for its checksum:
    none where it was never written.
    """
    found = dataset.get_chunk_info_by_coord(corner)
    return found.byte_offset or 0, max(0, found.size - CHECKSUM)


def places_of(dataset: h5py.h5d.DatasetID) -> list[tuple[int, int]]:
    """Where its bytes begin in the file and how many they are: of each chunk, with its checksum, in the
    order of their corners. None of what it has from other datasets.
    """
    options = dataset.get_create_plist()
    if options.get_layout() == h5py.h5d.CONTIGUOUS:
        at = dataset.get_offset()
        return [] if at is None else [(at, dataset.get_storage_size())]
    if options.get_layout() != h5py.h5d.CHUNKED:
        return []
    corners = itertools.product(
        *map(range, itertools.repeat(0), dataset.shape, options.get_chunk())
    )
    found = [place_of(dataset, corner) for corner in corners]
    return [(at, size + CHECKSUM) for at, size in found]
