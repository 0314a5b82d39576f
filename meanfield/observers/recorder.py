"""Recorder: frames and measures of a run, into its HDF5 file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..checks import is_number
from ..data.dataset import Dataset
from ..diagnostics.frame import Problem
from ..stepping.march import March
from . import schedules
from .moment import SEEN_LATER, Moment, measures
from .protocol import Observer


class Recorder(Observer):
    """Records a run to an HDF5 file: frames and measures, on a schedule, at the start and at the
    end.

    Parameters
    ----------
    path : of the file. Until the run has ended it stands in `path`.parts.
    schedule : mf.every(k), mf.evenly(count), mf.log_spaced(count), mf.at_steps(…) or
        mf.at_times(…).
    exists : for a finished or unfinished run of that name. "error"; "resume": continue the
        unfinished one, of the same configuration, formulas and series (ValueError says what
        differs); "replace": the old file stays until the new one is complete.
    data : the mf.data.Dataset the flow's x and y come from, so that its name, origin and test set
        are in the file.
    checkpoint_seconds : wall time between checkpoints; none of it changes a bit of the result.
    guard : called before each checkpoint and before the file is published; what it raises ends the
        run there (a lease that was lost).

    Notes
    -----
    The measures are the built-in series of mf.Series that make sense for the run. Schema of the
    file: mf.Trajectory.
    """

    name = "recorder"
    edges, own, rank = True, True, 4
    last: tuple[int, float] | None = None  # step and time of the last frame
    summary: dict[str, Any] | None = None  # that of the file, once the run has ended here

    def __init__(
        self, path: Any, schedule: Any, exists: str = "error", data: Dataset | None = None, checkpoint_seconds: float = 30.0,
        guard: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        if exists not in ("error", "resume", "replace"):
            raise ValueError(f'exists must be "error", "resume" or "replace"; got {exists!r}.')
        if data is not None and not isinstance(data, Dataset):
            raise TypeError(f"data must be an mf.data.Dataset; got {type(data).__name__}.")
        if not is_number(checkpoint_seconds) or not checkpoint_seconds >= 0:
            raise ValueError(
                f"checkpoint_seconds must be a number >= 0; got {checkpoint_seconds!r}."
            )
        self.path, self.schedule, self.exists = Path(path), schedules.check(schedule), exists
        self.data, self.checkpoint_seconds, self.guard = data, float(checkpoint_seconds), guard

    def begin(self, march: March, problem: Problem, path: Path | None) -> None:
        self.last = self.summary = None
        self._run = march, problem
        self.series = tuple(measures(march, problem))

    def observe(self, moment: Moment) -> dict[str, float]:
        recording = moment.recording
        recording.frame(moment.frame.state)
        self.last = moment.step, moment.t
        wanted = [name for name in self.series if not recording.has(name, moment.step)]
        return {name: moment.measure(name) for name in wanted}

    @property
    def looks_back(self) -> bool:
        return type(self).observe is _observe and SEEN_LATER.issuperset(self.series)

    def memory(self) -> dict[str, Any]:
        return {"last": list(self.last) if self.last else []}

    def restore(self, memory: dict[str, Any]) -> None:
        self.last = tuple(memory["last"]) or None
        self.series = tuple(measures(*self._run))  # an older file may not have measured the motion

    def __repr__(self) -> str:
        return f"Recorder({str(self.path)!r}, {self.schedule}, exists={self.exists!r})"


_observe = Recorder.observe  # of a subclass, or another in its place, nothing is known
