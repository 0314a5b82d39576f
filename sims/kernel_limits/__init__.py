"""Networks of growing width against the infinite-width kernel: the kernel itself, held-out
predictions, and what stays unlearnt.

Every run is one HDF5 file; table and figure are made from the files alone. python -m
sims.kernel_limits --help
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

import meanfield as mf
import ntk
from meanfield.files.tables import text_table

from ..lab import config as settings
from ..lab import planning, runs, study

if TYPE_CHECKING:
    from ..figures import Figure

NAME = "kernel_limits"
QUESTION = (
    "How wide must a network be before its tangent kernel predicts what it learns, and "
    "what does that kernel never learn?"
)


@settings.settings
class Repeated:
    """Two more networks, at γ = 1/2 and 1, that see one of seven inputs twice, with labels +1 and
    -1; summed loss.
    """

    m: Annotated[int, settings.at_least(2)] = 1024
    """Their width, even."""
    t_end: Annotated[float, settings.above(0)] = 200.0
    """Flow time to train for."""


@settings.settings
class Config:
    """Networks at γ = 1/2 from symmetric starts a = ±1, w ~ N(0, I), a and w trained, on a teacher;
    x on the unit sphere.
    """

    widths: tuple[Annotated[int, settings.at_least(2)], ...] = (
        256,
        512,
        1024,
        2048,
        4096,
        8192,
        16384,
    )
    """Numbers of neurons m, even."""
    seeds: Annotated[int, settings.at_least(2)] = 20
    """Seeds 0 … seeds - 1 of the initial neurons; error bars are standard errors over them."""
    activation: Literal["relu", "erf", "gelu", "tanh", "softplus"] = "relu"
    """σ of network and teacher."""
    dim: Annotated[int, settings.at_least(2)] = 6
    """Input dimension d."""
    n: Annotated[int, settings.at_least(4)] = 32
    """Training samples."""
    test: Annotated[int, settings.at_least(1)] = 200
    """Held-out samples, on which the predictions are compared."""
    time: Annotated[float, settings.above(0)] = 1.0
    """Flow time in units of n/λ_median of the limit kernel: at 1 the median mode has e^-1 of its
    error left.
    """
    dtype: Literal["float32", "float64"] = "float32"
    """Number format of the neurons."""
    repeated: Repeated = Repeated()
    """Two more networks, at γ = 1/2 and 1, that see one of seven inputs twice, with labels +1 and
    -1; summed loss.
    """

    def __post_init__(self) -> None:
        settings.different("widths", self.widths)
        if odd := [m for m in (*self.widths, self.repeated.m) if m % 2]:
            raise ValueError(
                f"widths must be even, symmetric starts pair neurons; got {odd[0]}. Use "
                f"{odd[0] + 1}."
            )


def tiny() -> Config:
    """Seconds, for tests: every part runs, nothing is resolved."""
    return Config(widths=(8, 16), seeds=2, n=6, test=5, repeated=Repeated(m=16, t_end=2.0))


def demo() -> Config:
    """About half a minute on two cores."""
    return Config(widths=(256, 512, 1024, 2048, 4096), seeds=10)


@dataclass(frozen=True)
class Row:
    """What is measured of one run, from its file alone; H∞ from the law that the file names."""

    m: int
    seed: int
    t_end: float
    steps: int
    kernel_error: float  # ‖H_0 - H∞‖ / ‖H∞‖ on the training inputs, spectral
    kernel_drift: float  # ‖H_T - H_0‖ / ‖H_0‖, Frobenius
    test_gap: float  # RMS over held-out inputs of f_T - (KernelFlow with H∞ at T)
    test_size: float  # RMS of that prediction
    file: str


@dataclass(frozen=True)
class Results:
    """The runs' files: one Row for each width and seed, and the files of the two runs with a
    repeated input.
    """

    folder: Path
    rows: tuple[Row, ...]
    duplicates: tuple[str, ...]


def dataset(config: Config) -> mf.data.Dataset:
    """A teacher of three neurons on the sphere."""
    options: dict[str, Any] = {
        "activation": config.activation,
        "inputs": "sphere",
        "n_test": config.test,
        "seed": 1,
    }
    return mf.data.teacher_student(config.n, config.dim, **options)


def one_input_twice() -> mf.data.Dataset:
    """Seven points of the circle, no two of them opposite, and the first again, with the label
    turned round.
    """
    angles = 2 * np.pi * np.arange(7) / 7
    x = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    y = np.array([1.0, 1.0, -1.0, 1.0, -1.0, -1.0, 1.0])
    return mf.data.Dataset(np.vstack([x, x[:1]]), np.append(y, -y[0]), name="repeated")


def law(dim: int) -> mf.InitialLaw:
    return mf.InitialLaw(dim=dim, symmetric=True)


def network(config: Config, gamma: float = 0.5) -> mf.Network:
    return mf.Network(config.activation, scaling=mf.Scaling(gamma), trainable=("a", "w"))


def end_time(config: Config, data: mf.data.Dataset) -> float:
    """time·n/λ_median(H∞)."""
    return (
        config.time
        * data.n
        / float(np.median(np.linalg.eigvalsh(ntk.kernel(network(config), law(data.d), data.x))))
    )


def train(
    config: Config,
    path: Path,
    data: mf.data.Dataset,
    m: int,
    seed: int,
    gamma: float,
    reduction: str,
    t_end: float,
) -> None:
    """One run, to its file; an interrupted one goes on where it stopped, a finished one is left as
    it is.
    """
    flow = mf.GradientFlow(
        mf.EmpiricalRisk(network(config, gamma), data.x, data.y, reduction=reduction),
        dtype=config.dtype,
    )
    observers = [
        mf.Recorder(path, mf.evenly(2), "resume", data),
        mf.Series("risk", mf.every(1)),
        mf.StopOnNonFinite(),
    ]
    start = law(data.d).sample(m, seed=seed)
    mf.simulate(flow, start, mf.RK4, dt="auto", t_end=t_end, observers=observers, progress=False)


def run(config: Config, out: Path, progress: bool = False) -> Results:
    """Train what is not trained yet, measure everything: the files are in `out`. Raises
    mf.Interrupted, mf.Diverged.
    """
    data, twice = dataset(config), one_input_twice()
    t_end = end_time(config, data)
    out.mkdir(parents=True, exist_ok=True)
    todo: list[tuple[Any, ...]] = [
        (out / f"limit_m{m}_seed{seed}.h5", data, m, seed, 0.5, "mean", t_end)
        for m, seed in itertools.product(sorted(config.widths), range(config.seeds))
    ]
    for gamma in (0.5, 1.0):
        path = out / f"duplicates_gamma{gamma:g}.h5"
        todo.append((path, twice, config.repeated.m, 0, gamma, "sum", config.repeated.t_end))
    runs.train_all([(job[0], partial(train, config, *job)) for job in todo], progress)
    return collect(job[0] for job in todo)


def collect(paths: Any) -> Results:
    """Results of the runs in these files, measured again."""
    paths = sorted(paths)
    limits: dict[bytes, Any] = {}  # the kernels of one data set, made once
    rows = [measure(path, limits) for path in runs.named(paths, "limit_")]
    if len(limits) > 1:
        raise ValueError("the runs differ in data or in their end: make a folder for each study.")
    duplicates = tuple(path.name for path in paths if path.name.startswith("duplicates_"))
    return Results(
        paths[0].parent, tuple(sorted(rows, key=lambda row: (row.m, row.seed))), duplicates
    )


def measure(path: Path, limits: dict[bytes, Any]) -> Row:
    """One Row, from the file."""
    with mf.Trajectory(path) as run:
        first, last, data, net, start = run[0], run[-1], run.data, run.network, run.law
        seed = int(run.config["seed"])
    assert start is not None and data.x_test is not None
    key = data.x.tobytes() + np.float64(last.t).tobytes()
    if key not in limits:
        H = ntk.kernel(net, start, data.x)
        flow = ntk.KernelFlow(H, data.y, K_test=ntk.kernel(net, start, data.x_test, data.x))
        limits[key] = H, flow.at(last.t).test
    H, predicted = limits[key]
    H0, HT = (ntk.empirical(net, state, data.x) for state in (first, last))
    f = mf.GradientFlow(mf.EmpiricalRisk(net, data.x, data.y)).predict(last, data.x_test)[:, 0]
    return Row(
        m=first.m, seed=seed, t_end=last.t, steps=last.step, file=path.name, kernel_drift=ntk.drift(H0, HT),
        kernel_error=float(np.linalg.norm(H0 - H, 2) / np.linalg.norm(H, 2)),
        test_gap=float(np.sqrt(np.mean(np.square(f - predicted)))), test_size=float(np.sqrt(np.mean(np.square(predicted)))),
    )  # fmt: skip


def figure(results: Results) -> Figure:
    """Kernel error, held-out gap, and the loss of the runs with a repeated input; from the files
    alone.
    """
    from . import panels

    return panels.page(results)


def table(rows: Sequence[Row]) -> str:
    """One line for each m: means over seeds."""
    names = ("kernel_error", "test_gap", "kernel_drift")
    lines: list[tuple[str, ...]] = [("m", "runs", *names)]
    for m in sorted({row.m for row in rows}):
        of_m = [row for row in rows if row.m == m]
        means = [np.mean([getattr(row, name) for row in of_m]) for name in names]
        lines.append((f"{m}", f"{len(of_m)}", *(f"{value:.4g}" for value in means)))
    return "\n".join(
        [text_table(lines, ">"), *(f"{name}: {runs.exponent(rows, name)}" for name in names)]
    )


def plan(config: Config, out: Path) -> str:
    """What `run` is about to do, estimated without training; what `out` holds already counts as
    done.
    """
    data, twice = dataset(config), one_input_twice()
    left = [
        m
        for m in config.widths
        for seed in range(config.seeds)
        if not (out / f"limit_m{m}_seed{seed}.h5").exists()
    ]
    pairs = [
        config.repeated.m
        for gamma in (0.5, 1.0)
        if not (out / f"duplicates_gamma{gamma:g}.h5").exists()
    ]
    jobs = []
    for name, samples, widths, widest, t_end, rate in (
        ("limit", data, left, max(config.widths), end_time(config, data), 1),
        ("repeated input", twice, pairs, config.repeated.m, config.repeated.t_end, twice.n),
    ):
        first = law(samples.d).sample(min(config.widths))
        flow = mf.GradientFlow(
            mf.EmpiricalRisk(network(config), samples.x, samples.y), dtype=config.dtype
        )
        job = planning.Job(
            name=name, data=samples, widths=tuple(widths), widest=widest, t_end=t_end, frames=2, dtype=config.dtype,
            steps=rate * planning.steps(flow.network, first, samples.x, t_end),
            compiled=flow.on_device(first).backend.compiled(),
        )  # fmt: skip
        jobs.append(job)
    return f"{QUESTION}\n\n{planning.describe(jobs, out)}\nsettings {settings.digest(config)}"


def report(results: Results, out: Path) -> str:
    """Writes the table; returns it as text."""
    runs.write_csv(results.rows, out / f"{NAME}.csv")
    return f"{table(results.rows)}\n\ntable       {out / NAME}.csv"


ABOUT = f"""{QUESTION}

Trains f(x) = m^(-1/2) Σ_k a_k σ(⟨w_k, x⟩) at each width and seed to the flow time at which the median mode of the limit
kernel H∞ is learnt to 1 - 1/e, and compares with the closed-form prediction of H∞ on held-out inputs; then shows two
networks one input with two labels, whose loss no kernel and no network brings below its floor.

Examples:
  python -m sims.{NAME} --demo                              widths up to 4096, half a minute
  python -m sims.{NAME} --dry-run                           what the full study would cost
  python -m sims.{NAME} --activation erf --out results/erf
  python -m sims.{NAME} --config study.toml                 widths = [256, 1024]; n = 50"""

STUDY = study.Study(
    NAME, ABOUT, {"full": (Config(), ""), "demo": (demo(), "Small preset: widths 256 … 4096, 10 seeds, half a minute.")},
    plan, run, figure, report,
    collect=lambda config, out: collect(out.glob("*_*.h5")),
)  # fmt: skip
main = STUDY.main
