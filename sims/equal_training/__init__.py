"""Do neurons that travel learn better, or only sooner? Lazy and rich networks stopped at one training
loss, beside the kernel machine at t = ∞, and two published comparisons. python -m
sims.equal_training --help
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

import meanfield as mf
from meanfield.files.tables import text_table

from ..lab import batched, cells, planning, runs
from ..lab import config as settings
from . import measures, quadratic

if TYPE_CHECKING:
    from ..figures import Figure

NAME = "equal_training"
QUESTION = "Do networks whose neurons travel learn better than lazy ones, or only sooner?"


@settings.settings
class Training:
    """ReLU networks of m neurons, symmetric starts a = ±1, w ~ N(0, I) (I/d for the teacher), a and w
    trained, squared loss.
    """

    tasks: tuple[Literal["teacher", "digits"], ...] = ("teacher", "digits")
    """A teacher of three ReLU neurons; scikit-learn's digits, odd against even, |x| = 1."""
    gammas: tuple[float, ...] = (0.5, 1.0)
    """Exponents γ of the output scale m^(-γ)."""
    m: Annotated[int, settings.at_least(2)] = 256
    """Neurons, even."""
    seeds: Annotated[int, settings.at_least(1)] = 2
    """Seeds 0 … seeds - 1 of the start."""
    level: Annotated[float, settings.above(0), settings.below(1)] = 0.01
    """Training loss, in parts of the start's, at which a network stops."""
    t_most: Annotated[float, settings.at_least(0.2)] = 2e4
    """Flow time after which it stops all the same."""
    teacher_n: Annotated[int, settings.at_least(2)] = 300
    """Training samples of the teacher."""
    teacher_dim: Annotated[int, settings.at_least(2)] = 20
    """Its inputs' dimension."""
    test: Annotated[int, settings.at_least(1)] = 2000
    """Its test samples."""
    digits_n: Annotated[int, settings.at_least(2)] = 500
    """Training images."""


@settings.settings
class Scale:
    """Chizat, Oyallon and Bach (2019), figure 1c: f = Σ_k a_k relu(⟨w_k, x⟩) from a, w ~ τ N(0, 1),
    symmetrised, on three unit teachers; x on the unit sphere.
    """

    taus: tuple[Annotated[float, settings.above(0)], ...] = tuple(measures.PUBLISHED)
    """Sizes τ of the start."""
    trials: Annotated[int, settings.at_least(2)] = 3
    """Trials, each with data, teacher and start of its own."""
    steps: Annotated[int, settings.at_least(1)] = 10_000
    """Steps of gradient descent, with the rate min(10, 0.1/τ²)."""
    m: Annotated[int, settings.at_least(2)] = 50
    """Neurons, even."""
    dim: Annotated[int, settings.at_least(2)] = 100
    """Input dimension."""
    n: Annotated[int, settings.at_least(2)] = 1000
    """Training samples, and as many for the test."""


@settings.settings
class Quadratic:
    """Ghorbani, Mei, Misiakiewicz and Montanari (2019): target xᵀBx - tr B, B = diag of Exp(1) numbers,
    x ~ N(0, I), N neurons with σ(z) = z², on the population.
    """

    dim: Annotated[int, settings.at_least(2)] = 100
    """Input dimension d."""
    shares: tuple[Annotated[float, settings.above(0)], ...] = (0.1, 0.25, 0.5, 0.75, 1.0, 1.25)
    """Numbers of neurons N/d."""
    draws: Annotated[int, settings.at_least(2)] = 3
    """Draws of B, and of the features."""
    time: Annotated[float, settings.above(0)] = 8.0
    """Flow time of the trained network."""


@settings.settings
class Config:
    """Three comparisons of lazy and rich networks."""

    training: Training = Training()
    """Networks that stop at one training loss."""
    scale: Scale = Scale()
    """Chizat, Oyallon and Bach (2019): test loss against the size of the start."""
    quadratic: Quadratic = Quadratic()
    """Ghorbani et al. (2019): three ways to learn a quadratic function."""

    def __post_init__(self) -> None:
        for where, name in (
            (self.training, "tasks"),
            (self.training, "gammas"),
            (self.scale, "taus"),
            (self.quadratic, "shares"),
        ):
            values = getattr(where, name)
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{name} needs values without repetition; got {list(values)}.")
        for part in (self.training, self.scale):
            if part.m % 2:
                raise ValueError(f"m must be even, symmetric starts pair neurons; got {part.m}.")


