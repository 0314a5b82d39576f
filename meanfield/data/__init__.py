"""Data sets: from files (.npz, .csv, .tsv, .h5), by name (`get`), synthetic with a known target, or
bundled real ones.

Every maker returns a Dataset: x, y, x_test, y_test, checked, and an origin that says how to make it
again.
"""

from __future__ import annotations

import inspect
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import hint, is_number
from ..processes.memory import ask_memory
from . import tables
from .bundled import breast_cancer, diabetes, digits, iris, wine
from .dataset import Dataset
from .preparation import prepare, split, transform
from .tasks import (
    gaussian_mixture,
    kink,
    luo_points,
    parity,
    single_index,
    teacher_student,
    two_points,
)

__all__ = [
    "Dataset", "breast_cancer", "diabetes", "digits", "gaussian_mixture", "get", "iris", "kink", "load", "luo_points",
    "names", "parity", "prepare", "single_index", "split", "teacher_student", "transform", "two_points", "wine",
]  # fmt: skip

# deflate stores at most 1032 bytes in one; up to SMALL an array is read whatever the file's size
DEFLATED, SMALL = 1032, 1 << 24
EXTENSIONS = (".npz", ".csv", ".h5", ".hdf5", ".tsv")
MAKERS: dict[str, Callable[..., Dataset]] = {
    maker.__name__: maker
    for maker in (
        teacher_student, single_index, parity, kink, gaussian_mixture, two_points, luo_points, digits, iris, wine, breast_cancer,
        diabetes,
    )
}  # fmt: skip
Columns = tables.Columns


def names() -> list[str]:
    """The names that `get` knows; it takes the path of a data file as well."""
    return list(MAKERS)


def get(name: str, **options: Any) -> Dataset:
    """The set of that name, made with these options: `get("digits", targets="sign", classes=(3,
    8))`; or `load(name, …)`.

    get(origin["maker"], **origin["arguments"]) makes a set of this module again, bit for bit.
    """
    if not isinstance(name, str):
        raise TypeError(f"a data set's name must be a string; got {name!r}.")
    if name == "load" or Path(name).suffix.lower() in EXTENSIONS:
        maker: Callable[..., Dataset] = load
        options = options if name == "load" else {"path": name} | options
    elif name in MAKERS:
        maker = MAKERS[name]
    else:
        raise ValueError(
            f"unknown data set {name!r}.{hint(name, MAKERS)} Known: {', '.join(MAKERS)}; "
            f"or a file {', '.join(EXTENSIONS)}."
        )
    parameters = inspect.signature(maker).parameters
    known = [
        key for key, parameter in parameters.items() if parameter.kind is not parameter.VAR_KEYWORD
    ]
    if len(known) < len(parameters):
        known += [key for key in inspect.signature(prepare).parameters if key != "data"]
    for option in options:
        if option not in known:
            raise ValueError(
                f"{name} has no option {option!r}.{hint(option, known)} Its options: "
                f"{', '.join(known) or 'none'}."
            )
    missing = [
        key
        for key in known
        if key in parameters
        and parameters[key].default is inspect.Parameter.empty
        and key not in options
    ]
    if missing:
        raise ValueError(f"{name} needs {' and '.join(missing)}: get({name!r}, {missing[0]}=…).")
    for option, value in options.items():
        if is_number(value) and not math.isfinite(value):
            raise ValueError(f"{name}: {option} must be finite; got {value!r}.")
    return maker(**options)


def load(
    path: str | Path,
    x: Columns | None = None,
    y: Columns | None = None,
    *,
    x_test: str | None = None,
    y_test: str | None = None,
    header: bool | None = None,
    delimiter: str | None = None,
    **preparation: Any,
) -> Dataset:
    """A user's file, by its extension; nothing in it is executed.

    .npz, .h5, .hdf5: x, y, x_test, y_test are names of arrays (for HDF5 paths of datasets); x = "x", y = "y" unless given; a
        test set of the names x_test and y_test is taken along, unless test_fraction asks for another.
    .csv, .tsv: y is the target's column by name or number (from 0, negative from the end; default the last), x the input
        columns (default all others), lists of them for several. delimiter: "," unless given, a tab for .tsv.
        The first row is a header if none of its cells is a number, if x or y name columns that stand in it, if a word of it
        stands over numbers (u, 2019, y), or if it counts 0, 1, …, k-1, as pandas names the columns of an array. Where that row
        may as well be a sample, ValueError asks; header=True or False says so.
        A first column without a name, as pandas and R write row numbers, is left out with a warning.
        Errors name lines, from 1 as in an editor, and columns, from 0 as here.
    preparation: the options of `prepare`: test_fraction, seed, n, corrupt, standardise, standardise_y, constant, normalise.
    Integer targets of .npz and HDF5 are classes; CSV targets are real numbers.
    """
    path = Path(path)
    extension = path.suffix.lower()
    if extension not in EXTENSIONS:
        raise ValueError(
            f"can't tell the format of {str(path)!r}: the extension must be one of "
            f"{', '.join(EXTENSIONS)}."
        )
    if not path.exists():
        raise FileNotFoundError(f"no data file {str(path)!r} (looked in {path.absolute().parent}).")
    if not path.is_file():
        raise ValueError(f"{str(path)!r} is not a file.")
    options = list(inspect.signature(prepare).parameters)[1:]
    if unknown := [name for name in preparation if name not in options]:
        known = ["x", "y", "x_test", "y_test", "header", "delimiter", *options]
        meant = (
            " The target's column is y=."
            if unknown[0] in ("target", "label", "labels")
            else hint(unknown[0], known)
        )
        raise TypeError(
            f"{path.name}: load has no option {unknown[0]!r}.{meant} It has {', '.join(known)}."
        )
    given = {"x": x, "y": y, "x_test": x_test, "y_test": y_test, "header": header}
    arguments = (
        {"path": str(path)}
        | {key: value for key, value in given.items() if value is not None}
        | preparation
    )
    origin: dict[str, Any] = {"maker": "load", "arguments": arguments}
    if header is not None and not isinstance(header, bool):
        raise TypeError(f"header must be True, False or None; got {header!r}.")
    if extension in tables.DELIMITERS:
        if x_test is not None or y_test is not None:
            raise ValueError(
                f"x_test and y_test name arrays of .npz and HDF5 files; for a {extension} "
                "file use test_fraction."
            )
        usual = tables.DELIMITERS[extension]
        if delimiter not in (None, usual):
            arguments["delimiter"] = delimiter
        arrays, origin["columns"] = tables.read(
            path, x, y, header, usual if delimiter is None else delimiter
        )
    else:
        wanted = {
            "x": "x" if x is None else x,
            "y": "y" if y is None else y,
            "x_test": x_test,
            "y_test": y_test,
        }
        for name, key in wanted.items():
            if key is not None and not isinstance(key, str):
                raise TypeError(
                    f"{path.name}: {name} must be the name of an array in the file; got {key!r}."
                )
        keys = {name: key for name, key in wanted.items() if key is not None}
        has_split = bool(preparation.get("test_fraction")) or "x_test" in keys or "y_test" in keys
        optional = {} if has_split else {"x_test": "x_test", "y_test": "y_test"}
        arrays = (_read_npz if extension == ".npz" else _read_hdf5)(path, keys, optional)
    try:
        return prepare(Dataset(**arrays, name=path.stem, origin=origin), **preparation)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{path.name}: {error}") from None


