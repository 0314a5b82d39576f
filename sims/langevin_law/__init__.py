"""Mean-field Langevin with linear features against its stationary law: mean, covariance, steps of
finite length, finitely many neurons. python -m sims.langevin_law --help
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from meanfield.files.tables import text_table

from ..lab import batched, cells, planning, runs
from ..lab import config as settings
from . import measures

if TYPE_CHECKING:
    from ..figures import Figure

NAME = "langevin_law"
QUESTION = (
    "Do noisy neurons settle into the law of theory, and what do long steps and few neurons change?"
)


@settings.settings
class Config:
    """Neurons w_k in the plane with the feature ⟨w, x⟩ and a ridge, γ = 1; y linear in x and noise."""

    m: Annotated[int, settings.at_least(4)] = 2000
    """Neurons of the runs against time and step."""
    widths: tuple[Annotated[int, settings.at_least(2)], ...] = (8, 32, 128, 512)
    """Numbers of neurons at which the risk is averaged."""
    seeds: Annotated[int, settings.at_least(2)] = 8
    """Seeds 0 … seeds - 1 of start and noise; error bars are standard errors over them."""
    temperature: Annotated[float, settings.above(0)] = 0.5
    """T."""
    ridge: Annotated[float, settings.above(0)] = 1.0
    """λ."""
    start: Annotated[float, settings.at_least(0)] = 2.0
    """Scale of the neurons at the start, w ~ N(0, start² I)."""
    n: Annotated[int, settings.at_least(3)] = 12
    """Samples."""
    t_end: Annotated[float, settings.above(0)] = 8.0
    """Flow time of the runs against time."""
    dt: Annotated[float, settings.above(0)] = 0.02
    """Their step."""
    thin: Annotated[int, settings.at_least(1)] = 5
    """Steps between two looks."""
    steps: tuple[Annotated[float, settings.above(0)], ...] = (0.1, 0.25, 0.5, 0.75, 1.0, 1.25)
    """λ dt of the runs against the step, below 2."""
    looks: Annotated[int, settings.at_least(1)] = 20
    """Moments over which their variance is averaged."""
    coarse: Annotated[float, settings.above(0)] = 0.25
    """Step of the runs against m."""
    moments: Annotated[int, settings.at_least(2)] = 150
    """Moments over which their risk is averaged, for each seed."""

    def __post_init__(self) -> None:
        settings.different("widths", self.widths)
        if long := [z for z in self.steps if z >= 2]:
            raise ValueError(
                f"steps λ dt must be below 2, where Euler's step is no longer stable; got {long[0]:g}."
            )


def tiny() -> Config:
    """Seconds, for tests: every part runs, nothing is resolved."""
    return Config(
        m=8, widths=(4, 8), seeds=2, t_end=0.5, dt=0.1, thin=1, steps=(0.5, 1.0), looks=2, moments=2
    )  # fmt: skip


def demo() -> Config:
    """Some ten seconds on two cores."""
    return Config(m=1000, seeds=4, dt=0.04, looks=10, moments=80)


@dataclass(frozen=True)
class Row:
    """One measured number with its standard error over seeds, beside theory's."""

    quantity: str
    at: float  # the step λ dt, the width m, the time t, or 0
    value: float
    error: float
    theory: float
    seeds: int

    @property
    def away(self) -> float:
        """(value - theory)/error."""
        return (self.value - self.theory) / self.error if self.error > 0 else float("inf")


Results = batched.Results[Row, Config]


def batches(config: Config, out: Path) -> list[cells.Batch]:
    """(file, settings, work) of each part."""
    found: list[cells.Batch] = [
        (out / "relaxation.npz", cells.about(config), partial(measures.relaxation, config))
    ]
    for method in measures.METHODS:
        about = cells.about(config, method=method)
        work = partial(measures.variances, config, method)
        found.append((out / f"variance_{method}.npz", about, work))
    for m in sorted(config.widths):
        found.append(
            (out / f"risk_m{m:06}.npz", cells.about(config, risk_m=m), partial(measures.risks, config, m))
        )  # fmt: skip
    return found


def config_of(out: Path) -> Config:
    """The settings of the files in `out`; ValueError where one is missing."""
    found = settings.from_dict(Config, cells.found(out, "relaxation.npz")[0][0])
    if left := [path.name for path, about, _ in batches(found, out) if cells.missing(path, about)]:
        raise ValueError(f"{out} has no {left[0]}: run the sim to its end first.")
    return found


