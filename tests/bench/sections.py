"""The interface of a section of the bench, and the one style of all tables.

A section is a module of this folder, its name in bench.SECTIONS:

    TITLE               the heading of its table
    COLUMNS             what its table shows of a result, after the case's name
    cases(quick)        its cases: whatever has a .name of its own, for --cases and --list
    run(case, effort)   measures one: a dictionary for the JSON, with a value for the key of each column (None: empty), and
                        "goals", a list of Goal
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Named:
    """A case that is no more than a name and what belongs to it."""

    name: str
    of: Any = None


@dataclass(frozen=True)
class Column:
    """A value of every result: its key, the heading, and how it is written, as for format()."""

    key: str
    heading: str
    form: str = ".3g"
    unit: str = ""

    def text(self, result: Mapping[str, Any]) -> str:
        value = result.get(self.key)
        return "" if value is None else format(value, self.form) + self.unit


@dataclass(frozen=True)
class Goal:
    """What a number was asked to be: at least (or, with most, at most) `asked`; found None where it
    could not be measured.
    """

    what: str
    asked: float
    found: float | None
    form: str = ".3g"
    unit: str = "×"
    most: bool = False

    @property
    def reached(self) -> bool:
        return self.found is not None and (
            self.found <= self.asked if self.most else self.found >= self.asked
        )

    def __str__(self) -> str:
        asked, found = (
            None if value is None else format(value, self.form) + self.unit
            for value in (self.asked, self.found)
        )
        return (
            f"{self.what} {'≤' if self.most else '≥'} {asked}: "
            f"{'not measured' if found is None else found}"
        )


@dataclass
class Effort:
    """How long to measure: `rounds` turns of `seconds` for each contender. Limits of the machine
    are measured once.
    """

    rounds: int
    seconds: float
    quick: bool = False
    peaks: dict[str, float] = field(default_factory=dict)
    ceilings: dict[tuple[str, str], dict[str, float]] = field(default_factory=dict)

    def peak(self, dtype: str) -> float:
        """Multiply-adds, two operations each, of all threads: GFLOP/s."""
        if dtype not in self.peaks:
            from . import limits

            self.peaks[dtype] = limits.gigaflops(dtype)
        return self.peaks[dtype]

    def ceiling(self, activation: str, dtype: str) -> dict[str, float]:
        """10⁹ evaluations a second of σ, and of σ with σ', of all threads: {"value": …,
        "value_and_slope": …}.
        """
        if (activation, dtype) not in self.ceilings:
            from . import limits

            self.ceilings[activation, dtype] = limits.evaluations(activation, dtype)
        return self.ceilings[activation, dtype]


def measure(works: Mapping[str, Callable[[int], Any]], effort: Effort) -> dict[str, list[float]]:
    """Seconds of one piece of work of each contender, once a round, each round in another order.

    work(count) does it count times; a turn lasts about effort.seconds, after half a turn that is
    not counted, in which the threads of the contender before go to sleep (those of a BLAS take 0.1
    s). What has to compile has been called before.
    """
    counts = {name: count_of(work, effort.seconds) for name, work in works.items()}
    times: dict[str, list[float]] = {name: [] for name in works}
    order = list(works)
    for turn in range(effort.rounds):
        for name in order[turn % len(order) :] + order[: turn % len(order)]:
            works[name](max(1, counts[name] // 2))
            begin = time.perf_counter()
            works[name](counts[name])
            times[name].append((time.perf_counter() - begin) / counts[name])
    return times


def count_of(work: Callable[[int], Any], seconds: float) -> int:
    """How many pieces of work take so many seconds, at most 2000. A first call alone would not tell:
    memory is cold, and what libraries have left behind is collected in it.
    """
    count = 2
    while True:
        begin = time.perf_counter()
        work(count)
        took = time.perf_counter() - begin
        enough = count * seconds / took
        if (count > 2 and took > seconds / 4) or took > 10 * seconds or count >= 2000:
            return max(1, min(2000, round(enough)))
        count = max(3, min(2000, 4 * count, round(enough)))


def willing(
    makers: Mapping[str, Callable[[], Any]],
    first: Callable[[Any], Any] = lambda contender: contender.step(1),
) -> tuple[dict[str, Any], dict[str, str]]:
    """({name: contender}, {name: why it is absent}), each made, and compiled by its `first` piece of
    work. Whatever keeps a peer from that, a library or a compiler that is not there, is its reason;
    "ours" raises.
    """
    present, absent = {}, {}
    for name, make in makers.items():
        try:
            contender = make()
            first(contender)
            present[name] = contender
        except Exception as error:
            if name == "ours":
                raise
            absent[name] = reason(error)
    return present, absent


def reason(error: BaseException) -> str:
    """One line of an error."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def repeated(function: Callable[[], Any]) -> Callable[[int], None]:
    """The work that calls a function count times."""

    def work(count: int) -> None:
        for _ in range(count):
            function()

    return work


def milliseconds(times: Mapping[str, list[float]]) -> dict[str, float]:
    """Medians."""
    return {name: 1e3 * statistics.median(values) for name, values in times.items()}


def spread(times: Mapping[str, list[float]]) -> dict[str, float]:
    """The slowest turn over the fastest."""
    return {name: max(values) / min(values) for name, values in times.items()}


def best(
    median: Mapping[str, float], names: Iterable[str]
) -> tuple[str | None, float | None, float | None]:
    """(the fastest of these contenders, its time, its time over that of "ours"); None where there
    is none.
    """
    name = min((name for name in names if name in median), key=median.__getitem__, default=None)
    return (
        (None, None, None) if name is None else (name, median[name], median[name] / median["ours"])
    )


def verdicts(goals: Iterable[Mapping[str, Any]]) -> str:
    return "; ".join(f"{'' if goal['reached'] else 'MISSED '}{goal['text']}" for goal in goals)


def widths(columns: Iterable[Column]) -> list[int]:
    return [max(10, len(column.heading) + 2) for column in columns]


def header(section: Any) -> str:
    columns = section.COLUMNS
    cells = (
        f"{column.heading:>{width}}" for column, width in zip(columns, widths(columns), strict=True)
    )
    return f"\n{section.TITLE}\n{'case':36}{''.join(cells)}   goals"


def row(section: Any, result: Mapping[str, Any]) -> str:
    columns = section.COLUMNS
    cells = (
        f"{column.text(result):>{width}}"
        for column, width in zip(columns, widths(columns), strict=True)
    )
    return f"{result['case']:36}{''.join(cells)}   {verdicts(result['goals'])}"


def markdown(section: Any, results: Iterable[Mapping[str, Any]]) -> str:
    """The same table in Markdown."""
    headings = [section.TITLE, *(column.heading for column in section.COLUMNS), "goal"]
    lines = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    for result in results:
        cells = [
            result["case"],
            *(column.text(result) for column in section.COLUMNS),
            verdicts(result["goals"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
