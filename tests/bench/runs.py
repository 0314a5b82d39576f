"""What watching a run costs: the same run plain, with progress lines, with a series, recorded, with
all of it.

Contenders take turns; what is said is the median over rounds of the extra wall time over the plain
run of the same round, the files' syncs included. Progress and a series cost a share of every step.
A recording, evenly(100), the default cadence, costs so much a frame and so much a file, however
many steps lie between: so these runs are short, and what is asked is from what length of a run on
its cost is below 3 %.
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

from .engine import WARM, marching
from .sections import Column, Effort, Goal

TITLE = "a run, RK4, relu, d = 2: cost of watching, in wall time"
LIMIT = 0.03  # of the plain run …
LENGTH = 5.0  # … in runs of so many seconds and more
TURNS = 3  # runs of each contender for each round of the bench: the differences are small
Watch = Callable[[Path], list]
WATCHES: dict[str, tuple[Watch, bool]] = {
    "plain": (lambda path: [], False),
    "progress": (lambda path: [], True),
    "every step": (lambda path: [mf.Series("risk", mf.every(1))], False),
    "recorded": (lambda path: [mf.Recorder(path, mf.evenly(100), exists="replace")], False),
    "all": (
        lambda path: [
            mf.Recorder(path, mf.evenly(100), exists="replace"),
            mf.Series("risk", mf.evenly(100)),
        ],
        True,
    ),
}
COLUMNS = (
    Column("plain_ms", "a step, ms"),
    Column("progress_share", "progress", "+.1%"),
    Column("series_share", "a series", "+.1%"),
    Column("recorded_ms", "recorded, ms", ".0f"),
    Column("all_ms", "all, ms", ".0f"),
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
    return [
        Case(256, 64, "float64", 2000),
        *(Case(10_000, 256, dtype, 300) for dtype in ("float32", "float64")),
    ]


def seconds(case: Case, rounds: int) -> dict[str, list[float]]:
    """Wall times of the runs by the name of what watches them; each round in another order."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(case.n, 2))
    flow = mf.GradientFlow(
        mf.EmpiricalRisk(mf.Network("relu"), x, np.sin(x[:, 0])), dtype=case.dtype
    )
    start = mf.InitialLaw(dim=2, b_std=1.0).sample(case.m, seed=0)
    marching(flow, start, mf.RK4, 0.01)[1](WARM)  # compiles the loop over steps
    times: dict[str, list[float]] = {name: [] for name in WATCHES}
    names = list(WATCHES)
    with (
        tempfile.TemporaryDirectory() as folder,
        open(Path(folder) / "lines", "w") as lines,
        redirect_stderr(lines),
    ):
        for turn in range(-1, rounds):  # the first one compiles
            first = max(turn, 0) % len(names)
            order = names[first:] + names[:first]
            # memory and disk are as the contender before has left them
            for name in order[:: 1 if turn % 2 else -1]:
                watch, progress = WATCHES[name]
                observers = watch(Path(folder) / "run.h5")
                begin = time.perf_counter()
                mf.simulate(
                    flow,
                    start,
                    mf.RK4,
                    dt=0.01,
                    n_steps=case.steps,
                    observers=observers,
                    progress=progress,
                )
                if turn >= 0:
                    times[name].append(time.perf_counter() - begin)
    return times


def costs(times: Mapping[str, list[float]]) -> dict[str, float]:
    """By name, the median over rounds of the extra seconds over the plain run of the round."""
    return {
        name: statistics.median(
            watched - plain for watched, plain in zip(row, times["plain"], strict=True)
        )
        for name, row in times.items()
    }


def run(case: Case, effort: Effort) -> dict[str, Any]:
    return summary(case, seconds(case, TURNS * effort.rounds))


def summary(case: Case, times: dict[str, list[float]]) -> dict[str, Any]:
    """The result: the dearer of the two recorded contenders counts."""
    cost, plain = costs(times), statistics.median(times["plain"])
    enough = max(cost["recorded"], cost["all"]) / LIMIT
    return {
        "m": case.m,
        "n": case.n,
        "dtype": case.dtype,
        "steps": case.steps,
        "folder": tempfile.gettempdir(),
        "seconds": times,
        "plain_ms": 1e3 * plain / case.steps,
        "progress_share": cost["progress"] / plain,
        "series_share": cost["every step"] / plain,
        "recorded_ms": 1e3 * cost["recorded"],
        "all_ms": 1e3 * cost["all"],
        "enough_s": enough,
        "goals": [
            Goal(f"recording {LIMIT:.0%} of runs from", LENGTH, enough, ".1f", " s", most=True)
        ],
    }
