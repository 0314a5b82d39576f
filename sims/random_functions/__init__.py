"""Which functions networks with two hidden layers are before training, for several widths, and the
Gaussian process that they tend to. python -m sims.random_functions --help
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np

from meanfield.files.tables import text_table

from ..lab import batched, cells, planning, runs
from ..lab import config as settings
from . import measures

if TYPE_CHECKING:
    from ..figures import Figure

NAME = "random_functions"
QUESTION = "Which functions are networks before training, and what do they tend to as they widen?"


@settings.settings
class Config:
    """Networks 1 – m – m – 1 with standard normal weights in the NTK parametrisation (γ = 1/2)."""

    widths: tuple[Annotated[int, settings.at_least(2)], ...] = (4, 16, 64, 256, 1024)
    """Widths m of both hidden layers."""
    networks: Annotated[int, settings.at_least(2)] = 100
    """Networks of each width; number k has the seed k."""
    activation: Literal["relu", "tanh", "erf", "gelu", "sin"] = "tanh"
    """σ."""
    w_std: Annotated[float, settings.above(0)] = 1.5
    """Scale of the weights, v."""
    b_std: Annotated[float, settings.at_least(0)] = 0.5
    """Scale of the biases, β."""
    span: Annotated[float, settings.above(0)] = 3.0
    """x from -span to span."""
    points: Annotated[int, settings.at_least(3)] = 61
    """Values of x."""

    def __post_init__(self) -> None:
        settings.different("widths", self.widths)


def tiny() -> Config:
    """Seconds, for tests: every part runs, nothing is resolved."""
    return Config(widths=(4, 8), networks=4, points=9)


def demo() -> Config:
    """Ten seconds on two cores."""
    return Config(widths=(4, 16, 64, 256), networks=50)


@dataclass(frozen=True)
class Row:
    """One network."""

    m: int
    seed: int
    inside: float  # share of the points where |f| is within two standard deviations of the limit
    off: float  # ‖K_m - K‖/‖K‖ of the covariance given the hidden layers


Results = batched.Results[Row, Config]


def _results(config: Config, out: Path) -> Results:
    rows, two = [], 2 * measures.deviation(config)
    for m, file in cells.of_widths(config, out):
        for seed, (f, off) in enumerate(zip(file["f"], file["off"], strict=True)):
            rows.append(Row(m, seed, float(np.mean(np.abs(f) <= two)), float(off)))
    return Results(out, tuple(rows), config)


def figure(results: Results) -> Figure:
    """The functions of the narrowest and the widest networks, and how far the law is from Gaussian."""
    from . import panels

    return panels.page(results)


def _job(config: Config, left: list[int]) -> planning.Job:
    # Jacobians of the readout alone, of m + 1 weights
    sizes = tuple(m for m in left for _ in range(config.networks))
    return planning.Job(
        name="random networks, no training", data=measures.data(config), widths=sizes,
        widest=max(config.widths), t_end=0.0, steps=1, frames=0, dtype="float64",
        compiled=True, stages=1, filed=False,
    )  # fmt: skip


def report(results: Results, out: Path) -> str:
    """Writes the table; returns what is printed."""
    runs.write_csv(results.rows, out / f"{NAME}.csv")
    lines: list[tuple[str, ...]] = [("m", "networks", "values within ±2 sd", "‖K_m − K‖/‖K‖")]
    for m in sorted({row.m for row in results.rows}):
        rows = [row for row in results.rows if row.m == m]
        inside = np.mean([row.inside for row in rows])
        off = np.mean([row.off for row in rows])
        lines.append((f"{m}", f"{len(rows)}", f"{inside:.1%}", f"{off:.3g}"))
    fitted = runs.exponent(results.rows, "off")
    return f"{text_table(lines, '>>>>')}\noff: {fitted}\n\ntable       {out / NAME}.csv"


ABOUT = f"""{QUESTION}

Draws networks of two hidden layers on a line, for several widths, and the band of two standard deviations of the Gaussian process of
infinite width (ntk.deep). Given its hidden layers a network's output is Gaussian, with a covariance K_m that scatters about the
limit K by m^(-1/2): where it no longer scatters, the functions are draws of one Gaussian process.

Examples:
  python -m sims.{NAME} --demo                     ten seconds
  python -m sims.{NAME} --dry-run                  what the full study would cost
  python -m sims.{NAME} --redraw                   table and figure again from the files
  python -m sims.{NAME} --activation relu --b-std 0.1 --out results/relu"""

BATCHES = batched.by_width(QUESTION, Config, measures.drawn, _results, _job)
STUDY = BATCHES.study(
    NAME, ABOUT, {"full": (Config(), ""), "demo": (demo(), "Small preset: widths 4 … 256, 50 networks, ten seconds.")},
    figure, report,
)  # fmt: skip
run, collect, plan, main = STUDY.run, STUDY.collect, STUDY.plan, STUDY.main