def tiny() -> Config:
    """Seconds, for tests: every part runs, nothing is resolved."""
    return Config(
        training=Training(
            m=8, seeds=2, level=0.5, t_most=8.0, teacher_n=10, teacher_dim=4, test=10, digits_n=20
        ),
        scale=Scale(taus=(0.5, 1.0), trials=2, steps=10, m=4, dim=5, n=10),
        quadratic=Quadratic(dim=6, shares=(0.5, 1.0), draws=2, time=0.5),
    )


def demo() -> Config:
    """Some forty seconds on two cores."""
    return Config(
        training=Training(m=128, level=0.03, digits_n=300),
        scale=Scale(trials=2, steps=3000, n=500),
        quadratic=Quadratic(dim=50),
    )


@dataclass(frozen=True)
class Row:
    """One point of a panel; values over seeds, trials or draws."""

    panel: str  # a task, "start" or "quadratic"
    curve: str
    at: float  # training loss left, τ, N/d
    value: float | None  # the mean, None where the level was not reached
    error: float | None  # standard error, None for one alone
    theory: float | None  # published or known, where it is


Results = batched.Results[Row, Config]


def batches(config: Config, out: Path) -> list[cells.Batch]:
    """(file, settings, work) of each."""
    training, scale, squares = config.training, config.scale, config.quadratic
    found: list[cells.Batch] = []
    without = ("tasks", "gammas")
    for task in training.tasks:
        about = cells.about(training, without, kind="machine", task=task)
        found.append((machine_file(out, task), about, partial(measures.machine, training, task)))
        for gamma in training.gammas:
            about = cells.about(training, without, kind="training", task=task, gamma=gamma)
            work = partial(measures.trained, training, task, gamma)
            found.append((training_file(out, task, gamma), about, work))
    for tau in scale.taus:
        about = cells.about(scale, ("taus",), kind="scale", tau=tau)
        found.append((out / f"scale_tau{tau:.4g}.npz", about, partial(measures.scaled, scale, tau)))
    for share in squares.shares:
        about = cells.about(squares, ("shares",), kind="quadratic", share=share)
        N = max(1, round(share * squares.dim))
        work = partial(quadratic.learnt, squares, N)
        found.append((out / f"quadratic_share{share:.4g}.npz", about, work))
    return found


def machine_file(out: Path, task: str) -> Path:
    return out / f"{task}_machine.npz"


def training_file(out: Path, task: str, gamma: float) -> Path:
    return out / f"{task}_gamma{gamma:.4g}.npz"


def config_of(out: Path) -> Config:
    """The settings of the files in `out`."""
    abouts = [about for about, _ in cells.found(out, "*.npz")]
    parts: dict[str, Any] = {}
    for kind, own in (
        ("training", {"task": "tasks", "gamma": "gammas"}),
        ("scale", {"tau": "taus"}),
        ("quadratic", {"share": "shares"}),
    ):
        mine = [about for about in abouts if about["kind"] == kind]
        if not mine:
            raise ValueError(f"{out} has no file of the part {kind!r}: run the sim first.")
        fixed = cells.shared(mine, (*own, "kind"))
        lists = {many: tuple(sorted({about[one] for about in mine})) for one, many in own.items()}
        parts[kind] = {**fixed, **lists}
    return settings.from_dict(Config, parts)


def _results(config: Config, out: Path) -> Results:
    rows, level = [], config.training.level
    for task in sorted(config.training.tasks):
        machine = cells.read(machine_file(out, task))[1]
        rows.append(_row(task, "kernel, t = ∞", 0.0, [machine["end"]], None))
        stopped = measures.at_level(machine["train"], machine["test"], level)
        rows.append(_row(task, "kernel", level, [stopped], None))
        for gamma in sorted(config.training.gammas):
            file = cells.read(training_file(out, task, gamma))[1]
            pairs = zip(file["train"], file["test"], strict=True)
            values = [measures.at_level(train, test, level) for train, test in pairs]
            rows.append(_row(task, f"γ = {gamma:g}", level, values, None))
    for path, about, _ in batches(config, out):
        if about["kind"] == "scale":
            published = measures.PUBLISHED.get(about["tau"], (None, None))[0]
            loss = cells.read(path)[1]["loss"]
            rows.append(_row("start", "test loss × 1000", about["tau"], loss, published))
        elif about["kind"] == "quadratic":
            file = cells.read(path)[1]
            for kind in quadratic.KINDS:
                known = float(file[f"theory_{kind}"].mean())
                rows.append(_row("quadratic", kind, about["share"], file[kind], known))
    return Results(out, tuple(rows), config)


