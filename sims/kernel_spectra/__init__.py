"""Which waves on the circle a wide ReLU network learns, how fast, and which never: the spectrum of
its tangent kernel against the closed form; the same on the sphere, with the number of samples that
each degree takes. python -m sims.kernel_spectra --help
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from meanfield.files.tables import text_table

from ..lab import batched, cells, planning, runs
from ..lab import config as settings
from . import measures, sphere

if TYPE_CHECKING:
    from ..figures import Figure

NAME = "kernel_spectra"
QUESTION = "Which waves on the circle does a wide network learn, how fast, and which never?"


@settings.settings
class Sphere:
    """The kernel of infinite width on random points of the unit sphere of R^d, w trained; targets are
    harmonics of one degree.
    """

    dim: Annotated[int, settings.between(3, 1000)] = 5
    """Input dimension d."""
    points: Annotated[int, settings.at_least(2)] = 1500
    """Points of the spectrum."""
    targets: tuple[Annotated[int, settings.at_least(1)], ...] = (1, 2, 3, 4)
    """Degrees of the targets, each of variance 1."""
    samples: tuple[Annotated[int, settings.at_least(2)], ...] = (8, 16, 32, 64, 128, 256, 512, 1024)
    """Numbers of training samples."""
    repeats: Annotated[int, settings.at_least(2)] = 8
    """Draws of the samples; error bars are standard errors over them."""
    test: Annotated[int, settings.at_least(1)] = 1000
    """Test points."""

    def __post_init__(self) -> None:
        for name in ("targets", "samples"):
            values = getattr(self, name)
            if not values or list(values) != sorted(set(values)):
                raise ValueError(f"{name} needs values that rise; got {list(values)}.")
        if self.targets[-1] >= sphere.MOST:
            raise ValueError(
                f"targets must be below {sphere.MOST}, the degrees that theory sums over; got "
                f"{self.targets[-1]}."
            )


@settings.settings
class Config:
    """ReLU networks at γ = 1/2, a = ±1 fixed, w trained, on equispaced points of the circle; target
    cos θ + cos 2θ + cos 3θ + cos 4θ.
    """

    widths: tuple[Annotated[int, settings.at_least(2)], ...] = (256, 1024, 4096, 16384)
    """Numbers of neurons m, even."""
    seeds: Annotated[int, settings.at_least(2)] = 5
    """Seeds 0 … seeds - 1 of the start; error bars are standard errors over them."""
    n: Annotated[int, settings.at_least(12)] = 64
    """Points."""
    degrees: Annotated[int, settings.at_least(5)] = 9
    """Degrees 0 … degrees - 1 of the spectrum, at most n/2."""
    t_end: Annotated[float, settings.above(0)] = 200.0
    """Flow time."""
    dt: Annotated[float, settings.above(0)] = 4.0
    """Step of RK4, stable below 22."""
    sphere: Sphere = Sphere()
    """The kernel of infinite width on the sphere."""

    def __post_init__(self) -> None:
        settings.different("widths", self.widths)
        settings.even("widths", self.widths)
        if 2 * self.degrees > self.n:
            raise ValueError(
                f"degrees must be at most n/2 = {self.n // 2}, higher waves look like lower ones "
                f"on n points; got {self.degrees}."
            )


def tiny() -> Config:
    """Seconds, for tests: every part runs, nothing is resolved."""
    small = Sphere(dim=3, points=12, targets=(1, 3), samples=(4, 8), repeats=2, test=10)
    return Config(widths=(8, 16), seeds=2, n=12, degrees=5, t_end=8.0, sphere=small)


def demo() -> Config:
    """Some ten seconds on two cores."""
    small = Sphere(points=500, samples=(8, 16, 32, 64, 128, 256), repeats=4)
    return Config(widths=(256, 1024, 4096), seeds=3, sphere=small)


@dataclass(frozen=True)
class Row:
    """One degree at one width: ⟨v, H v⟩/n of its waves v at the start."""

    m: int
    degree: int
    value: float  # mean over seeds
    error: float  # standard error
    theory: float  # of the uniform circle


@dataclass(frozen=True)
class Learning:
    """The test error of kernel regression on n samples of the sphere, in parts of the target's
    variance, which is that of f = 0.
    """

    degree: int
    n: int
    value: float  # mean over draws
    error: float  # standard error
    theory: float  # n → ∞ with as many harmonics


@dataclass(frozen=True)
class Results:
    """Rows of all widths and degrees, the learning curves, the settings, and the folder of the files."""

    folder: Path
    rows: tuple[Row, ...]
    curves: tuple[Learning, ...]
    config: Config


def batches(config: Config, out: Path) -> list[cells.Batch]:
    """(file, settings, work) of each width, and of the sphere."""
    ball = config.sphere
    about = cells.about(ball, (), kind="sphere")
    return [
        *cells.by_width(config, out, measures.trained, without=("sphere",)),
        (out / "sphere.npz", about, partial(sphere.measured, ball)),
    ]


def config_of(out: Path) -> Config:
    """The settings of the files in `out`."""
    about = cells.found(out, "sphere.npz")[0][0]
    ball = {name: value for name, value in about.items() if name != "kind"}
    return cells.config_of_widths(Config, out, sphere=ball)


def _results(config: Config, out: Path) -> Results:
    rows = []
    for m, file in cells.of_widths(config, out):
        spectrum = file["spectrum"]
        error = spectrum.std(axis=0, ddof=1) / np.sqrt(len(spectrum))
        for k, value in enumerate(spectrum.mean(axis=0)):
            rows.append(Row(m, k, float(value), float(error[k]), measures.eigenvalue(k)))
    return Results(out, tuple(rows), tuple(_curves(config.sphere, out)), config)


def _curves(config: Sphere, out: Path) -> list[Learning]:
    error = cells.read(out / "sphere.npz")[1]["error"]
    return [
        Learning(
            k, n, float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))),
            sphere.expected(config.dim, k, n),
        )
        for k, by_count in zip(config.targets, error, strict=True)
        for n, values in zip(config.samples, by_count, strict=True)
    ]  # fmt: skip


def figure(results: Results) -> Figure:
    """The spectrum, the modes against time, and the spectrum's error against m; on the sphere the
    spectrum by degree, on points, and the learning curves.
    """
    from . import panels

    return panels.page(results)


def _costs(config: Config, left: Sequence[dict[str, Any]], out: Path) -> str:
    data = measures.dataset(config)
    first = measures.LAW.sample(min(config.widths), seed=0)
    widths = [about["m"] for about in left if "m" in about]
    ball, draws = config.sphere, len(left) > len(widths)
    matrices = (ball.points, *ball.samples * ball.repeats) if draws else ()
    job = planning.Job(
        name="circle", data=data, widths=tuple(m for m in widths for _ in range(config.seeds)),
        widest=max(config.widths), t_end=config.t_end, steps=round(config.t_end / config.dt),
        frames=0, dtype="float64", compiled=measures.flow(config).on_device(first).backend.compiled(),
        filed=False, decomposed=matrices,
    )  # fmt: skip
    sphere_job = f"sphere: {len(matrices)} kernels, n = {min(ball.samples)} … {ball.points}"
    return f"{sphere_job}\n{planning.describe([job], out)}"


def report(results: Results, out: Path) -> str:
    """Writes the table; returns what is printed."""
    runs.write_csv(results.rows, out / f"{NAME}.csv")
    runs.write_csv(results.curves, out / f"{NAME}_sphere.csv")
    widest = max(row.m for row in results.rows)
    lines: list[tuple[str, ...]] = [("degree", f"m = {widest}", "± s.e.", "theory")]
    for row in results.rows:
        if row.m == widest:
            numbers = (row.value, row.error, row.theory)
            lines.append((f"{row.degree}", *(f"{value:z.5f}" for value in numbers)))
    return f"{text_table(lines, '>>>>')}\n\ntables      {out / NAME}.csv, {out / NAME}_sphere.csv"


ABOUT = f"""{QUESTION}

