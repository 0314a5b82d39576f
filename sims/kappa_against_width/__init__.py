"""How lazy a network will be, told before it trains: its relative scale κ against width and output
scale, and how much the kernel then changed. python -m sims.kappa_against_width --help
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np

from meanfield.files.tables import text_table

from ..lab import batched, cells, planning, runs
from ..lab import config as settings
from ..lab.fits import ExponentFit
from . import measures

if TYPE_CHECKING:
    from ..figures import Figure

NAME = "kappa_against_width"
QUESTION = "How lazy will a network be: what does its relative scale κ say before it trains?"


@settings.settings
class Config:
    """Networks of smooth neurons with one input, symmetric starts, a and w trained on eight points
    of a sine.
    """

    widths: tuple[Annotated[int, settings.at_least(2)], ...] = (16, 64, 256, 1024, 4096)
    """Numbers of neurons m, even."""
    alphas: tuple[Annotated[float, settings.above(0)], ...] = (0.1, 1.0, 10.0, 100.0)
    """Output scales α, growing, of the panel against α."""
    activation: Literal["tanh", "erf", "gelu", "sin", "softplus", "sigmoid"] = "tanh"
    """σ, smooth: the ∇² of a kinked one does not hold its kinks."""
    seeds: Annotated[int, settings.at_least(2)] = 4
    """Seeds 0 … seeds - 1 of the start; error bars are standard errors over them."""
    t_end: Annotated[float, settings.above(0)] = 20.0
    """Flow time."""
    dt: Annotated[float, settings.above(0)] = 0.2
    """Step of RK4."""

    def __post_init__(self) -> None:
        settings.different("widths", self.widths)
        settings.even("widths", self.widths)
        settings.growing("alphas", self.alphas, "two")


def tiny() -> Config:
    """Seconds, for tests: every part runs, nothing is resolved."""
    return Config(widths=(4, 8), alphas=(1.0, 10.0), seeds=2, t_end=1.0)


def demo() -> Config:
    """Some ten seconds on two cores."""
    return Config(widths=(16, 64, 256, 1024), seeds=3)


@dataclass(frozen=True)
class Row:
    """One network at α = 1."""

    network: str
    m: int
    seed: int
    kappa: float
    drift: float  # ‖H_T - H_0‖/‖H_0‖ after training


Results = batched.Results[Row, Config]


def _results(config: Config, out: Path) -> Results:
    rows = []
    for m, file in cells.of_widths(config, out):
        for k, name in enumerate(measures.SLOPES):
            pairs = zip(file["kappa"][k].tolist(), file["drift"][k].tolist(), strict=True)
            rows += [Row(name, m, seed, *pair) for seed, pair in enumerate(pairs)]
    return Results(out, tuple(rows), config)


def of(results: Results, name: str) -> list[Row]:
    """The rows of one kind of network."""
    return [row for row in results.rows if row.network == name]


def figure(results: Results) -> Figure:
    """κ against m and against α, and the kernel's change against κ."""
    from . import panels

    return panels.page(results)


def _job(config: Config, left: list[int]) -> planning.Job:
    first = measures.law("γ = 1", min(config.widths)).sample(min(config.widths), seed=0)
    return planning.Job(
        name="sine", data=measures.DATA,
        widths=tuple(m for m in left for _ in range(len(measures.SLOPES) * config.seeds)),
        widest=max(config.widths), t_end=config.t_end, steps=round(config.t_end / config.dt),
        frames=0, dtype="float64",
        compiled=measures.flow(config, "γ = 1").on_device(first).backend.compiled(), filed=False,
    )  # fmt: skip


def report(results: Results, out: Path) -> str:
    """Writes the table; returns what is printed."""
    runs.write_csv(results.rows, out / f"{NAME}.csv")
    widths = sorted(results.config.widths)
    lines: list[tuple[str, ...]] = [
        ("κ at α = 1", *(f"m = {m}" for m in widths), "slope", "theory", "drift at the widest")
    ]
    for name, theory in measures.SLOPES.items():
        rows = of(results, name)
        kappas = [np.mean([row.kappa for row in rows if row.m == m]) for m in widths]
        drift = np.mean([row.drift for row in rows if row.m == widths[-1]])
        fit = runs.exponent(rows, "kappa")
        slope = fit.short if isinstance(fit, ExponentFit) else "none"
        lines.append(
            (name, *(f"{value:.3g}" for value in kappas), slope, f"{theory:g}", f"{drift:.2g}")
        )
    return f"{text_table(lines, '<' + '>' * (len(widths) + 3))}\n\ntable       {out / NAME}.csv"


ABOUT = f"""{QUESTION}

κ = ‖f - y‖ ‖∇²f‖/‖∇f‖² is the relative change of the tangent ∇f over the way that the tangent has to go. It is known before the
first step, and falls as m^(γ-1) with the width, as 1/m for LeCun's start, and as 1/α with the output scale if the network
starts at 0. Networks are then trained, and the change of their kernel is held against κ.

Examples:
  python -m sims.{NAME} --demo                     ten seconds
  python -m sims.{NAME} --dry-run                  what the full study would cost
  python -m sims.{NAME} --redraw                   table and figure again from the files
  python -m sims.{NAME} --activation gelu --out results/gelu"""

BATCHES = batched.by_width(QUESTION, Config, measures.measured, _results, _job)
STUDY = BATCHES.study(
    NAME, ABOUT, {"full": (Config(), ""), "demo": (demo(), "Small preset: widths up to 1024, 3 seeds, ten seconds.")},
    figure, report,
)  # fmt: skip
run, collect, plan, main = STUDY.run, STUDY.collect, STUDY.plan, STUDY.main