def _results(config: Config, out: Path) -> Results:
    rows = [*_relaxed(config, out)]
    for method in measures.METHODS:
        ratio = cells.read(out / f"variance_{method}.npz")[1]["ratio"]
        for column, z in enumerate(config.steps):
            theory = float(measures.inflation(method, z))
            rows.append(_row(method, z, ratio[:, column], theory))
    for m in sorted(config.widths):
        excess = cells.read(out / f"risk_m{m:06}.npz")[1]["excess"]
        rows.append(_row("m × excess risk", m, m * excess, measures.excess(config)))
    return Results(out, tuple(rows), config)


def _relaxed(config: Config, out: Path) -> list[Row]:
    """Mean and covariance at the end of the runs against time, each component."""
    file = cells.read(out / "relaxation.npz")[1]
    t, best = float(file["times"][-1]), measures.curvature(config)[1]
    variance = config.temperature / config.ridge
    rows = [
        _row(f"mean, component {i + 1}", t, file["mean"][:, -1, i], best[i])
        for i in range(measures.DIM)
    ]
    for i, j in ((0, 0), (1, 1), (0, 1)):
        values = file["covariance"][:, i, j]
        rows.append(_row(f"covariance {i + 1}{j + 1}", t, values, variance * (i == j)))
    return rows


def _row(quantity: str, at: float, values: np.ndarray, theory: float) -> Row:
    error = float(np.std(values, ddof=1) / np.sqrt(len(values)))
    return Row(quantity, float(at), float(np.mean(values)), error, float(theory), len(values))


def figure(results: Results) -> Figure:
    """The cloud, the way there, the variance against the step, and the risk against m."""
    from . import panels

    return panels.page(results)


def table(rows: tuple[Row, ...]) -> str:
    """One line for each comparison."""
    lines: list[tuple[str, ...]] = [("quantity", "at", "measured", "± s.e.", "theory", "s.e. away")]
    for row in rows:
        numbers = (f"{row.value:.4f}", f"{row.error:.4f}", f"{row.theory:.4f}", f"{row.away:+.1f}")
        lines.append((row.quantity, f"{row.at:g}", *(text.replace("-", "−") for text in numbers)))
    return text_table(lines, "<>>>>>")


def _kind(about: Mapping[str, Any]) -> str:
    return "risk" if "risk_m" in about else "variance" if "method" in about else "relaxation"


def _costs(config: Config, left: Sequence[dict[str, Any]], out: Path) -> str:
    data = measures.dataset(config)
    first = measures.start(config, min(config.widths), 0)
    compiled = measures.flow(config, 0).on_device(first).backend.compiled()
    jobs = []
    for kind, steps, per in (
        ("relaxation", round(config.t_end / config.dt), 1),
        ("variance", int((measures.BURN + config.looks / 2) / np.mean(config.steps)), len(config.steps)),
        ("risk", int((measures.BURN + config.moments) / config.coarse), 1),
    ):  # fmt: skip
        widths = [about.get("risk_m", config.m) for about in left if _kind(about) == kind]
        job = planning.Job(
            name=kind, data=data, widths=tuple(m for m in widths for _ in range(config.seeds * per)),
            widest=max(config.m, *config.widths), t_end=config.t_end, steps=steps, frames=0, dtype="float64",
            compiled=compiled, stages=2, filed=False,
        )  # fmt: skip
        jobs.append(job)
    return planning.describe(jobs, out)


def report(results: Results, out: Path) -> str:
    """Writes the table; returns what is printed."""
    runs.write_csv(results.rows, out / f"{NAME}.csv")
    return f"{table(results.rows)}\n\ntable       {out / NAME}.csv"


ABOUT = f"""{QUESTION}

Runs dw = -∇δF/δμ dt + √(2T) dB with linear features, where everything is known: the stationary law is normal with mean
(XᵀX/n + λ)⁻¹ Xᵀy/n and covariance (T/λ) I; steps of length dt inflate the variance by 1/(1 - λdt/2) (Euler–Maruyama);
m neurons have the risk R + c/m, c = (T/2) tr H(H + λ)⁻¹.

Examples:
  python -m sims.{NAME} --demo                              fewer neurons and seeds, ten seconds
  python -m sims.{NAME} --dry-run                           what the full study would cost
  python -m sims.{NAME} --redraw                            table and figure again from the files
  python -m sims.{NAME} --temperature 0.1 --out results/cold"""

BATCHES = batched.Batched(QUESTION, batches, config_of, _results, _costs)
STUDY = BATCHES.study(
    NAME, ABOUT, {"full": (Config(), ""), "demo": (demo(), "Small preset: 1000 neurons, 4 seeds, ten seconds.")},
    figure, report,
)  # fmt: skip
run, collect, plan, main = STUDY.run, STUDY.collect, STUDY.plan, STUDY.main
