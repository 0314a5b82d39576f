"""What a sweep found: every run measured from its file, as rows, as index.csv, and over the axes as
an xarray.Dataset.

The index is made again from the runs whenever they have changed; the runs are the truth.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

import meanfield as mf
import ntk as ntk  # registers how its flows are made from a file
from meanfield import checks
from meanfield.diagnostics import registry
from meanfield.files.durable import replacing
from meanfield.processes.executors import lasting

from ..lab import config as settings
from ..lab.experiment import Experiment
from .folders import SweepFolder
from .quantities import about, columns, diagnosed, known

# of how a run was made: all else is a function of its settings
CIRCUMSTANCES = (
    "seconds",
    "host",
    "attempts",
)
TEXTS = ("digest", "status", "content_hash", "message", "host")
FILL: dict[str, Any] = dict.fromkeys(TEXTS, "")


class Sweep:
    """A sweep's runs, in the manifest's order: len(sweep), sweep[i] -> mf.Trajectory,
    sweep.to_xarray(); sweep.plan, sweep.path.

    The last axis runs fastest, [[zipped]] axes after those of [axes]: sweep.point(i) -> {"gamma":
    0.5, "m": 64, "seed": 0}, the settings on the axes of run i; sweep.settings(i) -> all its
    settings, an Experiment; sweep.digests[i] its name, which is `digest` in open_sweep. Raises
    FileNotFoundError where there is no sweep, and for a run that is not there yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.folder = SweepFolder(path)
        self.path, self.plan = self.folder.path, self.folder.plan
        self.digests = tuple(self.plan.runs)

    def __len__(self) -> int:
        return len(self.digests)

    def __getitem__(self, number: int) -> mf.Trajectory:
        return mf.Trajectory(self.folder.run(self.digests[number]))

    def point(self, number: int) -> dict[str, Any]:
        """The settings on the axes of run `number`, by name."""
        return self.plan.at(self.digests[number])

    def settings(self, number: int) -> Experiment:
        """All settings of run `number`."""
        return self.plan.runs[self.digests[number]].config

    def __iter__(self) -> Iterator[mf.Trajectory]:
        return (self[number] for number in range(len(self)))

    def __repr__(self) -> str:
        return (
            f"Sweep({str(self.path)!r}, {self.plan.describe()}, "
            f"{len(self.folder.published())} there)"
        )

    def to_xarray(self, diagnose: Iterable[str] = ()) -> Any:
        """The xarray.Dataset of `open_sweep`."""
        return open_sweep(self.path, diagnose)


def open_sweep(
    path: str | Path, diagnose: Iterable[str] = (), executor: Executor | None = None
) -> Any:
    """An xarray.Dataset over the axes of a sweep, NaN (or "") where a run is missing; measured
    again if runs have come since.

    Variables: status ("finished", "diverged", "failed", "unfinished"), digest, content_hash; the
    last value of every series of the runs (risk, energy, displacement, path, energy_defect, …);
    steps, t, last_dt; train_ and test_ risk and error; and how it came about: seconds, host,
    attempts. Settings of a zipped axis are coordinates along its first. Every variable has
    .attrs["units"] ("θ", "R", "t" for flow time, "s", …; "1" for plain numbers) and
    .attrs["long_name"], what it means.

    diagnose: names of diagnostics (mf.diagnose; those of ntk too) at the last frame of each run, as
    further variables; an interval (w2) is two, name_lower and name_upper. Left out, those of the
    last `collect`. executor: measures the runs, one a task: client.get_executor() of dask, whose
    workers share the folder and this environment. Raises ValueError for unknown names.
    """
    folder, names = SweepFolder(path), known(diagnose)
    if executor is not None:
        checks.executor(executor)
    xarray = _xarray()
    index, as_of = folder.path / "index.h5", _as_of(folder)
    with suppress(OSError):  # not there, or not an index: it is made again
        with xarray.open_dataset(index, engine="h5netcdf", decode_times=False) as found:
            there = found.attrs.get("diagnosed", "").split()
            if found.attrs.get("as_of") == as_of and set(names) <= set(there):
                return found.load()
            names = (
                *names,
                *(name for name in there if name in registry.names() and name not in names),
            )
    return _dataset(folder, measure(folder, False, names, executor), as_of, names)


