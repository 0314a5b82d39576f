"""Steps of runs in several processes, timed in turns; and what a model makes of them.

    step = a + c m n / cores + b (R - 1)   seconds, R processes on so many cores in all

a is what a step costs whatever m is, c core-seconds of a neuron and a sample, b what each process more adds
to the messages of a step, one from each to each other. They come from one process and from two.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

from meanfield.processes.threads import cores
from meanfield.processes.workers import THREADS

SHARDS = 64  # of 4096 particles and more: the most that can be worked at once
MESSAGES = 2  # of an Euler step
# A network between machines, assumed: messages come one after the other.
LATENCY, BANDWIDTH = 50e-6, 1.25e9  # seconds, and bytes a second: 10 Gbit/s


class Group:
    """So many processes that share what cores there are, waiting for orders."""

    def __init__(self, count: int, dim: int, n: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        threads = max(1, cores() // count)
        shared = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
        shared |= {"MASTER_ADDR": "127.0.0.1", **dict.fromkeys(THREADS, threads)}
        path = os.pathsep.join(item or os.getcwd() for item in sys.path)
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-m", "sims.many_processes.worker", str(dim), str(n)],
                env={**os.environ, "PYTHONPATH": path, "RANK": str(rank)}
                | {name: str(value) for name, value in shared.items()},
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for rank in range(count)
        ]  # fmt: skip

    def timed(self, m: int, steps: int) -> list[float]:
        """Seconds of each step."""
        first: Any = self.processes[0]
        try:
            first.stdin.write(f"{json.dumps([m, steps])}\n")
            first.stdin.flush()
            line = first.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError("a process that was to be timed has ended; its error is above.")
        return json.loads(line)

    def close(self) -> None:
        """End them: the first one's input ends, and with it the orders of all."""
        for process in self.processes:
            try:
                process.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


def timed(config: Any) -> dict[str, np.ndarray]:
    """seconds (rounds, processes, widths): the shortest step of each order, for what others do on the
    machine only adds to it; cores; load: processes that wanted a core at the start, on average of a minute.
    """
    shape = config.rounds, len(config.processes), len(config.widths)
    seconds, load = np.zeros(shape), os.getloadavg()[0]
    with ExitStack() as closers:
        groups = [
            closers.enter_context(closing(Group(count, config.dim, config.n)))
            for count in config.processes
        ]
        for group in groups:  # kernels are loaded, particles made
            for m in config.widths:
                group.timed(m, 1)
        for turn in np.ndindex(shape):
            m = config.widths[turn[2]]
            seconds[turn] = min(groups[turn[1]].timed(m, steps_of(config, m)))
    return {"seconds": seconds, "cores": np.array(cores()), "load": np.array(load)}


def steps_of(config: Any, m: int) -> int:
    """Of an order at this width: short ones are cheap, and more of them are disturbed."""
    return config.steps * min(8, config.widths[-1] // m)


@dataclass(frozen=True)
class Model:
    """a, b and c of the formula above."""

    start: float
    message: float
    work: float

    def step(self, m: Any, n: int, working: Any, processes: int) -> Any:
        """Seconds of an Euler step."""
        return self.start + self.work * m * n / working + self.message * (processes - 1)


def fitted(seconds: np.ndarray, widths: Sequence[int], n: int, working: int) -> Model:
    """Of the times (2, widths) of one process and of two: the least squares of relative errors, none of a, b, c
    below 0.
    """
    columns = [(1.0, more, m * n / working) for more in (0, 1) for m in widths]
    times = seconds.reshape(-1, 1)
    return Model(*map(float, nnls(np.array(columns) / times, np.ones(len(times)))[0]))


def messages_between(machines: Sequence[int] | np.ndarray, n: int) -> np.ndarray:
    """Seconds of the messages of an Euler step, of the partial sums of n samples, between so many
    machines, as assumed.
    """
    R = np.asarray(machines, float)
    return MESSAGES * (R - 1) * (LATENCY + SHARDS * n * 8 / R / BANDWIDTH)
