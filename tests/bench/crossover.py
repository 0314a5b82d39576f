"""Where the fused kernels stop winning: forward and pull-back of one step, fused against blocked,
for d = 8 … 20.

What cpu.FUSED_UP_TO should be: above 1 the fused kernels win.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import meanfield as mf
from meanfield.backends.cpu import backend as cpu

from .sections import Column, Effort, Named, measure, milliseconds, spread

TITLE = f"fused kernels (used up to d = {cpu.FUSED_UP_TO}) against blocked ones"
COLUMNS = (
    Column("fused_ms", "fused ms"),
    Column("blocked_ms", "blocked ms"),
    Column("ratio", "blocked / fused", ".2f"),
)


def cases(quick: bool = False) -> list[Named]:
    dims = (10, 12) if quick else (8, 10, 12, 14, 16, 20)
    kinds = [
        (activation, dtype) for activation in ("relu", "tanh") for dtype in ("float32", "float64")
    ]
    return [
        Named(f"crossover-{activation}-d{dim}-{dtype}", (dim, activation, dtype))
        for activation, dtype in kinds
        for dim in dims
    ]


def run(case: Named, effort: Effort, m: int = 5000, n: int = 1000) -> dict[str, Any]:
    dim, activation, dtype = case.of
    rng = np.random.default_rng(0)
    x, slopes = rng.normal(size=(n, dim)), rng.normal(size=(n, 1))
    state = mf.InitialLaw(dim, b_std=1.0).sample(m)
    before = cpu.FUSED_UP_TO

    def work(limit: int) -> Any:
        backend = cpu.CPU(mf.Network(activation), dim, 1, dtype)
        cpu.FUSED_UP_TO = limit
        theta, samples, weight = (
            backend.upload(state.theta),
            backend.samples(x),
            backend.weights(state.mass),
        )
        assert backend.kernels and backend.fused == (limit == dim)

        def step(count: int) -> None:
            cpu.FUSED_UP_TO = limit
            for _ in range(count):
                backend.mean_feature(theta, weight, samples, keep=True)
                backend.pull_back(theta, samples, slopes)

        step(1)  # compiles
        return step

    try:
        times = measure({"fused": work(dim), "blocked": work(0)}, effort)
    finally:
        cpu.FUSED_UP_TO = before
    median = milliseconds(times)
    return {
        "d": dim, "activation": activation, "dtype": dtype, "m": m, "n": n, "spread": spread(times), "goals": [],
        "fused_ms": median["fused"], "blocked_ms": median["blocked"], "ratio": median["blocked"] / median["fused"],
    }  # fmt: skip
