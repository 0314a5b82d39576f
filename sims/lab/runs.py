"""Runs that differ in γ, m and seed: what is measured of each from its file alone, tables, and fits
over widths and seeds.
"""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

import meanfield as mf
import ntk as ntk  # registers how its flows are made from a file
from meanfield import tangent
from meanfield.files.durable import replacing
from meanfield.files.tables import text_table
from meanfield.processes.interruption import signals
from meanfield.processes.threads import cores

from . import side_by_side
from .fits import ExponentFit, Refused, fit_or_refuse

# for each run: exact up to about m = 2000, beyond that an interval that brackets it
W2_SECONDS = 2.0


@dataclass(frozen=True)
class Row:
    """What is measured of one run, from its file alone. Lengths are those of θ; losses are ½ mean
    (f - y)².
    """

    task: str
    gamma: float
    m: int
    seed: int
    t_end: float
    steps: int
    displacement: float  # RMS, neuron by neuron
    relative_displacement: float  # in units of the RMS length of the neurons at the start
    w2_lower: float  # lower <= W2(μ_0, μ_T) <= upper
    w2_upper: float
    w2_method: str
    kernel_drift: float  # ‖H_T - H_0‖ / ‖H_0‖ on the training inputs, Frobenius
    train_loss: float
    train_loss_start: float
    test_loss: float
    test_loss_start: float
    test_error: float  # as error_kind says
    error_kind: (
        str  # "wrong signs", a fraction, for labels ±1; else "loss left", test_loss/test_loss_start
    )
    energy_defect: float
    file: str


@dataclass(frozen=True)
class Results:
    """The runs' files, and one Row for each."""

    folder: Path
    rows: tuple[Row, ...]


def measure(path: Path) -> Row:
    """The Row of a finished run."""
    with mf.Trajectory(path) as run:
        first, last, data, network = run[0], run[-1], run.data, run.network
        if data.x_test is None or data.y_test is None:
            raise ValueError(f"{path} has no test set, so it has no test error.")
        flow = run.flow()
        start, f = (flow.predict(state, data.x_test)[:, 0] for state in (first, last))
        test_start, test_loss = (
            0.5 * float(np.mean((values - data.y_test) ** 2)) for values in (start, f)
        )
        signs = bool(np.isin(data.y, (-1.0, 1.0)).all())
        test_error = float(np.mean(np.sign(f) != data.y_test)) if signs else test_loss / test_start
        losses = at_frames(run, "risk")
        moved = mf.displacement(first, last)
        distance = mf.w2_interval(first, last, seconds=W2_SECONDS)
        exact = distance.lower_method == distance.upper_method
        method = (
            distance.upper_method
            if exact
            else f"{distance.lower_method} <= W2 <= {distance.upper_method}"
        )
        return Row(
            task=data.name,
            gamma=network.scaling.gamma,
            m=first.m,
            seed=int(run.config["seed"]),
            t_end=float(run.times[-1]),
            steps=last.step,
            displacement=moved,
            relative_displacement=moved
            / float(np.sqrt(first.mass @ np.square(first.theta).sum(axis=1))),
            w2_lower=distance.lower,
            w2_upper=distance.upper,
            w2_method=method,
            kernel_drift=kernel_drift(flow, first, last),
            train_loss=float(losses[-1]),
            train_loss_start=float(losses[0]),
            test_loss=test_loss,
            test_loss_start=test_start,
            test_error=test_error,
            error_kind="wrong signs" if signs else "loss left",
            energy_defect=float(run.summary["energy_defect"]),
            file=path.name,
        )


def at_frames(run: mf.Trajectory, name: str) -> np.ndarray:
    """The values of a series at the frames, (frames,): mf.Recorder writes its measures there."""
    series = run.series(name)
    return series.values[np.searchsorted(series.steps, run.steps)]


def kernel_drift(flow: mf.GradientFlow, first: mf.State, last: mf.State) -> float:
    """‖H_T - H_0‖ / ‖H_0‖ on the training inputs; 0 for a linearised network, whose kernel is that
    of its start.
    """
    return (
        0.0
        if flow.functional.linearised_at is not None
        else tangent.drift(flow.network, first, last, flow.functional.samples.x)
    )


def named(paths: Iterable[Path], prefix: str = "") -> list[Path]:
    """Those whose names begin so, in order; ValueError for none."""
    chosen = sorted(path for path in paths if path.name.startswith(prefix))
    if not chosen:
        raise ValueError(
            "there are no runs to measure: run the sim first, or give the --out that holds them."
        )
    return chosen


def collect(
    paths: Iterable[Path], progress: bool = False, measured: Mapping[Path, Row] | None = None
) -> Results:
    """Results of the runs in these files, measured again, but for those of which `measured` has the
    Row; refuses runs that cannot stand in one figure.
    """
    paths, found = named(paths), dict(measured or {})
    left = [path for path in paths if path not in found]
    for path in tqdm(left, desc="measuring", unit="run", disable=None if progress else True):
        found[path] = measure(path)
    rows = list(found.values())
    for task in {row.task for row in rows}:
        times = sorted({row.t_end for row in rows if row.task == task})
        if len(times) > 1:
            raise ValueError(
                f"the runs on {task} end at different flow times ({times[0]:g} and "
                f"{times[-1]:g}): make a folder for each."
            )
    return Results(
        paths[0].parent, tuple(sorted(rows, key=lambda row: (row.task, row.gamma, row.m, row.seed)))
    )


