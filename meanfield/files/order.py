"""Order: frames and values of a series come in the order of their steps, each later than the one before;
whatever file that was written to.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from .schema import check_series_name

SERIES, FRAMES = "series/", "frames"  # as a checkpoint calls them


class Order:
    """The step of the last frame, and of the last value of each series. path: of the run; said: what
    `to_dict` has said.
    """

    def __init__(self, path: Path, said: Mapping[str, int]) -> None:
        self._path = path
        self.frame_step: int | None = said.get(FRAMES)
        self.steps = {
            name.removeprefix(SERIES): step for name, step in said.items() if name != FRAMES
        }

    def frame(self, step: int) -> None:
        """A frame comes; ValueError where one of that step, or of a later one, has come already."""
        if self.frame_step is not None and step <= self.frame_step:
            self._refuse(FRAMES, self.frame_step, step)
        self.frame_step = step

    def series(self, name: str, first: int, last: int) -> None:
        """Values of a series come, from one step to another."""
        known = self.steps.get(name)
        if known is None:
            check_series_name(name)
        elif first <= known:
            self._refuse(f"{SERIES}{name}", known, first)
        self.steps[name] = last

    def to_dict(self) -> dict[str, int]:
        found = {f"{SERIES}{name}": step for name, step in self.steps.items()}
        return found if self.frame_step is None else {**found, FRAMES: self.frame_step}

    def _refuse(self, what: str, last: int, step: int) -> NoReturn:
        raise ValueError(
            f"{what} of {self._path} are at step {last} already; got step {step} after it."
        )
