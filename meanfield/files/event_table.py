"""Event table: the log that mf.Events has kept, as columns, and the questions asked of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, overload

import numpy as np

from ..checks import hint, is_integer
from .pieces import SeriesData
from .schema import EVENT_COLUMNS
from .tables import text_table

# Kinds of events, in the order of their codes in the file, and the series that counts each of them
# at every sampling.
KINDS = {
    "flip": "flips",
    "death": "deaths",
    "revival": "revivals",
    "merge": "merges",
    "split": "splits",
}
DEAD = "dead"  # the series with the number of dead neurons
NAMES = np.array(list(KINDS))
PAIRS = ("merge", "split")
SHOWN = 10  # rows that print(table) shows
NOTHING = SeriesData(np.empty(0, np.int64), np.empty(0), np.empty(0))


class Event(NamedTuple):
    """One row; what other and value are depends on the kind: mf.Events."""

    step: int
    time: float
    kind: str
    neuron: int
    other: int
    value: float


class EventTable:
    """The events of a run, ordered by step, kind, neuron, other: `run.events`, or `.table` of an
    mf.Events without a file.

    Columns, all (r,): steps int64, times float64 (flow time), kinds (names), neurons and others
    int32, values float64; what they mean for each kind is in the docstring of mf.Events.
    len(table), iteration and table[i] give rows, table[i:j] a table; print(table) shows the first
    of them.

    kind(*names), neuron(k), between(t0, t1) select rows and can be chained. counts() says how many
    events there were of each kind, over_time(kind) at every sampling: all of them, also those not
    among the rows. unlisted: how many these are, for there were more than `limit` of their kind in
    one sampling; None for the events of one neuron and for a slice, of which that is not known:
    there the rows are counted. watched: False for a run without mf.Events.
    """

    def __init__(
        self,
        columns: dict[str, np.ndarray],
        counts: dict[str, SeriesData] | None,
        clock: SeriesData | None = None,
    ) -> None:
        """Not for callers. columns: EVENT_COLUMNS; counts: events a sampling of each kind; clock:
        the samplings.
        """
        self._columns, self._counts = columns, counts
        self._clock = counts.get("flip", NOTHING) if counts is not None and clock is None else clock

    @property
    def steps(self) -> np.ndarray:
        return self._columns["step"]

    @property
    def times(self) -> np.ndarray:
        return self._columns["time"]

    @property
    def kinds(self) -> np.ndarray:
        return NAMES[self._columns["kind"]]

    @property
    def neurons(self) -> np.ndarray:
        return self._columns["neuron"]

    @property
    def others(self) -> np.ndarray:
        return self._columns["other"]

    @property
    def values(self) -> np.ndarray:
        return self._columns["value"]

    @property
    def watched(self) -> bool:
        return self._clock is not None

    @property
    def unlisted(self) -> int | None:
        if self._counts is None:
            return None if self.watched else 0
        return int(sum(count.values.sum() for count in self._counts.values())) - len(self)

    def kind(self, *names: str) -> EventTable:
        """The events of these kinds: flip, death, revival, merge, split."""
        for name in names:
            _check_kind(name)
        kept = (
            None
            if self._counts is None
            else {name: item for name, item in self._counts.items() if name in names}
        )
        return self._selected(
            np.isin(self._columns["kind"], [list(KINDS).index(name) for name in names]),
            kept,
            self._clock,
        )

    def neuron(self, k: int) -> EventTable:
        """The events of neuron k, on either side of a merge or a split."""
        pair = np.isin(self._columns["kind"], [list(KINDS).index(name) for name in PAIRS])
        return self._selected((self.neurons == k) | (pair & (self.others == k)), None, self._clock)

    def between(self, t0: float, t1: float) -> EventTable:
        """The events seen at flow times t0 <= t <= t1."""
        if math.isnan(t0) or math.isnan(t1) or t0 > t1:
            raise ValueError(f"between(t0, t1) needs t0 <= t1; got {t0!r} and {t1!r}.")
        kept = (
            None
            if self._counts is None
            else {name: _cut(item, t0, t1) for name, item in self._counts.items()}
        )
        clock = None if self._clock is None else _cut(self._clock, t0, t1)
        return self._selected((self.times >= t0) & (self.times <= t1), kept, clock)

    def over_time(self, kind: str) -> SeriesData:
        """(steps, times, values): how many events of this kind each sampling found, whether or not
        they are all listed.

        Of one neuron: how many of the rows.
        """
        _check_kind(kind)
        if self._clock is None:
            raise ValueError(
                "the run was not watched by mf.Events: there are no samplings to count events at."
            )
        if self._counts is not None and kind in self._counts:
            return self._counts[kind]
        at = np.searchsorted(self._clock.steps, self.kind(kind).steps)
        found = np.bincount(at, minlength=len(self._clock.steps)).astype(np.float64)
        return SeriesData(self._clock.steps, self._clock.times, found)

    def counts(self) -> dict[str, int]:
        """How many events there were of each kind, listed or not; of one neuron, and of a slice:
        how many of the rows.
        """
        found = np.bincount(self._columns["kind"], minlength=len(KINDS))
        rows = {name: int(count) for name, count in zip(KINDS, found, strict=True)}
        return rows | {name: int(item.values.sum()) for name, item in (self._counts or {}).items()}

    def to_dict(self) -> dict[str, np.ndarray]:
        """The columns by name: step, time, kind (names), neuron, other, value."""
        return {**self._columns, "kind": self.kinds}

    def to_array(self) -> np.ndarray:
        """One structured array (r,) with the fields of to_dict."""
        columns = self.to_dict()
        rows = np.empty(len(self), [(name, column.dtype) for name, column in columns.items()])
        for name, column in columns.items():
            rows[name] = column
        return rows

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Event]:
        return (self[i] for i in range(len(self)))

    @overload
    def __getitem__(self, i: int) -> Event: ...

    @overload
    def __getitem__(self, i: slice) -> EventTable: ...

    def __getitem__(self, i: int | slice) -> Event | EventTable:
        if isinstance(i, slice):
            return self._selected(i, None, self._clock)
        if not is_integer(i):
            raise TypeError(
                f"a row is asked for by an integer, rows by a slice; got {type(i).__name__}. "
                "kind(name), neuron(k) and between(t0, t1) select; to_array() gives an "
                "array to index."
            )
        row = [column[i].item() for column in self._columns.values()]
        return Event(row[0], row[1], str(NAMES[row[2]]), *row[3:])

    def __repr__(self) -> str:
        if self._clock is None:
            return "EventTable(empty: the run was not watched; add mf.Events() to its observers)"
        listed = ", ".join(
            f"{count} {name if count == 1 else KINDS[name]}"
            for name, count in self.counts().items()
            if count
        )
        more = (
            f"; {len(self)} of them listed"
            if self.unlisted
            else " among the listed"
            if self.unlisted is None
            else ""
        )
        times = self._clock.times
        span = f", t = {times[0]:g} … {times[-1]:g}" if len(times) else ""
        return f"EventTable({listed or 'no events'}{more}; {len(times)} samplings{span})"

    def __str__(self) -> str:
        cells = [
            tuple(f"{item:.6g}" if isinstance(item, float) else str(item) for item in event)
            for event in self[:SHOWN]
        ]
        table = [text_table([Event._fields, *cells], ">")] if cells else []
        rest = len(self) - len(cells)
        return "\n".join([repr(self), *table, *([f"… {rest} more rows"] if rest else [])])

    def _selected(
        self,
        rows: np.ndarray | slice,
        counts: dict[str, SeriesData] | None,
        clock: SeriesData | None,
    ) -> EventTable:
        return EventTable(
            {name: column[rows] for name, column in self._columns.items()}, counts, clock
        )


def joined(rows: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Blocks of rows as one."""
    empty = {name: np.empty(0, dtype) for name, dtype in EVENT_COLUMNS.items()}
    return {
        name: np.concatenate([block[name] for block in [empty, *rows]]) for name in EVENT_COLUMNS
    }


def _cut(series: SeriesData, t0: float, t1: float) -> SeriesData:
    inside = (series.times >= t0) & (series.times <= t1)
    return SeriesData(*(column[inside] for column in series))


def _check_kind(name: Any) -> None:
    if name not in KINDS:
        raise ValueError(
            f"no kind of event {name!r}.{hint(str(name), KINDS)} Known: {', '.join(KINDS)}."
        )