def collect(
    folder: SweepFolder,
    progress: bool = False,
    diagnose: Iterable[str] = (),
    executor: Executor | None = None,
) -> list[dict[str, Any]]:
    """Measure all runs and write index.csv and index.h5, each complete or not at all; returns the
    rows.

    diagnose, executor: as in `open_sweep`; raises ValueError for unknown names, before anything
    else.
    """
    names, as_of = known(diagnose), _as_of(folder)
    rows = measure(folder, progress, names, executor)
    with replacing(folder.path / "index.csv") as new:
        new.write_text(_csv(rows), encoding="utf-8")
    with replacing(folder.path / "index.h5") as new:
        _dataset(folder, rows, as_of, names).to_netcdf(new, engine="h5netcdf")
    return rows


def measure(
    folder: SweepFolder,
    progress: bool = False,
    diagnose: tuple[str, ...] = (),
    executor: Executor | None = None,
) -> list[dict[str, Any]]:
    """One row for each run of the manifest, in its order: digest, axes, status, what was measured,
    and the circumstances.

    Diagnostics that a run does not allow are NaN; a line on stderr says which, of how many runs,
    and why.
    """
    why: Counter[tuple[str, str]] = Counter()
    there, failed = folder.published(), folder.failures()
    names = [name for axis in folder.plan.axes for name in axis.names]
    paths = [folder.run(digest).resolve() for digest in folder.plan.runs if digest in there]
    task = partial(_of_run, diagnose, None if executor is None else 1)
    measured = iter(map(task, paths) if executor is None else executor.map(task, paths))
    rows = []
    for digest in tqdm(
        folder.plan.runs, desc="measuring", unit="run", disable=None if progress else True
    ):
        row: dict[str, Any] = {
            "digest": digest,
            **{name: _label(value) for name, value in folder.plan.at(digest).items()},
        }
        if digest in there:
            with lasting():
                found, more, reasons = next(measured)
            row |= found
            # the row has what the run recorded
            row |= {name: value for name, value in more.items() if name not in row}
            why.update(reasons.items())
            note = folder.note(digest)
            row |= {"seconds": note.get("seconds", math.nan), "host": note.get("host", "")}
        elif digest in failed:
            row |= {"status": "failed", "message": folder.failure(digest).get("message", "")}
        else:
            row["status"] = "unfinished"
        rows.append(row)
    for (name, reason), count in why.items():
        print(f"sweep: {name} is NaN for {count} of {len(there)} runs: {reason}", file=sys.stderr)
    wanted = _columns(names, rows, {column for name in diagnose for column in columns(name)})
    return [{name: row.get(name, FILL.get(name, math.nan)) for name in wanted} for row in rows]


def _of_run(
    diagnose: tuple[str, ...], workers: int | None, path: Path
) -> tuple[dict[str, Any], dict[str, float], dict[str, str]]:
    """(what is in the file, its diagnostics, why some are missing) of one run, in any process."""
    return _measured(path), *diagnosed(path, diagnose, workers)


def _measured(path: Path) -> dict[str, Any]:
    """What is in the file of one run."""
    with mf.Trajectory(path) as run:
        last, summary = run[-1], run.summary
        row: dict[str, Any] = {
            "status": run.status,
            "message": summary.get("message", ""),
            "content_hash": run.content_hash(),
        }
        row |= {
            "steps": summary["steps"],
            "t": summary["t"],
            "last_dt": summary.get("dt", math.nan),
        }
        row["sliding"] = float(summary.get("defect") == "sliding")
        row |= {name: float(run.series(name).values[-1]) for name in run.series_names}
        data, flow = run.data, run.flow("cpu")
        row |= _performance("train", last, flow, data.x, data.y)
        if data.x_test is not None and data.y_test is not None:
            risk = _on_samples(flow.functional, data.x_test, data.y_test)
            row |= _performance(
                "test", last, replace(flow, functional=risk), data.x_test, data.y_test
            )
        row["attempts"] = 1 + len(run.provenance.get("continued", []))
        return row


