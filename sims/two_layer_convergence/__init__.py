"""The convergence proof of two-layer ReLU networks beside what it is about: λ_min of the kernel, how
far neurons go, the residual, and when each leaves what the proof allows.
python -m sims.two_layer_convergence --help
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from meanfield.files.tables import text_table

from ..lab import batched, cells, planning, runs
from ..lab import config as settings
from . import measures

if TYPE_CHECKING:
    from ..figures import Figure

NAME = "two_layer_convergence"
QUESTION = (
    "A proof says that wide networks fit any labels fast: when does it apply, and what holds?"
)


@settings.settings
class Config:
    """Two-layer ReLU networks at γ = 1/2, a = ±1 fixed, w trained, on the corners of a polygon with
    labels +1, -1, +1, …; loss ½ Σ (f - y)².
    """

    widths: tuple[Annotated[int, settings.at_least(2)], ...] = (16, 64, 256, 1024, 4096, 16384)
    """Numbers of neurons m."""
    seeds: Annotated[int, settings.at_least(2)] = 5
    """Seeds 0 … seeds - 1 of the start; error bars are standard errors over them."""
    n: Annotated[int, settings.at_least(3)] = 5
    """Corners, odd or 4: the kernel of a larger even polygon is singular."""
    delta: Annotated[float, settings.between(1e-6, 0.5)] = 0.1
    """δ, the probability with which each step of the proof may fail."""
    epsilon: Annotated[float, settings.between(1e-9, 0.5)] = 1e-3
    """ε, the share of ‖y - f‖² that shall be left."""
    t_end: Annotated[float, settings.above(0)] = 24.0
    """Flow time; the theorem reaches ε at log(1/ε)/λ_0."""
    dt: Annotated[float, settings.above(0)] = 0.1
    """Step of RK4."""

    def __post_init__(self) -> None:
        settings.different("widths", self.widths)
        if self.n % 2 == 0 and self.n != 4:
            raise ValueError(
                f"n must be odd, or 4: on {self.n} equispaced points the waves cos 3θ have the "
                "eigenvalue 0, so λ_0 = 0 and the theorem says nothing. Use "
                f"{self.n + 1}."
            )
        if self.dt > self.t_end:
            raise ValueError(f"dt must be at most t_end; got {self.dt:g} and {self.t_end:g}.")


def tiny() -> Config:
    """Seconds, for tests: every part runs, nothing is resolved."""
    return Config(widths=(8, 64), seeds=2, t_end=2.0, dt=0.25)


def demo() -> Config:
    """Some ten seconds on two cores."""
    return Config(widths=(16, 64, 256, 1024), seeds=4)


@dataclass(frozen=True)
class Row:
    """One network: what is asked of it, what is promised, what it did."""

    m: int
    seed: int
    asked_start: float  # the width that gives λ_min(H_0) >= ¾λ_0
    asked_throughout: float  # the width at which no neuron can go farther than R
    radius: float  # R
    movement_bound: float
    lambda_start: float
    lambda_lowest: float  # over the run
    moved: float  # by the farthest neuron, at most
    residual: float  # the largest e^(λ_0 t) ‖u_t‖²/‖u_0‖²
    reached: float  # time to ε, inf for never
    first: float  # T_1
    second: float  # T_2


@dataclass(frozen=True)
class Results:
    """Rows of all networks, λ_0, the settings, and the folder of the files that have the curves."""

    folder: Path
    rows: tuple[Row, ...]
    lambda0: float
    config: Config


def _results(config: Config, out: Path) -> Results:
    rows, lambda0 = [], measures.limit(config)
    for m, file in cells.of_widths(config, out):
        for seed in range(config.seeds):
            theorem = measures.statement(config, measures.LAW.sample(m, seed=seed))
            times, left = file["times"], file["residual"][seed]
            late = times[left <= config.epsilon]
            rows.append(Row(
                m, seed, theorem.hypotheses[-2].asked, theorem.hypotheses[-1].asked,
                measures.allowed(theorem, m), theorem["movement"].bound,
                float(file["smallest"][seed, 0]), float(file["smallest"][seed].min()),
                float(file["moved"][seed].max()), float((measures.growth(lambda0, times) * left).max()),
                float(late[0]) if late.size else math.inf,
                float(file["first"][seed]), float(file["second"][seed]),
            ))  # fmt: skip
    return Results(out, tuple(rows), lambda0, config)


def claims(results: Results, m: int) -> list[tuple[str, float, list[float], str]]:
    """(name, bound, measured by seed, sense) of what the theorem promises, at one width. The bound
    of the movement is the smallest over the seeds. A run that ended before the time to ε is over says
    nothing of it.
    """
    rows, lambda0 = [row for row in results.rows if row.m == m], results.lambda0
    late = math.log(1 / results.config.epsilon) / lambda0
    found = [
        ("λ_min(H_0)", 0.75 * lambda0, [row.lambda_start for row in rows], ">="),
        ("λ_min(H_t)", 0.5 * lambda0, [row.lambda_lowest for row in rows], ">="),
        ("largest move / its bound", 1.0, [row.moved / row.movement_bound for row in rows], "<="),
        ("e^(λ₀t) ‖u‖²/‖u₀‖²", 1.0, [row.residual for row in rows], "<="),
    ]  # fmt: skip
    if results.config.t_end >= late:
        name = f"time to {results.config.epsilon:g}"
        found.append((name, late, [row.reached for row in rows], "<="))
    return found


def kept(bound: float, measured: Sequence[float], sense: str) -> int:
    """In how many seeds a claim holds, up to 1e-9 for rounding."""
    slack = 1e-9 * abs(bound)
    return sum(
        value <= bound + slack if sense == "<=" else value >= bound - slack for value in measured
    )


def figure(results: Results) -> Figure:
    """λ_min and residual against time, the movement and the times of the proof against m."""
    from . import panels

    return panels.page(results)


def _job(config: Config, left: list[int]) -> planning.Job:
    first = measures.LAW.sample(min(config.widths), seed=0)
    return planning.Job(
        name="polygon", data=measures.dataset(config.n),
        widths=tuple(m for m in left for _ in range(config.seeds)), widest=max(config.widths),
        t_end=config.t_end, steps=round(config.t_end / config.dt), frames=0, dtype="float64",
        compiled=measures.flow(config).on_device(first).backend.compiled(), filed=False,
    )  # fmt: skip


def report(results: Results, out: Path) -> str:
    """Writes the table; returns what is printed: hypotheses, then claims."""
    runs.write_csv(results.rows, out / f"{NAME}.csv")
    widths = sorted({row.m for row in results.rows})
    return "\n\n".join([
        f"λ₀ = {results.lambda0:.4g}, δ = {results.config.delta:g}",
        _hypotheses(results, widths), _claims(results, widths), f"table       {out / NAME}.csv",
    ])  # fmt: skip


def _hypotheses(results: Results, widths: Sequence[int]) -> str:
    lines = [("what the proof asks of m", "asked", *(f"m = {m}" for m in widths))]
    for name, attribute in (
        ("that λ_min(H_0) >= ¾λ₀", "asked_start"),
        ("that neurons stay within R", "asked_throughout"),
    ):
        asked = max(getattr(row, attribute) for row in results.rows)
        met = ("yes" if m >= asked else "NO" for m in widths)
        lines.append((name, f"{asked:.2g}", *met))
    return text_table(lines, "<")


def _claims(results: Results, widths: Sequence[int]) -> str:
    lines = [("what it promises, kept in so many seeds", "bound", *(f"m = {m}" for m in widths))]
    every = [claims(results, m) for m in widths]
    for k, (name, bound, _, sense) in enumerate(every[0]):
        counts = (kept(*item[k][1:]) for item in every)
        sign = "≤" if sense == "<=" else "≥"
        told = (f"{count} of {results.config.seeds}" for count in counts)
        lines.append((name, f"{sign} {bound:.3g}", *told))
    return text_table(lines, "<")


ABOUT = f"""{QUESTION}

Du, Zhai, Póczos and Singh (2019): if m is large, no neuron leaves a ball of radius R, within it λ_min(H_t) >= λ_0/2, and so
‖y - f‖² <= e^(-λ_0 t) ‖y - f_0‖². Trains networks of several widths and says apart which hypotheses hold and which promises are
kept. T_1 is when the first neuron leaves the ball, T_2 when λ_min(H_t) falls below λ_0/2: the proof is T_1 <= T_2 and T_1 = ∞.

Examples:
  python -m sims.{NAME} --demo                     ten seconds
  python -m sims.{NAME} --dry-run                  what the full study would cost
  python -m sims.{NAME} --redraw                   table and figure again from the files
  python -m sims.{NAME} --n 9 --t-end 60 --out results/nine"""

BATCHES = batched.by_width(QUESTION, Config, measures.trained, _results, _job)
STUDY = BATCHES.study(
    NAME, ABOUT, {"full": (Config(), ""), "demo": (demo(), "Small preset: widths 16 … 1024, 4 seeds, ten seconds.")},
    figure, report,
)  # fmt: skip
run, collect, plan, main = STUDY.run, STUDY.collect, STUDY.plan, STUDY.main
