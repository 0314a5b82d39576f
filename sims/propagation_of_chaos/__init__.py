"""Nested networks of growing width at γ = 1: how their functions approach the limit, on test points
and on training points, whether Gaussian, and what W2 sees of it. python -m sims.propagation_of_chaos --help
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
from ..lab.fits import fit_or_refuse
from . import measures

if TYPE_CHECKING:
    from ..figures import Figure

NAME = "propagation_of_chaos"
QUESTION = "How does a network of m neurons approach its mean-field limit, and in which distance can one see it?"


@settings.settings
class Config:
    """tanh networks at γ = 1 from a ~ N(0, 1), w ~ N(0, I), a and w trained, on a teacher of three
    neurons; x on the unit sphere.
    """

    widths: tuple[Annotated[int, settings.at_least(2)], ...] = (16, 32, 64, 128, 256)
    """Numbers of neurons m."""
    wider: Annotated[int, settings.at_least(16)] = 16
    """The limit is a network this many times as wide as the widest, one for each seed, nested."""
    seeds: Annotated[int, settings.at_least(2)] = 16
    """Seeds 0 … seeds - 1 of the neurons; error bars are standard errors over them."""
    w2_seeds: Annotated[int, settings.at_least(2)] = 5
    """Of these, so many have their W2 measured."""
    small: tuple[Annotated[int, settings.at_least(1)], ...] = (4, 128)
    """Widths of the many networks whose law is compared with a normal one."""
    many: Annotated[int, settings.at_least(8)] = 300
    """How many of each."""
    dim: Annotated[int, settings.at_least(2)] = 3
    """Input dimension d; W2 is that of d + 1 columns."""
    n: Annotated[int, settings.at_least(2)] = 5
    """Training samples."""
    test: Annotated[int, settings.at_least(2)] = 100
    """Test points."""
    times: tuple[Annotated[float, settings.at_least(0)], ...] = (0.0, 1.0, 4.0, 16.0, 64.0)
    """Flow times at which functions are compared; the last is the end."""
    dt: Annotated[float, settings.above(0)] = 0.5
    """Step of flow time (RK4)."""

    def __post_init__(self) -> None:
        for name in ("widths", "small", "times"):
            settings.different(name, getattr(self, name))
        if self.w2_seeds > self.seeds:
            raise ValueError(f"w2_seeds must be at most seeds = {self.seeds}; got {self.w2_seeds}.")


def tiny() -> Config:
    """Seconds, for tests: every part runs, nothing is resolved."""
    return Config(
        widths=(2, 4), seeds=2, w2_seeds=2, small=(2, 4), many=8, n=3, test=4, times=(0.0, 1.0)
    )  # fmt: skip


def demo() -> Config:
    """Some twenty seconds on two cores."""
    return Config(widths=(16, 32, 64, 128), seeds=8, w2_seeds=3, many=150)


@dataclass(frozen=True)
class Row:
    """One network against the wide one of its seed."""

    m: int
    seed: int
    wide: int
    t: float
    test: float  # mean of (f_m - f_M)² over the test points
    train: float  # over the training points
    coupled: float | None  # RMS of θ_k - θ_k^M over the m neurons, at the end
    w2: float | None  # W2(μ_m, μ_M) at the end
    floor: float | None  # the same of m independent neurons

    @property
    def file(self) -> str:
        return f"nested_seed{self.seed:03}.npz"


@dataclass(frozen=True)
class Results:
    """A Row for each width, seed and time; the functions of many small networks: width -> rows of f;
    the settings.
    """

    rows: tuple[Row, ...]
    functions: dict[int, tuple[tuple[float, ...], ...]]
    config: Config

    def of(self, name: str, t: float) -> tuple[np.ndarray, np.ndarray]:
        """(widths, values (seeds, widths)) at a time; of w2 and floor, the seeds that have them."""
        rows = [row for row in self.rows if row.t == t and getattr(row, name) is not None]
        return runs.against_width(rows, name)

    def scaled(self, name: str, t: float) -> tuple[np.ndarray, np.ndarray]:
        """The same of m·E(f_m - f_M)²/(1 - m/M)."""
        m, values = self.of(name, t)
        return m, values * m / (1 - m / self.rows[0].wide)


def batches(config: Config, out: Path) -> list[cells.Batch]:
    """(file, settings, work) of each seed, and of each width of the many."""
    found: list[cells.Batch] = []
    for seed in range(config.seeds):
        about = cells.about(config, kind="nested", seed=seed)
        found.append((out / f"nested_seed{seed:03}.npz", about, partial(measures.nested, config, seed)))  # fmt: skip
    for m in sorted(config.small):
        about = cells.about(config, kind="many", m=m)
        found.append((out / f"many_m{m:06}.npz", about, partial(measures.fluctuations, config, m)))
    return found


def config_of(out: Path) -> Config:
    """The settings of the files in `out`."""
    found = cells.found(out, "nested_*.npz") + cells.found(out, "many_*.npz")
    shared = cells.shared([about for about, _ in found], ("kind", "seed", "m"))
    return settings.from_dict(Config, shared)


def _results(config: Config, out: Path) -> Results:
    widths, times = sorted(config.widths), sorted(config.times)
    rows, functions = [], {}
    for about, arrays in cells.there(batches(config, out)):
        if about["kind"] == "many":
            functions[about["m"]] = tuple(map(tuple, arrays["f"].tolist()))
            continue
        for i, m in enumerate(widths):
            for j, t in enumerate(times):
                end = {
                    name: float(arrays[name][i]) if t == times[-1] and name in arrays else None
                    for name in ("coupled", "w2", "floor")
                }
                test, train = (float(arrays[name][i, j]) for name in ("test", "train"))
                wide = config.wider * widths[-1]
                rows.append(Row(m, about["seed"], wide, t, test, train, **end))
    return Results(tuple(rows), functions, config)


def figure(results: Results) -> Figure:
    """Squared distance against m and against t, the law of the fluctuations, and W2."""
    from . import panels

    return panels.page(results)


def table(results: Results) -> str:
    """One line for each time: m·E(f_m - f_M)²/(1 - m/M), mean over widths and seeds, and the slope of
    E(f_m - f_M)²/(1 - m/M); then distances of neurons.
    """
    lines: list[tuple[str, ...]] = [("t", "test", "slope", "train", "slope")]
    for t in sorted(results.config.times):
        cells_ = [f"{t:g}"]
        for name in ("test", "train"):
            m, values = results.scaled(name, t)
            seeds = values.mean(axis=1)
            error = seeds.std(ddof=1) / np.sqrt(len(seeds))
            fit = fit_or_refuse(m, values / m)
            cells_ += [f"{seeds.mean():.3g} ± {error:.1g}", getattr(fit, "short", "–")]
        lines.append(tuple(cells_))
    end = max(results.config.times)
    also: list[tuple[str, ...]] = [("at the end", *(f"m = {m}" for m in sorted(results.config.widths)), "slope")]  # fmt: skip
    for name, label in (
        ("w2", "W2(μ_m, μ_M)"),
        ("floor", "of independent neurons"),
        ("coupled", "neuron by neuron"),
    ):
        m, values = results.of(name, end)
        fit = fit_or_refuse(m, values)
        also.append((label, *(f"{mean:.3g}" for mean in values.mean(axis=0)), getattr(fit, "short", "–")))  # fmt: skip
    return f"{text_table(lines, '>')}\n\n{text_table(also, '<' + '>' * (len(also[0]) - 1))}"


def _costs(config: Config, left: Sequence[dict[str, Any]], out: Path) -> str:
    data, widths = measures.dataset(config), sorted(config.widths)
    wide = config.wider * widths[-1]
    first = measures.law(config).sample(widths[0], seed=0)
    compiled = measures.flow(config).on_device(first).backend.compiled()
    seeds = [about["seed"] for about in left if about["kind"] == "nested"]
    small = [about["m"] for about in left if about["kind"] == "many"]
    jobs = [
        planning.Job(
            name=name, data=data, widths=tuple(chosen), widest=widest, t_end=max(config.times),
            steps=int(np.ceil(max(config.times) / config.dt)), frames=0, dtype="float64", compiled=compiled, filed=False,
        )
        for name, chosen, widest in (
            ("nested", [m for _ in seeds for m in (*widths, *widths, wide)], wide),
            ("many", [m for m in small for _ in range(config.many)], max(config.small)),
        )
    ]  # fmt: skip
    return planning.describe(jobs, out)


def report(results: Results, out: Path) -> str:
    """Writes the table; returns what is printed."""
    runs.write_csv(results.rows, out / f"{NAME}.csv")
    return f"{table(results)}\n\ntable       {out / NAME}.csv"


ABOUT = f"""{QUESTION}

Trains the first m neurons of a wide network alone and compares: E(f_m - f_M)² = (1/m - 1/M) V, with a V that stays on test
points and dies on training points as t → ∞; Gaussian fluctuations; each neuron m^(-1/2) from itself in the wide network;
and W2(μ_m, μ_M), which falls no faster than that of independent samples of one law.

Examples:
  python -m sims.{NAME} --demo                              widths up to 128, twenty seconds
  python -m sims.{NAME} --dry-run                           what the full study would cost
  python -m sims.{NAME} --redraw                            table and figure again from the files
  python -m sims.{NAME} --n 10 --out results/n10"""

BATCHES = batched.Batched(QUESTION, batches, config_of, _results, _costs)
STUDY = BATCHES.study(
    NAME, ABOUT, {"full": (Config(), ""), "demo": (demo(), "Small preset: widths 16 … 128, 8 seeds, twenty seconds.")},
    figure, report,
)  # fmt: skip
run, collect, plan, main = STUDY.run, STUDY.collect, STUDY.plan, STUDY.main
