"""Data sets: from files (.npz, .csv, .h5), by name (`get`), synthetic with a known target, or bundled real ones.

Every maker returns a Dataset: x, y, x_test, y_test, checked, and an origin that says how to make it again.
"""

from __future__ import annotations

import csv
import inspect
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .bundled import breast_cancer, diabetes, digits, iris, wine
from .dataset import Dataset
from .nearest import hint
from .preparation import prepare, split, transform
from .tasks import gaussian_mixture, kink, luo_points, parity, single_index, teacher_student, two_points

__all__ = [
    "Dataset", "breast_cancer", "diabetes", "digits", "gaussian_mixture", "get", "iris", "kink", "load", "luo_points",
    "names", "parity", "prepare", "single_index", "split", "teacher_student", "transform", "two_points", "wine",
]  # fmt: skip

EXTENSIONS = (".npz", ".csv", ".h5", ".hdf5")
MAKERS: dict[str, Callable[..., Dataset]] = {
    maker.__name__: maker
    for maker in (
        teacher_student, single_index, parity, kink, gaussian_mixture, two_points, luo_points, digits, iris, wine, breast_cancer,
        diabetes,
    )
}  # fmt: skip
Columns = str | int | Sequence[str | int]


def names() -> list[str]:
    """The names that `get` knows; it takes the path of a data file as well."""
    return list(MAKERS)


