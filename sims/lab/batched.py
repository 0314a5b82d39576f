"""Studies whose files are batches (lab/cells.py): run, redraw and plan follow from which batches there
are, what is measured in them, and what they cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from . import cells, planning
from . import config as settings
from .cells import Batch
from .study import Study

if TYPE_CHECKING:
    from ..figures import Figure

Row = TypeVar("Row")
Config = TypeVar("Config")
Costs = Callable[[Any, Sequence[dict[str, Any]], Path], str]


@dataclass(frozen=True)
class Results(Generic[Row, Config]):
    """Rows of all that is measured, the settings, and the folder of the files that have the rest."""

    folder: Path
    rows: tuple[Row, ...]
    config: Config


@dataclass(frozen=True)
class Batched:
    """`run`, `collect` and `plan` of a study.Study.

    batches(config, out): file, settings and work of each; config_of(out): the settings of the sim
    from the files in `out` alone; results(config, out): what is measured in the files; costs(config,
    left, out): what is said of the batches still to do, of which `left` has the settings.
    """

    question: str
    batches: Callable[[Any, Path], list[Batch]]
    config_of: Callable[[Path], Any]
    results: Callable[[Any, Path], Any]
    costs: Costs

    def run(self, config: Any, out: Path, progress: bool = False) -> Any:
        """Do what is not there yet in `out`, a file a batch. Raises mf.Interrupted, mf.Diverged."""
        cells.fill(self.batches(config, out), progress)
        return self.results(config, out)

    def collect(self, config: Any, out: Path) -> Any:
        """Results of the files in `out`, whatever their settings."""
        return self.results(self.config_of(out), out)

    def plan(self, config: Any, out: Path) -> str:
        """What `run` is about to do, estimated without training; what `out` holds counts as done."""
        left = [about for path, about, _ in self.batches(config, out) if cells.missing(path, about)]
        said = self.costs(config, left, out)
        return f"{self.question}\n\n{said}\nsettings {settings.digest(config)}"

    def study(
        self, name: str, about: str, presets: dict[str, tuple[Any, str]],
        figure: Callable[[Any], Figure], report: Callable[[Any, Path], str],
        movie: Callable[[Any, Path], Path] | None = None,
    ) -> Study:  # fmt: skip
        """Its command line: see study.Study."""
        return Study(name, about, presets, self.plan, self.run, figure, report, self.collect, movie)


def by_width(
    question: str,
    config: type,
    work: cells.OfWidth,
    results: Callable[[Any, Path], Any],
    job: Callable[[Any, list[int]], planning.Job],
) -> Batched:
    """A study with one batch for each of config.widths, its numbers work(config, m); job(config,
    left): the runs at the widths that are left.
    """

    def costs(settings: Any, left: Sequence[dict[str, Any]], out: Path) -> str:
        return planning.describe([job(settings, [about["m"] for about in left])], out)

    return Batched(
        question,
        lambda settings, out: cells.by_width(settings, out, work),
        lambda out: cells.config_of_widths(config, out),
        results,
        costs,
    )


def one_file(
    question: str,
    config: type,
    name: str,
    work: Callable[[Any], cells.Numbers],
    results: Callable[[Any, Path], Any],
    costs: Costs,
) -> Batched:
    """A study with one batch of all settings, its numbers work(config)."""
    return Batched(
        question,
        lambda given, out: [(out / name, cells.about(given), partial(work, given))],
        lambda out: settings.from_dict(config, cells.found(out, name)[0][0]),
        results,
        costs,
    )
