"""The largest resident size of a process that takes three of our steps, libraries included: python
-m tests.bench.memory CASE.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from .engine import peak_bytes, process, samples
from .sections import Column, Effort, Goal, Named
from .steps import Case, Ours

TITLE = "memory of a process"
COLUMNS = (
    Column("peak_gb", "peak GB", ".2f"),
    Column("theta_gb", "θ GB", ".2f"),
    Column("seconds_a_step", "s a step", ".2g"),
)
GIGABYTE = 1.0  # at m = 10⁶, n = 4096, d = 10, where one (n, m) array would be 16 or 32 GB
MACHINE = 24.0  # GB, for m = 10⁸ at d = 2


def cases(quick: bool = False) -> list[Named]:
    found = [
        Case("relu", 10**6, 4096, 10, "float32"),
        Case("relu", 10**6, 4096, 10, "float64"),
        Case("relu", 10**8, 64, 2, "float32"),
    ]
    return [Named(f"memory-{case.name}", case) for case in (found[:1] if quick else found)]


def run(case: Named, effort: Effort) -> dict[str, Any]:
    found = json.loads(process("-m", "tests.bench.memory", case.name))
    asked = MACHINE if case.of.m == 10**8 else GIGABYTE
    return {**found, "goals": [Goal("peak", asked, found["peak_gb"], ".2f", " GB", most=True)]}


def report(case: Case) -> dict[str, Any]:
    """What this process has needed once the case's steps are done."""
    contender = Ours(*samples(case.m, case.n, case.d, case.dtype), case.activation, 0.01)
    theta = 1e-9 * contender.particles.theta.nbytes
    begin = time.perf_counter()
    contender.step(3)
    seconds = (time.perf_counter() - begin) / 3
    return {"peak_gb": 1e-9 * peak_bytes(), "theta_gb": theta, "seconds_a_step": seconds}


if __name__ == "__main__":
    print(json.dumps(report({case.name: case.of for case in cases()}[sys.argv[1]])))