def _on_samples(risk: Any, x: np.ndarray, y: np.ndarray) -> Any:
    """The same risk on other samples, all of one weight; of a linearised network with the same
    start.
    """
    if risk.linearised_at is not None:
        return replace(risk, risk=_on_samples(risk.risk, x, y))
    return replace(risk, x=x, y=y, weights=None)


def _performance(
    name: str, state: mf.State, flow: mf.GradientFlow, x: np.ndarray, y: np.ndarray
) -> dict[str, float]:
    """R and, for labels ±1 and for classes, the fraction that is wrong, on the samples of the flow."""
    f = flow.predict(state, x)
    found = {f"{name}_risk": flow.risk(state)}
    if y.ndim == 1 and y.dtype.kind == "i" and f.shape[1] > 1:
        found[f"{name}_error"] = float(np.mean(f.argmax(axis=1) != y))
    elif f.shape[1] == 1 and np.isin(y, (-1.0, 1.0)).all():
        found[f"{name}_error"] = float(np.mean(np.sign(f[:, 0]) != y.reshape(len(y))))
    return found


def _columns(axes: list[str], rows: list[dict[str, Any]], more: set[str]) -> list[str]:
    """digest, axes, status; what was measured, and more, by name; the circumstances last."""
    first = ["digest", *axes, "status", "message", "content_hash"]
    found = {name for row in rows for name in row} | set(CIRCUMSTANCES) | more
    return [*first, *sorted(found - {*first, *CIRCUMSTANCES}), *CIRCUMSTANCES]


def _dataset(
    folder: SweepFolder, rows: list[dict[str, Any]], as_of: str, diagnose: tuple[str, ...]
) -> Any:
    xarray = _xarray()
    axes, plan = folder.plan.axes, folder.plan
    dims, shape = [axis.names[0] for axis in axes], tuple(len(axis.points) for axis in axes)
    coordinates = {
        name: (axis.names[0], np.array([_label(point[i]) for point in axis.points]), about(name))
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
        variables[name] = dims, values, about(name)
    attributes = {
        "base": json.dumps(settings.to_dict(plan.base), ensure_ascii=False),
        "time_unit": "flow time t: one Euler step dt is gradient descent with rate dt*m/s^2, s = "
        "alpha*m^(1-gamma)",
        "as_of": as_of,
        "diagnosed": " ".join(diagnose),
    }
    return xarray.Dataset(variables, coords=coordinates, attrs=attributes)


def _label(value: Any) -> Any:
    """A value as a coordinate: lists and tables as JSON, and truth values as words, for every file
    format knows those.
    """
    return json.dumps(value) if isinstance(value, (list, tuple, dict, bool)) else value


def _as_of(folder: SweepFolder) -> str:
    """Changes whenever a run, its note or a failure comes or goes; what is kept beside the runs
    does not count.
    """
    found = []
    for entry in (entry for place in (folder.runs, folder.failed) for entry in os.scandir(place)):
        if entry.name.endswith((".h5", ".json")) and not entry.name.startswith("."):
            with suppress(FileNotFoundError):
                found.append(f"{entry.name} {entry.stat().st_mtime_ns}")
    return (
        f"{len(folder.published())} runs; "
        f"{hashlib.sha256(' '.join(sorted(found)).encode()).hexdigest()}"
    )


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _xarray() -> Any:
    try:
        import h5netcdf  # noqa: F401  the engine of index.h5
        import xarray
    except ImportError as error:
        raise ImportError(
            'a sweep over its axes needs xarray and h5netcdf: pip install -e ".[xarray]" '
            f"({error})."
        ) from error
    return xarray
