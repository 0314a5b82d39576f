"""Many small recorded runs: a sweep of 402 of them by two workers, from the first process to the
last file.

m = 64 neurons, n = 50 samples, 200 RK4 steps, 11 frames and the risk at every step each. Kernels are
in the cache on disk.
"""

from __future__ import annotations

import statistics
from typing import Any

from . import engine
from .sections import Column, Effort, Goal, Named

TITLE = "many recorded runs, m = 64, n = 50, 200 RK4 steps, two workers"
COLUMNS = (
    Column("rate", "runs a second", ".1f"),
    Column("seconds", "all, s", ".1f"),
    Column("fixed", "starting, s", ".1f"),
)
WORKERS = 2
RATE = 80.0  # runs a second: four times those of commit 3fbdf82


def cases(quick: bool = False) -> list[Named]:
    return [Named(f"sweep-{runs}-runs", (runs, WORKERS)) for runs in ((2,) if quick else (402,))]


def run(case: Named, effort: Effort) -> dict[str, Any]:
    runs, workers = case.of
    work, one = engine.sweeps((runs, workers)), engine.sweeps((1, 1))
    engine.seconds_of(work, 1)  # compiles, also the loop over steps, which only many runs are worth
    times = [engine.seconds_of(work, 1) for _ in range(max(1, effort.rounds // 3))]
    found = statistics.median(times)
    return {
        "runs": runs,
        "workers": workers,
        "rate": runs / found,
        "seconds": found,
        "fixed": engine.seconds_of(one, 1),
        "times": times,
        "goals": [Goal("runs a second", RATE, runs / found, ".1f", "")],
    }
