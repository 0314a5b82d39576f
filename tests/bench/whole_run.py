"""What watching a run costs: the same run plain, with progress lines, with a series, recorded.

Contenders take turns; shares are of the medians against the plain run, of processor time and of wall time,
in which the files' fsyncs count. Recording is evenly(100), the default cadence: its cost is one for each frame and one
for each file, not for each step, so its share falls with the length of the run.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np

import meanfield as mf

SIZES = [
    (256, 64, "float64", 1000),
    (256, 64, "float64", 20_000),
    (10_000, 256, "float32", 1000),
    (10_000, 256, "float32", 5000),
    (10_000, 256, "float64", 1000),
    (10_000, 256, "float64", 5000),
]
QUICK = [(256, 64, "float64", 1000), (10_000, 256, "float32", 1000)]
Watch = Callable[[Path], list]
WATCHES: dict[str, tuple[Watch, bool]] = {
    "plain": (lambda path: [], False),
    "progress": (lambda path: [], True),
    "series": (lambda path: [mf.Series("risk", mf.evenly(100))], False),
    "series of every step": (lambda path: [mf.Series("risk", mf.every(1))], False),
    "recorded": (lambda path: [mf.Recorder(path, mf.evenly(100), exists="replace")], False),
    "recorded, progress": (lambda path: [mf.Recorder(path, mf.evenly(100), exists="replace")], True),
}


def seconds(m: int, n: int, dtype: str, steps: int, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """(processor, wall) of whole RK4 runs by the name of what watches them, relu, d = 2; each round in another order."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 2))
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu"), x, np.sin(x[:, 0])), dtype=dtype)
    start = mf.InitialLaw(dim=2, b_std=1.0).sample(m, seed=0)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in WATCHES}
    names = list(WATCHES)
    with tempfile.TemporaryDirectory() as folder, open(Path(folder) / "lines", "w") as lines, redirect_stderr(lines):
        for turn in range(-1, rounds):  # the first one compiles
            for name in names[max(turn, 0) % len(names) :] + names[: max(turn, 0) % len(names)]:
                watch, progress = WATCHES[name]
                observers = watch(Path(folder) / "run.h5")
                length = steps if turn >= 0 else 100
                begin = time.process_time(), time.perf_counter()
                mf.simulate(flow, start, mf.RK4, dt=0.01, n_steps=length, observers=observers, progress=progress)
                if turn >= 0:
                    times[name].append((time.process_time() - begin[0], time.perf_counter() - begin[1]))
    return times


def shares(times: dict[str, list[tuple[float, float]]]) -> dict[str, tuple[float, float]]:
    """By name, the medians of processor and wall time over those of the plain run, minus one."""
    middle = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in times.items()}
    return {name: (p / middle["plain"][0] - 1, w / middle["plain"][1] - 1) for name, (p, w) in middle.items()}


def table(quick: bool, rounds: int | None = None) -> None:
    print(f"{'whole run, RK4, relu, d = 2':42}{'seconds':>9}   cost of watching: processor time, wall time")
    for m, n, dtype, steps in QUICK if quick else SIZES:
        times = seconds(m, n, dtype, steps, rounds or 3)
        wall = statistics.median(wall for _, wall in times["plain"])
        print(f"{f'm = {m}, n = {n}, {dtype}, {steps} steps':42}{wall:9.3g}", flush=True)
        for name, (processor, elapsed) in shares(times).items():
            if name != "plain":
                print(f"    {name:47}   {processor:+8.1%} {elapsed:+8.1%}", flush=True)
