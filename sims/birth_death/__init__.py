"""Mass that follows the landscape: how much faster a network learns with a reaction, as masses that
move and as neurons that die and are doubled, and whose descendants are left.

Every run is one HDF5 file, each known case one .npz; table and figure are made from them alone. python -m sims.birth_death --help
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

import meanfield as mf
from meanfield.files.tables import text_table

from ..lab import cells, planning, runs, study
from ..lab import config as settings
from . import known

if TYPE_CHECKING:
    from ..figures import Figure

NAME = "birth_death"
QUESTION = (
    "How much faster does a network learn when mass can go from one neuron to another, and whose "
    "descendants are left?"
)
LEVEL = 0.1  # of the risk at the start, whose time is measured
GENEALOGY = "genealogy.h5"
ORDER = ("transport", "masses", "jumps")


@settings.settings
class Config:
    """f = (1/m) Σ_k a_k σ(⟨w_k, x⟩), a and w trained, from a = ±1, w ~ N(0, I), on a teacher of three
    neurons; x on the unit sphere.
    """

    m: Annotated[int, settings.at_least(4)] = 512
    """Neurons."""
    rates: tuple[Annotated[float, settings.above(0)], ...] = (0.1, 1.0, 10.0, 100.0)
    """Rates ρ of the reaction."""
    jumps: Annotated[float, settings.above(0)] = 10.0
    """Rate of birth–death, at equal masses; one of the rates."""
    seeds: Annotated[int, settings.at_least(2)] = 8
    """Seeds 0 … seeds - 1 of neurons and jumps; error bars are standard errors over them."""
    time: Annotated[float, settings.above(0)] = 40.0
    """Flow time of each run."""
    dt: Annotated[float, settings.above(0)] = 0.05
    """Step of birth–death; the other runs choose theirs."""
    activation: Literal["relu", "tanh", "erf", "gelu"] = "relu"
    """σ of network and teacher."""
    dim: Annotated[int, settings.at_least(2)] = 5
    """Input dimension d."""
    n: Annotated[int, settings.at_least(4)] = 100
    """Training samples."""
    family: Annotated[int, settings.at_least(4)] = 60
    """Neurons of the run whose genealogy is drawn."""
    sizes: tuple[Annotated[int, settings.at_least(2)], ...] = (5, 20, 100)
    """Numbers of particles of the known case that ends as one Dirac."""
    draws: Annotated[int, settings.at_least(10)] = 400
    """Runs of that case for each of them."""

    def __post_init__(self) -> None:
        if self.jumps not in self.rates:
            raise ValueError(
                f"jumps = {self.jumps:g} must be one of the rates {list(self.rates)}, so that both "
                "realisations of one flow are compared."
            )


def tiny() -> Config:
    """Seconds, for tests: every part runs, nothing is resolved."""
    return Config(
        m=16, rates=(1.0, 10.0), seeds=2, time=2.0, n=8, dim=2, family=8, sizes=(4, 6), draws=10
    )


def demo() -> Config:
    """Half a minute on two cores."""
    return Config(m=256, seeds=4, draws=100)


@dataclass(frozen=True)
class Row:
    """What is measured of one run, from its file alone."""

    kind: str  # transport, masses or jumps
    rate: float
    seed: int
    steps: int
    risk_start: float
    risk_end: float
    time_to_level: float  # at which the risk is LEVEL of that of the start; inf where it never is
    share: float  # of m: effective sample size of masses, neurons with descendants for jumps
    file: str


@dataclass(frozen=True)
class Results:
    """The runs' Rows and folder; of the known cases ρt, F of masses and of jumps (seeds × times), and
    for each size in how many runs the lowest particle was left.
    """

    folder: Path
    rows: tuple[Row, ...]
    times: tuple[float, ...]
    masses: tuple[tuple[float, ...], ...]
    jumps: tuple[tuple[float, ...], ...]
    lowest: tuple[tuple[int, int, int], ...]  # (size, runs, of these)


def dataset(config: Config) -> mf.data.Dataset:
    options: dict[str, Any] = {"activation": config.activation, "inputs": "sphere", "seed": 1}
    return mf.data.teacher_student(config.n, config.dim, **options)


def law(config: Config) -> mf.InitialLaw:
    return mf.InitialLaw(dim=config.dim)


def flow(config: Config, data: mf.data.Dataset, **reaction: Any) -> mf.GradientFlow:
    network = mf.Network(config.activation, mf.MEAN_FIELD, trainable=("a", "w"))
    return mf.GradientFlow(mf.EmpiricalRisk(network, data.x, data.y), **reaction)


def train(
    config: Config, path: Path, data: mf.data.Dataset, m: int, seed: int, frames: int, rate: float
) -> None:
    """One run, to its file; an interrupted one goes on, a finished one stays. Birth–death where the
    file's name says so.
    """
    jumps = not path.name.startswith(("transport", "masses"))
    reaction: dict[str, Any] = {"reaction": rate, "jumps": jumps, "seed": seed}
    made = flow(config, data, **reaction)
    recorder = mf.Recorder(path, mf.evenly(frames), "resume", data)
    watched = [recorder, mf.Series("risk", mf.every(1)), mf.StopOnNonFinite()]
    if rate and not jumps:
        watched.append(mf.Series("effective_sample_size", mf.every(1)))
    dt: Any = config.dt if jumps else "auto"
    start = law(config).sample(m, seed=seed)
    mf.simulate(made, start, mf.HEUN, dt=dt, t_end=config.time, observers=watched, progress=False)


def jobs(config: Config, out: Path, data: mf.data.Dataset) -> list[tuple[Any, ...]]:
    """What `train` is called with for each run, the genealogy's last."""
    kinds = [("transport", 0.0), *(("masses", rate) for rate in config.rates)]
    kinds.append(("jumps", config.jumps))
    found: list[tuple[Any, ...]] = [
        (out / f"{kind}_rate{rate:g}_seed{seed}.h5", data, config.m, seed, 21, rate)
        for (kind, rate), seed in itertools.product(kinds, range(config.seeds))
    ]
    return [*found, (out / GENEALOGY, data, config.family, 0, 101, config.jumps)]


