"""Lazy training with one weight: the model and its tangent, the loss, and how far the weight goes as
the output scale α grows. python -m sims.toy_model --help
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

NAME = "toy_model"
QUESTION = "Why does a model whose output is multiplied by a large number train like its tangent?"


@settings.settings
class Config:
    """One weight w, started at .4, trained by gradient flow on one point, for each output scale."""

    alphas: tuple[Annotated[float, settings.above(0)], ...] = (1.0, 3.0, 10.0, 30.0, 100.0)
    """Output scales α; the panels of curves show the first, the middle and the last."""
    t_end: Annotated[float, settings.above(0)] = 12.0
    """Flow time; the tangent is e^(-2.9 t) from its end."""
    dt: Annotated[float, settings.above(0)] = 0.05
    """Step of RK4."""

    def __post_init__(self) -> None:
        settings.growing("alphas", self.alphas, "three")


def tiny() -> Config:
    """Seconds, for tests: every part runs, nothing is resolved."""
    return Config(alphas=(1.0, 10.0, 100.0), t_end=0.5, dt=0.1)


@dataclass(frozen=True)
class Row:
    """What one output scale does."""

    alpha: float
    kappa: float  # the relative change of the slope that the tangent predicts
    moved: float  # w - w_0 where training ended
    minimum: float  # w - w_0 where αf = y
    tangent: float  # w - w_0 where the tangent is y


@dataclass(frozen=True)
class Results:
    """A Row for each α, and the settings."""

    rows: tuple[Row, ...]
    config: Config


def _results(config: Config, out: Path) -> Results:
    file = cells.read(out / "trained.npz")[1]
    rows = [
        Row(
            alpha, float(kappa), float(moved), measures.root(alpha),
            measures.TARGET / (alpha * measures.slope()),
        )
        for alpha, kappa, moved in zip(config.alphas, file["kappa"], file["moved"], strict=True)
    ]  # fmt: skip
    return Results(tuple(rows), config)


def figure(results: Results) -> Figure:
    """The model over its tangent, the loss, and the way of the weight against α."""
    from . import panels

    return panels.page(results)


def _costs(config: Config, left: Sequence[dict[str, Any]], out: Path) -> str:
    compiled = measures.flow(1.0).on_device(measures.start()).backend.compiled()
    job = planning.Job(
        name="one weight", data=measures.DATA, widths=(1,) * (len(config.alphas) * len(left)), widest=1,
        t_end=config.t_end, steps=round(config.t_end / config.dt), frames=0, dtype="float64",
        compiled=compiled, filed=False,
    )  # fmt: skip
    return planning.describe([job], out)


def report(results: Results, out: Path) -> str:
    """Writes the table; returns what is printed."""
    runs.write_csv(results.rows, out / f"{NAME}.csv")
    lines: list[tuple[str, ...]] = [
        ("α", "κ", "w − w₀ trained", "where αf = y", "where the tangent is y")
    ]
    for row in results.rows:
        numbers = (row.kappa, row.moved, row.minimum, row.tangent)
        lines.append((f"{row.alpha:g}", *(f"{value:.6g}" for value in numbers)))
    return f"{text_table(lines, '>>>>>')}\n\ntable       {out / NAME}.csv"


ABOUT = f"""{QUESTION}

Trains αf(w), f(w) = (wx + w²x + sin e^(w/10))(w - .4) at x = 1.5, from w = .4 to the target 1 by gradient flow, for several α.
The larger α, the less w has to move, and the less the slope of f changes on the way: κ ∝ 1/α.

Examples:
  python -m sims.{NAME}                                     seconds
  python -m sims.{NAME} --alphas 0.5 5 50 500 --out results/others
  python -m sims.{NAME} --redraw                            table and figure again from the file"""

BATCHES = batched.one_file(QUESTION, Config, "trained.npz", measures.trained, _results, _costs)
STUDY = BATCHES.study(
    NAME, ABOUT, {"full": (Config(), ""), "demo": (Config(), "The same: it takes seconds.")},
    figure, report,
)  # fmt: skip
run, collect, plan, main = STUDY.run, STUDY.collect, STUDY.plan, STUDY.main
