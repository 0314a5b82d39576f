"""Finite networks between their two limits: the infinite-width kernel, and the mean-field limit, on
one axis.

Every run is one HDF5 file; table and figure are made from the files alone. python -m
sims.both_limits --help
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
from tqdm.auto import tqdm

import meanfield as mf
import ntk
from meanfield.files.tables import text_table

from ..lab import config as settings
from ..lab import experiment, planning, runs, study

if TYPE_CHECKING:
    from ..figures import Figure

NAME = "both_limits"
QUESTION = (
    "Of a finite network's two limits, the tangent kernel's and the mean-field one, "
    "which does it follow, and how closely?"
)
DENSITY = "reference_density.h5"
DISTANCES = ("to_ntk", "to_frozen", "to_linear", "to_mean_field")


@settings.settings
class Config:
    """ReLU networks on y = slope·|x|, all weights trained, from symmetric starts a = ±1."""

    start: Literal["normal", "circle"] = "normal"
    """w, b ~ N(0, 1); or (w, b) on the unit circle, where neurons are balanced and the mean-field
    limit is a density, solved without particles.
    """
    gammas: tuple[float, ...] = (0.5, 0.625, 0.75, 0.875, 1.0)
    """Exponents γ of the output scale m^(-γ)."""
    widths: tuple[Annotated[int, settings.at_least(2)], ...] = (128, 256, 512, 1024, 2048, 4096)
    """Numbers of neurons m, even."""
    seeds: Annotated[int, settings.at_least(2)] = 6
    """Seeds 0 … seeds - 1 of the initial neurons; error bars are standard errors over them."""
    wider: Annotated[int, settings.at_least(16)] = 16
    """From a normal start the mean-field limit is a network at γ = 1 this many times as wide as the
    widest, one for each seed, nested.
    """
    cells: Annotated[int, settings.at_least(4)] = 1000
    """From a start on the circle it is a density in this many cells, for each sign of a."""
    n: Annotated[int, settings.at_least(3)] = 12
    """Training points, equispaced on [-1, 1]."""
    slope: float = 5.0
    """Slope of the kink: the steeper, the farther neurons must go."""
    points: Annotated[int, settings.at_least(2)] = 200
    """Test points, on which functions are compared."""
    t_end: Annotated[float, settings.above(0)] = 20.0
    """Flow time to train for."""
    dt: Annotated[float, settings.above(0)] = 0.05
    """Step of flow time (RK4)."""

    def __post_init__(self) -> None:
        for name in ("gammas", "widths"):
            settings.different(name, getattr(self, name))
        settings.even("widths", self.widths)
        if outside := [gamma for gamma in self.gammas if not 0.5 <= gamma <= 1]:
            raise ValueError(f"gammas must lie between the limits, 0.5 and 1; got {outside[0]:g}.")


def tiny() -> Config:
    """Seconds, for tests: every part runs, nothing is resolved."""
    return Config(gammas=(0.5, 1.0), widths=(8, 16), seeds=2, n=4, points=6, t_end=1.0)


def demo() -> Config:
    """About half a minute on two cores."""
    return Config(gammas=(0.5, 0.75, 1.0), widths=(128, 256, 512, 1024), seeds=4)


@dataclass(frozen=True)
class Row:
    """What is measured of one run, from the files alone. Distances are RMS over the test points, at
    the run's end.
    """

    gamma: float
    m: int
    seed: int
    t_end: float
    steps: int
    to_ntk: float  # from the prediction of the infinite-width kernel
    to_frozen: float  # from that of the kernel of its own start, H_0
    to_linear: float  # from the linearised network, trained by the engine
    to_mean_field: (
        float  # from the density, or the same network continued to a much larger width, at γ = 1
    )
    error: float  # from the target
    size: float  # RMS of the target
    regime: str  # lazy, intermediate or rich: ntk.laziness
    gap: float  # sup_t |f - f_lin| / |f_0 - y| on the training inputs
    drift: float  # sup_t ‖H_t - H_0‖/‖H_0‖
    verdict: str
    file: str


@dataclass(frozen=True)
class Results:
    """The runs' folder, one Row for each network, and the files of the mean-field limit: one for
    each seed, or that of the density.
    """

    folder: Path
    rows: tuple[Row, ...]
    references: tuple[str, ...]

    @property
    def density(self) -> bool:
        """Whether the mean-field limit is solved without particles."""
        return self.references == (DENSITY,)


class Limits(NamedTuple):
    """Predictions at the test points, (points,): each limit of the networks of one width and seed."""

    ntk: np.ndarray
    frozen: np.ndarray
    linear: np.ndarray
    mean_field: np.ndarray


def network_run(
    config: Config, gamma: float, m: int, seed: int, frames: int = 11
) -> experiment.Experiment:
    """The settings of one run."""
    task: dict[str, Any] = {"n": config.n, "slope": config.slope, "n_test": config.points}
    law = experiment.Law(b_std=1.0)
    trainable: tuple[Literal["a", "w", "b"], ...] = ("a", "w", "b")
    if config.start == "circle":  # (w, b) is w of the inputs (x, 1)
        task["constant"] = True
        law, trainable = experiment.Law(w="sphere"), ("a", "w")
    return experiment.Experiment(
        gamma=gamma, m=m, seed=seed, dt=config.dt, t_end=config.t_end, frames=frames, spacing="log",
        law=law, trainable=trainable, data=experiment.Data("kink", task),
    )  # fmt: skip


def solve_density(config: Config, path: Path) -> None:
    """The mean-field limit of a start on the circle, to its file."""
    made = experiment.make(network_run(config, 1.0, 2, 0))
    mf.simulate(
        made.flow,
        mf.limits.circle(config.cells, bias=False),
        mf.limits.FINITE_VOLUMES,
        dt=config.dt,
        t_end=config.t_end,
        observers=[mf.Recorder(path, mf.evenly(2), "resume", made.data)],
        progress=False,
    )


def train_linear(config: Config, m: int, seed: int, path: Path) -> None:
    """The linearised network, to its file. Its function does not depend on γ: s leaves df_lin/dt =
    -c H_0 ℓ'.
    """
    made = experiment.make(network_run(config, 0.5, m, seed))
    flow = mf.GradientFlow(
        ntk.linearise(made.flow.network, made.start).risk(made.data.x, made.data.y)
    )
    observers = [mf.Recorder(path, mf.evenly(2), "resume", made.data), mf.StopOnNonFinite()]
    mf.simulate(
        flow,
        made.start,
        mf.RK4,
        dt=config.dt,
        t_end=config.t_end,
        observers=observers,
        progress=False,
    )


def jobs(config: Config, out: Path) -> list[tuple[Path, Any]]:
    """(file, what makes it) of every run, the limits first."""
    todo: list[tuple[Path, Any]] = []
    widest = config.wider * max(config.widths)
    if config.start == "circle":
        todo.append((out / DENSITY, partial(solve_density, config, out / DENSITY)))
    for seed in range(config.seeds if config.start == "normal" else 0):
        path = out / f"reference_seed{seed}.h5"
        todo.append(
            (
                path,
                partial(experiment.perform, network_run(config, 1.0, widest, seed, frames=2), path),
            )
        )
    for m, seed in itertools.product(sorted(config.widths), range(config.seeds)):
        path = out / f"linear_m{m}_seed{seed}.h5"
        todo.append((path, partial(train_linear, config, m, seed, path)))
        for gamma in sorted(config.gammas):
            path = out / f"network_gamma{gamma:g}_m{m}_seed{seed}.h5"
            todo.append(
                (path, partial(experiment.perform, network_run(config, gamma, m, seed), path))
            )
    return todo


def run(config: Config, out: Path, progress: bool = False) -> Results:
    """Train what is not trained yet, measure everything: the files are in `out`. Raises
    mf.Interrupted, mf.Diverged.
    """
    out.mkdir(parents=True, exist_ok=True)
    todo = jobs(config, out)
    runs.train_all(todo, progress)
    return collect((path for path, _ in todo), progress)


def collect(paths: Iterable[Path], progress: bool = False) -> Results:
    """Results of the runs in these files, measured again."""
    paths = sorted(paths)
    networks = runs.named(paths, "network_")
    known: dict[tuple[int, int], Limits] = {}
    bar = tqdm(networks, desc="measuring", unit="run", disable=None if progress else True)
    rows = [measure(path, known) for path in bar]
    if len({(row.t_end, row.size) for row in rows}) > 1:
        raise ValueError("the runs differ in data or in their end: make a folder for each study.")
    references = tuple(path.name for path in paths if path.name.startswith("reference_"))
    return Results(
        paths[0].parent,
        tuple(sorted(rows, key=lambda row: (row.gamma, row.m, row.seed))),
        references,
    )


def limits(folder: Path, m: int, seed: int) -> Limits:
    """The limits of the networks of one width and seed, from the files of the linearised run and of
    the reference.
    """
    with mf.Trajectory(folder / f"linear_m{m}_seed{seed}.h5") as run:
        start, end, data, net, law = run.start, run[-1], run.data, run.network, run.law
    assert law is not None and data.x_test is not None
    x, x_test = data.x, data.x_test
    infinite = ntk.KernelFlow(
        ntk.kernel(net, law, x), data.y, K_test=ntk.kernel(net, law, x_test, x)
    )
    frozen = ntk.KernelFlow(
        ntk.empirical(net, start, x), data.y, K_test=ntk.empirical(net, start, x_test, x)
    )
    predicted = [np.asarray(flow.at(end.t).test) for flow in (infinite, frozen)]
    linear = ntk.linearise(net, start).predict(end, x_test)[:, 0]
    density = folder / DENSITY
    field = density if density.exists() else folder / f"reference_seed{seed}.h5"
    return Limits(predicted[0], predicted[1], linear, reference(field))


def reference(path: Path) -> np.ndarray:
    """f at the test points, (points,), at the end of a run: what the mean-field limit is taken
    from.
    """
    with mf.Trajectory(path) as run:
        return function(run)


def function(run: mf.Trajectory) -> np.ndarray:
    """f at the test points of a run's data, (points,), at its last frame."""
    data = run.data
    return mf.GradientFlow(mf.EmpiricalRisk(run.network, data.x, data.y)).predict(
        run[-1], data.x_test
    )[:, 0]


