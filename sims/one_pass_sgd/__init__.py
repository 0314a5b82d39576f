"""Stochastic gradient descent against the gradient flow: against the step, against m, with
replacement and without, and in one pass. python -m sims.one_pass_sgd --help
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

import meanfield as mf
from meanfield.files.tables import text_table

from ..lab import batched, cells, planning, runs
from ..lab import config as settings
from ..lab.fits import fit_or_refuse
from . import measures

if TYPE_CHECKING:
    from ..figures import Figure

NAME = "one_pass_sgd"
QUESTION = "How far is stochastic gradient descent, one sample a step, from the gradient flow?"
KINDS = {"replaced": True, "reshuffled": False}


@settings.settings
class Config:
    """Networks at γ = 1 from a ~ N(0, 1), w ~ N(0, I), a and w trained, on a teacher; x on the circle,
    one sample a step.
    """

    epochs: tuple[Annotated[int, settings.at_least(1)], ...] = (2, 4, 8, 16, 32)
    """Numbers of epochs of n steps in which t_end is reached: the step is t_end/(n epochs)."""
    widths: tuple[Annotated[int, settings.at_least(2)], ...] = (64, 128, 256, 512, 1024)
    """Numbers of neurons m."""
    m: Annotated[int, settings.at_least(2)] = 200
    """Neurons of the runs against the step."""
    seeds: Annotated[int, settings.at_least(2)] = 24
    """Seeds of neurons and samples; error bars are standard errors over them."""
    passes: Annotated[int, settings.at_least(2)] = 64
    """The same for the runs of one pass."""
    n: Annotated[int, settings.at_least(2)] = 16
    """Samples that are drawn again and again."""
    t_end: Annotated[float, settings.above(0)] = 4.0
    """Flow time of these runs."""
    t_pass: Annotated[float, settings.above(0)] = 2.0
    """Flow time of one pass, m steps of t_pass/m."""
    times: Annotated[int, settings.at_least(1)] = 4
    """Moments at which the deviation is measured; they divide 2n epochs."""

    def __post_init__(self) -> None:
        for name in ("epochs", "widths"):
            settings.different(name, getattr(self, name))
        if self.times > self.n * min(self.epochs):
            raise ValueError(
                f"times must be at most the steps, {self.n * min(self.epochs)}; got {self.times}."
            )

    @property
    def middle(self) -> int:
        """Steps of the runs against m."""
        return self.n * self.epochs[len(self.epochs) // 2]


def tiny() -> Config:
    """Seconds, for tests: every part runs, nothing is resolved."""
    return Config(
        epochs=(1, 2), widths=(4, 8), m=4, seeds=2, passes=2, n=4, t_end=0.5, t_pass=0.5, times=2
    )  # fmt: skip


def demo() -> Config:
    """Some fifteen seconds on two cores."""
    return Config(epochs=(2, 4, 8, 16), widths=(64, 128, 256, 512), seeds=12, passes=24)


@dataclass(frozen=True)
class Row:
    """Squared deviations from the flow of one run."""

    kind: str  # replaced, reshuffled; width: against m at a fixed step; pass: one pass
    m: int
    seed: int
    dt: float
    t: float
    square: float  # (1/m) Σ_k |θ_k - θ_k^flow|²
    function: float | None  # mean of (f - f_flow)² over the circle, where it is measured


@dataclass(frozen=True)
class Results:
    """A Row for each run and moment, and the settings."""

    rows: tuple[Row, ...]
    config: Config

    def of(self, kind: str, name: str = "square", by: str = "dt") -> tuple[np.ndarray, np.ndarray]:
        """(values of `by`, rising; numbers (seeds, values)) at the end of the runs of a kind."""
        last = max(row.t for row in self.rows if row.kind == kind)
        rows = [row for row in self.rows if row.kind == kind and row.t == last]
        x, seeds = (sorted({getattr(row, what) for row in rows}) for what in (by, "seed"))
        found = {(row.seed, getattr(row, by)): getattr(row, name) for row in rows}
        return np.array(x, float), np.array([[found[seed, at] for at in x] for seed in seeds])


def batches(config: Config, out: Path) -> list[cells.Batch]:
    """(file, settings, work) of each part."""
    found: list[cells.Batch] = []
    for kind, replace in KINDS.items():
        work = partial(measures.against_step, config, replace)
        found.append((out / f"step_{kind}.npz", cells.about(config, ("widths",), kind=kind), work))
    for kind, measure in (("width", measures.against_width), ("pass", measures.one_pass)):
        for m in sorted(config.widths):
            about = cells.about(config, ("widths",), kind=kind, width=m)
            found.append((out / f"{kind}_m{m:06}.npz", about, partial(measure, config, m)))
    return found


def config_of(out: Path) -> Config:
    """The settings of the files in `out`."""
    names = ("step_*.npz", "width_*.npz", "pass_*.npz")
    abouts = [about for name in names for about, _ in cells.found(out, name)]
    widths = sorted({about["width"] for about in abouts if "width" in about})
    return settings.from_dict(Config, {**cells.shared(abouts, ("kind", "width")), "widths": widths})


def _results(config: Config, out: Path) -> Results:
    rows: list[Row] = []
    for about, arrays in cells.there(batches(config, out)):
        kind, square = about["kind"], arrays["square"]
        if kind in KINDS:
            rows += [
                Row(
                    kind, config.m, seed, config.t_end / (config.n * epochs),
                    config.t_end * (moment + 1) / config.times, float(square[seed, column, moment]), None,
                )
                for seed in range(config.seeds)
                for column, epochs in enumerate(config.epochs)
                for moment in range(config.times)
            ]  # fmt: skip
            continue
        m, dt, t = about["width"], config.t_end / config.middle, config.t_end
        if kind == "pass":
            dt, t = config.t_pass / m, config.t_pass
        function = arrays.get("function")
        for seed in range(len(square)):
            f = None if function is None else float(function[seed])
            rows.append(Row(kind, m, seed, dt, t, float(square[seed]), f))
    return Results(tuple(rows), config)


def figure(results: Results) -> Figure:
    """Deviation against the step, along the way, against m, and of one pass."""
    from . import panels

    return panels.page(results)


def table(results: Results) -> str:
    """One line for each exponent, and for each width of one pass."""
    lines: list[tuple[str, ...]] = [("deviation", "against", "theory", "measured")]
    for kind, by, expected in (
        ("replaced", "dt", "1/2"),
        ("reshuffled", "dt", "1 … 1.2"),
        ("width", "m", "0"),
        ("pass", "m", "−1/2"),
    ):
        x, values = results.of(kind, by=by)
        fit = fit_or_refuse(x, np.sqrt(values))
        lines.append((kind, by, expected, getattr(fit, "short", "–")))
    for name, label in (("square", "m·E|θ − θ_flow|²"), ("function", "m·E(f − f_flow)²")):
        widths, values = results.of("pass", name, "m")
        for m, scaled in zip(widths, (widths * values).T, strict=True):
            error = scaled.std(ddof=1) / np.sqrt(len(scaled))
            lines.append((label, f"m = {m:g}", "constant", f"{scaled.mean():.4f} ± {error:.4f}"))
    return text_table(lines, "<<>>")


def _costs(config: Config, left: Sequence[dict[str, Any]], out: Path) -> str:
    data, first = measures.dataset(config), measures.LAW.sample(min(config.widths), seed=0)
    flow = mf.GradientFlow(measures.finite(config))
    compiled = flow.on_device(first).backend.compiled()
    jobs = []
    for kind, steps, repeats, t_end in (
        ("step", int(config.n * np.mean(config.epochs)), config.seeds * len(config.epochs), config.t_end),
        ("width", config.middle, config.seeds, config.t_end),
        ("pass", int(np.mean(config.widths)), config.passes, config.t_pass),
    ):  # fmt: skip
        kinds = tuple(KINDS) if kind == "step" else (kind,)
        widths = [about.get("width", config.m) for about in left if about["kind"] in kinds]
        job = planning.Job(
            name=kind, data=data, widths=tuple(m for m in widths for _ in range(repeats)), widest=max(config.m, *config.widths),
            t_end=t_end, steps=steps, frames=0, dtype="float64", compiled=compiled, stages=4, filed=False,
        )  # fmt: skip
        jobs.append(job)
    return planning.describe(jobs, out)


def report(results: Results, out: Path) -> str:
    """Writes the table; returns what is printed."""
    runs.write_csv(results.rows, out / f"{NAME}.csv")
    return f"{table(results)}\n\ntable       {out / NAME}.csv"


ABOUT = f"""{QUESTION}

Trains networks at γ = 1 by gradient steps on one sample each, rate dt·m, and compares each neuron with itself in the
gradient flow from the same start: E|θ - θ_flow|² ~ dt whatever m is, drawn with replacement; ~ dt² and a little less where
each sample comes once an epoch; and 1/m in one pass, with as many fresh samples as neurons.

Examples:
  python -m sims.{NAME} --demo                              fewer widths and seeds, fifteen seconds
  python -m sims.{NAME} --dry-run                           what the full study would cost
  python -m sims.{NAME} --redraw                            table and figure again from the files
  python -m sims.{NAME} --n 50 --out results/n50"""

BATCHES = batched.Batched(QUESTION, batches, config_of, _results, _costs)
STUDY = BATCHES.study(
    NAME, ABOUT, {"full": (Config(), ""), "demo": (demo(), "Small preset: widths 64 … 512, 12 seeds, fifteen seconds.")},
    figure, report,
)  # fmt: skip
run, collect, plan, main = STUDY.run, STUDY.collect, STUDY.plan, STUDY.main
