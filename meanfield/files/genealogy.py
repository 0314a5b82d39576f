"""Genealogy: who is a copy of whom in a run whose steps kill and duplicate particles, read from the
births in its file.

A birth is a row of /events: from `step` on, the place `neuron` holds a copy of what the place `other`
held before that step; `value` is the copy's id. Particles of the start have the ids 0 … m-1, copies m,
m + 1, … in the order of their births.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..particles import REPLACES
from .schema import EVENT_COLUMNS

BIRTH = 5  # kind, after those of event_table.KINDS


class Births(NamedTuple):
    """The births of a run, in their order, each (r,).

    steps, times : when. places : where the copy is, an index into θ. ids : its own; parents : the id
    of what it is a copy of.
    """

    steps: np.ndarray
    times: np.ndarray
    places: np.ndarray
    ids: np.ndarray
    parents: np.ndarray


def replaces(config: dict[str, Any]) -> bool:
    """Whether the steps of a run of this configuration kill and duplicate particles."""
    return REPLACES in (config.get("integrator") or {}).get("traits", ())


def rows(source: np.ndarray, step: int, t: float, born: int) -> dict[str, np.ndarray]:
    """The rows of one step. source (m,): as in Step; born: the number of copies up to it."""
    places = np.flatnonzero(source != np.arange(len(source)))
    count, first = len(places), len(source) + born - len(places)
    columns: dict[str, Any] = {
        "step": step, "time": t, "kind": BIRTH, "neuron": places, "other": source[places],
        "value": first + np.arange(count),
    }  # fmt: skip
    return {
        name: np.broadcast_to(columns[name], count).astype(dtype)
        for name, dtype in EVENT_COLUMNS.items()
    }


class Genealogy:
    """Ids and ancestors at any step, from the columns of /events. m: the number of places."""

    def __init__(self, columns: dict[str, np.ndarray], m: int) -> None:
        chosen = columns["kind"] == BIRTH
        self.m = m
        self._columns = {name: column[chosen] for name, column in columns.items()}
        steps = self._columns["step"]
        # the births of each step are rows first … last
        self._first = np.flatnonzero(np.diff(steps, prepend=-1)).tolist()
        self._last = [*self._first[1:], len(steps)] if self._first else []

    def births(self) -> Births:
        """All of them, with the ids of the parents."""
        ids, parents = np.arange(self.m), np.empty(len(self._columns["step"]), np.int64)
        for rows_ in self._steps():
            parents[rows_] = ids[self._columns["other"][rows_]]
            ids[self._columns["neuron"][rows_]] = self._columns["value"][rows_]
        columns = self._columns
        places, own = columns["neuron"].astype(np.int64), columns["value"].astype(np.int64)
        return Births(columns["step"], columns["time"], places, own, parents)

    def ids(self, steps: Iterable[float]) -> Iterator[np.ndarray]:
        """The id of what each place holds after each of these steps, which increase: (m,) each."""
        ids, after = np.arange(self.m), -math.inf
        for step in steps:
            for rows_ in self._steps(after, step):
                ids[self._columns["neuron"][rows_]] = self._columns["value"][rows_]
            after = step
            yield ids.copy()

    def ancestors(self, after: float, step: float) -> np.ndarray:
        """(m,): the place, after the earlier step `after`, of the particle that what each place holds
        after `step` descends from.
        """
        places = np.arange(self.m)
        for rows_ in self._steps(after, step):
            before = places.copy()  # births of one step are of what was there before it
            places[self._columns["neuron"][rows_]] = before[self._columns["other"][rows_]]
        return places

    def _steps(self, after: float = -math.inf, step: float = math.inf) -> Iterator[slice]:
        """The births of each step beyond `after` up to `step`, as slices of the rows."""
        steps = self._columns["step"][self._first]
        begin, end = np.searchsorted(steps, [after, step], side="right")
        return map(slice, self._first[begin:end], self._last[begin:end])