def measure(path: Path, known: dict[tuple[int, int], Limits]) -> Row:
    """One Row, from the file and those of its limits."""
    with mf.Trajectory(path) as run:
        m, seed, last, data = run.start.m, int(run.config["seed"]), run[-1], run.data
        f, gamma, lazy = function(run), run.network.scaling.gamma, ntk.laziness(run)
    if (m, seed) not in known:
        known[m, seed] = limits(path.parent, m, seed)
    assert data.y_test is not None
    away = {f"to_{name}": _rms(f - values) for name, values in known[m, seed]._asdict().items()}
    return Row(
        gamma=gamma, m=m, seed=seed, t_end=last.t, steps=last.step, error=_rms(f - data.y_test), size=_rms(data.y_test),
        regime=lazy.regime, gap=float(lazy.gap.max()) / lazy.start, drift=float(lazy.drift.max()), verdict=lazy.verdict,
        file=path.name, **away,
    )  # fmt: skip


def figure(results: Results) -> Figure:
    """The functions, what parts them, and the distance to each limit against γ and against m; from
    the files alone.
    """
    from . import panels as both_limits_panels

    return both_limits_panels.page(results)


def table(rows: Sequence[Row]) -> str:
    """One line for each γ and m: mean distances over seeds, and what ntk.laziness calls the runs."""
    lines: list[tuple[str, ...]] = [("γ", "m", "runs", *DISTANCES, "error", "ntk.laziness")]
    for gamma, m in sorted({(row.gamma, row.m) for row in rows}):
        chosen = [row for row in rows if (row.gamma, row.m) == (gamma, m)]
        means = [np.mean([getattr(row, name) for row in chosen]) for name in (*DISTANCES, "error")]
        cells = (f"{value:.4g}" for value in means)
        lines.append((f"{gamma:g}", f"{m}", f"{len(chosen)}", *cells, called(chosen)))
    return text_table(lines, ">" * (len(lines[0]) - 1) + "<")


