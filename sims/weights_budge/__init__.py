"""Whether the weights of a wide network move while it learns: loss and relative weight change of
networks with two hidden layers, for several widths. python -m sims.weights_budge --help
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np

from meanfield.files.tables import text_table

from ..lab import batched, cells, planning, runs
from ..lab import config as settings
from . import measures

if TYPE_CHECKING:
    from ..figures import Figure

NAME = "weights_budge"
QUESTION = "How far do the weights of a network move while it learns, as it is made wider?"


@settings.settings
class Config:
    """Networks 1 – m – m – 1 of ReLU with PyTorch's start, trained on two points by gradient
    descent.
    """

    widths: tuple[Annotated[int, settings.at_least(2)], ...] = (10, 100, 1000)
    """Widths m of both hidden layers."""
    seeds: Annotated[int, settings.at_least(2)] = 2
    """Seeds 0 … seeds - 1 of the start; error bars are standard errors over them."""
    rate: Annotated[float, settings.above(0)] = 1e-3
    """Learning rate on the mean squared error, unscaled."""
    steps: Annotated[int, settings.at_least(1)] = 300
    """Steps of gradient descent."""
    thin: Annotated[int, settings.at_least(1)] = 10
    """Steps between two looks."""

    def __post_init__(self) -> None:
        settings.different("widths", self.widths)


def tiny() -> Config:
    """Seconds, for tests: every part runs, nothing is resolved."""
    return Config(widths=(4, 8), seeds=2, steps=4, thin=1)


def demo() -> Config:
    """Half a minute on two cores."""
    return Config(widths=(10, 32, 100, 316), seeds=2)


@dataclass(frozen=True)
class Row:
    """One trained network."""

    m: int
    seed: int
    parameters: int
    loss: float  # mean squared error at the end
    moved: float  # ‖w - w_0‖/‖w_0‖ at the end, over all parameters


Results = batched.Results[Row, Config]


def _results(config: Config, out: Path) -> Results:
    rows = []
    for m, file in cells.of_widths(config, out):
        rows += [
            Row(m, seed, measures.parameters(m), float(loss[-1]), float(moved[-1]))
            for seed, (loss, moved) in enumerate(zip(file["loss"], file["moved"], strict=True))
        ]
    return Results(out, tuple(rows), config)


def figure(results: Results) -> Figure:
    """The loss and the way of the weights against steps, and the way against m."""
    from . import panels

    return panels.page(results)


def _job(config: Config, left: list[int]) -> planning.Job:
    sizes = tuple(measures.parameters(m) for m in left for _ in range(config.seeds))
    return planning.Job(
        name="two hidden layers", data=measures.DATA, widths=sizes,
        widest=measures.parameters(max(config.widths)), t_end=2 * config.rate * config.steps, steps=config.steps, frames=0,
        dtype="float64", compiled=True, stages=1, filed=False, size="parameters",
    )  # fmt: skip


def report(results: Results, out: Path) -> str:
    """Writes the table; returns what is printed."""
    runs.write_csv(results.rows, out / f"{NAME}.csv")
    lines: list[tuple[str, ...]] = [("m", "parameters", "loss at the end", "‖w − w₀‖/‖w₀‖")]
    for m in sorted({row.m for row in results.rows}):
        rows = [row for row in results.rows if row.m == m]
        loss, moved = (np.array([getattr(row, name) for row in rows]) for name in ("loss", "moved"))
        error = np.std(moved, ddof=1) / np.sqrt(len(moved))
        cells_ = (f"{loss.mean():.2g}", f"{moved.mean():.4f} ± {error:.4f}")
        lines.append((f"{m}", f"{rows[0].parameters}", *cells_))
    return f"{text_table(lines, '>>>>')}\n\ntable       {out / NAME}.csv"


ABOUT = f"""{QUESTION}

Trains networks of two hidden layers on two points by gradient descent and follows the loss and the relative change of all weights
together. Wider networks learn in fewer steps and move less: ‖w - w_0‖ ~ m^(-1/2), ‖w_0‖ ~ m^(1/2), the quotient 1/m.

Examples:
  python -m sims.{NAME} --demo                              half a minute
  python -m sims.{NAME} --dry-run                           what the full study would cost
  python -m sims.{NAME} --redraw                            table and figure again from the files
  python -m sims.{NAME} --widths 10 100 --rate 3e-4 --out results/slower"""

BATCHES = batched.by_width(QUESTION, Config, measures.trained, _results, _job)
STUDY = BATCHES.study(
    NAME, ABOUT, {"full": (Config(), ""), "demo": (demo(), "Small preset: widths 10 … 316, 2 seeds, half a minute.")},
    figure, report,
)  # fmt: skip
run, collect, plan, main = STUDY.run, STUDY.collect, STUDY.plan, STUDY.main
