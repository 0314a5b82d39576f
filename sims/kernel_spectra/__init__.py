"""Which waves on the circle a wide ReLU network learns, how fast, and which never: the spectrum of
its tangent kernel against the closed form. python -m sims.kernel_spectra --help
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np

from meanfield.files.tables import text_table

from ..lab import cells, planning, runs, study
from ..lab import config as settings
from . import measures

if TYPE_CHECKING:
    from ..figures import Figure

NAME = "kernel_spectra"
QUESTION = "Which waves on the circle does a wide network learn, how fast, and which never?"


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

    def __post_init__(self) -> None:
        if len(self.widths) < 2 or len(set(self.widths)) != len(self.widths):
            raise ValueError(
                "widths needs two different values at least, without repetition; got "
                f"{list(self.widths)}."
            )
        if odd := [m for m in self.widths if m % 2]:
            raise ValueError(
                f"widths must be even, symmetric starts pair neurons; got {odd[0]}. Use "
                f"{odd[0] + 1}."
            )
        if 2 * self.degrees > self.n:
            raise ValueError(
                f"degrees must be at most n/2 = {self.n // 2}, higher waves look like lower ones "
                f"on n points; got {self.degrees}."
            )


def tiny() -> Config:
    """Seconds, for tests: every part runs, nothing is resolved."""
    return Config(widths=(8, 16), seeds=2, n=12, degrees=5, t_end=8.0)


def demo() -> Config:
    """Some ten seconds on two cores."""
    return Config(widths=(256, 1024, 4096), seeds=3)


@dataclass(frozen=True)
class Row:
    """One degree at one width: ⟨v, H v⟩/n of its waves v at the start."""

    m: int
    degree: int
    value: float  # mean over seeds
    error: float  # standard error
    theory: float  # of the uniform circle


@dataclass(frozen=True)
class Results:
    """Rows of all widths and degrees, the settings, and the folder of the files."""

    folder: Path
    rows: tuple[Row, ...]
    config: Config


def run(config: Config, out: Path, progress: bool = False) -> Results:
    """Do what is not there yet, one .npz file a width in `out`."""
    cells.fill(cells.by_width(config, out, measures.trained), progress)
    return _results(config, out)


def collect(config: Config, out: Path) -> Results:
    """Results of the files in `out`, whatever their settings."""
    return _results(cells.config_of_widths(Config, out), out)


def _results(config: Config, out: Path) -> Results:
    rows = []
    for m in sorted(config.widths):
        spectrum = cells.read(cells.of_width(out, m))[1]["spectrum"]
        error = spectrum.std(axis=0, ddof=1) / np.sqrt(len(spectrum))
        for k, value in enumerate(spectrum.mean(axis=0)):
            rows.append(Row(m, k, float(value), float(error[k]), measures.eigenvalue(k)))
    return Results(out, tuple(rows), config)


def figure(results: Results) -> Figure:
    """The spectrum, the modes against time, and the spectrum's error against m."""
    from . import panels

    return panels.page(results)


def plan(config: Config, out: Path) -> str:
    """What `run` is about to do, estimated without training; what `out` holds counts as done."""
    data = measures.dataset(config)
    first = measures.LAW.sample(min(config.widths), seed=0)
    left = [
        about["m"]
        for path, about, _ in cells.by_width(config, out, measures.trained)
        if cells.missing(path, about)
    ]
    job = planning.Job(
        name="circle", data=data, widths=tuple(m for m in left for _ in range(config.seeds)),
        widest=max(config.widths), t_end=config.t_end, steps=round(config.t_end / config.dt),
        frames=0, dtype="float64", compiled=measures.flow(config).on_device(first).backend.compiled(),
        filed=False,
    )  # fmt: skip
    return f"{QUESTION}\n\n{planning.describe([job], out, 0.0)}\nsettings {settings.digest(config)}"


def report(results: Results, out: Path) -> str:
    """Writes the table; returns what is printed."""
    runs.write_csv(results.rows, out / f"{NAME}.csv")
    widest = max(row.m for row in results.rows)
    lines: list[tuple[str, ...]] = [("degree", f"m = {widest}", "± s.e.", "theory")]
    for row in results.rows:
        if row.m == widest:
            numbers = (row.value, row.error, row.theory)
            lines.append((f"{row.degree}", *(f"{value:.5f}" for value in numbers)))
    return f"{text_table(lines, '>>>>')}\n\ntable       {NAME}.csv"


ABOUT = f"""{QUESTION}

The tangent kernel of a ReLU network on the circle has waves as eigenfunctions. With only w trained and no bias the
eigenvalues are 1/8 for degree 1, (k² + 1)/(π²(k² - 1)²) for even k, and 0 for odd k >= 3: such waves are never learnt.
Networks of finite width are held against that at the start and along training: mode k of the residual decays as
e^(-λ_k t).

Examples:
  python -m sims.{NAME} --demo                              ten seconds
  python -m sims.{NAME} --dry-run                           what the full study would cost
  python -m sims.{NAME} --redraw                            table and figure again from the files
  python -m sims.{NAME} --n 24 --degrees 12 --out results/coarse"""

STUDY = study.Study(
    NAME, ABOUT, {"full": (Config(), ""), "demo": (demo(), "Small preset: widths up to 4096, 3 seeds, ten seconds.")},
    plan, run, figure, report, collect=collect,
)  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return STUDY.main(argv)
