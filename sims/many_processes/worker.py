"""One of the processes that are timed: it takes orders, a line each, until its input ends.

python -m sims.many_processes.worker DIM N, with the variables that torchrun sets; orders are JSON [m, steps]
for the first process, which answers with the seconds of each step.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np

import meanfield as mf
from meanfield.particles import Particles
from meanfield.processes.ranks import Ranks

WAIT = 600.0  # seconds for an order


def main() -> None:
    dim, n = map(int, sys.argv[1:])
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, dim)) / np.sqrt(dim)
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu"), x, np.sin(3 * x[:, 0])))
    with mf.ranks(timeout=WAIT) as ranks:
        held: dict[int, tuple[Any, Particles]] = {}
        while line := ranks.first(sys.stdin.readline):
            m, steps = json.loads(line)
            if m not in held:
                start = mf.InitialLaw(dim).sample(m, seed=0)
                field = flow.on_device(start, ranks)
                held[m] = field, Particles.of(start, field.backend)
            seconds = _steps(ranks, *held[m], steps)
            if ranks.rank == 0:
                print(json.dumps(seconds), flush=True)


def _steps(ranks: Ranks, field: Any, particles: Particles, steps: int) -> list[float]:
    """Seconds of each Euler step, its numbers read, from one moment on all ranks."""
    found = []
    for _ in range(steps + 1):
        ranks.meet()
        begun = time.perf_counter()
        step = mf.EULER.step(field, particles, 1e-6)
        _ = step.dissipated
        found.append(time.perf_counter() - begun)
        particles = step.particles._replace(step=particles.step + 1)
    return found[1:]  # the velocity of the first may be known


if __name__ == "__main__":
    main()
