"""The files of a run, and what is still in memory, read as one sequence of frames and set of
series.

A finished run is one file; one that goes on is some segments. Its writer has the last piece in
memory: a Buffer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..state import State
from . import hdf5, schema
from .hdf5 import Dataset, File


class Columns(NamedTuple):
    """A series as it grows."""

    step: list[int]
    time: list[float]
    value: list[float]

    @property
    def rows(self) -> int:
        return len(self.step)


class Buffer:
    """Frames, scalars of series and blocks of events, in the order they came. bytes: what a kill
    would lose of it.
    """

    def __init__(self) -> None:
        self.frames: list[State] = []
        self.series: dict[str, Columns] = {}
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
        columns = self.series.get(name) or self._new(name)
        columns.step.append(step)
        columns.time.append(t)
        columns.value.append(value)
        self.bytes += 24

    def _new(self, name: str) -> Columns:
        self.series[name] = Columns([], [], [])
        return self.series[name]

    def add_values(
        self, name: str, steps: list[int], times: list[float], values: list[float]
    ) -> None:
        columns = self.series.get(name) or self._new(name)
        columns.step.extend(steps)
        columns.time.extend(times)
        columns.value.extend(values)
        self.bytes += 24 * len(steps)

    def add_events(self, rows: dict[str, np.ndarray]) -> None:
        self.events.append(rows)
        self.bytes += sum(column.nbytes for column in rows.values())

    def frame(self, number: int, dataset: str) -> np.ndarray:
        """θ or the masses of one frame, by the name of their dataset in a file."""
        state = self.frames[number]
        return state.theta if dataset == f"{schema.POSITION}/value" else state.mass

    def columns(self, group: str, names: tuple[str, ...]) -> tuple[np.ndarray, ...]:
        """What these datasets of a group of a file would hold: the clock of the frames, a series,
        or events.
        """
        found: dict[str, list]
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
            found = self.series[group.removeprefix("series/")]._asdict()
        return tuple(
            np.array(found[name], dtype=np.int64 if name == "step" else np.float64)
            for name in names
        )


# of all series (100 MB): up to that they are read in one pass over the segments and kept
CACHED_POINTS = 4 * 10**6


class SeriesData(NamedTuple):
    """A dense scalar series: steps (r,) int64, times (r,), values (r,)."""

    steps: np.ndarray
    times: np.ndarray
    values: np.ndarray


class Piece(NamedTuple):
    """One file, or what its writer holds: how many frames, how many values of each series, and how
    many events.
    """

    source: Path | Buffer
    frames: int
    series: dict[str, int]
    events: int


class Block:
    """A dataset of frames in piece number `piece`, read by some at a time, kept for the next: by one
    where they are large, and by what a chunk holds.
    """

    def __init__(self, piece: int, whole: Dataset) -> None:
        self.piece, self._whole = piece, whole
        # another program may have copied it without chunks
        in_chunk = whole.chunks[0] if whole.chunks else 1
        self._together = max(hdf5.at_once(whole.nbytes // len(whole)), in_chunk)
        self._first, self._frames = 0, np.empty(0)

    def frame(self, number: int) -> np.ndarray:
        found = self.frames(number, 1)[0]
        return found if self._together == 1 else found.copy()

    def frames(self, number: int, most: int) -> np.ndarray:
        """The frames from this one on that are at hand, at most so many, one at least; not to be
        written to.
        """
        if self._together == 1:
            return self._whole[number : number + 1]
        if not self._first <= number < self._first + len(self._frames):
            first = number - number % self._together
            try:
                self._first, self._frames = first, self._whole[first : first + self._together]
            except OSError:  # one of them is damaged: it alone shall be lost
                self._together = 1
                return self.frames(number, most)
        at = number - self._first
        return self._frames[at : at + most]


class Pieces:
    """Reads across files. One is open at a time: a long run has more segments than a process may
    have open files.
    """

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self._pieces = list(pieces)
        self._first = np.cumsum([0] + [piece.frames for piece in self._pieces])
        self.frames = int(self._first[-1])
        self.events = sum(piece.events for piece in self._pieces)
        self.counts: dict[str, int] = {}
        for piece in self._pieces:
            for name, count in piece.series.items():
                self.counts[name] = self.counts.get(name, 0) + count
        self._open: tuple[int, File] | None = None
        self._blocks: dict[str, Block] = {}  # of the datasets that frames were last read from
        self._clock: tuple[np.ndarray, np.ndarray] | None = None
        self._series: dict[str, SeriesData] = {}
        self._aligned: list[str] | None = None  # not asked for yet

    def held_last(self, buffer: Buffer) -> Pieces:
        """These with the last one, or, where there is none yet, a first one, read from memory;
        closes these.
        """
        self.close()
        last = Piece(
            buffer,
            len(buffer.frames),
            {name: columns.rows for name, columns in buffer.series.items()},
            buffer.event_count,
        )
        return Pieces([*self._pieces[:-1], last])

    def close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None
            self._blocks.clear()

    def clock(self) -> tuple[np.ndarray, np.ndarray]:
        """(steps, times) of all frames."""
        if self._clock is None:
            columns: list[tuple[np.ndarray, ...]] = [(np.empty(0, np.int64), np.empty(0))]
            columns += [
                self._read(i, schema.POSITION, ("step", "time"), piece.frames)
                for i, piece in enumerate(self._pieces)
                if piece.frames
            ]
            steps, times = map(_joined, zip(*columns, strict=True))
            self._clock = (steps, times)
        return self._clock

    def frame(self, number: int, dataset: str) -> np.ndarray:
        """One frame of a dataset whose leading axis is the frames."""
        i = int(np.searchsorted(self._first, number, side="right")) - 1
        source = self._pieces[i].source
        if isinstance(source, Buffer):
            return source.frame(number - int(self._first[i]), dataset)
        with hdf5.reading(source):
            return self._block(i, source, dataset).frame(number - int(self._first[i]))

    def frames_from(self, number: int, dataset: str, most: int) -> np.ndarray:
        """The frames from this one on that lie in one piece, at most so many, one at least; not to be
        written to.
        """
        i = int(np.searchsorted(self._first, number, side="right")) - 1
        source, first = self._pieces[i].source, number - int(self._first[i])
        if isinstance(source, Buffer):
            last = min(first + most, len(source.frames))
            if last == first + 1:  # a large one: no copy
                return source.frame(first, dataset)[None]
            return np.stack([source.frame(k, dataset) for k in range(first, last)])
        with hdf5.reading(source):
            return self._block(i, source, dataset).frames(first, most)

    def _block(self, i: int, path: Path, dataset: str) -> Block:
        """Of piece i."""
        file = self._file(i, path)
        kept = self._blocks.get(dataset)
        if kept is None or kept.piece != i:
            kept = self._blocks[dataset] = Block(i, self._whole(i, file, dataset))
        return kept

    def _whole(self, i: int, file: File, dataset: str) -> Dataset:
        """A dataset of the frames of piece i, as many as that has."""
        whole, count = file[dataset], self._pieces[i].frames
        hdf5.check_size(whole.id)
        if len(whole) != count:
            raise ValueError(f"{dataset} has {len(whole)} frames, their clock {count}")
        return whole

    def series(self, name: str) -> SeriesData:
        if name in self._series:
            return self._series[name]
        if sum(self.counts.values()) > CACHED_POINTS:
            return self._join([name])[name]
        self._series |= self._join([name] if len(self._pieces) == 1 else list(self.counts))
        return self._series[name]

    def aligned(self) -> list[str]:
        """Names of the series with one value for each frame: H5MD's observables."""
        if self._aligned is None:
            steps = self.clock()[0]
            names = [name for name in sorted(self.counts) if self.counts[name] == self.frames > 0]
            self._aligned = [
                name for name in names if np.array_equal(self.series(name).steps, steps)
            ]
        return list(self._aligned)

    def event_blocks(self) -> Iterator[dict[str, np.ndarray]]:
        """The columns of the events, file by file."""
        for i, piece in enumerate(self._pieces):
            if piece.events:
                yield dict(
                    zip(
                        schema.EVENT_COLUMNS,
                        self._read(i, "events", tuple(schema.EVENT_COLUMNS), piece.events),
                        strict=True,
                    )
                )

    def event_column(self, name: str) -> np.ndarray:
        """One column of all events."""
        empty = np.empty(0, schema.EVENT_COLUMNS[name])
        return _joined(
            [
                empty,
                *(
                    self._read(i, "events", (name,), item.events)[0]
                    for i, item in enumerate(self._pieces)
                    if item.events
                ),
            ]
        )

    def _join(self, names: list[str]) -> dict[str, SeriesData]:
        found: dict[str, list[tuple[np.ndarray, ...]]] = {name: [] for name in names}
        for i, piece in enumerate(self._pieces):
            for name in names:
                if name in piece.series:
                    columns = f"series/{name}", ("step", "time", "value"), piece.series[name]
                    found[name].append(self._read(i, *columns))
        return {
            name: SeriesData(*map(_joined, zip(*rows, strict=True))) for name, rows in found.items()
        }

    def _read(
        self, i: int, group: str, names: tuple[str, ...], rows: int
    ) -> tuple[np.ndarray, ...]:
        """Columns of so many rows."""
        source = self._pieces[i].source
        if isinstance(source, Buffer):
            return source.columns(group, names)
        file = self._file(i, source)
        with hdf5.reading(source):
            found = tuple(hdf5.read_array(file, f"{group}/{name}") for name in names)
            for name, column in zip(names, found, strict=True):
                if column.shape != (rows,) or column.dtype.kind not in "iuf":
                    said = f"{column.shape} {column.dtype}, not {rows} numbers"
                    raise ValueError(f"{group}/{name} is {said}")
            return found

    def _file(self, i: int, path: Path) -> File:
        if self._open is None or self._open[0] != i:
            try:
                opened = hdf5.open_hdf5(path)
            except FileNotFoundError:
                raise FileNotFoundError(
                    f"{path} is gone: the run was published meanwhile; open it again."
                ) from None
            self.close()
            self._open = (i, opened)
        return self._open[1]


def _joined(arrays: Iterable[np.ndarray]) -> np.ndarray:
    """Read-only, for it may be kept and handed out again."""
    joined = np.concatenate(tuple(arrays))
    joined.flags.writeable = False
    return joined
