"""Exporting: a run as a netCDF file or a Zarr store, for programs that know labelled arrays and
nothing of this package.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import hdf5
from .durable import IncompatibleFile, check_space, move, replacing, sync, temporary
from .labelled import run_to_xarray
from .parts import Parts, check_place

if TYPE_CHECKING:
    from .trajectory import Trajectory

EXISTS = ("error", "replace")
# which every reader of Zarr knows; format 3 has no specification of text and of metadata in one
# place yet
ZARR_FORMAT = 2
MARKS = (".zgroup", "zarr.json")  # one of them is in every Zarr store


def to_netcdf(run: Trajectory, path: Any, exists: str = "error") -> Path:
    """See Trajectory.to_netcdf."""
    target = _checked(Path(path), exists, _replaceable_file)
    with replacing(target) as new:
        dataset = _dataset(run, target)
        dataset.to_netcdf(new, engine="h5netcdf", encoding=_exact(dataset))
    return target


def to_zarr(run: Trajectory, path: Any, exists: str = "error") -> Path:
    """See Trajectory.to_zarr."""
    if importlib.util.find_spec("zarr") is None:
        raise ImportError('a Zarr store needs zarr: pip install -e ".[zarr]".')
    target = _checked(Path(path), exists, _replaceable_store)
    with temporary(target) as store:
        dataset = _dataset(run, target)
        # chunks that equal the fill value are written too: -0 equals 0
        dataset.to_zarr(
            store, zarr_format=ZARR_FORMAT, encoding=_exact(dataset), write_empty_chunks=True
        )
        for folder, _, names in os.walk(store):
            for name in names:
                sync(Path(folder, name))
        _move_folder(store, target)
    return target


def _dataset(run: Trajectory, target: Path) -> Any:
    """The labelled run; raises where the disk cannot hold it."""
    dataset = run_to_xarray(run)
    check_space(dataset.nbytes, target.parent, f"writing {target.name}")
    return dataset


def _exact(dataset: Any) -> dict[str, dict[str, Any]]:
    """No value stands for a missing one: every NaN comes back with its own bits."""
    return {
        name: {"_FillValue": None}
        for name, variable in dataset.variables.items()
        if variable.dtype.kind == "f"
    }


def _checked(path: Path, exists: str, replaceable: Callable[[Path], str]) -> Path:
    """The path, where something may be written; replaceable: why what is there may not be replaced,
    or "".
    """
    if exists not in EXISTS:
        raise ValueError(f"exists must be one of {', '.join(EXISTS)}; got {exists!r}.")
    if Parts(path).begun():
        raise ValueError(
            f"{path} is the name of a run that is unfinished; choose another name for the export."
        )
    if path.exists():
        if why := replaceable(path):
            raise ValueError(f"{path} {why}; choose another name for the export.")
        if exists == "error":
            raise FileExistsError(
                f'{path} exists. Replace it with exists="replace", or choose another name.'
            )
    if not path.is_dir():
        check_place(path)
    return path


def _replaceable_file(path: Path) -> str:
    if path.is_dir():
        return "is a folder"
    try:
        with hdf5.open_hdf5(path) as file:
            return "is a recorded run" if "h5md" in file else ""
    except IncompatibleFile:
        return ""


def _replaceable_store(path: Path) -> str:
    if path.is_dir():
        return (
            ""
            if any((path / mark).is_file() for mark in MARKS)
            else "is a folder that is no Zarr store"
        )
    return "is a file, and a Zarr store is a folder"


def _move_folder(source: Path, target: Path) -> None:
    """Under the name `target` is the old store, for an instant nothing, then the complete new one:
    folders cannot be swapped.
    """
    if not target.exists():
        move(source, target)
        return
    aside = target.with_name(f"{source.name}-old")
    os.rename(target, aside)
    try:
        move(source, target)
    except BaseException:
        os.rename(aside, target)
        raise
    shutil.rmtree(aside)
