"""Exponents of the width in theory and in networks: who moves how far, how the kernel drifts, what
linearising misses.

Every run is one HDF5 file; table and figure are made from the files alone. python -m
sims.scaling_exponents --help
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from tqdm.auto import tqdm

import meanfield as mf
import ntk

from ..lab import config as settings
from ..lab import experiment, planning, runs, study
from ..lab.exponents import QUANTITIES, Exponent, measured
from ..lab.fits import FACTOR, WIDTHS

if TYPE_CHECKING:
    from ..figures import Figure

NAME = "scaling_exponents"
QUESTION = (
    "With which power of the width do neurons, kernel and predictions change at each "
    "output scale, and is it theory's?"
)
W2_WIDTH = 2048  # W2 is exact and takes under a second up to here; beyond it grows as m^2.3
DRAWS = 64  # independent starts for f_0, which needs no training


@settings.settings
class Config:
    """f = m^(-γ) Σ_k a_k σ(⟨w_k, x⟩ + b_k), all trained, from symmetric starts a = ±1, w ~ N(0, I),
    b = 0, on a teacher.
    """

    activations: tuple[
        Literal["tanh", "erf", "gelu", "sin", "softplus", "relu", "leaky_relu"], ...
    ] = ("tanh", "relu")
    """σ: one smooth and one with a kink have different exponents."""
    gammas: tuple[float, ...] = (0.5, 0.625, 0.75, 0.875, 1.0, 1.25)
    """Exponents γ of the output scale: 0.5 is NTK, 1 mean-field; theory is asked up to 1."""
    widths: tuple[Annotated[int, settings.at_least(2)], ...] = (
        256,
        512,
        1024,
        2048,
        4096,
        8192,
        16384,
    )
    """Numbers of neurons m, even; fits need three, over a factor of four."""
    seeds: Annotated[int, settings.at_least(1)] = 8
    """Seeds 0 … seeds - 1 of the initial neurons; errors are the scatter of whole seeds."""
    n: Annotated[int, settings.at_least(2)] = 64
    """Training samples, on the unit sphere; theory of kinked σ asks for m^γ ≪ n²."""
    dim: Annotated[int, settings.at_least(2)] = 5
    """Input dimension d."""
    test: Annotated[int, settings.at_least(1)] = 100
    """Held-out samples, on which f, f_lin and f_0 are looked at."""
    t_end: Annotated[float, settings.above(0)] = 4.0
    """Flow time to train for, the same for every γ and m."""
    dt: Annotated[float, settings.above(0)] = 0.1
    """Step of RK4, fixed: |f - f_lin| is 1e-6 of f in wide lazy networks, and the step's error must
    stay below it.
    """

    def __post_init__(self) -> None:
        for name in ("activations", "gammas", "widths"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise ValueError(
                    f"{name} must be a list without repetition, and not empty; got {list(values)}."
                )
        settings.even("widths", self.widths)
        if len(self.widths) < WIDTHS or max(self.widths) < FACTOR * min(self.widths):
            raise ValueError(
                f"an exponent needs {WIDTHS} widths or more, the largest {FACTOR:g} times "
                "the smallest or more; "
                f"got {list(self.widths)}. Use {min(self.widths)} {2 * min(self.widths)} "
                f"{4 * min(self.widths)}, say."
            )


def tiny() -> Config:
    """Seconds, for tests: every part runs, nothing is resolved."""
    return Config(gammas=(0.5, 1.0), widths=(8, 16, 32), seeds=2, n=6, dim=3, test=5, t_end=0.5)


def demo() -> Config:
    """About twenty seconds on two cores."""
    return Config(gammas=(0.5, 0.75, 1.0), widths=(256, 512, 1024, 2048, 4096), seeds=5)


@dataclass(frozen=True)
class Row:
    """What is measured of one run, from its file alone."""

    activation: str
    gamma: float
    m: int
    seed: int
    t_end: float
    steps: int
    displacement: float  # RMS, neuron by neuron
    w2: float | None  # W2(μ_0, μ_T), exact; None beyond W2_WIDTH
    kernel_drift: float  # ‖H_T - H_0‖ / ‖H_0‖ on the training inputs, Frobenius
    # RMS over held-out inputs of f_T - f_lin,T, f_lin with the kernel H_0 of the same neurons
    linear_gap: float
    loss_left: float  # R(T)/R(0)
    data: str  # digest of the samples
    file: str


@dataclass(frozen=True)
class Start:
    """RMS over held-out inputs of f_0 at γ = 1/2, α = 1, for independent neurons; at another γ it
    is m^(1/2 - γ) times that.
    """

    activation: str
    m: int
    seed: int
    f0: float


@dataclass(frozen=True)
class Results:
    """The runs' files and what is measured of them, untrained starts, and the exponents of it all."""

    folder: Path
    rows: tuple[Row, ...]
    starts: tuple[Start, ...]
    exponents: tuple[Exponent, ...]


