"""The same network between the lazy and the mean-field limit, on real images and on a teacher: who
moves, and who learns.

Every run is one HDF5 file; table and figure are made from the files alone. python -m
sims.lazy_vs_mean_field --help
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

from ..lab import config as settings
from ..lab import planning, runs, study
from ..lab.runs import Results

if TYPE_CHECKING:
    from ..figures import Figure

NAME = "lazy_vs_mean_field"
QUESTION = (
    "Do the neurons of a wide network stay put or travel as the output scale goes from "
    "1/√m to 1/m, and does it matter?"
)
SMALL = 4096  # neurons of a run that gains nothing from a second core
FEW = 24  # such runs are done before other processes have begun


@settings.settings
class Digits:
    """Real images: scikit-learn's handwritten digits, odd against even (y = ±1), pixels
    standardised, |x| = 1.
    """

    n: Annotated[int, settings.at_least(2)] = 500
    """Training images; half of the 1797 are kept for the test."""
    t_end: Annotated[float, settings.above(0)] = 50.0
    """Flow time to train for, the same for every γ and m."""
    w_std: Annotated[float, settings.above(0)] = 1.0
    """Initial input weights w ~ N(0, w_std² I)."""


@settings.settings
class Teacher:
    """Teacher–student: y = Σ_j ±σ(⟨w_j, x⟩) with unit vectors w_j, x ~ N(0, I)."""

    n: Annotated[int, settings.at_least(2)] = 300
    """Training samples."""
    dim: Annotated[int, settings.at_least(1)] = 20
    """Input dimension d."""
    neurons: Annotated[int, settings.at_least(1)] = 3
    """Neurons of the teacher."""
    seed: Annotated[int, settings.at_least(0)] = 3
    """Seed of the teacher and of the samples."""
    n_test: Annotated[int, settings.at_least(1)] = 2000
    """Test samples."""
    t_end: Annotated[float, settings.above(0)] = 20.0
    """Flow time to train for, the same for every γ and m."""
    w_std: Annotated[float | None, settings.above(0)] = None
    """Initial input weights w ~ N(0, w_std² I); None: 1/√d, as long as the teacher's."""


@settings.settings
class File:
    """Data of your own: a .npz, .csv, .tsv or .h5 file as mf.data.load reads it; columns standardised,
    see file.normalise.
    """

    path: str = ""
    """The file. Its targets: two classes, or real numbers, which are standardised."""
    test_fraction: Annotated[float, settings.above(0), settings.below(1)] = 0.3
    """Part of the samples kept for the test, where the file has no x_test and y_test of its own."""
    normalise: Literal["sqrt_d", "rows", "none"] = "sqrt_d"
    """What is done to the standardised inputs: sqrt_d x/√d, so that |x|² is 1 on average; rows
    x/|x|; none.
    """
    n: Annotated[int | None, settings.at_least(2)] = None
    """Training samples; None: all."""
    t_end: Annotated[float, settings.above(0)] = 50.0
    """Flow time to train for, the same for every γ and m."""
    w_std: Annotated[float, settings.above(0)] = 1.0
    """Initial input weights w ~ N(0, w_std² I)."""