def exponent(rows: Sequence[Any], value: str) -> ExponentFit | Refused:
    """The exponent of value ~ m^slope over all seeds, or why the widths give none."""
    return fit_or_refuse(*against_width(rows, value))


def against_width(rows: Sequence[Any], value: str) -> tuple[np.ndarray, np.ndarray]:
    """(widths, values (seeds, widths)) of rows that differ in m and seed alone."""
    widths, seeds = sorted({row.m for row in rows}), sorted({row.seed for row in rows})
    found = {(row.seed, row.m): getattr(row, value) for row in rows}
    if missing := [
        f"m = {m}, seed {seed}" for seed in seeds for m in widths if (seed, m) not in found
    ]:
        raise ValueError(
            f"runs are missing beside {rows[0].file}: {missing[0]} and {len(missing) - 1} more."
        )
    return np.array(widths, dtype=float), np.array(
        [[found[seed, m] for m in widths] for seed in seeds]
    )


def loss_curves(results: Results, rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
    """(flow times, risk (seeds, times)) of the widest networks among `rows`, from their files, on
    one grid of times.
    """
    widest = max(row.m for row in rows)
    series = []
    for row in rows:
        if row.m == widest:
            with mf.Trajectory(results.folder / row.file) as run:
                series.append(run.series("risk"))
    t = np.linspace(0.0, rows[0].t_end, 201)
    return t, np.array([np.interp(t, item.times, item.values) for item in series])


def table(results: Results) -> str:
    """One line for each task, γ and m: means over seeds, ± standard errors; the test error of
    labels ±1, else the loss left.

    Of one seed there is no error.
    """
    signs = {row.error_kind == "wrong signs" for row in results.rows}
    last = [*["test error"] * (True in signs), *["test loss/start's"] * (False in signs)]
    head = (
        "task",
        "γ",
        "m",
        "runs",
        "displacement",
        "W2 (bounds)",
        "kernel drift",
        "train loss",
        "test loss",
        *last,
    )
    lines: list[tuple[str, ...]] = [head]
    for task, gamma, m in sorted({(row.task, row.gamma, row.m) for row in results.rows}):
        rows = [row for row in results.rows if (row.task, row.gamma, row.m) == (task, gamma, m)]
        low, high = (
            np.mean([getattr(row, f"w2_{end}") for row in rows]) for end in ("lower", "upper")
        )
        distance = f"{high:.4g}" if high - low < 1e-3 * high else f"{low:.4g} … {high:.4g}"
        cells = [_mean(rows, name) for name in ("kernel_drift", "train_loss", "test_loss")]
        own = "test error" if rows[0].error_kind == "wrong signs" else "test loss/start's"
        cells += [_mean(rows, "test_error") if name == own else "–" for name in last]
        lines.append(
            (
                task,
                f"{gamma:g}",
                f"{m}",
                f"{len(rows)}",
                _mean(rows, "displacement"),
                distance,
                *cells,
            )
        )
    return text_table(lines, ">")


def train_all(jobs: Sequence[tuple[Path, Callable[[], Any]]], progress: bool = False) -> None:
    """Do the work of each run in turn; what diverges names its file.

    Between two runs too a signal waits: Python loses a KeyboardInterrupt that meets a destructor.
    """
    with signals() as received, tqdm(jobs, unit="run", disable=None if progress else True) as bar:
        for path, work in bar:
            if received:
                raise KeyboardInterrupt
            bar.set_description(path.stem)
            _train(path, work)


def compile_distances() -> None:
    """What `measure` takes of w2_interval: few particles are matched by all pairs, more by lists."""
    for m in (100, 400):
        x = np.random.default_rng(0).normal(size=(m, 3))
        mf.w2_interval(x, x + 0.1 * x**2, seconds=W2_SECONDS)


def _train(path: Path, work: Callable[[], Any]) -> None:
    try:
        work()
    except mf.Diverged as error:
        raise mf.Diverged(f"{path.name}: {error}") from error


def train_and_measure(
    jobs: Sequence[tuple[Path, Callable[[], Any]]], several: int, progress: bool = False
) -> Results:
    """As train_all and collect; the first `several` jobs, those of small runs, side by side on the
    cores there are.
    """
    rows: dict[Path, Row] = {}
    small, others = jobs[:several], jobs[several:]
    if (count := min(cores(), several)) > 1:
        todo = [side_by_side.Run(partial(_train, *job), partial(measure, job[0])) for job in small]
        with tqdm(total=several, unit="run", disable=None if progress else True) as bar:
            for number, row in side_by_side.measured(todo, count, compile_distances):
                rows[small[number][0]] = row
                bar.set_description(small[number][0].stem)
                bar.update()
    else:
        others = jobs
    train_all(others, progress)
    return collect((path for path, _ in jobs), progress, rows)


def write_csv(rows: Sequence[Any], path: Path) -> None:
    """All rows, dataclasses of one kind, one for each run."""
    with replacing(path) as new, open(new, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(rows[0])])
        writer.writeheader()
        writer.writerows(dataclasses.asdict(row) for row in rows)


def _mean(rows: Sequence[Row], name: str) -> str:
    values = [getattr(row, name) for row in rows]
    if len(values) == 1:
        return f"{values[0]:.4g}"
    return f"{np.mean(values):.4g} ± {np.std(values, ddof=1) / math.sqrt(len(values)):.1g}"
