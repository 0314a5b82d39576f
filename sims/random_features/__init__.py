"""Random features against one linear function: the lower bound, its Beta law, and what training the
features changes.

Population quantities throughout: x ~ N(0, I_d), target ⟨β, x⟩, |β| = 1. python -m
sims.random_features --help
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from tqdm.auto import tqdm

import meanfield as mf
from meanfield.files.durable import replacing
from meanfield.files.tables import text_table
from ntk.gaussian import duals
from ntk.theorems import bounds

from ..lab import config as settings
from ..lab import planning, study

if TYPE_CHECKING:
    from ..figures import Figure

NAME = "random_features"
QUESTION = (
    "How much of a linear function of d variables can m random features represent, and "
    "what does it take to do better?"
)
TRAINED = {"random": ("a",), "trained": ("a", "w")}


@settings.settings
class Config:
    """Features ⟨w_k, x⟩ and relu(⟨w_k, x⟩) with w_k ~ N(0, I_d); m below d."""

    dim: Annotated[int, settings.at_least(4)] = 64
    """Input dimension d."""
    m: Annotated[int, settings.at_least(2)] = 32
    """Features of the histogram and of the two trained networks; even, and less than d."""
    draws: Annotated[int, settings.at_least(10)] = 10000
    """Independent draws of the features for the histogram."""
    shares: tuple[Annotated[float, settings.above(0)], ...] = (
        0.125,
        0.25,
        0.375,
        0.5,
        0.625,
        0.75,
        0.875,
        1.0,
        1.5,
        2.0,
    )
    """Numbers of features m/d at which the mean error is measured."""
    repeats: Annotated[int, settings.at_least(2)] = 30
    """Draws for each of these."""
    time: Annotated[float, settings.above(0)] = 100.0
    """Flow time of the two networks."""

    def __post_init__(self) -> None:
        if self.m >= self.dim or self.m % 2:
            raise ValueError(f"m must be even and less than dim = {self.dim}; got {self.m}.")


def tiny() -> Config:
    """Seconds, for tests: every part runs, nothing is resolved."""
    return Config(dim=8, m=4, draws=50, shares=(0.5, 1.0), repeats=2, time=5.0)


def demo() -> Config:
    """Some ten seconds on two cores."""
    return Config(draws=2000, repeats=10)


@dataclass(frozen=True)
class Row:
    """Best errors at one m over the draws: E(f - ⟨β, x⟩)², f = Σ_k a_k σ(⟨w_k, x⟩) with the best a."""

    m: int
    linear: tuple[float, ...]  # σ = id: the squared distance of β to span(w_1 … w_m)
    relu: tuple[float, ...]  # σ = relu, never below the former


@dataclass(frozen=True)
class Results:
    """Everything the figure needs: the errors of the histogram, the Rows, and the runs' files."""

    folder: Path
    dim: int
    m: int
    errors: tuple[float, ...]
    rows: tuple[Row, ...]
    files: tuple[str, ...]


def direction(dim: int) -> np.ndarray:
    """β = e_1; the law of the features is isotropic."""
    return np.eye(dim)[0]


def features(dim: int, m: int, seed: int) -> np.ndarray:
    return mf.InitialLaw(dim=dim).sample(m, seed=seed).w


def relu_error(w: np.ndarray, beta: np.ndarray) -> float:
    """min_a E(Σ_k a_k relu(⟨w_k, x⟩) - ⟨β, x⟩)² = 1 - bᵀG⁺b, G = E[σσ] (arc-cosine), b = E[σ(⟨w,
    x⟩)⟨β, x⟩] = ½⟨w, β⟩.
    """
    covariance = w @ w.T
    norms = np.diag(covariance).copy()
    G, b = duals.pair("relu", norms[:, None], norms[None, :], covariance).value, 0.5 * w @ beta
    return float(1.0 - b @ np.linalg.lstsq(G, b, rcond=1e-12)[0])


def dataset(config: Config) -> mf.data.Dataset:
    """x with (1/n) XᵀX = I exactly, n = 2d: on it the mean over the samples of any quadratic of x
    is that of N(0, I).
    """
    z = np.random.default_rng(0).normal(size=(2 * config.dim, config.dim))
    x = np.linalg.qr(z)[0] * math.sqrt(2 * config.dim)
    return mf.data.Dataset(x, x @ direction(config.dim), name="whitened")


def flow(config: Config, kind: str, data: mf.data.Dataset) -> mf.GradientFlow:
    """The linear network (1/m) Σ_k a_k ⟨w_k, x⟩ with w frozen (random) or trained too."""
    return mf.GradientFlow(
        mf.EmpiricalRisk(mf.Network("linear", mf.MEAN_FIELD, TRAINED[kind]), data.x, data.y)
    )