def _read_npz(path: Path, keys: dict[str, Any], optional: dict[str, Any]) -> dict[str, np.ndarray]:
    try:
        archive = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path.name} is not a readable .npz archive ({error}). Write it with "
            "np.savez(path, x=x, y=y)."
        ) from None
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise ValueError(
            f"{path.name} holds one bare array, not an archive. Write it with "
            "np.savez(path, x=x, y=y)."
        )
    with archive:
        keys = _found_keys(path, keys, optional, archive.files)
        try:
            for key in keys.values():
                _check_member(path, archive, key)
            return {name: archive[key] for name, key in keys.items()}
        except Oversized as error:
            raise ValueError(str(error)) from None
        except ValueError as error:
            raise ValueError(
                f"{path.name} holds pickled Python objects, which could run code when "
                "read, and is refused. "
                "Save arrays of numbers: np.savez(path, x=np.asarray(x, dtype=float), …) "
                f"({error})."
            ) from None
        except (OSError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path.name} is damaged: {error}.") from None


class Oversized(Exception):
    """An array claims more bytes than its file can hold."""


def _check_member(path: Path, archive: Any, key: str) -> None:
    """Before memory is taken: the shape of an array against the bytes of its member, and those
    against the file.
    """
    name = key if key in archive.zip.NameToInfo else f"{key}.npy"
    member = archive.zip.getinfo(name)
    with archive.zip.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
            version, np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(file)
    claimed = math.prod(shape) * dtype.itemsize
    if claimed > member.file_size:
        raise _oversized(path, key, claimed, member.file_size)
    _check_packed(path, key, claimed, member.compress_size)


def _check_packed(path: Path, key: str, claimed: int, stored: int) -> None:
    if claimed > DEFLATED * stored + SMALL:
        raise _oversized(path, key, claimed, stored)
    ask_memory(claimed, f"{path.name}: {key}", "Take a part of it into a file of its own.")


def _oversized(path: Path, key: str, claimed: int, stored: int) -> Oversized:
    return Oversized(
        f"{path.name} is damaged, or not what it says: {key} claims {claimed:.3g} bytes, and {stored} "
        "are stored."
    )


def _read_hdf5(path: Path, keys: dict[str, Any], optional: dict[str, Any]) -> dict[str, np.ndarray]:
    import h5py

    found: list[str] = []
    try:
        with h5py.File(path, "r") as file:
            file.visititems(
                lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None
            )
            keys = {name: key.strip("/") for name, key in keys.items()}
            keys = _found_keys(path, keys, optional, found)
            for key in keys.values():
                if file[key].shape is None:
                    raise ValueError(f"{path.name}: {key} is empty.")
                stored = max(file[key].id.get_storage_size(), path.stat().st_size)
                _check_packed(path, key, file[key].nbytes, stored)
            return {name: file[key][()] for name, key in keys.items()}
    except Oversized as error:
        raise ValueError(str(error)) from None
    except (OSError, RuntimeError, KeyError) as error:
        raise ValueError(f"{path.name} is not a readable HDF5 file: {error}.") from None


def _found_keys(
    path: Path, keys: dict[str, Any], optional: dict[str, Any], found: list[str]
) -> dict[str, Any]:
    """keys, all of which must be there, and the optional ones where all of them are."""
    for name, key in keys.items():
        if key not in found:
            raise ValueError(
                f"{path.name} has no array {key!r} for {name}; it has: "
                f"{', '.join(found) or 'none'}. Name it by {name}=…."
            )
    return keys | (optional if set(optional.values()) <= set(found) else {})
