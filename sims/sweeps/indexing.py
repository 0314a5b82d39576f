"""What a sweep found: every run measured from its file, as rows, as index.csv, and over the axes as an xarray.Dataset.

The index is made anew from the runs whenever they have changed; the runs are the truth.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import meanfield as mf

from .. import config as settings
from .folders import SweepFolder

CIRCUMSTANCES = ("seconds", "host", "attempts")  # of how a run was made: all else is a function of its settings
TEXTS = ("digest", "status", "content_hash", "message", "host")
FILL: dict[str, Any] = dict.fromkeys(TEXTS, "")


class Sweep:
    """A sweep's runs, in the manifest's order: len(sweep), sweep[i] -> mf.Trajectory, sweep.to_xarray(); sweep.plan, sweep.path.

    Raises FileNotFoundError where there is no sweep, and for a run that is not there yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.folder = SweepFolder(path)
        self.path, self.plan = self.folder.path, self.folder.plan
        self.digests = tuple(self.plan.runs)

    def __len__(self) -> int:
        return len(self.digests)

    def __getitem__(self, number: int) -> mf.Trajectory:
        return mf.Trajectory(self.folder.run(self.digests[number]))

    def __iter__(self) -> Iterator[mf.Trajectory]:
        return (self[number] for number in range(len(self)))

    def __repr__(self) -> str:
        return f"Sweep({str(self.path)!r}, {self.plan.describe()}, {len(self.folder.published())} there)"

    def to_xarray(self) -> Any:
        """The xarray.Dataset of `open_sweep`."""
        return open_sweep(self.path)


def open_sweep(path: str | Path) -> Any:
    """An xarray.Dataset over the axes of a sweep, NaN (or "") where a run is missing; measured anew if runs have come since.

    Variables: status ("finished", "diverged", "failed", "unfinished"), digest, content_hash; the last value of every series
    of the runs (risk, energy, displacement, path, energy_defect, …); steps, t, last_dt; train_ and test_ risk and error; and
    how it came about: seconds, host, attempts. Settings of a zipped axis are coordinates along its first.
    """
    folder = SweepFolder(path)
    xarray = _xarray()
    index = folder.path / "index.h5"
    with suppress(OSError):  # not there, or not an index: it is made anew
        with xarray.open_dataset(index, engine="h5netcdf") as found:
            if found.attrs.get("as_of") == _as_of(folder):
                return found.load()
    as_of = _as_of(folder)
    return _dataset(folder, measure(folder), as_of)


def collect(folder: SweepFolder, progress: bool = False) -> list[dict[str, Any]]:
    """Measure all runs and write index.csv and index.h5, each complete or not at all; returns the rows."""
    as_of = _as_of(folder)
    rows = measure(folder, progress)
    _replace(folder.path / "index.csv", _csv(rows))
    dataset = _dataset(folder, rows, as_of)
    temporary = folder.path / f".tmp-index-{uuid.uuid4().hex}.h5"
    try:
        dataset.to_netcdf(temporary, engine="h5netcdf")
        os.replace(temporary, folder.path / "index.h5")
    finally:
        temporary.unlink(missing_ok=True)
    return rows


def measure(folder: SweepFolder, progress: bool = False) -> list[dict[str, Any]]:
    """One row for each run of the manifest, in its order: digest, axes, status, what was measured, and the circumstances."""
    there, failed = folder.published(), folder.failures()
    names = [name for axis in folder.plan.axes for name in axis.names]
    rows = []
    for digest in tqdm(folder.plan.runs, desc="measuring", unit="run", disable=None if progress else True):
        row: dict[str, Any] = {"digest": digest, **{name: _label(value) for name, value in folder.plan.at(digest).items()}}
        if digest in there:
            row |= _measured(folder.run(digest))
            note = folder.note(digest)
            row |= {"seconds": note.get("seconds", math.nan), "host": note.get("host", "")}
        elif digest in failed:
            row |= {"status": "failed", "message": folder.failure(digest).get("message", "")}
        else:
            row["status"] = "unfinished"
        rows.append(row)
    columns = _columns(names, rows)
    return [{name: row.get(name, FILL.get(name, math.nan)) for name in columns} for row in rows]