def run(config: Config, out: Path, progress: bool = False) -> Results:
    """Do what is not done yet, its files in `out`. Raises mf.Interrupted, mf.Diverged."""
    out.mkdir(parents=True, exist_ok=True)
    todo = jobs(config, out, dataset(config))
    runs.train_all([(job[0], partial(train, config, *job)) for job in todo], progress)
    cells.fill(batches(config, out), progress)
    return collect(config, out)


def batches(config: Config, out: Path) -> list[cells.Batch]:
    """(file, settings, work) of the known cases."""
    fall = {"m": config.m, "seeds": config.seeds}
    found: list[cells.Batch] = [(out / "fall.npz", fall, partial(known.falls, **fall))]
    for size in config.sizes:
        about = {"m": size, "draws": config.draws}
        found.append((out / f"lowest_{size:05}.npz", about, partial(known.lowest, **about)))
    return found


def collect(config: Config, out: Path) -> Results:
    """Results of the files in `out`, whatever their settings."""
    paths = sorted(path for path in out.glob("*.h5") if path.name != GENEALOGY)
    rows = sorted(map(measure, paths), key=lambda row: (ORDER.index(row.kind), row.rate, row.seed))
    fall = cells.found(out, "fall.npz")[0][1]
    lowest = [
        (about["m"], about["draws"], int(numbers["lowest"].sum()))
        for about, numbers in cells.found(out, "lowest_*.npz")
    ]
    times, masses, jumps = (fall[name] for name in ("times", "masses", "jumps"))
    return Results(
        out, tuple(rows), tuple(times.tolist()), tuple(map(tuple, masses.tolist())),
        tuple(map(tuple, jumps.tolist())), tuple(lowest),
    )  # fmt: skip