def called(rows: Sequence[Row]) -> str:
    """ "lazy 4, intermediate 2": how many of the runs ntk.laziness calls what."""
    names = ("lazy", "intermediate", "rich")
    counts = {name: sum(row.regime == name for row in rows) for name in names}
    return ", ".join(f"{name} {count}" for name, count in counts.items() if count)


def plan(config: Config, out: Path) -> str:
    """What `run` is about to do, estimated without training; what `out` holds already counts as
    done.
    """
    left = [path for path, _ in jobs(config, out) if not path.exists()]
    steps = int(np.ceil(config.t_end / config.dt))
    made = experiment.make(network_run(config, 1.0, min(config.widths), 0))
    circle = config.start == "circle"
    widest = 2 * config.cells if circle else config.wider * max(config.widths)
    listed = []
    for name, kind, frames, most in (
        ("networks", "network_", 11, max(config.widths)),
        ("linearised", "linear_", 2, max(config.widths)),
        ("mean-field limit", "reference_", 2, widest),
    ):
        names = [path.stem for path in left if path.name.startswith(kind)]
        widths = tuple(
            widest if kind == "reference_" else int(stem.split("_m")[1].split("_")[0])
            for stem in names
        )
        job = planning.Job(
            name=name, data=made.data, widths=widths, widest=most, t_end=config.t_end, frames=frames, dtype="float64",
            steps=steps, compiled=made.flow.on_device(made.start).backend.compiled(),
        )  # fmt: skip
        listed.append(job)
    return f"{QUESTION}\n\n{planning.describe(listed, out)}\nsettings {settings.digest(config)}"


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def report(results: Results, out: Path) -> str:
    """Writes the table; returns it as text, with the verdict."""
    from . import panels as both_limits_panels

    runs.write_csv(results.rows, out / f"{NAME}.csv")
    return (
        f"{table(results.rows)}\n\n{both_limits_panels.verdict(results.rows)}\n\ntable    "
        f"   {out / NAME}.csv"
    )


ABOUT = f"""{QUESTION}

Trains f(x) = m^(-γ) Σ_k a_k σ(w_k x + b_k) on a kink for several γ and m, and holds each function against four others: the
closed-form prediction of the infinite-width kernel, that of the kernel of its own start, the linearised network trained by
the same engine, and the mean-field limit at γ = 1: the network that continues it to 16 times the largest width, or, from a
start on the circle, the density of infinitely many neurons, solved without particles.

Examples:
  python -m sims.{NAME} --demo                              widths up to 1024, half a minute
  python -m sims.{NAME} --dry-run                           what the full study would cost
  python -m sims.{NAME} --start circle --out results/circle the mean-field limit without particles
  python -m sims.{NAME} --slope 1 --out results/gentle      a target that moves neurons little
  python -m sims.{NAME} --config study.toml                 widths = [256, 1024]; n = 20"""

STUDY = study.Study(
    NAME, ABOUT, {"full": (Config(), ""), "demo": (demo(), "Small preset: widths 128 … 1024, 4 seeds, half a minute.")},
    plan, run, figure, report,
    collect=lambda config, out: collect(out.glob("*_*.h5")),
)  # fmt: skip
main = STUDY.main