@settings.settings
class Config:
    """Runs: every task × γ × m × seed, from symmetric starts a = ±1 (f = 0), a and w trained,
    squared loss.
    """

    tasks: tuple[Literal["digits", "teacher", "file"], ...] = ("digits", "teacher")
    """Data sets to train on."""
    gammas: tuple[float, ...] = (0.5, 0.75, 1.0)
    """Exponents γ of f = m^(-γ) Σ_k a_k σ(⟨w_k, x⟩): 0.5 is the NTK scaling, 1 mean-field."""
    activation: str = "relu"
    """σ: relu, leaky_relu, tanh, erf, sigmoid, softplus, gelu, sin, square or linear."""
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
    seeds: Annotated[int, settings.at_least(1)] = 5
    """Seeds 0 … seeds - 1 of the initial neurons; error bars are standard errors over them."""
    frames: Annotated[int, settings.at_least(2)] = 9
    """Moments, equally spaced in flow time, at which all neurons are written to the file."""
    dtype: Literal["float32", "float64"] = "float32"
    """Number format of the neurons."""
    digits: Digits = Digits()
    """Real images: scikit-learn's handwritten digits, odd against even (y = ±1), pixels
    standardised, |x| = 1.
    """
    teacher: Teacher = Teacher()
    """Teacher–student: y = Σ_j ±σ(⟨w_j, x⟩) with unit vectors w_j, x ~ N(0, I)."""
    file: File = File()
    """Data of your own: a .npz, .csv, .tsv or .h5 file as mf.data.load reads it; columns standardised,
    see file.normalise.
    """

    def __post_init__(self) -> None:
        mf.Network(self.activation)
        for name in ("tasks", "gammas", "widths"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise ValueError(
                    f"{name} must be a list without repetition, and not empty; got {list(values)}."
                )
            if name != "tasks" and len(values) < 2:
                raise ValueError(
                    f"{name} needs two values at least, there is nothing to compare "
                    f"otherwise; got {values[0]:g}."
                )
        settings.even("widths", self.widths)
        if ("file" in self.tasks) != bool(self.file.path):
            raise ValueError(
                'the task "file" and file.path go together: --tasks file --file.path my_data.npz.'
            )


def tiny() -> Config:
    """Seconds, for tests: every part runs, nothing is resolved."""
    teacher = Teacher(n=20, dim=15, n_test=20, t_end=1.0)
    return Config(
        gammas=(0.5, 1.0),
        widths=(8, 16),
        seeds=2,
        frames=3,
        digits=Digits(n=20, t_end=2.0),
        teacher=teacher,
    )


def demo() -> Config:
    """Half a minute on two cores."""
    return Config(widths=(256, 512, 1024, 2048), seeds=4)


@dataclass(frozen=True)
class Spec:
    """One run of a configuration."""

    task: str
    gamma: float
    m: int
    seed: int

    @property
    def file(self) -> str:
        return f"{self.task}_gamma{self.gamma:g}_m{self.m}_seed{self.seed}.h5"


def specs(config: Config) -> list[Spec]:
    """All runs, narrow ones first, so that a figure of what is there makes sense early."""
    keys = (config.widths, config.tasks, range(config.seeds), config.gammas)
    found = [Spec(task, gamma, m, seed) for m, task, seed, gamma in itertools.product(*keys)]
    return sorted(found, key=lambda spec: spec.m)


def dataset(config: Config, task: str) -> mf.data.Dataset:
    """The training and test samples of a task."""
    if task == "digits":
        odd = (1, 3, 5, 7, 9)
        return mf.data.digits(
            targets="sign", positive=odd, normalise="rows", test_fraction=0.5, n=config.digits.n
        )
    if task == "file":
        return _from_file(config.file)
    teacher = config.teacher
    return mf.data.teacher_student(
        teacher.n,
        teacher.dim,
        teacher_width=teacher.neurons,
        n_test=teacher.n_test,
        seed=teacher.seed,
    )


def _from_file(file: File) -> mf.data.Dataset:
    try:
        raw = mf.data.load(file.path)
        if raw.y.ndim > 1:
            raise ValueError(
                f"{file.path}: y must be (n,), one target a sample; got {raw.y.shape}."
            )
        classes = np.unique(raw.y)
        if raw.y.dtype.kind == "i" and len(classes) != 2:
            raise ValueError(
                f"{file.path}: integer targets must be two classes; found {len(classes)}. "
                "Make them real numbers."
            )
        fraction = file.test_fraction if raw.x_test is None else 0.0
        normalise = None if file.normalise == "none" else file.normalise
        common: Any = {
            "test_fraction": fraction,
            "n": file.n,
            "standardise": True,
            "constant": "drop",
            "normalise": normalise,
        }
        if len(classes) > 2:
            return mf.data.load(file.path, standardise_y=True, **common)
        y = np.where(raw.y == classes[1], 1.0, -1.0)
        y_test = None if raw.y_test is None else np.where(raw.y_test == classes[1], 1.0, -1.0)
        origin = {"file": file.path, "classes": classes.tolist()}
        return mf.data.prepare(
            mf.data.Dataset(raw.x, y, raw.x_test, y_test, raw.name, origin), **common
        )
    except (TypeError, ValueError) as error:
        raise settings.BadData(str(error)) from error


def start(config: Config, spec: Spec, data: mf.data.Dataset) -> mf.State:
    """The neurons before training."""
    w_std = getattr(config, spec.task).w_std or 1.0 / math.sqrt(data.d)
    return mf.InitialLaw(dim=data.d, w_std=w_std, symmetric=True).sample(spec.m, seed=spec.seed)


def gradient_flow(config: Config, gamma: float, data: mf.data.Dataset) -> mf.GradientFlow:
    """The flow of the squared loss at this γ."""
    network = mf.Network(config.activation, scaling=mf.Scaling(gamma), trainable=("a", "w"))
    return mf.GradientFlow(mf.EmpiricalRisk(network, data.x, data.y), dtype=config.dtype)


def train(config: Config, spec: Spec, data: mf.data.Dataset, path: Path) -> None:
    """One run, to its file; an interrupted one goes on where it stopped, a finished one is left as
    it is.
    """
    flow = gradient_flow(config, spec.gamma, data)
    observers = [
        mf.Recorder(path, mf.evenly(config.frames), exists="resume", data=data),
        mf.Series("risk", mf.every(1)),
        mf.StopOnNonFinite(),
    ]
    t_end = getattr(config, spec.task).t_end
    mf.simulate(
        flow,
        start(config, spec, data),
        mf.RK4,
        dt="auto",
        t_end=t_end,
        observers=observers,
        progress=False,
    )


def run(config: Config, out: Path, progress: bool = False) -> Results:
    """Train what is not trained yet, measure everything: the files are in `out`. Raises
    mf.Interrupted, mf.Diverged.
    """
    data: dict[str, mf.data.Dataset] = {task: dataset(config, task) for task in config.tasks}
    out.mkdir(parents=True, exist_ok=True)
    todo = specs(config)
    small = sum(spec.m <= SMALL for spec in todo)
    return runs.train_and_measure(
        [
            (out / spec.file, partial(train, config, spec, data[spec.task], out / spec.file))
            for spec in todo
        ],
        small if small > FEW else 0,
        progress,
    )


def figure(results: Results) -> Figure:
    """A block of six panels for each task; from the files alone."""
    from . import panels

    return panels.page(results)


def plan(config: Config, out: Path) -> str:
    """What `run` is about to do, estimated without training; what `out` holds already counts as
    done.
    """
    todo = [spec for spec in specs(config) if not (out / spec.file).exists()]
    jobs = []
    for task in config.tasks:
        data, t_end = dataset(config, task), getattr(config, task).t_end
        first = start(config, Spec(task, config.gammas[0], min(config.widths), 0), data)
        flow = gradient_flow(config, config.gammas[0], data)
        job = planning.Job(
            name=task, data=data, widths=tuple(spec.m for spec in todo if spec.task == task), widest=max(config.widths),
            t_end=t_end, steps=planning.steps(flow.network, first, data.x, t_end), frames=config.frames, dtype=config.dtype,
            compiled=flow.on_device(first).backend.compiled(),
        )  # fmt: skip
        jobs.append(job)
    done = len(specs(config)) - len(todo)
    found = f"\n{done} of {len(specs(config))} runs are there already" if done else ""
    return (
        f"{QUESTION}\n\n{planning.describe(jobs, out, runs.W2_SECONDS)}{found}\nsettings "
        f"{settings.digest(config)}"
    )


def report(results: Results, out: Path) -> str:
    """Writes the table; returns it as text, with how to open a run."""
    runs.write_csv(results.rows, out / f"{NAME}.csv")
    example = (
        f"run = mf.Trajectory('{out / results.rows[-1].file}'); print(run, run[-1], "
        "run.series('risk'))"
    )
    return (
        f'{runs.table(results)}\n\ntable       {out / NAME}.csv\nopen a run  python -c "import '
        f'meanfield as mf; {example}"'
    )


ABOUT = f"""{QUESTION}

Trains the two-layer network f(x) = m^(-γ) Σ_k a_k σ(⟨w_k, x⟩) at each γ, width m and seed to the same flow time
(a step dt is gradient descent with learning rate dt·m/s² = dt·m^(2γ-1)/α², here α = 1), one HDF5
file a run, and draws what became of the neurons: how far they travelled, what the tangent kernel
did, at which γ it left the lazy regime, training loss, and test error for classes or test loss for
real targets.

Examples:
  python -m sims.{NAME} --demo                              the README's figure, half a minute
  python -m sims.{NAME} --dry-run                           what the full study would cost
  python -m sims.{NAME} --tasks teacher --teacher.dim 50 --out results/d50
  python -m sims.{NAME} --activation tanh --out results/tanh
  python -m sims.{NAME} --tasks file --file.path my_data.csv --out results/mine
  python -m sims.{NAME} --config study.toml                 widths = [256, 1024]; [teacher]; dim = 50"""

STUDY = study.Study(
    NAME, ABOUT, {"full": (Config(), ""), "demo": (demo(), "Small preset: widths 256 … 2048, 4 seeds, half a minute.")},
    plan, run, figure, report,
    collect=lambda config, out: runs.collect(sorted(out.glob("*_gamma*_m*_seed*.h5")), progress=True),
)  # fmt: skip
main = STUDY.main