def start(config: Config) -> mf.State:
    return mf.InitialLaw(dim=config.dim).sample(config.m, seed=0)


def run(config: Config, out: Path, progress: bool = False) -> Results:
    """Train what is not trained yet (files in `out`), draw the rest again. Raises mf.Interrupted,
    mf.Diverged.
    """
    data, d, beta = dataset(config), config.dim, direction(config.dim)
    out.mkdir(parents=True, exist_ok=True)
    for kind in TRAINED:
        observers = [
            mf.Recorder(out / f"{kind}.h5", mf.evenly(2), "resume", data),
            mf.Series("risk", mf.every(1)),
            mf.StopOnNonFinite(),
        ]
        mf.simulate(
            flow(config, kind, data),
            start(config),
            mf.RK4,
            dt="auto",
            t_end=config.time,
            observers=observers,
            progress=False,
        )
    hidden = None if progress else True
    draws = tqdm(range(config.draws), desc="drawing", unit="draw", disable=hidden)
    errors = tuple(bounds.distance2(features(d, config.m, seed), beta) for seed in draws)
    rows = []
    for share in tqdm(sorted(config.shares), desc="fitting", unit="m", disable=hidden):
        m = max(1, round(share * d))
        drawn = [features(d, m, seed) for seed in range(config.repeats)]
        linear, relu = (
            tuple(error(w, beta) for w in drawn) for error in (bounds.distance2, relu_error)
        )
        rows.append(Row(m, linear, relu))
    return Results(out, d, config.m, errors, tuple(rows), tuple(f"{kind}.h5" for kind in TRAINED))


def figure(results: Results) -> Figure:
    """Histogram against the Beta law, mean error against m, and the loss along the two runs."""
    from . import panels

    return panels.page(results)


def table(results: Results) -> str:
    """One line for each m: means over the draws, and the bound."""
    lines: list[tuple[str, ...]] = [("m", "1 - m/d", "linear", "relu")]
    for row in results.rows:
        bound = max(0.0, 1 - row.m / results.dim)
        errors = (f"{np.mean(values):.3g}" for values in (row.linear, row.relu))
        lines.append((f"{row.m}", f"{bound:.4g}", *errors))
    return text_table(lines, ">")


def write_csv(results: Results, path: Path) -> None:
    """One line for each m and draw."""
    with replacing(path) as new, open(new, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("d", "m", "seed", "linear", "relu"))
        for row in results.rows:
            for seed, pair in enumerate(zip(row.linear, row.relu, strict=True)):
                writer.writerow((results.dim, row.m, seed, *pair))


def plan(config: Config, out: Path) -> str:
    """What `run` is about to do, estimated without training; what `out` holds already counts as
    done.
    """
    data, first, jobs = dataset(config), start(config), []
    for kind in TRAINED:
        one = flow(config, kind, data)
        left = () if (out / f"{kind}.h5").exists() else (config.m,)
        job = planning.Job(
            name=f"{kind} features", data=data, widths=left, widest=config.m, t_end=config.time, frames=2, dtype="float64",
            steps=planning.steps(one.network, first, data.x, config.time), compiled=one.on_device(first).backend.compiled(),
        )  # fmt: skip
        jobs.append(job)
    return f"{QUESTION}\n\n{planning.describe(jobs, out)}\nsettings {settings.digest(config)}"


def report(results: Results, out: Path) -> str:
    """Writes the table; returns it as text."""
    write_csv(results, out / f"{NAME}.csv")
    return f"{table(results)}\n\ntable       {out / NAME}.csv"


ABOUT = f"""{QUESTION}

Draws m random features in d dimensions again and again, finds the best readout in closed form and compares its error with
the law Beta((d-m)/2, m/2) of the squared distance of a unit vector to a random subspace; then trains two networks, one
with its features frozen and one that moves them.

Examples:
  python -m sims.{NAME} --demo                              fewer draws, ten seconds
  python -m sims.{NAME} --dry-run                           what the full study would cost
  python -m sims.{NAME} --dim 100 --m 20 --out results/d100
  python -m sims.{NAME} --config study.toml                 draws = 100000; shares = [0.5, 1.0]"""

STUDY = study.Study(
    NAME, ABOUT, {"full": (Config(), ""), "demo": (demo(), "Small preset: 2000 draws, ten seconds.")},
    plan, run, figure, report,
)  # fmt: skip
main = STUDY.main
