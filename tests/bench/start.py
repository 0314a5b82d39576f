"""A fresh process, as a whole: how long until Python has started, a package is imported, a first
short run is done.

The run is 100 Euler steps of the README's kink with its kernels found in the cache on disk, and
once with an empty cache.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .sections import Column, Effort, Goal, Named

TITLE = "a fresh process"
COLUMNS = (
    Column("seconds", "seconds", ".2f"),
    Column("least", "least", ".2f"),
    Column("most", "most", ".2f"),
)
LIMIT = 2.0  # seconds, kernels cached
RUN = """
import numpy as np, meanfield as mf
x = np.linspace(-1, 1, 64)[:, None]
flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu"), x, np.abs(x[:, 0])))
neurons = mf.InitialLaw(dim=1, b_std=1.0, symmetric=True).sample(1000, seed=0)
mf.simulate(flow, neurons, mf.EULER, dt=0.01, n_steps=100, progress=False)
"""
PROGRAMS = {
    "python": "pass",
    "import-numpy": "import numpy",
    "import-meanfield": "import meanfield",
    "first-run-cached": RUN,
}


def cases(quick: bool = False) -> list[Named]:
    return [Named(f"start-{name}", text) for name, text in PROGRAMS.items()] + [
        Named("start-first-run-compiling", RUN)
    ] * (not quick)


def run(case: Named, effort: Effort) -> dict[str, Any]:
    root = str(Path(__file__).resolve().parents[2])
    compiling = case.name.endswith("compiling")
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "PYTHONPATH": root,
            "MEANFIELD_CACHE": str(Path(folder) / "0"),
            "NUMBA_CACHE_DIR": str(Path(folder) / "1"),
        }

        def once() -> float:
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", case.of], env=environment, check=True, cwd=folder)
            return time.perf_counter() - begin

        first = once()  # compiles, and reads the libraries from the disk
        times = [first] if compiling else [once() for _ in range(effort.rounds)]
    found = statistics.median(times)
    goals = (
        [Goal("cached", LIMIT, found, ".2f", " s", most=True)]
        if case.name.endswith("cached")
        else []
    )
    return {
        "seconds": found,
        "least": min(times),
        "most": max(times),
        "times": times,
        "goals": goals,
    }