def measure(path: Path) -> Row:
    """The Row of a finished run."""
    kind = path.name.split("_")[0]
    with mf.Trajectory(path) as run:
        risk, m = run.series("risk"), run.start.m
        below = np.flatnonzero(risk.values <= LEVEL * risk.values[0])
        share = 1.0
        if kind == "masses":
            share = float(run.series("effective_sample_size").values[-1]) / m
        if kind == "jumps":
            share = len(np.unique(run.ancestors())) / m
        return Row(
            kind=kind, rate=float(run.config["flow"]["reaction"]), seed=int(run.config["seed"]),
            steps=int(run.steps[-1]), risk_start=float(risk.values[0]), risk_end=float(risk.values[-1]),
            time_to_level=float(risk.times[below[0]]) if below.size else math.inf,
            share=share, file=path.name,
        )  # fmt: skip


def figure(results: Results) -> Figure:
    """Risk, time to a tenth of it, who counts, the genealogy, and the two known cases."""
    from . import panels

    return panels.page(results)


def settings_of(rows: tuple[Row, ...]) -> list[tuple[str, float]]:
    """(kind, rate) in the order of the figure."""
    return list(dict.fromkeys((row.kind, row.rate) for row in rows))


def table(results: Results) -> str:
    """One line for each flow: means over seeds; and the known case."""
    lines: list[tuple[str, ...]] = [
        ("flow", "rate", "runs", "steps", "risk at the end", "time to a tenth", "share of m")
    ]
    for kind, rate in settings_of(results.rows):
        of_flow = [row for row in results.rows if (row.kind, row.rate) == (kind, rate)]
        names = ("steps", "risk_end", "time_to_level", "share")
        means = [f"{np.mean([getattr(row, name) for row in of_flow]):.4g}" for name in names]
        lines.append((kind, f"{rate:g}", f"{len(of_flow)}", *means))
    ends = [
        f"one Dirac at N = {size}: on the lowest particle in {left / count:.3f} of {count} runs"
        for size, count, left in results.lowest
    ]
    return "\n".join([text_table(lines, "<>"), *ends])


def plan(config: Config, out: Path) -> str:
    """What `run` is about to do, estimated without training; what `out` holds already counts as
    done.
    """
    data = dataset(config)
    left = tuple(job[2] for job in jobs(config, out, data) if not job[0].exists())
    one, start = flow(config, data), law(config).sample(min(64, config.m))
    steps = planning.steps(one.network, start, data.x, config.time)
    job = planning.Job(
        name="runs", data=data, widths=left, widest=config.m, t_end=config.time, frames=21, dtype="float64",
        # a reaction takes a first variation for each velocity, and short steps where ρ is large
        steps=2 * max(steps, math.ceil(config.time / config.dt)),
        compiled=one.on_device(start).backend.compiled(),
    )  # fmt: skip
    return f"{QUESTION}\n\n{planning.describe([job], out)}\nsettings {settings.digest(config)}"


def report(results: Results, out: Path) -> str:
    """Writes the table; returns it as text."""
    runs.write_csv(results.rows, out / f"{NAME}.csv")
    return f"{table(results)}\n\ntable       {out / NAME}.csv"


ABOUT = f"""{QUESTION}

Trains one network by transport alone, with masses that react at several rates ρ, and by birth–death at equal masses, to
the same flow time; draws the genealogy of a birth–death run; and two known cases, F = ∫x²/2 dμ where nothing moves.

Examples:
  python -m sims.{NAME} --demo                              fewer neurons and seeds, half a minute
  python -m sims.{NAME} --dry-run                           what the full study would cost
  python -m sims.{NAME} --rates 1 30 --jumps 30 --out results/fast
  python -m sims.{NAME} --config study.toml                 m = 1024; seeds = 20"""

STUDY = study.Study(
    NAME, ABOUT, {"full": (Config(), ""), "demo": (demo(), "Small preset: m = 256, 4 seeds, half a minute.")},
    plan, run, figure, report, collect,
)  # fmt: skip
main = STUDY.main