def get(name: str, **options: Any) -> Dataset:
    """The set of that name, made with these options: `get("digits", targets="sign", classes=(3, 8))`; or `load(name, …)`.

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
            f"unknown data set {name!r}.{hint(name, MAKERS)} Known: {', '.join(MAKERS)}; or a file {', '.join(EXTENSIONS)}."
        )
    parameters = inspect.signature(maker).parameters
    known = [key for key, parameter in parameters.items() if parameter.kind is not parameter.VAR_KEYWORD]
    if len(known) < len(parameters):
        known += [key for key in inspect.signature(prepare).parameters if key != "data"]
    for option in options:
        if option not in known:
            raise ValueError(f"{name} has no option {option!r}.{hint(option, known)} Its options: {', '.join(known) or 'none'}.")
    missing = [
        key for key in known if key in parameters and parameters[key].default is inspect.Parameter.empty and key not in options
    ]
    if missing:
        raise ValueError(f"{name} needs {' and '.join(missing)}: get({name!r}, {missing[0]}=…).")
    return maker(**options)


def load(
    path: str | Path,
    x: Columns | None = None,
    y: Columns | None = None,
    *,
    x_test: str | None = None,
    y_test: str | None = None,
    header: bool | None = None,
    delimiter: str = ",",
    **preparation: Any,
) -> Dataset:
    """A user's file, by its extension; nothing in it is executed.

    .npz, .h5, .hdf5: x, y, x_test, y_test are names of arrays (for HDF5 paths of datasets); x = "x", y = "y" unless given; a
        test set of the names x_test and y_test is taken along, unless test_fraction asks for another.
    .csv: y is the target's column by name or number (from 0, negative from the end; default the last), x the input columns
        (default all others), lists of them for several. The first row is a header if none of its cells is a number;
        header=True or False says so.
    preparation: the options of `prepare`: test_fraction, seed, n, standardise, standardise_y, constant, normalise.
    Integer targets of .npz and HDF5 are classes; CSV targets are real numbers.
    """
    path = Path(path)
    extension = path.suffix.lower()
    if extension not in EXTENSIONS:
        raise ValueError(f"can't tell the format of {str(path)!r}: the extension must be one of {', '.join(EXTENSIONS)}.")
    if not path.exists():
        raise FileNotFoundError(f"no data file {str(path)!r} (looked in {path.absolute().parent}).")
    if not path.is_file():
        raise ValueError(f"{str(path)!r} is not a file.")
    given = {"x": x, "y": y, "x_test": x_test, "y_test": y_test, "header": header}
    arguments = {"path": str(path)} | {key: value for key, value in given.items() if value is not None} | preparation
    origin: dict[str, Any] = {"maker": "load", "arguments": arguments}
    if extension == ".csv":
        if x_test is not None or y_test is not None:
            raise ValueError("x_test and y_test name arrays of .npz and HDF5 files; for a .csv file use test_fraction.")
        if delimiter != ",":
            arguments["delimiter"] = delimiter
        arrays, origin["columns"] = _read_csv(path, x, y, header, delimiter)
    else:
        wanted = {"x": "x" if x is None else x, "y": "y" if y is None else y, "x_test": x_test, "y_test": y_test}
        for name, key in wanted.items():
            if key is not None and not isinstance(key, str):
                raise TypeError(f"{path.name}: {name} must be the name of an array in the file; got {key!r}.")
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
            f"{path.name} is not a readable .npz archive ({error}). Write it with np.savez(path, x=x, y=y)."
        ) from None
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise ValueError(f"{path.name} holds one bare array, not an archive. Write it with np.savez(path, x=x, y=y).")
    with archive:
        keys = _found_keys(path, keys, optional, archive.files)
        try:
            return {name: archive[key] for name, key in keys.items()}
        except ValueError as error:
            raise ValueError(
                f"{path.name} holds pickled Python objects, which could run code when read, and is refused. "
                f"Save arrays of numbers: np.savez(path, x=np.asarray(x, dtype=float), …) ({error})."
            ) from None
        except (OSError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path.name} is damaged: {error}.") from None


def _read_hdf5(path: Path, keys: dict[str, Any], optional: dict[str, Any]) -> dict[str, np.ndarray]:
    import h5py

    found: list[str] = []
    try:
        with h5py.File(path, "r") as file:
            file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
            keys = {name: key.strip("/") for name, key in keys.items()}
            keys = _found_keys(path, keys, optional, found)
            return {name: file[key][()] for name, key in keys.items()}
    except OSError as error:
        raise ValueError(f"{path.name} is not a readable HDF5 file: {error}.") from None


def _found_keys(path: Path, keys: dict[str, Any], optional: dict[str, Any], found: list[str]) -> dict[str, Any]:
    """keys, all of which must be there, and the optional ones where all of them are."""
    for name, key in keys.items():
        if key not in found:
            raise ValueError(
                f"{path.name} has no array {key!r} for {name}; it has: {', '.join(found) or 'none'}. Name it by {name}=…."
            )
    return keys | (optional if set(optional.values()) <= set(found) else {})


def _read_csv(
    path: Path, x: Columns | None, y: Columns | None, header: bool | None, delimiter: str
) -> tuple[dict[str, np.ndarray], list[str]]:
    """({"x": (n, d), "y": (n,) or (n, K)}, names of the input columns). Rows are named by their line in the file."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:  # -sig: spreadsheets write a byte order mark
            reader = csv.reader(file, delimiter=delimiter)
            lines = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path.name} is not a text file of comma-separated values: {error}.") from None
    if not lines:
        raise ValueError(f"{path.name} is empty.")
    width = len(lines[0][1])
    if header is None:
        header = not any(_is_number(cell) for cell in lines[0][1])
    columns = [cell.strip() for cell in lines.pop(0)[1]] if header else [str(j) for j in range(width)]
    if not lines:
        raise ValueError(f"{path.name} has a header but no rows.")
    if width < 2:
        raise ValueError(
            f"{path.name} has one column; inputs and a target need two. Is the delimiter not {delimiter!r}? Use delimiter=…."
        )
    targets = _positions(path, "y", -1 if y is None else y, columns, width, bool(header))
    inputs = (
        [j for j in range(width) if j not in targets] if x is None else _positions(path, "x", x, columns, width, bool(header))
    )
    if both := set(inputs) & set(targets):
        raise ValueError(f"{path.name}: column {columns[min(both)]!r} is both an input and a target.")
    table = np.empty((len(lines), width))
    used = sorted({*inputs, *targets})
    for i, (line, row) in enumerate(lines):
        if len(row) != width:
            raise ValueError(f"{path.name}, line {line}: {len(row)} cells, where the first line has {width}.")
        for j in used:
            try:
                table[i, j] = float(row[j])
            except ValueError:
                cell = f"{row[j]!r} is not a number (text classes: number them first)" if row[j].strip() else "the cell is empty"
                raise ValueError(f"{path.name}, line {line}, column {j} ({columns[j]}): {cell}.") from None
            if not np.isfinite(table[i, j]):
                raise ValueError(f"{path.name}, line {line}, column {j} ({columns[j]}): {row[j]!r} is NaN or infinite.")
    y_values = table[:, targets] if isinstance(y, (list, tuple)) else table[:, targets[0]]
    return {"x": table[:, inputs], "y": y_values}, [columns[j] for j in inputs]


def _positions(path: Path, argument: str, wanted: Any, columns: list[str], width: int, header: bool) -> list[int]:
    """Columns given by name or number -> their numbers."""
    found = []
    for column in wanted if isinstance(wanted, (list, tuple)) else [wanted]:
        if isinstance(column, str) and header and columns.count(column) == 1:
            found.append(columns.index(column))
        elif isinstance(column, (int, np.integer)) and not isinstance(column, bool) and -width <= column < width:
            found.append(int(column) % width)
        else:
            listed = f"the columns {', '.join(columns)}" if header else f"no header, and columns 0 … {width - 1}"
            raise ValueError(f"{path.name} has no single column {column!r} for {argument}; it has {listed}.")
    if not found or len(set(found)) != len(found):
        raise ValueError(f"{path.name}: {argument} must name at least one column, none twice; got {wanted!r}.")
    return found


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
