"""Memory: what a checkpoint remembers for the loop, as a group of an HDF5 file; restored exactly,
floats by their repr.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import hdf5
from .hdf5 import Group


def write_memory(group: Group, memory: dict[str, Any]) -> None:
    """A nested dictionary of numbers, strings, booleans, None, lists (tuples become lists) and
    numpy arrays, exactly.
    """
    arrays: list[np.ndarray] = []

    def plain(value: Any) -> Any:
        # h5py would make an enumeration of it
        if isinstance(value, np.ndarray) and value.dtype.kind == "b":
            arrays.append(value.astype(np.uint8))
            return {"__flags__": len(arrays) - 1}
        if isinstance(value, np.ndarray) and value.dtype.kind in "iufc":
            arrays.append(value)
            return {"__array__": len(arrays) - 1}
        if isinstance(value, dict):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        raise TypeError(
            "a checkpoint holds numbers, strings, lists, dictionaries and numeric "
            f"arrays; got {type(value)}."
        )

    hdf5.write_json(group, "memory", plain(memory))
    for number, array in enumerate(arrays):
        hdf5.write_array(group, f"array{number}", array)


def size_of(memory: Any) -> int:
    """Bytes of the arrays in it."""
    if isinstance(memory, np.ndarray):
        return memory.nbytes
    items = memory.values() if isinstance(memory, dict) else memory
    return sum(map(size_of, items)) if isinstance(memory, (dict, list, tuple)) else 0


def read_memory(group: Group) -> dict[str, Any]:
    def fill(value: Any) -> Any:
        if isinstance(value, dict) and value.keys() == {"__array__"}:
            return hdf5.whole(group[f"array{value['__array__']}"])
        if isinstance(value, dict) and value.keys() == {"__flags__"}:
            return hdf5.whole(group[f"array{value['__flags__']}"]).astype(bool)
        if isinstance(value, dict):
            return {key: fill(item) for key, item in value.items()}
        return [fill(item) for item in value] if isinstance(value, list) else value

    return fill(hdf5.read_json(group, "memory"))