def run_settings(
    config: Config, activation: str, gamma: float, m: int, seed: int
) -> experiment.Experiment:
    """One run of the study."""
    options = {
        "n": config.n,
        "dim": config.dim,
        "inputs": "sphere",
        "n_test": config.test,
        "seed": 1,
    }
    return experiment.Experiment(
        gamma=gamma, m=m, seed=seed, activation=activation, dt=config.dt, t_end=config.t_end, frames=2,
        law=experiment.Law(symmetric=True), data=experiment.Data("teacher_student", options),
    )  # fmt: skip


def todo(config: Config, out: Path) -> list[tuple[Path, experiment.Experiment]]:
    """File and settings of every run, narrow ones first."""
    keys = itertools.product(
        sorted(config.widths), config.activations, range(config.seeds), config.gammas
    )
    return [
        (
            out / f"{name}_gamma{gamma:g}_m{m}_seed{seed}.h5",
            run_settings(config, name, gamma, m, seed),
        )
        for m, name, seed, gamma in keys
    ]


def run(config: Config, out: Path, progress: bool = False) -> Results:
    """Train what is not trained yet, measure everything: the files are in `out`. Raises
    mf.Interrupted, mf.Diverged.
    """
    jobs = todo(config, out)
    experiment.make(jobs[0][1])  # what is wrong with the settings shows before anything is on disk
    out.mkdir(parents=True, exist_ok=True)
    runs.train_all([(path, partial(experiment.perform, one, path)) for path, one in jobs], progress)
    return collect((path for path, _ in jobs), progress)


def collect(paths: Iterable[Path], progress: bool = False) -> Results:
    """Results of the runs in these files, measured again; refuses runs that differ in more than σ,
    γ, m and seed.
    """
    paths = runs.named(paths)
    rows = [
        measure(path)
        for path in tqdm(paths, desc="measuring", unit="run", disable=None if progress else True)
    ]
    firsts = {
        name: next(path for path, row in zip(paths, rows, strict=True) if row.activation == name)
        for name in _names(rows)
    }
    if len({(row.data, row.t_end) for row in rows}) > 1:
        raise ValueError("the runs differ in data or in their end: make a folder for each study.")
    rows.sort(key=lambda row: (row.activation, row.gamma, row.m, row.seed))
    starts = [
        start
        for path in firsts.values()
        for start in untrained(path, sorted({row.m for row in rows}))
    ]
    return Results(paths[0].parent, tuple(rows), tuple(starts), tuple(exponents(rows, starts)))


def measure(path: Path) -> Row:
    """The Row of a finished run."""
    with mf.Trajectory(path) as run:
        first, last, data, network = run[0], run[-1], run.data, run.network
        flow = run.flow()
        seed = int(run.config["seed"])
    assert data.x_test is not None
    return Row(
        activation=network.sigma.name, gamma=network.scaling.gamma, m=first.m, seed=seed, t_end=last.t, steps=last.step,
        displacement=mf.displacement(first, last), w2=mf.w2(first, last) if first.m <= W2_WIDTH else None,
        kernel_drift=runs.kernel_drift(flow, first, last),
        linear_gap=ntk.linearise(network, first).gap(flow.functional, data.x_test)(flow, last),
        loss_left=flow.risk(last) / flow.risk(first), data=_digest(data), file=path.name,
    )  # fmt: skip


def untrained(path: Path, widths: Sequence[int]) -> list[Start]:
    """f_0 of independent neurons from the law of a run without its pairs, on the run's held-out
    inputs.
    """
    with mf.Trajectory(path) as run:
        law, data, network = run.law, run.data, run.network
    assert law is not None and data.x_test is not None
    lazy = replace(network, scaling=mf.NTK)
    flow = mf.GradientFlow(mf.EmpiricalRisk(lazy, data.x_test, np.zeros(data.n_test)))
    found = []
    for m, seed in itertools.product(widths, range(DRAWS)):
        f0 = flow.predict(replace(law, symmetric=False).sample(m, seed=seed))
        found.append(Start(network.sigma.name, m, seed, float(np.sqrt(np.mean(np.square(f0))))))
    return found


