"""The (γ, γ') plane of Luo, Xu, Ma and Zhang (2021): where the input weights of a wide network
move, and where they condense.

Every run is one HDF5 file; table and figure are made from the files alone. python -m
sims.phase_diagram --help
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from tqdm.auto import tqdm

from ..lab import config as settings
from ..lab import convergence, experiment, planning, runs, study
from ..lab.experiment import Experiment
from . import refinement
from .measures import Row, expected_slope, measure, point, table

if TYPE_CHECKING:
    from ..figures import Figure

NAME = "phase_diagram"
QUESTION = (
    "Where in the plane of output scale and initial scale do the input weights of a wide "
    "network stay, and where condense?"
)
LAW = experiment.Law(a="normal", w="normal", b_std=1.0, symmetric=True)
DATA = experiment.Data("luo_points", {})


@settings.settings
class Plane:
    """The (γ, γ') plane: slopes of the relative input-weight change against m, on a grid refined
    where their sign changes.
    """

    gammas: tuple[float, ...] = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
    """Grid of γ, rising; f = m^(-γ) Σ_k a_k σ(⟨w_k, x⟩ + b_k)."""
    primes: tuple[float, ...] = (-0.5, -0.25, 0.0, 0.25, 0.5, 0.75)
    """Grid of γ', rising; a ~ m^(-γ'/2), (w, b) ~ m^(γ'/2) at the start."""
    levels: Annotated[int, settings.at_least(0)] = 1
    """How often a cell of the grid may be cut in four."""
    jump: Annotated[float, settings.above(0)] = 1.5
    """A cell is cut, too, where the slopes at its corners differ by more than this."""
    widths: tuple[Annotated[int, settings.at_least(2)], ...] = (512, 2048, 8192)
    """Numbers of neurons m, even; three at least, over a factor of four."""
    seeds: Annotated[int, settings.at_least(1)] = 3
    """Seeds 0 … seeds - 1 of the initial neurons."""


@settings.settings
class Scan:
    """Finite-size scaling across γ = 1 at γ' = 0."""

    gammas: tuple[float, ...] = (0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2)
    """Values of γ, rising, on both sides of 1; four at least."""
    widths: tuple[Annotated[int, settings.at_least(2)], ...] = (256, 1024, 4096, 16384)
    """Numbers of neurons m, even."""
    seeds: Annotated[int, settings.at_least(1)] = 5
    """Seeds of the initial neurons; the bootstrap draws them."""


@settings.settings
class Scale:
    """Networks at γ = 1/2, γ' = 0 with an output scale α: is α√m all that matters?"""

    scales: tuple[Annotated[float, settings.above(0)], ...] = (
        1 / 64,
        1 / 16,
        1 / 4,
        1.0,
        4.0,
        16.0,
        64.0,
    )
    """Values of s = α√m, rising; α = s/√m at each width."""
    widths: tuple[Annotated[int, settings.at_least(2)], ...] = (256, 1024, 4096)
    """Numbers of neurons m, even."""
    seeds: Annotated[int, settings.at_least(1)] = 3
    """Seeds of the initial neurons."""


@settings.settings
class Config:
    """ReLU networks with biases, all trained, on three samples; a, w, b normal, symmetric start;
    each run to convergence.
    """

    tol: Annotated[float, settings.above(0), settings.below(1)] = 1e-5
    """A run has converged when its loss is below this fraction of the first."""
    doublings: Annotated[int, settings.at_least(0)] = 10
    """How often the flow time may be doubled to get there; a run that does not is marked."""
    plane: Plane = Plane()
    """The (γ, γ') plane: slopes of the relative input-weight change against m, on a grid refined
    where their sign changes.
    """
    scan: Scan = Scan()
    """Finite-size scaling across γ = 1 at γ' = 0."""
    scale: Scale = Scale()
    """Networks at γ = 1/2, γ' = 0 with an output scale α: is α√m all that matters?"""

    def __post_init__(self) -> None:
        for part, name, least in (
            ("plane", "gammas", 2), ("plane", "primes", 2), ("plane", "widths", 3), ("scan", "gammas", 4), ("scan", "widths", 2),
            ("scale", "scales", 2), ("scale", "widths", 2),
        ):  # fmt: skip
            values = getattr(getattr(self, part), name)
            if len(values) < least or np.any(np.diff(values) <= 0):
                raise ValueError(
                    f"{part}.{name} must be {least} values at least, in rising order; got "
                    f"{list(values)}."
                )
            if name == "widths" and (odd := [m for m in values if m % 2]):
                raise ValueError(
                    f"{part}.widths must be even, symmetric starts pair neurons; got "
                    f"{odd[0]}. Use {odd[0] + 1}."
                )


def tiny() -> Config:
    """Seconds, for tests: every part runs, nothing is resolved."""
    plane = Plane(gammas=(0.5, 1.5), primes=(0.0, 1.0), widths=(8, 16, 32), seeds=1)
    scan = Scan(gammas=(0.7, 0.9, 1.1, 1.3), widths=(8, 32), seeds=1)
    return Config(
        tol=0.1,
        doublings=2,
        plane=plane,
        scan=scan,
        scale=Scale(scales=(0.5, 2.0), widths=(8, 32), seeds=1),
    )


def demo() -> Config:
    """About half a minute on two cores."""
    plane = Plane(
        gammas=(0.5, 0.75, 1.0, 1.25, 1.5),
        primes=(-0.5, 0.0, 0.5, 1.0),
        widths=(256, 512, 1024),
        seeds=1,
    )
    return Config(
        tol=1e-4,
        plane=plane,
        scan=Scan(widths=(256, 1024, 4096), seeds=2),
        scale=Scale(widths=(256, 1024), seeds=1),
    )


@dataclass(frozen=True)
class Results:
    """The runs' files, and one Row for each."""

    folder: Path
    rows: tuple[Row, ...]
    tol: float

    def of(self, kind: str) -> list[Row]:
        """The rows of the plane, the scan or the scale."""
        return [row for row in self.rows if row.kind == kind]


Job = tuple[Path, Experiment]


def plane_jobs(config: Config, out: Path, at: Iterable[refinement.Point]) -> list[Job]:
    """File and settings of the runs at these (γ, γ')."""
    return [
        (
            out / f"plane_gamma{gamma:g}_prime{prime:g}_m{m}_seed{seed}.h5",
            settings_of(gamma, m, seed, prime),
        )
        for gamma, prime in at
        for m, seed in itertools.product(config.plane.widths, range(config.plane.seeds))
    ]


def other_jobs(config: Config, out: Path) -> list[Job]:
    """File and settings of the runs of the scan and of the scale."""
    scan, scale = config.scan, config.scale
    found = [
        (out / f"scan_gamma{gamma:g}_m{m}_seed{seed}.h5", settings_of(gamma, m, seed))
        for m, seed, gamma in itertools.product(scan.widths, range(scan.seeds), scan.gammas)
    ]
    return found + [
        (
            out / f"scale_s{s:g}_m{m}_seed{seed}.h5",
            settings_of(0.5, m, seed, alpha=s / math.sqrt(m)),
        )
        for m, seed, s in itertools.product(scale.widths, range(scale.seeds), scale.scales)
    ]


def settings_of(
    gamma: float, m: int, seed: int, prime: float = 0.0, alpha: float = 1.0
) -> Experiment:
    """One run of the study; its t_end is found by `convergence.train`."""
    return Experiment(
        gamma=gamma, alpha=alpha, gamma_prime=prime, m=m, seed=seed, frames=2, law=LAW, data=DATA
    )


def run(config: Config, out: Path, progress: bool = False) -> Results:
    """Train what is not trained yet, measure everything: the files are in `out`. Raises
    mf.Interrupted, mf.Diverged.
    """
    first = [(gamma, prime) for gamma in config.plane.gammas for prime in config.plane.primes]
    # what is wrong with the settings shows before anything is on disk
    experiment.make(plane_jobs(config, out, first)[0][1])
    out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []

    def done(jobs: Sequence[Job]) -> list[Row]:
        work = partial(convergence.train, tol=config.tol, doublings=config.doublings)
        runs.train_all([(path, partial(work, one, path)) for path, one in jobs], progress)
        new = [measure(path, config.tol) for path, _ in jobs]
        rows.extend(new)
        return new

    def slopes(at: list[refinement.Point]) -> list[float]:
        new = done(plane_jobs(config, out, at))
        per_point = len(new) // len(at)
        return [point(new[i : i + per_point]).slope for i in range(0, len(new), per_point)]

    refinement.refine(
        slopes, config.plane.gammas, config.plane.primes, config.plane.levels, config.plane.jump
    )
    done(other_jobs(config, out))
    return Results(out, tuple(sorted(rows, key=_order)), config.tol)


def collect(paths: Iterable[Path], tol: float, progress: bool = False) -> Results:
    """Results of the runs in these files, measured again."""
    paths = runs.named(paths)
    bar = tqdm(paths, desc="measuring", unit="run", disable=None if progress else True)
    return Results(
        paths[0].parent, tuple(sorted((measure(path, tol) for path in bar), key=_order)), tol
    )


def _order(row: Row) -> tuple[str, float, float, float, int, int]:
    return row.kind, row.gamma, row.gamma_prime, row.scale, row.m, row.seed


def figure(results: Results) -> Figure:
    """The phase diagram with theory's lines, slopes, and two data collapses; from the files alone."""
    from . import panels

    return panels.page(results)


def plan(config: Config, out: Path) -> str:
    """What `run` is about to do, estimated without training; what `out` holds already counts as
    done.
    """
    plane = config.plane
    expected = refinement.refine(
        lambda at: [expected_slope(*point) for point in at],
        plane.gammas,
        plane.primes,
        plane.levels,
        plane.jump,
    )
    jobs = [*plane_jobs(config, out, expected), *other_jobs(config, out)]
    planned = []
    for kind in ("plane", "scan", "scale"):
        chosen = [job for job in jobs if job[0].name.startswith(f"{kind}_")]
        left = [one for path, one in chosen if not path.exists()]
        narrow = [
            experiment.make(one) for _, one in chosen if one.m == chosen[0][1].m and one.seed == 0
        ]
        ends = [
            convergence.first_end(one, config.tol)
            for _, one in chosen
            if one.m == chosen[0][1].m and one.seed == 0
        ]
        steps = [
            planning.steps(made.flow.network, made.start, made.data.x, end)
            for made, end in zip(narrow, ends, strict=True)
        ]
        planned.append(planning.Job(
            name=kind, data=narrow[0].data, widths=tuple(one.m for one in left), widest=max(one.m for _, one in chosen),
            t_end=max(ends), steps=math.ceil(np.mean(steps)), frames=4, dtype="float64",
            compiled=narrow[0].flow.on_device(narrow[0].start).backend.compiled(),
        ))  # fmt: skip
    note = (
        f"runs above {config.tol:g} of their first loss by then go on, for twice the "
        "time; the plane refined as theory expects"
    )
    return (
        f"{QUESTION}\n\n{planning.describe(planned, out)}\n{note}\nsettings "
        f"{settings.digest(config)}"
    )


def report(results: Results, out: Path) -> str:
    """Writes the table; returns it as text."""
    runs.write_csv(results.rows, out / f"{NAME}.csv")
    return f"{table(results.rows, results.tol)}\n\ntable       {out / NAME}.csv"


ABOUT = f"""{QUESTION}

Trains f(x) = m^(-γ) Σ_k a_k σ(⟨w_k, x⟩ + b_k), a ~ N(0, m^(-γ')), (w, b) ~ N(0, m^γ'), on three samples until they are
fitted, and asks how the relative change of the input weights goes with m: it vanishes in the linear regime γ < 1 or
γ' > γ - 1 and diverges in the condensed one (Luo, Xu, Ma and Zhang, 2021).

Examples:
  python -m sims.{NAME} --demo                              widths up to 1024 in the plane, half a minute
  python -m sims.{NAME} --dry-run                           what the full study would cost
  python -m sims.{NAME} --plane.levels 2 --out results/fine
  python -m sims.{NAME} --config study.toml                 tol = 1e-6; [scan]; seeds = 10"""

STUDY = study.Study(
    NAME, ABOUT, {"full": (Config(), ""), "demo": (demo(), "Small preset: widths 256 … 1024 in the plane, half a minute.")},
    plan, run, figure, report,
    collect=lambda config, out: collect(out.glob("*_*.h5"), config.tol, progress=True),
)  # fmt: skip
main = STUDY.main
