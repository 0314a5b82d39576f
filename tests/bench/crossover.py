"""Where the fused kernels stop winning: forward and pull-back of one step, fused against blocked, for d = 8 … 20."""

from __future__ import annotations

import statistics
import time

import numpy as np

import meanfield as mf
from meanfield.backends import cpu


def milliseconds(dim: int, activation: str, dtype: str, m: int = 5000, n: int = 1000, rounds: int = 9) -> tuple[float, float]:
    """Medians of (fused, blocked), taking turns."""
    rng = np.random.default_rng(0)
    x, slopes = rng.normal(size=(n, dim)), rng.normal(size=(n, 1))
    state = mf.InitialLaw(dim, b_std=1.0).sample(m)
    limit, times = cpu.FUSED_UP_TO, ([], [])
    try:
        contenders = []
        for cpu.FUSED_UP_TO in (dim, 0):
            backend = cpu.CPU(mf.Network(activation), dim, 1, dtype)
            assert backend.kernels and backend.fused == (cpu.FUSED_UP_TO == dim)
            contenders.append((cpu.FUSED_UP_TO, backend, backend.upload(state.theta), backend.samples(x)))
        for turn in range(rounds + 1):
            for (cpu.FUSED_UP_TO, backend, theta, samples), column in zip(contenders, times, strict=True):
                start = time.perf_counter()
                backend.mean_feature(theta, backend.weights(state.mass), samples, keep=True)
                backend.pull_back(theta, samples, slopes)
                if turn:  # the first one compiles
                    column.append(1e3 * (time.perf_counter() - start))
    finally:
        cpu.FUSED_UP_TO = limit
    return statistics.median(times[0]), statistics.median(times[1])


def table() -> None:
    print(f"{'activation, dtype':20}{'d':>4}{'fused ms':>10}{'blocked ms':>12}   (fused is used up to d = {cpu.FUSED_UP_TO})")
    for activation in ("relu", "tanh"):
        for dtype in ("float32", "float64"):
            for dim in (8, 10, 12, 14, 16, 20):
                fused, blocked = milliseconds(dim, activation, dtype)
                print(f"{activation + ' ' + dtype:20}{dim:4}{fused:10.2f}{blocked:12.2f}", flush=True)
