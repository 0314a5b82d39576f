"""Which law trained wide networks have over their random starts: ensembles against the Gaussian
processes of infinite width. python -m sims.gaussian_process_view --help
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

NAME = "gaussian_process_view"
QUESTION = (
    "Train many wide networks on a few points: what are they draws of, and is it a posterior?"
)


@settings.settings
class Config:
    """Networks 1 – m – m – 1 in the NTK parametrisation, γ = 1/2, independent starts, fitted to n
    points of sin 3x.
    """

    widths: tuple[Annotated[int, settings.at_least(2)], ...] = (16, 64, 256)
    """Widths m of both hidden layers."""
    networks: Annotated[int, settings.at_least(2)] = 30
    """Networks of each width; number k has the seed k."""
    activation: Literal["tanh", "erf", "gelu", "sin"] = "tanh"
    """σ, smooth: theorem 2.1 of Lee et al. wants it."""
    w_std: Annotated[float, settings.above(0)] = 1.5
    """Scale of the weights, v."""
    b_std: Annotated[float, settings.above(0)] = 0.3
    """Scale of the biases, β."""
    n: Annotated[int, settings.between(2, 100)] = 6
    """Training points on [-1, 1]."""
    points: Annotated[int, settings.at_least(3)] = 49
    """Test inputs on [-1.6, 1.6]."""
    t_end: Annotated[float, settings.above(0)] = 20.0
    """Flow time."""

    def __post_init__(self) -> None:
        settings.different("widths", self.widths)


def tiny() -> Config:
    """Seconds, for tests: every part runs, nothing is resolved."""
    return Config(widths=(4, 8), networks=3, n=3, points=9, t_end=1.0)


def demo() -> Config:
    """Half a minute on two cores."""
    return Config(widths=(16, 32, 64), networks=15)


@dataclass(frozen=True)
class Row:
    """One network of which all layers were trained."""

    m: int
    seed: int
    gap: float  # RMS on the test inputs of f - f_lin, both at the end
    moved: float  # ‖θ - θ_0‖/‖θ_0‖


@dataclass(frozen=True)
class Ensemble:
    """The networks of one width against the limit, over the test inputs."""

    m: int
    trained: str  # all, or the readout alone
    mean_off: float  # RMS of (mean - theory's mean) / theory's standard deviation
    expected: float  # what so many draws of the limit have there, 1/√networks
    spread: float  # RMS standard deviation over that of theory


@dataclass(frozen=True)
class Results:
    """What was measured, the settings, and the folder of the files that have the functions."""

    folder: Path
    rows: tuple[Row, ...]
    ensembles: tuple[Ensemble, ...]
    config: Config


def _results(config: Config, out: Path) -> Results:
    rows, ensembles = [], []
    laws = {"all": measures.theory(config, False), "readout": measures.theory(config, True)}
    for m, file in cells.of_widths(config, out):
        pairs = zip(file["gap"], file["moved"], strict=True)
        rows += [Row(m, seed, float(gap), float(moved)) for seed, (gap, moved) in enumerate(pairs)]
        ensembles += [_ensemble(m, name, file[name], *law) for name, law in laws.items()]
    return Results(out, tuple(rows), tuple(ensembles), config)


def _ensemble(m: int, name: str, f: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> Ensemble:
    off = np.sqrt(np.mean(((f.mean(axis=0) - mean) / sd) ** 2))
    spread = np.sqrt(np.mean(f.var(axis=0, ddof=1)) / np.mean(sd**2))
    return Ensemble(m, name, float(off), len(f) ** -0.5, float(spread))


def figure(results: Results) -> Figure:
    """Both ensembles of the widest networks with their Gaussian processes, and the gap to the
    linearised network against m.
    """
    from . import panels

    return panels.page(results)


def _job(config: Config, left: list[int]) -> planning.Job:
    sizes = tuple(m * (m + 4) for m in left for _ in range(config.networks))
    return planning.Job(
        name="ensembles", data=measures.dataset(config), widths=sizes,
        widest=max(config.widths) * (max(config.widths) + 4), t_end=config.t_end,
        steps=measures.steps(config), frames=0, dtype="float64", compiled=True, filed=False, size="parameters",
    )  # fmt: skip


def report(results: Results, out: Path) -> str:
    """Writes the table; returns what is printed."""
    runs.write_csv(results.rows, out / f"{NAME}.csv")
    head = ("m", "trained", "mean off, in sd", "by chance", "sd / theory's")
    lines: list[tuple[str, ...]] = [head]
    for item in results.ensembles:
        numbers = (item.mean_off, item.expected, item.spread)
        lines.append((f"{item.m}", item.trained, *(f"{value:.3g}" for value in numbers)))
    fitted = "\n".join(f"{name}: {runs.exponent(results.rows, name)}" for name in ("gap", "moved"))
    return f"{text_table(lines, '><>>>')}\n{fitted}\n\ntable       {out / NAME}.csv"


ABOUT = f"""{QUESTION}

Trains networks, each from a start of its own, on a few points of a line, once all layers and once the readout alone, and compares
their mean and spread with the closed forms of infinite width (ntk.regression). The readout alone makes draws of a Bayesian posterior
as t → ∞; all layers together have another law (Lee et al. 2019, eq. 16), no posterior. Every network is compared with its own
linearisation too: they part by m^(-1/2) at most.

Examples:
  python -m sims.{NAME} --demo                     half a minute
  python -m sims.{NAME} --dry-run                  what the full study would cost
  python -m sims.{NAME} --redraw                   table and figure again from the files
  python -m sims.{NAME} --activation erf --n 4 --out results/four"""

BATCHES = batched.by_width(QUESTION, Config, measures.trained, _results, _job)
STUDY = BATCHES.study(
    NAME, ABOUT, {"full": (Config(), ""), "demo": (demo(), "Small preset: widths 16 … 64, 15 networks, half a minute.")},
    figure, report,
)  # fmt: skip
run, collect, plan, main = STUDY.run, STUDY.collect, STUDY.plan, STUDY.main
