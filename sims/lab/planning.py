"""What a study is about to cost, said before it starts: steps, time, memory and disk, estimated
without training.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import meanfield as mf
from meanfield import tangent
from meanfield.files.durable import check_space
from meanfield.processes.memory import ask_memory
from meanfield.stepping.clocks import stable_step

RUN_SECONDS = 0.06  # opening, publishing and measuring a small run
UNFILED_SECONDS = 0.005  # the same of one that leaves no file of its own
# of any step of RK4, however small: a few times that alone, less of many in one call
STEP_SECONDS = 1e-4
COMPILE_SECONDS = 15.0
DECOMPOSITION = 9.0  # n³ operations of the eigenvectors of n rows
START_BYTES = 4e8  # the process with its libraries
FILE_BYTES = 6e4  # of a run, besides particles and data


@dataclass(frozen=True)
class Job:
    """The runs on one data set: `widths` has one entry for each run to do, `widest` counts the
    finished ones too; stages: velocities a step; filed: each run is a file; decomposed: rows of the
    symmetric matrices whose eigenvectors are asked for; size: what the widths are called.
    """

    name: str
    data: mf.data.Dataset
    widths: tuple[int, ...]
    widest: int
    t_end: float
    steps: int
    frames: int
    dtype: str
    compiled: bool
    stages: int = 4
    filed: bool = True
    decomposed: tuple[int, ...] = ()
    size: str = "m ="

    @property
    def bytes_per_number(self) -> int:
        return np.dtype(self.dtype).itemsize

    def __str__(self) -> str:
        data, widths = self.data, f"{self.size} {_span(self.widths)}, " if self.widths else ""
        return (
            f"{self.name}: {len(self.widths)} runs, {widths}n = {data.n} (+ {data.n_test} "
            f"for the test), d = {data.d}, "
            f"t = 0 … {self.t_end:g} in about {self.steps} steps each"
        )


def _span(values: Sequence[int]) -> str:
    least, most = min(values), max(values)
    return f"{least} … {most}" if least < most else f"{least}"


def steps(network: mf.Network, start: mf.State, x: np.ndarray, t_end: float) -> int:
    """Steps of RK4 to t_end with dt="auto" and the squared loss, from the largest eigenvalue of
    H_0; halvings add to them.
    """
    H = tangent.as_matrix(tangent.kernel(network, start, x))
    return math.ceil(t_end / stable_step(mf.RK4, float(np.linalg.eigvalsh(H)[-1]) / len(x)))


def seconds(jobs: Sequence[Job], w2_seconds: float) -> float:
    """Wall time for the runs to do, on this machine as busy as it is now; right within a factor of
    two.
    """
    rate = {dtype: _flops_per_second(dtype) for dtype in {job.dtype for job in jobs}}
    total = 2.0 + COMPILE_SECONDS * any(not job.compiled and job.widths for job in jobs)
    for job in jobs:
        n, d = job.data.n, job.data.d
        total += DECOMPOSITION * sum(rows**3 for rows in job.decomposed) / rate[job.dtype]
        for m in job.widths:
            flops = (job.stages * job.steps + 2) * n * m * (4.0 * d + 40.0) + 8.0 * n**2 * m
            total += (
                flops / rate[job.dtype]
                + job.steps * STEP_SECONDS * job.stages / 4
                + (RUN_SECONDS if job.filed else UNFILED_SECONDS)
                + min(w2_seconds, 1e-9 * m**2.3)
            )
    return total


def memory(jobs: Sequence[Job]) -> float:
    """Bytes at the widest run: particles and stages, pre-activations, the cost matrix of an exact
    W2 or two kernels.
    """
    most = 0.0
    for job in jobs:
        stages = 12 * job.bytes_per_number * job.widest * (job.data.d + 2)
        kept = min(256 * 2**20, job.bytes_per_number * job.widest * job.data.n)
        most = max(
            most, stages + kept + max(39 * min(job.widest, 5000) ** 2, 48 * job.data.n**2 + 2**27)
        )
    return START_BYTES + most


def disk(jobs: Sequence[Job]) -> float:
    """Bytes of the files to be written."""
    total = 0.0
    for job in jobs:
        if not job.filed:
            total += 1e3 * len(job.widths)
            continue
        frame = job.bytes_per_number * (job.data.d + 2)
        data = 8 * (job.data.n + job.data.n_test) * (job.data.d + 1)
        total += sum(
            job.frames * frame * m + 3 * 8 * (job.data.d + 2) * m + data + FILE_BYTES
            for m in job.widths
        )
    return total


def describe(jobs: Sequence[Job], out: Path, w2_seconds: float = 0.0) -> str:
    """One line a job, and the total; w2_seconds: for the W2 of each run, at most. Raises MemoryError,
    and OSError for the disk, where this machine has not so much.
    """
    lines = [str(job) for job in jobs]
    if any(not job.compiled and job.widths for job in jobs):
        lines.append(
            "kernels are compiled first, some ten seconds; later runs find them in the cache"
        )
    cost = f"{_amount(seconds(jobs, w2_seconds))}, {memory(jobs) / 1e9:.1f} GB of memory"
    widest = max(jobs, key=lambda job: job.widest, default=None)
    wanted = f"{widest.size} {widest.widest} (in all about {cost})" if widest else cost
    ask_memory(int(memory(jobs)), wanted, "Take fewer neurons.")
    there = next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())
    check_space(int(disk(jobs)), there, "what would be written")
    return "\n".join([*lines, f"in all about {cost}, {disk(jobs) / 1e6:.0f} MB on disk in {out}"])


def _flops_per_second(dtype: str) -> float:
    """What the step kernels reach on this machine: about half the speed of a matrix product."""
    a = np.ones((1024, 256), dtype)
    best = math.inf
    for _ in range(5):
        begin = time.perf_counter()
        a @ a.T
        best = min(best, time.perf_counter() - begin)
    return 2 * 1024 * 1024 * 256 / best / 2


def _amount(value: float) -> str:
    return (
        f"{value:.0f} s"
        if value < 100
        else f"{value / 60:.0f} min"
        if value < 6000
        else f"{value / 3600:.1f} h"
    )
