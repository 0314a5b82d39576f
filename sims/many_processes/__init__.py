"""Steps of one run in several processes, timed beside one process on the same cores, and what that says of
10⁹ particles. python -m sims.many_processes --help
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from meanfield.files.tables import text_table

from ..lab import batched, cells, planning, runs
from ..lab import config as settings
from . import measures

if TYPE_CHECKING:
    from ..figures import Figure

NAME = "many_processes"
QUESTION = "What do several processes cost a run, and where do they stop helping?"
START, MESSAGE, COST = (
    5.0,
    2e-3,
    1e-9,
)  # seconds: a process, messages, a neuron and a sample of a step
PROCESS = 4 * 10**8  # bytes of one


@settings.settings
class Config:
    """Which runs are timed, each in turn with the others."""

    processes: tuple[Annotated[int, settings.between(1, 64)], ...] = (1, 2, 4)
    """Numbers of processes, 1 and 2 first, which the model comes from, others test it; each takes the cores
    over their number as threads."""
    widths: tuple[Annotated[int, settings.at_least(4096)], ...] = (2**14, 2**17, 2**20)
    """Numbers of neurons, multiples of 64."""
    n: Annotated[int, settings.at_least(1)] = 256
    """Samples."""
    dim: Annotated[int, settings.at_least(1)] = 2
    """Their inputs d."""
    steps: Annotated[int, settings.at_least(1)] = 4
    """Euler steps of an order at the largest m, of which the shortest counts; at others up to eight
    times as many."""
    rounds: Annotated[int, settings.at_least(2)] = 10
    """Orders to each."""

    def __post_init__(self) -> None:
        if self.processes[:2] != (1, 2) or list(self.processes) != sorted(set(self.processes)):
            raise ValueError(
                f"processes must grow from 1, 2: the model comes from these; got {list(self.processes)}."
            )
        if len(self.widths) < 2:
            raise ValueError(
                f"widths must be two or more, for what grows with m and what does not; got {list(self.widths)}."
            )
        if any(m % 64 for m in self.widths) or list(self.widths) != sorted(set(self.widths)):
            raise ValueError(f"widths must be multiples of 64, growing; got {list(self.widths)}.")


def tiny() -> Config:
    """Seconds, for tests: every part runs, nothing is resolved."""
    return Config(processes=(1, 2), widths=(4096, 8192), n=16, steps=1, rounds=2)


@dataclass(frozen=True)
class Row:
    """So many processes on a width."""

    processes: int
    m: int
    cores: int
    seconds: float  # of an Euler step, the shortest of all rounds
    predicted: float  # by the model, from one process and two
    speed: float  # seconds in one process over these


@dataclass(frozen=True)
class Results:
    """A Row for each, the model, the machine's load when it began, and the settings."""

    rows: tuple[Row, ...]
    model: measures.Model
    load: float
    config: Config


def _results(config: Config, out: Path) -> Results:
    file = cells.read(out / "timed.npz")[1]
    cores, typical = int(file["cores"]), file["seconds"].min(axis=0)
    model = measures.fitted(typical[:2], config.widths, config.n, cores)
    rows = [
        Row(
            count, m, cores, float(typical[i, j]), float(model.step(m, config.n, cores, count)),
            float(typical[0, j] / typical[i, j]),
        )
        for i, count in enumerate(config.processes)
        for j, m in enumerate(config.widths)
    ]  # fmt: skip
    return Results(tuple(rows), model, float(file["load"]), config)


def figure(results: Results) -> Figure:
    """A step against m, the speed beside one process, and a step of 10⁹ particles against cores."""
    from . import panels

    return panels.page(results)


def _costs(config: Config, left: Sequence[dict[str, Any]], out: Path) -> str:
    kinds, widths = len(config.processes) * len(left), config.widths
    steps = [config.rounds * measures.steps_of(config, m) + 2 for m in widths]
    arithmetic = COST * config.n * sum(m * k for m, k in zip(widths, steps, strict=True))
    seconds = START * max(config.processes) * len(left) + kinds * (
        arithmetic + MESSAGE * sum(steps)
    )
    held = 8 * 8 * (config.dim + 2) * sum(config.widths) * len(config.processes)
    memory = held + PROCESS * sum(config.processes)
    planning.ask_memory(memory, "what is timed", "Take fewer neurons.")
    counts = ", ".join(map(str, config.processes))
    return (
        f"runs in {counts} processes, {kinds * sum(steps)} steps of m = "
        f"{', '.join(map(str, widths))}, n = {config.n}, d = {config.dim}\nin all about {seconds:.0f} s, "
        f"{memory / 1e9:.1f} GB of memory, 0 MB on disk in {out}"
    )


def report(results: Results, out: Path) -> str:
    """Writes the table; returns what is printed."""
    runs.write_csv(results.rows, out / f"{NAME}.csv")
    lines: list[tuple[str, ...]] = [("processes", "m", "seconds a step", "model", "speed")]
    for row in results.rows:
        numbers = row.seconds, row.predicted, row.speed
        lines.append((f"{row.processes}", f"{row.m}", *(f"{value:.3g}" for value in numbers)))
    model, first = results.model, results.rows[0]
    said = (
        f"{first.cores} cores, load {results.load:.1f} before; speed: one process on the same cores is 1\n"
        f"model       a = {model.start:.2g} s, b = {model.message:.2g} s, c = {model.work:.2g} s"
    )
    return f"{text_table(lines, '>>>>>')}\n\n{said}\ntable       {out / NAME}.csv"


ABOUT = f"""{QUESTION}

Times Euler steps of ReLU networks (γ = 1, α = 1, a = ±1, w ~ N(0, 1), seed 0, float64) in several processes
on this machine, in turns with one process on the same cores. The model
step = a + c m n / cores + b (processes - 1) is fitted to one process and two, and compared with more. The last
panel is the model at 10⁹ particles, with the messages of an assumed network: a prediction.

Examples:
  python -m sims.{NAME} --demo                              seconds
  python -m sims.{NAME}                                     two minutes on two cores
  python -m sims.{NAME} --processes 1 2 8 16 --n 4096 --out results/large"""

BATCHES = batched.one_file(QUESTION, Config, "timed.npz", measures.timed, _results, _costs)
STUDY = BATCHES.study(
    NAME, ABOUT, {"full": (Config(), ""), "demo": (Config(widths=(2**14, 2**17), rounds=2), "Seconds.")},
    figure, report,
)  # fmt: skip
run, collect, plan, main = STUDY.run, STUDY.collect, STUDY.plan, STUDY.main
