"""The recording of a run that several processes share: process 0 writes, the others know what it
has."""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..processes.ranks import Ranks, current
from ..state import State
from .durable import canonical_json
from .parts import Parts
from .recording import Recording, last_memory, unfinished
from .trajectory import Trajectory


class SharedRecording:
    """What a run asks of a Recording, on every rank; `own` is the Recording, of rank 0, or None.

    An error in writing is raised by all ranks.
    """

    def __init__(
        self,
        ranks: Ranks,
        own: Recording | None,
        path: Path,
        config: dict[str, Any],
        start: State,
        final: Any = None,
        last_steps: dict[str, int] | None = None,  # of each series
    ) -> None:
        self.ranks, self.own, self.path, self.config = ranks, own, path, config
        self.start, self.final = start, final
        self._last_steps = dict(last_steps or {})
        self.guard: Any = None

    @property
    def pending_bytes(self) -> int:
        return self.own.pending_bytes if self.own is not None else 0

    @property
    def last_checkpoint_time(self) -> float:
        """Rank 0's clock counts: the others never ask for a checkpoint."""
        return self.own.last_checkpoint_time if self.own is not None else time.monotonic()

    def frame(self, state: State) -> None:
        if self.own is not None:
            self.own.frame(state)

    def has(self, name: str, step: int) -> bool:
        return self._last_steps.get(name) == step

    def observe(self, name: str, step: int, t: float, value: float) -> None:
        self.observe_all(name, [step], [t], [value])

    def observe_moment(self, step: int, t: float, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.observe(name, step, t, value)

    def observe_all(
        self, name: str, steps: list[int], times: list[float], values: list[float]
    ) -> None:
        self._last_steps[name] = steps[-1]
        if self.own is not None:
            self.own.observe_all(name, steps, times, values)

    def log(self, rows: dict[str, np.ndarray]) -> None:
        if self.own is not None:
            self.own.log(rows)

    def checkpoint(self, memory: dict[str, Any]) -> None:
        self.ranks.first(lambda: self._own.checkpoint(memory))

    def finish(
        self, memory: dict[str, Any], summary: dict[str, Any], status: str = "finished"
    ) -> Path:
        self.ranks.first(lambda: self._own.finish(memory, summary, status))
        return self.path

    @property
    def _own(self) -> Recording:
        assert self.own is not None
        self.own.guard = self.guard
        return self.own

    def close(self) -> None:
        if self.own is not None:
            self.own.close()

    def __enter__(self) -> SharedRecording:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def is_there(path: Path) -> bool:
    """Whether there is a run of that name, finished or not. FileNotFoundError on all ranks where some
    see it and others do not, InUse where another process is writing it.
    """
    ranks = current()
    ranks.first(Parts(path).check_free)
    mine = np.array([[path.is_file() or unfinished(path)]])
    seen = ranks.gather(mine, [1] * ranks.size)[:, 0]
    if seen.any() and not seen.all():
        sees, blind = int(seen.argmax()), int(seen.argmin())
        raise FileNotFoundError(
            errno.ENOENT,
            f"process {sees} sees a run of this name, and process {blind} does not; all processes of a run "
            "must see one folder",
            str(path),
        )
    return bool(seen[0])


def created(
    create: Callable[[], Recording], path: Path, config: dict[str, Any], start: State
) -> Recording | SharedRecording:
    """A new recording: create() in one process or on rank 0."""
    ranks = current()
    if ranks.size == 1:
        return create()
    own: list[Recording] = []
    ranks.first(lambda: own.append(create()))
    return SharedRecording(
        ranks, own[0] if own else None, path, json.loads(canonical_json(config)), start
    )


def reopened(
    reopen: Callable[[], tuple[Recording, dict[str, Any] | None]], path: Path
) -> tuple[Recording | SharedRecording, dict[str, Any] | None]:
    """A recording that goes on, and the memory of its last checkpoint. The others read the parts
    that rank 0 has opened: their folder is one that all see.
    """
    ranks = current()
    if ranks.size == 1:
        return reopen()
    made: list[tuple[Recording, dict[str, Any] | None]] = []

    def first() -> tuple[Any, dict[str, int]]:
        made.append(reopen())
        return made[0][0].final, made[0][0].last_steps

    final, last_steps = ranks.first(first)
    own: Recording | None = None
    if made:
        own, memory = made[0]
        config, start = own.config, own.start
    else:
        memory = last_memory(path) or None
        with Trajectory(f"{path}.parts") as run:
            config, start = run.config, run.start
    ranks.meet()  # before rank 0 writes
    return SharedRecording(ranks, own, path, config, start, final, last_steps), memory