def _measured(path: Path) -> dict[str, Any]:
    """What is in the file of one run."""
    with mf.Trajectory(path) as run:
        last, summary = run[-1], run.summary
        row: dict[str, Any] = {"status": run.status, "message": summary.get("message", ""), "content_hash": run.content_hash()}
        row |= {"steps": summary["steps"], "t": summary["t"], "last_dt": summary.get("dt", math.nan)}
        row |= {name: float(run.series(name).values[-1]) for name in run.series_names}
        data, flow = run.data, run.config["flow"]
        row |= _performance("train", last, flow, data.x, data.y)
        if data.x_test is not None and data.y_test is not None:
            row |= _performance("test", last, flow, data.x_test, data.y_test)
        row["attempts"] = 1 + len(run.provenance.get("continued", []))
        return row


def _performance(name: str, state: mf.State, config: dict[str, Any], x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """R and, for labels ±1 and for classes, the fraction that is wrong, on one set of samples."""
    flow = mf.GradientFlow.from_dict({**config, "backend": "cpu"}, x, y)
    f = flow.predict(state, x)
    found = {f"{name}_risk": flow.risk(state)}
    if y.ndim == 1 and y.dtype.kind == "i" and f.shape[1] > 1:
        found[f"{name}_error"] = float(np.mean(f.argmax(axis=1) != y))
    elif f.shape[1] == 1 and np.isin(y, (-1.0, 1.0)).all():
        found[f"{name}_error"] = float(np.mean(np.sign(f[:, 0]) != y.reshape(len(y))))
    return found


def _columns(axes: list[str], rows: list[dict[str, Any]]) -> list[str]:
    """digest, axes, status; what was measured, by name; the circumstances last."""
    first = ["digest", *axes, "status", "message", "content_hash"]
    found = {name for row in rows for name in row} | set(CIRCUMSTANCES)
    return [*first, *sorted(found - {*first, *CIRCUMSTANCES}), *CIRCUMSTANCES]


def _dataset(folder: SweepFolder, rows: list[dict[str, Any]], as_of: str) -> Any:
    xarray = _xarray()
    axes, plan = folder.plan.axes, folder.plan
    dims, shape = [axis.names[0] for axis in axes], tuple(len(axis.points) for axis in axes)
    coordinates = {
        name: (axis.names[0], np.array([_label(point[i]) for point in axis.points]))
        for axis in axes
        for i, name in enumerate(axis.names)
    }
    places = tuple(np.array([planned.index for planned in plan.runs.values()]).T)
    variables = {}
    for name in rows[0]:
        if name in coordinates:
            continue
        values = np.full(shape, FILL.get(name, math.nan), dtype=object if name in TEXTS else float)
        values[places] = [row[name] for row in rows]
        variables[name] = dims, values
    attributes = {
        "base": json.dumps(settings.to_dict(plan.base), ensure_ascii=False),
        "time_unit": "flow time t: one Euler step dt is gradient descent with rate dt*m/s^2, s = alpha*m^(1-gamma)",
        "as_of": as_of,
    }
    return xarray.Dataset(variables, coords=coordinates, attrs=attributes)


def _label(value: Any) -> Any:
    """A value as a coordinate: lists and tables as JSON, and truth values as words, for every file format knows those."""
    return json.dumps(value) if isinstance(value, (list, tuple, dict, bool)) else value


def _as_of(folder: SweepFolder) -> str:
    """Changes whenever a run or a failure comes or goes."""
    times = (str(os.stat(path).st_mtime_ns) for path in (folder.runs, folder.failed))
    return f"{len(folder.published())} runs; {' '.join(times)}"


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".tmp-{path.name}-{uuid.uuid4().hex}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def _xarray() -> Any:
    try:
        import h5netcdf  # noqa: F401  the engine of index.h5
        import xarray
    except ImportError as error:
        raise ImportError(
            f'a sweep over its axes needs xarray and h5netcdf: pip install "meanfield[xarray]" ({error}).'
        ) from error
    return xarray
