"""How often a network learns a teacher of m* neurons, against its own number m: the plain flow, the flow
with a reaction, and with neurons injected where the certificate finds them.
python -m sims.global_convergence --help
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np

from meanfield.files.tables import text_table

from ..lab import cells, runs, study
from ..lab import config as settings
from . import measures

if TYPE_CHECKING:
    from ..figures import Figure

NAME = "global_convergence"
QUESTION = "How many neurons more than its teacher does a network need to find it, and what helps?"


@settings.settings
class Config:
    """ReLU networks at γ = 1 on the population risk of a teacher of m* unit neurons, a = ±1, no biases."""

    teachers: tuple[Annotated[int, settings.at_least(1)], ...] = (2, 4)
    """m*, numbers of neurons of the teachers."""
    ratios: tuple[Annotated[int, settings.at_least(1)], ...] = (1, 2, 4)
    """m/m* at the start."""
    dim: Annotated[int, settings.at_least(2)] = 4
    """d."""
    seeds: Annotated[int, settings.at_least(2)] = 16
    """Seeds 0 … seeds - 1, of teacher and start."""
    t_end: Annotated[float, settings.above(0)] = 200.0
    """Flow time."""
    dt: Annotated[float, settings.above(0)] = 0.1
    """Step of Heun's method."""
    reaction: Annotated[float, settings.above(0)] = 30.0
    """ρ of the flow with a reaction."""
    injections: Annotated[int, settings.at_least(1)] = 4
    """Neurons that are injected, at equal times."""
    threshold: Annotated[float, settings.above(0)] = 0.01
    """R/R(f = 0) below which the teacher counts as found."""

    def __post_init__(self) -> None:
        for name in ("teachers", "ratios"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{name} needs values without repetition; got {list(values)}.")


def tiny() -> Config:
    """Seconds, for tests: every part runs, nothing is resolved."""
    return Config(teachers=(2,), ratios=(1, 2), seeds=2, t_end=2.0, injections=1)


def demo() -> Config:
    """Some twenty seconds on two cores."""
    return Config(teachers=(3,), seeds=8, t_end=100.0)


@dataclass(frozen=True)
class Row:
    """How many of the seeds found the teacher."""

    teacher: int
    m: int
    flow: str
    found: int
    seeds: int
    median: float  # of R/R(f = 0) at the end

    @property
    def share(self) -> float:
        return self.found / self.seeds


@dataclass(frozen=True)
class Results:
    """One row for each teacher, width and flow; the settings."""

    rows: tuple[Row, ...]
    config: Config


def batches(config: Config, out: Path) -> list[cells.Batch]:
    """(file, settings, work) of each part: the seeds of one teacher, width and flow."""
    return [
        (
            out / f"teacher{teacher}_m{teacher * ratio}_{mode}.npz",
            cells.about(config, ("teachers", "ratios", "threshold"), part=[teacher, ratio, mode]),
            partial(measures.risks, config, teacher, teacher * ratio, mode),
        )
        for teacher in sorted(config.teachers)
        for ratio in sorted(config.ratios)
        for mode in measures.MODES
    ]


def run(config: Config, out: Path, progress: bool = False) -> Results:
    """Do what is not there yet, one .npz file a part in `out`. Raises mf.Interrupted, mf.Diverged."""
    cells.fill(batches(config, out), progress)
    return _results(config, out)


def collect(config: Config, out: Path) -> Results:
    """Results of the files in `out`; of teachers, widths and threshold those of `config`."""
    if left := [path.name for path, about, _ in batches(config, out) if cells.missing(path, about)]:
        raise ValueError(
            f"{out} has no {left[0]}: there are no runs to measure with these settings. Run the sim to "
            "its end first, or give the --out and the settings that it had."
        )
    return _results(config, out)


def _results(config: Config, out: Path) -> Results:
    rows = []
    for path, about, _ in batches(config, out):
        teacher, ratio, mode = about["part"]
        risks = cells.read(path)[1]["risk"]
        found = int((risks < config.threshold).sum())
        rows.append(Row(teacher, teacher * ratio, mode, found, len(risks), float(np.median(risks))))
    return Results(tuple(rows), config)


def figure(results: Results) -> Figure:
    """The share of seeds that found the teacher against m, a panel a teacher."""
    from . import panels

    return panels.page(results)


def plan(config: Config, out: Path) -> str:
    """What `run` is about to do; what `out` holds counts as done."""
    left = [path for path, about, _ in batches(config, out) if cells.missing(path, about)]
    count, steps = len(left) * config.seeds, round(config.t_end / config.dt)
    seconds = 3e-4 * count * steps  # some 0.3 ms a step of a few neurons, most of it the clock's
    about = f"{count} runs of {steps} steps to t = {config.t_end:g}, one after another, into {out}"
    cost = f"about {seconds:.0f} s, memory of some MB, {len(left)} KB on disk"
    return f"{QUESTION}\n\n{about}\n{cost}\nsettings {settings.digest(config)}"


def report(results: Results, out: Path) -> str:
    """Writes the table; returns what is printed."""
    runs.write_csv(results.rows, out / f"{NAME}.csv")
    lines: list[tuple[str, ...]] = [("m*", "m", "flow", "found", "median R/R(0)")]
    lines += [
        (str(r.teacher), str(r.m), r.flow, f"{r.found} of {r.seeds}", f"{r.median:.2g}")
        for r in results.rows
    ]
    return f"{text_table(lines, '>><>>')}\n\ntable       {out / NAME}.csv"


ABOUT = f"""{QUESTION}

Population risk of a ReLU teacher of m* neurons, x ~ N(0, I). Where m = m* the flow often ends in a local minimum; a wider
network finds the teacher. A reaction moves mass between the neurons there are. mf.optimality finds the neuron of all that lowers F
most, and it is injected.

Examples:
  python -m sims.{NAME} --demo                              one teacher and 8 seeds, twenty seconds
  python -m sims.{NAME} --redraw                            table and figure again from the files
  python -m sims.{NAME} --dim 10 --teachers 5 --out results/wider"""

STUDY = study.Study(
    NAME, ABOUT, {"full": (Config(), ""), "demo": (demo(), "One teacher of three neurons, 8 seeds, twenty seconds.")},
    plan, run, figure, report, collect=collect,
)  # fmt: skip
main = STUDY.main
