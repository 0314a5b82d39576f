"""Two points learnt by a network that is multiplied by α: the way of its two outputs and the ellipses
of its kernel, from the kernel regime to features that move. python -m sims.kernel_regime --help
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from meanfield.files.tables import text_table

from ..lab import batched, cells, planning, runs
from ..lab import config as settings
from . import measures

if TYPE_CHECKING:
    from ..figures import Figure

NAME = "kernel_regime"
QUESTION = "Which way do the outputs of a network go to their targets, and does its kernel stay?"


@settings.settings
class Config:
    """Networks 1 – m – m – 1 of ReLU with PyTorch's start, α(f − f₀) trained on two points by
    gradient descent on the mean squared error over α².
    """

    alphas: tuple[Annotated[float, settings.above(0)], ...] = (
        0.01, 0.0681292, 0.4641589, 3.1622777, 21.544347, 146.77993, 1000.0,
    )  # fmt: skip
    """Output scales α, growing."""
    width: Annotated[int, settings.at_least(2)] = 100
    """Width m of both hidden layers."""
    seeds: Annotated[int, settings.at_least(1)] = 2
    """Seeds 0 … seeds - 1 of the start; ways and functions are those of seed 0."""
    rate: Annotated[float, settings.above(0)] = 3e-4
    """Learning rate on the mean squared error over α²."""
    steps: Annotated[int, settings.at_least(2)] = 4000
    """Steps of gradient descent."""
    looks: Annotated[int, settings.at_least(3)] = 91
    """Moments at which outputs and kernel are looked at, denser at the beginning."""

    def __post_init__(self) -> None:
        settings.growing("alphas", self.alphas, "three")
        if self.looks > self.steps:
            raise ValueError(
                f"looks must be at most steps; got {self.looks} and {self.steps}. Use --looks "
                f"{self.steps}."
            )


def tiny() -> Config:
    """Seconds, for tests: every part runs, nothing is resolved."""
    return Config(alphas=(0.1, 1.0, 100.0), width=8, seeds=2, steps=8, looks=4)


def demo() -> Config:
    """Half a minute on two cores."""
    return Config(seeds=1, steps=1500, rate=6e-4, looks=61)


@dataclass(frozen=True)
class Row:
    """One network: how much its kernel changed."""

    alpha: float
    seed: int
    drift: float  # ‖H_T - H_0‖/‖H_0‖, Frobenius
    left: float  # ‖u_T‖/‖u_0‖
    detour: float  # length of the way of the outputs over the distance to the target
    apart: float  # the largest distance to the way that the first kernel gives, over ‖y‖
    stiffness: (
        float  # the largest dt λ_max(H_t)/2: far below 1 steps are the flow, from 2 on unstable
    )


Results = batched.Results[Row, Config]


def path_of(out: Path, alpha: float) -> Path:
    """The file of an output scale."""
    return out / f"alpha{alpha:.6g}.npz"


def batches(config: Config, out: Path) -> list[cells.Batch]:
    return [
        (path_of(out, alpha), cells.about(config, without=("alphas",), alpha=alpha),
         partial(measures.trained, config, alpha))
        for alpha in config.alphas
    ]  # fmt: skip


def config_of(out: Path) -> Config:
    abouts = [about for about, _ in cells.found(out, "alpha*.npz")]
    alphas = tuple(sorted(about["alpha"] for about in abouts))
    return settings.from_dict(Config, {**cells.shared(abouts, ("alpha",)), "alphas": alphas})


def _results(config: Config, out: Path) -> Results:
    rows = []
    for alpha in config.alphas:
        file = cells.read(path_of(out, alpha))[1]
        rows += [
            Row(alpha, seed, *measures.summary(file["times"], outputs, kernels, config.rate))
            for seed, (outputs, kernels) in enumerate(
                zip(file["outputs"], file["kernels"], strict=True)
            )
        ]
    return Results(out, tuple(rows), config)


def figure(results: Results) -> Figure:
    """Ways of the outputs with ellipses, the functions, and the kernel's change against α."""
    from . import panels

    return panels.page(results)


def movie(results: Results, out: Path) -> Path:
    """The ways, the ellipses and the functions as an animation, a .gif."""
    from . import panels

    return panels.movie(results, out / f"{NAME}.gif")


def _costs(config: Config, left: Sequence[dict[str, Any]], out: Path) -> str:
    size = measures.parameters(config.width)
    job = planning.Job(
        name="two hidden layers", data=measures.DATA, widths=(size,) * (len(left) * config.seeds),
        widest=size, t_end=2 * config.rate * config.steps, steps=config.steps, frames=0,
        dtype="float64", compiled=True, stages=1, filed=False, size="parameters",
    )  # fmt: skip
    return planning.describe([job], out)


def report(results: Results, out: Path) -> str:
    """Writes the table; returns what is printed."""
    runs.write_csv(results.rows, out / f"{NAME}.csv")
    lines: list[tuple[str, ...]] = [
        ("α", "‖H − H₀‖/‖H₀‖", "‖u‖/‖u₀‖ at the end", "way/distance", "dt λ_max/2")
    ]
    for alpha in results.config.alphas:
        rows = [row for row in results.rows if row.alpha == alpha]
        names = ("drift", "left", "detour", "stiffness")
        mean = [np.mean([getattr(row, name) for row in rows]) for name in names]
        lines.append((f"{float(f'{alpha:.3g}'):g}", *(f"{value:.3g}" for value in mean)))
    return f"{text_table(lines, '>>>>>')}\n\ntable       {out / NAME}.csv"


ABOUT = f"""{QUESTION}

Trains α(f - f_0), f a network of two hidden layers, on two points. The outputs on the two points are a point in the plane, and move
down the steepest way on an ellipse about the target, that of the tangent kernel H_t. At large α the ellipse stands still and all
networks take the way that the first kernel gives; at small α it shrinks and turns. Draws ways, ellipses and functions, and an
animation of them.

Examples:
  python -m sims.{NAME} --demo                     half a minute
  python -m sims.{NAME} --dry-run                  what the full study would cost
  python -m sims.{NAME} --redraw                   table, figure and animation again from the files
  python -m sims.{NAME} --width 30 --alphas 0.1 1 10 --out results/narrow"""

BATCHES = batched.Batched(QUESTION, batches, config_of, _results, _costs)
STUDY = BATCHES.study(
    NAME, ABOUT, {"full": (Config(), ""), "demo": (demo(), "Small preset: one seed, fewer steps, half a minute.")},
    figure, report, movie,
)  # fmt: skip
run, collect, plan, main = STUDY.run, STUDY.collect, STUDY.plan, STUDY.main