def exponents(rows: Sequence[Row], starts: Sequence[Start]) -> list[Exponent]:
    """One for each quantity, σ and γ."""
    found = []
    for quantity, name in itertools.product(QUANTITIES, _names(rows)):
        for gamma in sorted({row.gamma for row in rows if row.activation == name}):
            if quantity == "f0":
                at = [
                    replace(start, f0=start.f0 * start.m ** (0.5 - gamma))
                    for start in starts
                    if start.activation == name
                ]
                widths = np.array(sorted({start.m for start in at}), dtype=float)
                values = np.array([start.f0 for start in at])
                found.append(
                    measured(quantity, name, gamma, widths, values.reshape(len(widths), -1).T)
                )
                continue
            of = [
                row
                for row in rows
                if (row.activation, row.gamma) == (name, gamma)
                and getattr(row, quantity) is not None
            ]
            if of:
                found.append(measured(quantity, name, gamma, *runs.against_width(of, quantity)))
    return found


def _digest(data: mf.data.Dataset) -> str:
    arrays = (data.x, data.y, data.x_test, data.y_test)
    return hashlib.sha256(
        b"".join(array.tobytes() for array in arrays if array is not None)
    ).hexdigest()[:12]


def _names(rows: Sequence[Row]) -> list[str]:
    return sorted({row.activation for row in rows})


def figure(results: Results) -> Figure:
    """Exponent against γ for each quantity, with theory's lines; from the files alone."""
    from . import panels

    return panels.page(results)


def plan(config: Config, out: Path) -> str:
    """What `run` is about to do, estimated without training; what `out` holds already counts as
    done.
    """
    jobs = todo(config, out)
    first = run_settings(config, config.activations[0], config.gammas[0], min(config.widths), 0)
    left = [one for path, one in jobs if not path.exists()]
    made = experiment.make(first)
    work = [
        planning.Job(
            name=name, data=made.data, widths=tuple(one.m for one in left if one.activation == name),
            widest=max(config.widths), t_end=config.t_end, steps=math.ceil(config.t_end / config.dt - 1e-9), frames=2,
            dtype=first.dtype, compiled=made.flow.on_device(made.start).backend.compiled(),
        )
        for name in config.activations
    ]  # fmt: skip
    done = (
        f"\n{len(jobs) - len(left)} of {len(jobs)} runs are there already"
        if len(left) < len(jobs)
        else ""
    )
    return (
        f"{QUESTION}\n\n{planning.describe(work, out, 0.5)}{done}\nsettings "
        f"{settings.digest(config)}"
    )


def report(results: Results, out: Path) -> str:
    """Writes the tables; returns that of the exponents as text."""
    from ..lab.exponents import table

    runs.write_csv(results.exponents, out / f"{NAME}.csv")
    runs.write_csv(results.rows, out / f"{NAME}_runs.csv")
    return f"{table(results.exponents)}\n\ntables      {out / NAME}.csv, {out / NAME}_runs.csv"


ABOUT = f"""{QUESTION}

Trains a two-layer network on a teacher at each activation, γ, width m and seed, all to one flow time, and fits the
exponent of m of: RMS displacement, W2(μ_0, μ_T), kernel drift, |f - f_lin| on held-out inputs (f_lin: the network
linearised at its own start), and |f_0| of independent neurons. Each stands beside theory's with errors from whole
seeds, Student's t interval and a test of curvature; where theory has no exponent the table says so.

Examples:
  python -m sims.{NAME} --demo                              three γ, widths up to 4096, twenty seconds
  python -m sims.{NAME} --dry-run                           what the full study would cost
  python -m sims.{NAME} --activations erf leaky_relu --out results/erf
  python -m sims.{NAME} --config study.toml                 gammas = [0.5, 0.6, 0.7]; seeds = 20"""

STUDY = study.Study(
    NAME, ABOUT, {"full": (Config(), ""), "demo": (demo(), "Small preset: γ = 1/2, 3/4, 1, widths 256 … 4096, 5 seeds.")},
    plan, run, figure, report,
    collect=lambda config, out: collect(out.glob("*_gamma*_m*_seed*.h5"), progress=True),
)  # fmt: skip
main = STUDY.main
