"""The data set of a run: its arrays in the run's file, or, too large for that, how to make it again
and how to know it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data.dataset import Dataset
from . import hdf5
from .durable import array_sha256
from .hdf5 import Group

STORED = 64 * 10**6  # bytes of arrays kept in the file itself


def check_arrays(arrays: dict[str, np.ndarray]) -> None:
    """TypeError for what no file holds."""
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "iuf":
            raise TypeError(
                f"the data set {name!r} must be a numeric array; got "
                f"{getattr(array, 'dtype', type(array))}."
            )


def write_data(parameters: Group, arrays: dict[str, np.ndarray], sums: dict[str, str]) -> None:
    """/parameters/data/<name> with sha256 and shape; samples beyond 64 MB in all: these attributes
    of an empty dataset only. sums: their sha256.
    """
    group = hdf5.new_group(parameters, "data")
    stored = "x" not in arrays or sum(array.nbytes for array in arrays.values()) <= STORED
    for name, array in arrays.items():
        kept = stored or name == "weights"  # no maker of a data set makes these again
        _write(group, name, array if kept else None, array.dtype, array.shape, sums[name])


def copy_data(given: Group, parameters: Group, sums: dict[str, str]) -> None:
    """/parameters/data of another file, with its `checksums`."""
    group = hdf5.new_group(parameters, "data")
    for name, sha256 in sums.items():
        item = hdf5.dataset(given, f"data/{name}")
        if item.shape is None:
            shape = given["data"][name].attrs["shape"]
            _write(group, name, None, item.dtype, shape, sha256)
        else:
            array = hdf5.read_array(given, f"data/{name}")
            _write(group, name, array, array.dtype, array.shape, sha256)


def _write(
    group: Group, name: str, array: np.ndarray | None, dtype: Any, shape: Any, sha256: str
) -> None:
    """One array, or, for None, what is said of it alone."""
    if array is None:
        hdf5.write_absent(group, name, dtype)
    else:
        hdf5.write_array(group, name, array)
    about = np.array(shape, dtype=np.int64)
    hdf5.set_values(hdf5.member(group, name), sha256=sha256, shape=about)


def checksums(parameters: Group) -> dict[str, str]:
    """sha256 of each array, by name."""
    return hdf5.texts_of(parameters["data"], "sha256")


def read_arrays(parameters: Group, config: dict[str, Any], path: Any) -> dict[str, np.ndarray]:
    """The arrays of the functional: x and y of the data set, or whatever else it had written."""
    with hdf5.reading(path):
        stored = parameters["data"]
        sampled = "x" in stored
    if sampled:
        data = read_data(parameters, config, path)
        with hdf5.reading(path):
            return {"x": data.x, "y": data.y} | (
                {"weights": hdf5.whole(stored["weights"])} if "weights" in stored else {}
            )
    with hdf5.reading(path):
        return {name: hdf5.whole(item) for name, item in stored.items()}


def read_data(parameters: Group, config: dict[str, Any], path: Any) -> Dataset:
    """The Dataset, named and described by config["data"]; one that is not in the file is made again
    and compared.
    """
    with hdf5.reading(path):
        about = config.get("data") or {}
        name, origin = about.get("name") or "data", about.get("origin") or {}
        # weights are the risk's; h5py's items() has None for what cannot be opened, and this raises
        there = parameters["data"]
        stored = {key: there[key] for key in there if key != "weights"}
        complete = all(item.shape is not None for item in stored.values())
    if "x" not in stored:
        raise ValueError(f"{path} has no data set: its functional needs none.")
    if complete:
        with hdf5.reading(path):
            return Dataset(
                **{key: hdf5.whole(item) for key, item in stored.items()},
                name=name,
                origin=origin,
            )
    with hdf5.reading(path):
        expected = {name: sha for name, sha in checksums(parameters).items() if name in stored}
        sizes = {key: item.attrs["shape"] for key, item in stored.items()}
        shapes = {key: tuple(int(size) for size in shape) for key, shape in sizes.items()}
    wanted = ", ".join(
        f"{key} {shapes[key]} with sha256 {digest[:12]}…" for key, digest in expected.items()
    )
    if "maker" not in origin:
        raise ValueError(
            f"the data set {name!r} was too large for {path}, and where it came from is "
            f"not known; needed: {wanted}."
        )
    from .. import data  # makers and loaders, which most readers never need

    made = data.get(origin["maker"], **origin.get("arguments", {}))
    made = made.subset(origin["subset"]) if "subset" in origin else made
    for key, digest in expected.items():
        if getattr(made, key) is None or array_sha256(getattr(made, key)) != digest:
            raise ValueError(
                f"{origin['maker']}({origin.get('arguments')}) no longer makes the data "
                f"set of {path}; needed: {wanted}."
            )
    return made
