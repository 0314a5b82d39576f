"""The command line that all sims share: presets, a plan, runs that go on where they stopped, a
table, a figure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from . import config as settings

if TYPE_CHECKING:
    from ..figures import Figure

ENDING = """

Interrupted runs go on where they stopped: give the same command again.
Exit codes: 2 usage, 3 diverged, 4 bad data, 5 input/output, 6 in use, 7 incompatible file, 75 interrupted."""


@dataclass(frozen=True)
class Options:
    """Where results go and how far to go."""

    out: Annotated[Path | None, settings.told("FOLDER")] = None
    """Folder of runs, tables, figure: results/NAME unless given. Runs in it are not repeated."""
    dry_run: Annotated[bool, settings.told()] = False
    """Say what would be done, with estimates, and stop."""


@dataclass(frozen=True)
class Redrawable(Options):
    """The same for a study whose files hold all of it."""

    redraw: Annotated[bool, settings.told()] = False
    """Train nothing: make tables and figure again from all runs in --out."""


@dataclass(frozen=True)
class Study:
    """What a sim hands over. config, out: its settings and its folder.

    presets: name -> (settings, meaning), the first without a flag; plan(config, out) says what is
    about to be done; run(config, out, progress) trains what is missing and measures all;
    collect(config, out) measures what is there, None where files do not hold all of it;
    report(results, out) writes the tables and returns what is printed; movie(results, out) writes
    an animation and returns its path, None where there is none.
    """

    name: str
    about: str
    presets: dict[str, tuple[Any, str]]
    plan: Callable[[Any, Path], str]
    run: Callable[..., Any]
    figure: Callable[[Any], Figure]
    report: Callable[[Any, Path], str]
    collect: Callable[[Any, Path], Any] | None = None
    movie: Callable[[Any, Path], Path] | None = None

    def main(self, argv: list[str] | None = None) -> int:
        """The command line; returns the exit code."""
        return settings.exit_code(lambda: self._main(argv))

    def _main(self, argv: list[str] | None) -> None:
        prog, extra = f"python -m sims.{self.name}", Options if self.collect is None else Redrawable
        config, options = settings.command_line(
            prog, self.about + ENDING, self.presets, extra, argv
        )
        out = options.out or Path("results") / self.name
        if self.collect is not None and getattr(options, "redraw", False):
            results = self.collect(config, out)
        else:
            print(self.plan(config, out), flush=True)
            if options.dry_run:
                return
            results = self.run(config, out, progress=True)
        from .. import figures

        text = self.report(results, out)
        png, pdf = figures.save(self.figure(results), out / f"{self.name}.png")
        print(f"\n{text}\n\nfigure      {png}, {pdf}")
        if self.movie is not None:
            print(f"animation   {self.movie(results, out)}")
