"""What watching a run costs: the same run plain, with progress lines, with a series, recorded, with events.

Contenders take turns; a share is the median over rounds of the extra time over that of the plain run of the same round, in
processor time and in wall time, in which the files' fsyncs count. Recording is evenly(100), the default cadence: its cost is one
for each frame and one for each file, not for each step, so its share falls with the length of the run: it is below 3 % in runs
longer than the cost over 3 %.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import meanfield as mf

from .sections import Column, Effort, Goal

TITLE = "a whole run, RK4, relu, d = 2: cost of watching, in wall time"
LIMIT = 0.03  # of the plain run
Watch = Callable[[Path], list]
WATCHES: dict[str, tuple[Watch, bool]] = {
    "plain": (lambda path: [], False),
    "progress": (lambda path: [], True),
    "every step": (lambda path: [mf.Series("risk", mf.every(1))], False),
    "recorded": (lambda path: [mf.Recorder(path, mf.evenly(100), exists="replace")], False),
    "all": (lambda path: [mf.Recorder(path, mf.evenly(100), exists="replace"), mf.Series("risk", mf.evenly(100))], True),
}
COLUMNS = (
    Column("plain_s", "plain s"),
    *(Column(f"{name} wall", name, "+.1%") for name in WATCHES if name != "plain"),
    Column("all processor", "all, cpu", "+.1%"),
    Column("cost_ms", "most, ms", ".0f"),
    Column("enough_s", f"{LIMIT:.0%} from s", ".1f"),
)


@dataclass(frozen=True)
class Case:
    """m neurons, n samples, a number of RK4 steps."""

    m: int
    n: int
    dtype: str
    steps: int

    @property
    def name(self) -> str:
        return f"run-m{self.m}-n{self.n}-{self.dtype}-{self.steps}-steps"


def cases(quick: bool = False) -> list[Case]:
    sizes = [(256, 64, "float64", 1000), (10_000, 256, "float32", 1000)]
    more = [(256, 64, "float64", 10_000), *((10_000, 256, dtype, 3000) for dtype in ("float32", "float64"))]
    return [Case(*size) for size in sizes + ([] if quick else more)]


def seconds(case: Case, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """(processor, wall) of whole runs by the name of what watches them; each round in another order."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(case.n, 2))
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu"), x, np.sin(x[:, 0])), dtype=case.dtype)
    start = mf.InitialLaw(dim=2, b_std=1.0).sample(case.m, seed=0)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in WATCHES}
    names = list(WATCHES)
    with tempfile.TemporaryDirectory() as folder, open(Path(folder) / "lines", "w") as lines, redirect_stderr(lines):
        for turn in range(-1, rounds):  # the first one compiles
            first = max(turn, 0) % len(names)
            order = names[first:] + names[:first]
            for name in order[:: 1 if turn % 2 else -1]:  # memory and disk are as the contender before has left them
                watch, progress = WATCHES[name]
                observers = watch(Path(folder) / "run.h5")
                length = case.steps if turn >= 0 else 100
                begin = time.process_time(), time.perf_counter()
                mf.simulate(flow, start, mf.RK4, dt=0.01, n_steps=length, observers=observers, progress=progress)
                if turn >= 0:
                    times[name].append((time.process_time() - begin[0], time.perf_counter() - begin[1]))
    return times


def shares(times: Mapping[str, list[tuple[float, float]]]) -> dict[str, tuple[float, float]]:
    """By name, the medians over rounds of the extra processor and wall time over those of the plain run of the round."""

    def extra(row: tuple[float, float], plain: tuple[float, float]) -> list[float]:
        return [seconds / without - 1 for seconds, without in zip(row, plain, strict=True)]

    pairs = {name: [extra(*both) for both in zip(rows, times["plain"], strict=True)] for name, rows in times.items()}
    return {name: (statistics.median(p for p, _ in rows), statistics.median(w for _, w in rows)) for name, rows in pairs.items()}


def run(case: Case, effort: Effort) -> dict[str, Any]:
    return summary(case, seconds(case, effort.rounds))


def summary(case: Case, times: dict[str, list[tuple[float, float]]]) -> dict[str, Any]:
    """The result: the dearer of the two recorded contenders counts."""
    found, plain = shares(times), statistics.median(wall for _, wall in times["plain"])
    share = max(found["recorded"][1], found["all"][1])
    return {
        "m": case.m,
        "n": case.n,
        "dtype": case.dtype,
        "steps": case.steps,
        "folder": tempfile.gettempdir(),
        "seconds": times,
        "plain_s": plain,
        "cost_ms": 1e3 * share * plain,
        "enough_s": share * plain / LIMIT,
        **{f"{name} processor": processor for name, (processor, _) in found.items()},
        **{f"{name} wall": wall for name, (_, wall) in found.items()},
        "goals": [Goal("recorded", LIMIT, share, "+.1%", "", most=True)],
    }
