"""Networks of growing width against their limit without particles: a density on two circles, by
finite volumes.

Every run is one HDF5 file; table and figure are made from the files alone. python -m
sims.particles_and_limit --help
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

import meanfield as mf
from meanfield.files.tables import text_table

from ..lab import config as settings
from ..lab import planning, runs, study

if TYPE_CHECKING:
    from ..figures import Figure

NAME = "particles_and_limit"
QUESTION = "How fast do neurons approach the density that a network of infinite width is?"
LAW = mf.InitialLaw(dim=2, w="sphere", symmetric=True)
FRAMES = 6  # of a run, from the start to the end
DENSITY = "density_{:05}.h5"


@settings.settings
class Config:
    """ReLU networks at γ = 1 on y = slope·|x| with inputs (x, 1), a and w trained, from balanced
    symmetric starts a = ±1, |w| = 1.
    """

    widths: tuple[Annotated[int, settings.at_least(2)], ...] = (64, 128, 256, 512, 1024, 2048, 4096)
    """Numbers of neurons m, even."""
    seeds: Annotated[int, settings.at_least(2)] = 32
    """Seeds 0 … seeds - 1 of the initial neurons; error bars are standard errors over them."""
    cells: tuple[Annotated[int, settings.at_least(4)], ...] = (120, 240, 480, 2400)
    """Cells of a circle; the finest is the limit, the others show what the cells err by."""
    n: Annotated[int, settings.at_least(3)] = 12
    """Training points, equispaced on [-1, 1]."""
    slope: float = 3.0
    """Slope of the kink: the steeper, the farther neurons must go."""
    t_end: Annotated[float, settings.above(0)] = 5.0
    """Flow time to train for."""
    dt: Annotated[float, settings.above(0)] = 0.05
    """Step of flow time, of RK4 and of the finite volumes, which cut it into parts."""

    def __post_init__(self) -> None:
        for name in ("widths", "cells"):
            settings.different(name, getattr(self, name))
        settings.even("widths", self.widths)


def tiny() -> Config:
    """Seconds, for tests: every part runs, nothing is resolved."""
    return Config(widths=(8, 32), seeds=2, cells=(8, 24), n=4, t_end=0.5)


def demo() -> Config:
    """Some ten seconds on two cores."""
    return Config(widths=(64, 256, 1024), seeds=8, cells=(120, 240, 960))


@dataclass(frozen=True)
class Row:
    """What is measured of one run, from its file and that of the limit, at the run's end."""

    m: int
    seed: int
    t_end: float
    steps: int
    w1: float  # W1 of the directions of the neurons to the density, in radians, the mean of both signs
    w1_start: float  # the same at the start: the error of a sample alone
    f_gap: float  # RMS of f_m - f_∞ over [-1, 1]
    risk: float
    risk_limit: float
    file: str


@dataclass(frozen=True)
class Results:
    """The folder of the files, one Row for each network, and (cells, W1 to the finest) of the coarser
    densities.
    """

    folder: Path
    rows: tuple[Row, ...]
    coarser: tuple[tuple[int, float], ...]
    limit: str


def dataset(config: Config) -> mf.data.Dataset:
    """(x, 1) -> slope·|x|: the second input does what a bias does. Test points are 201 cells of [-1,
    1].
    """
    return mf.data.kink(config.n, config.slope, n_test=201, constant=True)


def flow(data: mf.data.Dataset) -> mf.GradientFlow:
    return mf.GradientFlow(
        mf.EmpiricalRisk(mf.Network("relu", trainable=("a", "w")), data.x, data.y)
    )


def train(config: Config, start: mf.State, method: mf.Method, path: Path) -> None:
    """One run, to its file; an interrupted one goes on, a finished one is left as it is."""
    data = dataset(config)
    observers = [
        mf.Recorder(path, mf.evenly(FRAMES), "resume", data),
        mf.Series("risk", mf.every(1)),
        mf.StopOnNonFinite(),
    ]
    mf.simulate(
        flow(data), start, method, config.dt, config.t_end, observers=observers, progress=False
    )


