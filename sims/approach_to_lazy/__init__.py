"""From an independent start: how far networks are from the kernel limit, term by term, and at which
γ they approach it fastest. python -m sims.approach_to_lazy --help
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import meanfield as mf
from meanfield.files.tables import text_table

from ..lab import batched, cells, planning, runs
from ..lab import config as settings
from . import measures
from .measures import Group, Row

if TYPE_CHECKING:
    from ..figures import Figure

NAME = "approach_to_lazy"
QUESTION = "At which exponent γ does a network from an independent start approach its kernel limit fastest?"


@settings.settings
class Config:
    """Networks from independent starts a ~ N(0, 1), w ~ N(0, I), a and w trained, on a teacher of
    three neurons; x on the unit sphere.
    """

    gammas: tuple[float, ...] = (0.5, 0.625, 0.75, 5 / 6, 0.9, 1.0)
    """Exponents γ of the output scale m^(-γ)."""
    widths: tuple[Annotated[int, settings.at_least(2)], ...] = (256, 512, 1024, 2048, 4096)
    """Numbers of neurons m."""
    seeds: Annotated[int, settings.at_least(2)] = 24
    """Seeds 0 … seeds - 1 of the initial neurons; error bars are standard errors over them."""
    narrow: tuple[Annotated[int, settings.at_least(2)], ...] = (32, 64, 128, 256)
    """Widths at γ = 1/2 whose mean over many seeds is taken."""
    groups: Annotated[int, settings.at_least(2)] = 8
    """Groups of seeds; the scatter of their means is the error bar."""
    group: Annotated[int, settings.at_least(2)] = 48
    """Seeds in a group."""
    activation: Literal["tanh", "erf", "softplus", "gelu"] = "tanh"
    """σ of network and teacher, smooth: kinks have exponents of their own."""
    dim: Annotated[int, settings.at_least(2)] = 3
    """Input dimension d."""
    n: Annotated[int, settings.at_least(2)] = 10
    """Training samples."""
    test: Annotated[int, settings.at_least(1)] = 50
    """Test inputs, on which predictions are compared."""
    t_end: Annotated[float, settings.above(0)] = 4.0
    """Flow time."""
    dt: Annotated[float, settings.above(0)] = 0.25
    """Step of flow time (RK4)."""

    def __post_init__(self) -> None:
        for name in ("gammas", "widths", "narrow"):
            settings.different(name, getattr(self, name))
        if outside := [gamma for gamma in self.gammas if not 0.5 <= gamma <= 1]:
            raise ValueError(f"gammas must lie in 0.5 … 1; got {outside[0]:g}.")


def tiny() -> Config:
    """Seconds, for tests: every part runs, nothing is resolved."""
    return Config(
        gammas=(0.5, 1.0), widths=(8, 16), seeds=2, narrow=(4, 8), groups=2, group=2, n=4, test=5, t_end=0.5
    )  # fmt: skip


def demo() -> Config:
    """Some twenty seconds on two cores."""
    return Config(widths=(256, 512, 1024, 2048), seeds=10, narrow=(32, 64, 128), group=32)


@dataclass(frozen=True)
class Results:
    """One Row for each network, one Group for each group of seeds, and the settings they share."""

    rows: tuple[Row, ...]
    groups: tuple[Group, ...]
    config: Config


def theory(gamma: float, own: bool = False) -> float:
    """The exponent of m of the distance to the kernel flow, from 0 or from the network's own f_0:
    the largest of its terms.
    """
    terms = (-0.5, 2 * (gamma - 1)) if own else (0.5 - gamma, -0.5, 2 * (gamma - 1))
    return max(terms)


def batches(config: Config, out: Path) -> list[cells.Batch]:
    """(file, settings, work) of each width."""
    shared = ("widths", "narrow")
    found: list[cells.Batch] = []
    for kind, widths, work in (
        ("networks", config.widths, measures.networks),
        ("seeds", config.narrow, measures.groups),
    ):
        for m in sorted(widths):
            about = cells.about(config, shared, kind=kind, m=m)
            found.append((out / f"{kind}_m{m:06}.npz", about, partial(work, config, m)))
    return found


def config_of(out: Path) -> Config:
    """The settings of the files in `out`."""
    networks, seeds = (
        [about for about, _ in cells.found(out, f"{kind}_*.npz")] for kind in ("networks", "seeds")
    )
    shared = cells.shared([*networks, *seeds], ("kind", "m"))
    widths, narrow = (sorted(about["m"] for about in abouts) for abouts in (networks, seeds))
    return settings.from_dict(Config, {**shared, "widths": widths, "narrow": narrow})


def _results(config: Config, out: Path) -> Results:
    rows, grouped = [], []
    for about, arrays in cells.there(batches(config, out)):
        if about["kind"] == "seeds":
            for group in range(about["groups"]):
                values = {name: float(array[group]) for name, array in arrays.items()}
                grouped.append(Group(about["m"], group, **values))
            continue
        for number, gamma in enumerate(about["gammas"]):
            for seed in range(about["seeds"]):
                values = {name: float(array[number, seed]) for name, array in arrays.items()}
                rows.append(Row(gamma, about["m"], seed, **values))
    rows.sort(key=lambda row: (row.gamma, row.m, row.seed))
    return Results(tuple(rows), tuple(grouped), config)


def figure(results: Results) -> Figure:
    """Distance against m, its exponent against γ, its three terms, and the mean over seeds."""
    from . import panels

    return panels.page(results)


def table(results: Results) -> str:
    """One line for each γ: exponents over the widths, beside theory's."""
    names = ("to_limit", "to_own", "f0_term", "kernel_term", "drift_term")
    lines: list[tuple[str, ...]] = [("γ", "theory", *names)]
    for gamma in sorted({row.gamma for row in results.rows}):
        rows = [row for row in results.rows if row.gamma == gamma]
        fits = [runs.exponent(rows, name) for name in names]
        cells_ = [getattr(fit, "short", "–") for fit in fits]
        lines.append((f"{gamma:.4g}", f"{theory(gamma):.3f}".replace("-", "−"), *cells_))
    return text_table(lines, ">")


