"""How fast deep networks of practical width learn, beside the smallest eigenvalue of each layer's
kernel, which a theorem goes by. python -m sims.deep_convergence --help
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np

from meanfield.files.tables import text_table
from ntk.theorems.statement import Claim

from ..lab import batched, cells, planning, runs
from ..lab import config as settings
from . import measures

if TYPE_CHECKING:
    from ..figures import Figure

NAME = "deep_convergence"
QUESTION = (
    "Do deep networks of practical width learn at the rate that a theorem proves of huge ones?"
)


@settings.settings
class Config:
    """Networks of H hidden layers of width m in the NTK parametrisation, γ = 1/2, standard normal
    start, all layers trained, on n points of the sphere with labels ±1; loss ½ Σ (f - y)².
    """

    widths: tuple[Annotated[int, settings.at_least(2)], ...] = (32, 128, 512)
    """Widths m of the hidden layers."""
    seeds: Annotated[int, settings.at_least(2)] = 5
    """Seeds 0 … seeds - 1 of the start; error bars are standard errors over them."""
    depth: Annotated[int, settings.between(1, 10)] = 2
    """H."""
    activation: Literal["gelu", "tanh", "erf", "sin"] = "gelu"
    """σ, analytic and no polynomial, as the theorem wants it."""
    n: Annotated[int, settings.between(2, 200)] = 8
    """Samples."""
    t_end: Annotated[float, settings.above(0)] = 20.0
    """Flow time."""

    def __post_init__(self) -> None:
        settings.different("widths", self.widths)


def tiny() -> Config:
    """Seconds, for tests: every part runs, nothing is resolved."""
    return Config(widths=(4, 16), seeds=2, n=3, t_end=1.0)


def demo() -> Config:
    """Half a minute on two cores."""
    return Config(widths=(16, 64, 256), seeds=3)


@dataclass(frozen=True)
class Row:
    """One trained network."""

    m: int
    seed: int
    lambda_start: float  # λ_min(G^(H)) at the start
    lambda_lowest: float  # over the run
    lambda_whole: float  # λ_min(H_t), the lowest over the run
    residual: float  # the largest e^(λ_0 t) ‖u_t‖²/‖u_0‖²
    left: float  # ‖u‖²/‖u_0‖² at the end
    off: float  # ‖G^(H) - K^(H)‖/‖K^(H)‖ at the start
    moved: float  # ‖θ - θ_0‖/‖θ_0‖ at the end


@dataclass(frozen=True)
class Results:
    """Rows of all networks, λ_0, the settings, and the folder of the files that have the curves."""

    folder: Path
    rows: tuple[Row, ...]
    lambda0: float
    config: Config


def _results(config: Config, out: Path) -> Results:
    rows, block = [], measures.last(config)
    lambda0 = float(np.linalg.eigvalsh(measures.limit(config)[block])[0])
    for m, file in cells.of_widths(config, out):
        for seed in range(config.seeds):
            part, left = file[f"lambda_min_{block}"][seed], file["residual"][seed]
            rows.append(Row(
                m, seed, float(part[0]), float(part.min()), float(file["lambda_min"][seed].min()),
                float((np.exp(lambda0 * file["times"]) * left).max()), float(left[-1]),
                float(file["off"][seed]), float(file["moved"][seed]),
            ))  # fmt: skip
    return Results(out, tuple(rows), lambda0, config)


def claims(results: Results, m: int) -> list[tuple[str, int, Claim]]:
    """(name, in how many seeds it holds, of the seed that is worst) of what the theorem promises, at
    one width.
    """
    rows, lambda0 = [row for row in results.rows if row.m == m], results.lambda0
    found = []
    for name, bound, attribute, sense in (
        ("λ_min(G) at the start", 0.75 * lambda0, "lambda_start", ">="),
        ("λ_min(G) later", 0.5 * lambda0, "lambda_lowest", ">="),
        ("e^(λ₀t) ‖u‖²/‖u₀‖²", 1.0, "residual", "<="),
    ):
        measured = sorted(getattr(row, attribute) for row in rows)
        each = [Claim(name, bound, value, sense) for value in measured]
        kept = sum(bool(claim.holds) for claim in each)
        found.append((name, kept, each[-1 if sense == "<=" else 0]))
    return found


def figure(results: Results) -> Figure:
    """Residual and λ_min of the layers against time, and the distance of G^(H) from its limit."""
    from . import panels

    return panels.page(results)


def _job(config: Config, left: list[int]) -> planning.Job:
    def parameters(m: int) -> int:
        return m * (measures.DIM + 1 + (config.depth - 1) * m)

    return planning.Job(
        name="deep networks", data=measures.dataset(config),
        widths=tuple(parameters(m) for m in left for _ in range(config.seeds)),
        widest=parameters(max(config.widths)), t_end=config.t_end, steps=measures.steps(config),
        frames=0, dtype="float64", compiled=True, filed=False, size="parameters",
    )  # fmt: skip


def report(results: Results, out: Path) -> str:
    """Writes the table; returns what is printed: hypotheses, then claims."""
    runs.write_csv(results.rows, out / f"{NAME}.csv")
    widths = sorted({row.m for row in results.rows})
    theorem = measures.statement(results.config, widths[-1])
    mark = {True: "yes", False: "NO", None: "open"}
    asked = [("what the theorem asks", f"m = {widths[-1]}", "")]
    asked += [(item.name, mark[item.holds], item.found) for item in theorem.hypotheses]
    lines = [("what it promises, kept in so many seeds", "bound", *(f"m = {m}" for m in widths))]
    every = [claims(results, m) for m in widths]
    for k, (name, _, claim) in enumerate(every[0]):
        counts = (f"{item[k][1]} of {results.config.seeds}" for item in every)
        lines.append((name, f"{'≤' if claim.sense == '<=' else '≥'} {claim.bound:.3g}", *counts))
    fitted = "\n".join(f"{name}: {runs.exponent(results.rows, name)}" for name in ("off", "moved"))
    tables = (text_table(asked, "<"), text_table(lines, "<"), fitted)
    told = f"λ₀ = λ_min(K^(H)) = {results.lambda0:.4g}"
    return "\n\n".join([told, *tables, f"table       {out / NAME}.csv"])


ABOUT = f"""{QUESTION}

Du, Lee, Li, Wang and Zhai (2019): with λ_0 the smallest eigenvalue of K^(H), the part of the last hidden weights in the kernel of
infinite width, very wide networks keep λ_min(G^(H)) >= λ_0/2 and so ‖f - y‖² <= e^(-λ_0 t) ‖f_0 - y‖². Trains deep networks of
practical width, says apart which hypotheses hold and which promises are kept, and follows λ_min of every layer's part.

Examples:
  python -m sims.{NAME} --demo                     half a minute
  python -m sims.{NAME} --dry-run                  what the full study would cost
  python -m sims.{NAME} --redraw                   table and figure again from the files
  python -m sims.{NAME} --depth 4 --activation tanh --out results/tanh"""

BATCHES = batched.by_width(QUESTION, Config, measures.trained, _results, _job)
STUDY = BATCHES.study(
    NAME, ABOUT, {"full": (Config(), ""), "demo": (demo(), "Small preset: widths 16 … 256, 3 seeds, half a minute.")},
    figure, report,
)  # fmt: skip
run, collect, plan, main = STUDY.run, STUDY.collect, STUDY.plan, STUDY.main
