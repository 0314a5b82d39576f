"""Buffer: what a run has recorded since its last checkpoint, on its way to a segment or to the finished file."""

from __future__ import annotations

import numpy as np

from ..state import State
from . import schema


class Buffer:
    """Frames, scalars of series and blocks of events, in the order they came. bytes: what a kill would lose of it."""

    def __init__(self) -> None:
        self.frames: list[State] = []
        self.series: dict[str, list[tuple[int, float, float]]] = {}
        self.events: list[dict[str, np.ndarray]] = []
        self.bytes = 0

    def __bool__(self) -> bool:
        return bool(self.frames or self.series or self.events)

    @property
    def event_count(self) -> int:
        return sum(len(rows["step"]) for rows in self.events)

    def add_frame(self, state: State, mass_varies: bool) -> None:
        self.frames.append(state)
        self.bytes += state.theta.nbytes + (state.mass.nbytes if mass_varies else 0)

    def add_value(self, name: str, step: int, t: float, value: float) -> None:
        self.series.setdefault(name, []).append((int(step), float(t), float(value)))
        self.bytes += 24

    def add_events(self, rows: dict[str, np.ndarray]) -> None:
        self.events.append(rows)
        self.bytes += sum(column.nbytes for column in rows.values())

    def frame(self, number: int, dataset: str) -> np.ndarray:
        """θ or the masses of one frame, by the name of their dataset in a file."""
        state = self.frames[number]
        return state.theta if dataset == f"{schema.POSITION}/value" else state.mass

    def columns(self, group: str, names: tuple[str, ...]) -> tuple[np.ndarray, ...]:
        """What these datasets of a group of a file would hold: the clock of the frames, a series, or events."""
        if group == schema.POSITION:
            found = {
                "step": [state.step for state in self.frames],
                "time": [state.t for state in self.frames],
            }
        elif group == "events":
            return tuple(
                np.concatenate(
                    [np.empty(0, schema.EVENT_COLUMNS[name]), *(rows[name] for rows in self.events)]
                )
                for name in names
            )
        else:
            found = dict(
                zip(
                    ("step", "time", "value"),
                    zip(*self.series[group.removeprefix("series/")], strict=True),
                    strict=True,
                )
            )
        return tuple(
            np.array(found[name], dtype=np.int64 if name == "step" else np.float64)
            for name in names
        )