def _costs(config: Config, left: Sequence[dict[str, Any]], out: Path) -> str:
    known = measures.limit(config)
    flow = mf.GradientFlow(
        mf.EmpiricalRisk(measures.network(config, 0.5), known.data.x, known.data.y)
    )
    compiled = flow.on_device(known.law.sample(min(config.widths))).backend.compiled()
    counts = {
        "networks": len(config.gammas) * config.seeds,
        "seeds": config.groups * config.group,
    }
    jobs = [
        planning.Job(
            name=kind, data=known.data, steps=measures.steps(config), t_end=config.t_end, frames=0, dtype="float64",
            widths=tuple(about["m"] for about in left if about["kind"] == kind for _ in range(count)),
            widest=max((*config.widths, *config.narrow)), compiled=compiled, filed=False,
        )
        for kind, count in counts.items()
    ]  # fmt: skip
    return planning.describe(jobs, out)


def report(results: Results, out: Path) -> str:
    """Writes the tables; returns what is printed."""
    runs.write_csv(results.rows, out / f"{NAME}.csv")
    runs.write_csv(results.groups, out / f"{NAME}_seeds.csv")
    return f"{table(results)}\n\ntables      {out / NAME}.csv, {out / NAME}_seeds.csv"


ABOUT = f"""{QUESTION}

Trains f(x) = m^(-γ) Σ_k a_k σ(⟨w_k, x⟩) from independent neurons and compares it, on test inputs, with the flow of the
infinite-width kernel. Three terms part them: f_0 ~ m^(1/2-γ), the kernel at the start ~ m^(-1/2), and its drift ~
m^(2(γ-1)). The largest is smallest at γ = 5/6. Then many seeds at γ = 1/2: RMS over seeds m^(-1/2), mean m^(-1).

Examples:
  python -m sims.{NAME} --demo                              widths up to 2048, twenty seconds
  python -m sims.{NAME} --dry-run                           what the full study would cost
  python -m sims.{NAME} --redraw                            tables and figure again from the files
  python -m sims.{NAME} --activation erf --out results/erf"""

BATCHES = batched.Batched(QUESTION, batches, config_of, _results, _costs)
STUDY = BATCHES.study(
    NAME, ABOUT, {"full": (Config(), ""), "demo": (demo(), "Small preset: widths 256 … 2048, 10 seeds, twenty seconds.")},
    figure, report,
)  # fmt: skip
run, collect, plan, main = STUDY.run, STUDY.collect, STUDY.plan, STUDY.main