The tangent kernel of a ReLU network on the circle has waves as eigenfunctions. With only w trained and no bias the
eigenvalues are 1/8 for degree 1, (k² + 1)/(π²(k² - 1)²) for even k, and 0 for odd k >= 3: such waves are never learnt.
Networks of finite width are held against that at the start and along training: mode k of the residual decays as
e^(-λ_k t). On the sphere of R^d the eigenvalue of degree k is shared by all N_k harmonics; the kernel on random points,
and the test error of kernel regression on n samples, are held against theory.

Examples:
  python -m sims.{NAME} --demo                              ten seconds
  python -m sims.{NAME} --dry-run                           what the full study would cost
  python -m sims.{NAME} --redraw                            table and figure again from the files
  python -m sims.{NAME} --n 24 --degrees 12 --out results/coarse
  python -m sims.{NAME} --sphere.dim 10 --sphere.targets 1 2 3 --out results/d10"""

BATCHES = batched.Batched(QUESTION, batches, config_of, _results, _costs)
STUDY = BATCHES.study(
    NAME, ABOUT, {"full": (Config(), ""), "demo": (demo(), "Small preset: widths up to 4096, 3 seeds, ten seconds.")},
    figure, report,
)  # fmt: skip
run, collect, plan, main = STUDY.run, STUDY.collect, STUDY.plan, STUDY.main
