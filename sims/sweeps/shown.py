"""How far the work on a sweep is: a bar on a terminal and in notebooks, elsewhere a line every ten seconds."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from meanfield.observers.progress import SECONDS, duration

from .folders import SweepFolder


class Shown:
    """kind: the tqdm of the bar, which is there from the start on. progress: False for neither bar nor
    lines.
    """

    def __init__(self, sweep: SweepFolder, progress: bool, kind: Any) -> None:
        self._sweep, self._progress = sweep, progress
        self._total, self._first = len(sweep.plan.runs), len(sweep.published())
        self._begun = self._said = time.monotonic()
        self._bar = kind(
            total=self._total,
            initial=self._first,
            desc="runs",
            unit="run",
            disable=None if progress else True,
            file=sys.stderr,
        )

    def __enter__(self) -> Shown:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._bar.close()

    def update(self, more: str = "") -> None:
        """Look at what is there by now. more: what else is to be said."""
        there = len(self._sweep.published())
        self._bar.set_postfix_str(more, refresh=False)
        self._bar.update(there - self._bar.n)
        if self._bar.disable and self._progress and time.monotonic() - self._said >= SECONDS:
            self._said = time.monotonic()
            self._say(there, more)

    def _say(self, there: int, more: str) -> None:
        made, left = there - self._first, self._total - there
        seconds = (self._said - self._begun) / made * left if made and left else 0.0
        parts = [
            f"{there} of {self._total} runs are there",
            more,
            f"about {duration(seconds)} left" if seconds else "",
        ]
        print(f"sweep: {', '.join(filter(None, parts))}", file=sys.stderr, flush=True)