def _row(panel: str, curve: str, at: float, values: Any, theory: float | None) -> Row:
    values = np.asarray(values)
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return Row(panel, curve, at, _known(values.mean()), _known(error), theory)


def _known(value: float) -> float | None:
    """None for NaN, which is not equal to itself."""
    return None if np.isnan(value) else float(value)


def figure(results: Results) -> Figure:
    """Test error against training loss, a panel a task; then the two published comparisons."""
    from . import panels

    return panels.page(results)


def _costs(config: Config, left: Sequence[dict[str, Any]], out: Path) -> str:
    training, scale, squares = config.training, config.scale, config.quadratic
    shared: dict[str, Any] = {"frames": 0, "compiled": True, "filed": False}
    jobs = []
    for task in training.tasks:
        data = measures.dataset(training, task)
        mine = [about for about in left if about["kind"] == "training" and about["task"] == task]
        first = measures.law(task, data).sample(training.m, seed=0)
        moments, machine = measures.times(training), measures.kernel_flow(task, data)
        fit = np.mean((machine.at(moments).train - data.y) ** 2, axis=1) / np.mean(data.y**2)
        reached = np.flatnonzero(fit <= training.level)
        t_end = float(moments[reached[0] if reached.size else -1])
        steps = planning.steps(measures.network(0.5), first, data.x, t_end)
        widths = (training.m,) * (len(mine) * training.seeds)
        jobs.append(
            planning.Job(task, data, widths, training.m, t_end, steps, dtype="float32", **shared)
        )
    inputs = mf.data.Dataset(np.zeros((scale.n, scale.dim)), np.zeros(scale.n))
    count = sum(about["kind"] == "scale" for about in left) * scale.trials
    jobs.append(
        planning.Job("size of the start", inputs, (scale.m,) * count, scale.m, float(scale.steps), scale.steps,
                     dtype="float32", stages=1, **shared)
    )  # fmt: skip
    steps = round(squares.time * 7 / quadratic.STEP)  # λ_1 is about 5
    for about in (about for about in left if about["kind"] == "quadratic"):
        N = max(1, round(about["share"] * squares.dim))
        pairs = mf.data.Dataset(np.zeros((N, squares.dim)), np.zeros(N))
        name, widths = f"quadratic target, N = {N}", (N,) * squares.draws
        jobs.append(
            planning.Job(name, pairs, widths, N, squares.time, steps, dtype="float64", **shared)
        )
    return planning.describe(jobs, out)


def report(results: Results, out: Path) -> str:
    """Writes the table; returns what is printed."""
    runs.write_csv(results.rows, out / f"{NAME}.csv")
    lines: list[tuple[str, ...]] = [("panel", "curve", "at", "value", "± s.e.", "known")]
    for row in results.rows:
        numbers = (row.value, row.error, row.theory)
        written = ("–" if value is None else f"{value:.3g}" for value in numbers)
        lines.append((row.panel, row.curve, f"{row.at:.3g}", *written))
    return f"{text_table(lines, '<<>>>>')}\n\ntable       {out / NAME}.csv"


ABOUT = f"""{QUESTION}

At one flow time a network whose neurons travel has trained further. Here networks at γ = 1/2 and γ = 1 stop at one
training loss, and the infinite-width kernel goes on to t = ∞: on digits what is left of the gap is small, on a teacher
it is large. Then two published comparisons: the test loss against the size of the start (Chizat, Oyallon and Bach
2019, figure 1c), and a quadratic function learnt by random features, by the linearised network and by the network
(Ghorbani et al. 2019).

Examples:
  python -m sims.{NAME} --demo                              smaller, forty seconds
  python -m sims.{NAME} --dry-run                           what the full study would cost
  python -m sims.{NAME} --redraw                            table and figure again from the files
  python -m sims.{NAME} --training.level 0.001 --training.gammas 0.5 0.75 1 --out results/deeper"""

BATCHES = batched.Batched(QUESTION, batches, config_of, _results, _costs)
STUDY = BATCHES.study(
    NAME, ABOUT, {"full": (Config(), ""), "demo": (demo(), "Small preset, forty seconds.")},
    figure, report,
)  # fmt: skip
run, collect, plan, main = STUDY.run, STUDY.collect, STUDY.plan, STUDY.main
