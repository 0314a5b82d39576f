"""Two ways between two clouds of particles, mixture and displacement, and what energies, first
variations and flows make of them. python -m sims.wasserstein_geometry --help
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from meanfield.files.tables import text_table

from ..lab import batched, cells, planning, runs
from ..lab import config as settings
from . import measures

if TYPE_CHECKING:
    from ..figures import Figure

NAME = "wasserstein_geometry"
QUESTION = (
    "What lies half-way between two clouds of particles, and for which way is an energy convex?"
)


@settings.settings
class Config:
    """Normal clouds N((-d/2, 0), I) and N((d/2, 0), s² I), and two networks of as many neurons."""

    n: Annotated[int, settings.between(4, 2000)] = 300
    """Particles of a cloud, neurons of a network."""
    distance: Annotated[float, settings.between(0.1, 100.0)] = 3.0
    """Distance d of the means."""
    spread: Annotated[float, settings.between(0.01, 100.0)] = 0.3
    """Standard deviation s of the second cloud."""
    seed: Annotated[int, settings.at_least(0)] = 0
    """Seed of clouds and networks; these have seed and seed + 1."""
    looks: Annotated[int, settings.at_least(5)] = 21
    """Points on each way, both ends and half-way among them: an odd number."""
    dt: Annotated[float, settings.between(1e-3, 0.5)] = 0.05
    """Step of RK4 of the contracting clouds."""

    def __post_init__(self) -> None:
        if self.looks % 2 == 0:
            raise ValueError(
                f"looks must be odd, half-way is one of them; got {self.looks}. Use {self.looks + 1}."
            )


def tiny() -> Config:
    """Seconds, for tests: every part runs, nothing is resolved."""
    return Config(n=12, looks=7, dt=0.25)


def demo() -> Config:
    """Some seconds on two cores."""
    return Config(n=100)


@dataclass(frozen=True)
class Row:
    """A functional along one way."""

    functional: str
    way: str  # mixture or displacement
    half: float  # its value half-way
    least: float  # of the second difference, over dt²
    most: float
    theory: float  # of the second derivative, NaN where it is not constant

    @property
    def verdict(self) -> str:
        """linear, convex, concave or neither, of second differences above rounding."""
        noise = 1e-9 * max(abs(self.least), abs(self.most), 1.0)
        rises, falls = self.most > noise, self.least < -noise
        return {
            (False, False): "linear", (True, False): "convex", (False, True): "concave",
            (True, True): "neither",
        }[rises, falls]  # fmt: skip


Results = batched.Results[Row, Config]


def _results(config: Config, out: Path) -> Results:
    file = cells.read(out / "geometry.npz")[1]
    known, t = measures.curvatures(file), file["t"]
    rows = []
    for name, ways in zip(measures.NAMES, file["along"], strict=True):
        for way, values in zip(measures.WAYS, ways, strict=True):
            second = np.diff(values, 2) / (t[1] - t[0]) ** 2
            half = float(values[len(t) // 2])
            theory = known.get((name, way), np.nan)
            rows.append(Row(name, way, half, float(second.min()), float(second.max()), theory))
    return Results(out, tuple(rows), config)


def figure(results: Results) -> Figure:
    """Half-way, distances, energies on both ways, difference quotients, and the factor 2."""
    from . import panels

    return panels.page(results)


def _costs(config: Config, left: Sequence[dict[str, Any]], out: Path) -> str:
    start = measures.LAW.sample(config.n, seed=config.seed)
    job = planning.Job(
        name="two networks", data=measures.DATA, widths=(config.n,) * len(left), widest=config.n,
        t_end=measures.T_END, steps=round(measures.T_END / measures.STEP), frames=0, dtype="float64",
        compiled=measures.FLOWS["risk"].on_device(start).backend.compiled(), filed=False,
    )  # fmt: skip
    # an exact W2 for each look and way
    return planning.describe([job], out, 4.0 * config.looks)


def report(results: Results, out: Path) -> str:
    """Writes the table; returns what is printed."""
    runs.write_csv(results.rows, out / f"{NAME}.csv")
    lines: list[tuple[str, ...]] = [("functional", "way", "half-way", "d²F/dt²", "theory", "it is")]
    for row in results.rows:
        theory = "" if np.isnan(row.theory) else f"{row.theory:.4g}"
        span = f"{row.least:.4g} … {row.most:.4g}"
        if row.most - row.least < 1e-6 * max(abs(row.most), 1.0):
            span = f"{row.most + 0.0:.4g}" if row.verdict != "linear" else "0"
        lines.append((row.functional, row.way, f"{row.half:.4g}", span, theory, row.verdict))
    return f"{text_table(lines, '<<>>><')}\n\ntable       {out / NAME}.csv"


ABOUT = f"""{QUESTION}

Half-way between two clouds is a mixture (half of each), or a displacement (every particle half-way to its partner under the optimal
transport). The second is the geodesic of W2, the first has no finite length. Four functionals are followed along both: a risk is
convex along mixtures, the energy of a convex potential along displacements. First variations are held against difference quotients,
and F = ∬W against ½∬W, whose flow is twice as slow.

Examples:
  python -m sims.{NAME} --demo                     seconds
  python -m sims.{NAME} --dry-run                  what the full study would cost
  python -m sims.{NAME} --redraw                   table and figure again from the file
  python -m sims.{NAME} --spread 2 --distance 1 --out results/wide"""

BATCHES = batched.one_file(QUESTION, Config, "geometry.npz", measures.measured, _results, _costs)
STUDY = BATCHES.study(
    NAME, ABOUT, {"full": (Config(), ""), "demo": (demo(), "Small preset: 100 particles, seconds.")},
    figure, report,
)  # fmt: skip
run, collect, plan, main = STUDY.run, STUDY.collect, STUDY.plan, STUDY.main