def jobs(config: Config, out: Path) -> list[tuple[Path, Any]]:
    """(file, what makes it) of every run, the densities first."""
    todo: list[tuple[Path, Any]] = []
    for cells in sorted(config.cells):
        path = out / DENSITY.format(cells)
        start = mf.limits.circle(cells, bias=False)
        todo.append((path, partial(train, config, start, mf.limits.FINITE_VOLUMES, path)))
    for m, seed in itertools.product(sorted(config.widths), range(config.seeds)):
        path = out / f"particles_m{m}_seed{seed}.h5"
        todo.append((path, partial(train, config, LAW.sample(m, seed=seed), mf.RK4, path)))
    return todo


def run(config: Config, out: Path, progress: bool = False) -> Results:
    """Train what is not trained yet, measure everything: the files are in `out`. Raises
    mf.Interrupted, mf.Diverged.
    """
    out.mkdir(parents=True, exist_ok=True)
    todo = jobs(config, out)
    runs.train_all(todo, progress)
    return collect(path for path, _ in todo)


def collect(paths: Iterable[Path]) -> Results:
    """Results of the runs in these files, measured again."""
    paths = sorted(paths)
    densities, networks = runs.named(paths, "density_"), runs.named(paths, "particles_")
    with mf.Trajectory(densities[-1]) as limit:
        data, ends = limit.data, limit[-1]
        wanted, risk = function(data, ends), float(limit.series("risk").values[-1])
        rows = [measure(path, limit, wanted, risk) for path in networks]
    if {(row.t_end, row.risk_limit) for row in rows} != {(ends.t, risk)}:
        raise ValueError("the runs differ in their end: make a folder for each study.")
    coarser = []
    for path in densities[:-1]:
        with mf.Trajectory(path) as density:
            if density.data.n != data.n or not np.array_equal(density.data.y, data.y):
                raise ValueError("the runs differ in data: make a folder for each study.")
            coarser.append((density.start.m // 2, distance(density[-1], ends)))
    rows.sort(key=lambda row: (row.m, row.seed))
    return Results(paths[0].parent, tuple(rows), tuple(coarser), densities[-1].name)


def function(data: mf.data.Dataset, state: mf.State) -> np.ndarray:
    """f on the test points."""
    return flow(data).predict(state, data.x_test)[:, 0]


def measure(path: Path, limit: mf.Trajectory, wanted: np.ndarray, risk: float) -> Row:
    """One Row, from the file and that of the limit."""
    with mf.Trajectory(path) as run:
        first, last, data, seed = run[0], run[-1], run.data, int(run.config["seed"])
        reached = float(run.series("risk").values[-1])
    if not np.array_equal(data.y, limit.data.y):
        raise ValueError("the runs differ in data: make a folder for each study.")
    return Row(
        m=first.m, seed=seed, t_end=last.t, steps=last.step, file=path.name,
        w1=distance(last, limit[-1]), w1_start=distance(first, limit[0]),
        f_gap=_rms(function(data, last) - wanted), risk=reached, risk_limit=risk,
    )  # fmt: skip


def distance(neurons: mf.State, density: mf.State) -> float:
    """W1 between the directions of neurons and those of a density, on the circle of each sign of a,
    weighted by their masses: in radians.
    """
    found = 0.0
    for sign in (1.0, -1.0):
        (p, of_p), (q, of_q) = (directions(state, sign) for state in (neurons, density))
        found += 0.5 * circle_w1(p, of_p / of_p.sum(), q, of_q / of_q.sum())
    return found


def directions(state: mf.State, sign: float) -> tuple[np.ndarray, np.ndarray]:
    """(angles of w, masses) of the neurons whose a has this sign."""
    chosen = state.a[:, 0] * sign > 0
    w = state.w[chosen]
    return np.arctan2(w[:, 1], w[:, 0]), state.mass[chosen]


def circle_w1(p: np.ndarray, of_p: np.ndarray, q: np.ndarray, of_q: np.ndarray) -> float:
    """W1 on the circle of Σ of_p δ_p and Σ of_q δ_q: min_c ∫ |F_p - F_q - c|, c a median of F_p -
    F_q.
    """
    points = np.concatenate([p, q])
    order = np.argsort(points, kind="stable")
    gap = np.cumsum(np.concatenate([of_p, -of_q])[order])
    x = points[order]
    lengths = np.append(np.diff(x), x[0] + 2 * np.pi - x[-1])
    ranked = np.argsort(gap)
    half = int(np.searchsorted(np.cumsum(lengths[ranked]), np.pi))
    middle = float(gap[ranked[min(half, len(gap) - 1)]])
    return float(lengths @ np.abs(gap - middle))


def figure(results: Results) -> Figure:
    """The density and the neurons, the risks, W1 and f against m, and the cells' own error."""
    from . import panels

    return panels.page(results)


def table(rows: Sequence[Row]) -> str:
    """One line for each m: means over seeds."""
    names = ("w1", "w1_start", "f_gap")
    lines: list[tuple[str, ...]] = [("m", "runs", *names, "risk", "risk of the limit")]
    for m in sorted({row.m for row in rows}):
        of_m = [row for row in rows if row.m == m]
        means = [np.mean([getattr(row, name) for row in of_m]) for name in (*names, "risk")]
        cells = (f"{value:.4g}" for value in (*means, rows[0].risk_limit))
        lines.append((f"{m}", f"{len(of_m)}", *cells))
    fits = [f"{name}: {runs.exponent(rows, name)}" for name in names]
    return "\n".join([text_table(lines, ">"), *fits])


def plan(config: Config, out: Path) -> str:
    """What `run` is about to do, estimated without training; what `out` holds already counts as
    done.
    """
    data = dataset(config)
    left = [path.stem for path, _ in jobs(config, out) if not path.exists()]
    steps = int(np.ceil(config.t_end / config.dt))
    compiled = flow(data).on_device(LAW.sample(2)).backend.compiled()
    listed = []
    for name, kind, most, more in (
        ("density", "density_", 2 * max(config.cells), 8),
        ("particles", "particles_", max(config.widths), 1),
    ):
        stems = [stem for stem in left if stem.startswith(kind)]
        widths = (
            [2 * int(stem.split("_")[1]) for stem in stems]
            if kind == "density_"
            else [int(stem.split("_m")[1].split("_")[0]) for stem in stems]
        )
        job = planning.Job(
            name=name, data=data, widths=tuple(widths), widest=most, t_end=config.t_end, frames=FRAMES, dtype="float64",
            steps=more * steps, compiled=compiled,
        )  # fmt: skip
        listed.append(job)
    return f"{QUESTION}\n\n{planning.describe(listed, out)}\nsettings {settings.digest(config)}"


def report(results: Results, out: Path) -> str:
    """Writes the table; returns it as text, with the verdict."""
    from . import panels

    runs.write_csv(results.rows, out / f"{NAME}.csv")
    return f"{table(results.rows)}\n\n{panels.verdict(results)}\n\ntable       {out / NAME}.csv"


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


ABOUT = f"""{QUESTION}

Trains f(x) = (1/m) Σ_k a_k σ(⟨w_k, (x, 1)⟩), σ ReLU, on a kink from neurons a = ±1, |w| = 1. They stay balanced, a² = |w|²,
so that the limit m → ∞ is a density of directions on two circles. That is solved by finite volumes, and the networks are
held against it: W1 between the neurons' directions and the density, f, and the risk.

Examples:
  python -m sims.{NAME} --demo                              widths up to 1024, ten seconds
  python -m sims.{NAME} --dry-run                           what the full study would cost
  python -m sims.{NAME} --redraw                            table and figure again from the files
  python -m sims.{NAME} --slope 6 --out results/steep       neurons go farther"""

STUDY = study.Study(
    NAME, ABOUT, {"full": (Config(), ""), "demo": (demo(), "Small preset: widths 64 … 1024, 8 seeds, ten seconds.")},
    plan, run, figure, report,
    collect=lambda config, out: collect(out.glob("*_*.h5")),
)  # fmt: skip
main = STUDY.main
