"""Many steps of a small problem, as most runs make them, and the same beside a busy process.

Peers make their loop over steps as an expert would (loops.py). "loop" is a plain loop nest on one
thread: the engine should not lose to it. "busy" is our time while another process keeps a core
busy, over our quiet time; a fair scheduler takes a third of the machine away. The machine should be
quiet otherwise.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import meanfield as mf

from .engine import WARM, marching, samples
from .loops import PEERS
from .peers import forget_compiled
from .sections import Column, Effort, Goal, best, measure, milliseconds, spread, willing

TITLE = "steps of small problems"
COLUMNS = (
    Column("ours_ms", "here ms"),
    Column("busy_ratio", "busy", ".1f"),
    Column("loop_ms", "loop ms"),
    Column("plain", "peer", ""),
    Column("plain_ms", "ms"),
    Column("plain_ratio", "ratio", ".1f"),
)
SLOWER_BESIDE_ONE = 2.5  # at most
ASKED = "numpy", "jax.lax.scan"  # goals are for the better of these


@dataclass(frozen=True)
class Case:
    """d = 2; asked: the ratio to the best of NumPy and jax.lax.scan."""

    activation: str
    m: int
    n: int
    dtype: str
    method: str
    asked: float

    @property
    def name(self) -> str:
        return f"{self.method.lower()}-{self.activation}-m{self.m}-n{self.n}-{self.dtype}"


def cases(quick: bool = False) -> list[Case]:
    return [
        Case("relu", 256, 64, "float64", "RK4", 2.5),
        Case("relu", 256, 500, "float64", "RK4", 4.5),
        Case("relu", 1000, 100, "float64", "RK4", 4.5),
        Case("relu", 2048, 500, "float64", "RK4", 7.0),
        Case("relu", 10000, 100, "float32", "EULER", 8.0),
        Case("tanh", 1000, 100, "float32", "EULER", 3.0),
    ][: 1 if quick else None]


class Ours:
    """meanfield: steps of a march at which nobody looks."""

    name = "ours"

    def __init__(self, theta, x, y, activation, dt, method):
        risk = mf.EmpiricalRisk(mf.Network(activation), x, y)
        flow = mf.GradientFlow(risk, dtype=x.dtype.name)
        self.march, self.step = marching(flow, mf.State(theta), getattr(mf, method), dt)

    def theta(self):
        return self.march.state().theta


def contenders(case: Case, dt: float = 0.01) -> tuple[dict[str, Any], dict[str, str]]:
    """({name: contender}, {name: why it is absent}), all from the same start."""
    theta, x, y = samples(case.m, case.n, 2, case.dtype)
    given = theta, x, y, case.activation, dt, case.method
    made = {kind.name: partial(kind, *given) for kind in (Ours, *PEERS)}
    return willing(made, lambda contender: contender.step(WARM))


@contextmanager
def a_busy_process() -> Iterator[subprocess.Popen]:
    """While it lasts, and this process does, another keeps a core busy."""
    alone = "import os\nwhile os.getppid() == {}:\n    for _ in range(10**6): pass"
    process = subprocess.Popen([sys.executable, "-c", alone.format(os.getpid())])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def run(case: Case, effort: Effort) -> dict[str, Any]:
    present, absent = contenders(case)
    works = {name: contender.step for name, contender in present.items()}
    times = measure(works, effort)
    with a_busy_process():
        busy = measure({"ours": works["ours"]}, effort)

    median = milliseconds(times)
    busy_ms = milliseconds(busy)["ours"]
    name, ms, ratio = best(median, set(works) - {"ours", "loop"})
    _, _, asked = best(median, ASKED)
    slower = busy_ms / median["ours"]
    present.clear()
    forget_compiled()
    return {
        **asdict(case), "ms": median, "spread": spread(times), "absent": absent,
        "ours_ms": median["ours"], "busy_ms": busy_ms, "busy_ratio": slower,
        "loop_ms": median["loop"], "plain": name, "plain_ms": ms, "plain_ratio": ratio,
        "goals": [
            Goal(" and ".join(ASKED), case.asked, asked),
            Goal("beside a busy process", SLOWER_BESIDE_ONE, slower, most=True),
        ],
    }  # fmt: skip
