"""Ranks: the processes that share one run. Each holds a block of the particles, and all of them do
the same things in the same order.

`current()` are those of this process: ALONE, unless a group was joined (backends/sharded.py).
"""

from __future__ import annotations

import hashlib
import math
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")
SMALL = 2**20  # bytes of a message that others may ride on
INTERRUPT, CHECKPOINT = 1, 2  # what a rank may ask of all


class RankLost(RuntimeError):
    """Another process of this run has ended, or did not answer in time."""


class Ranks:
    """`size` processes, of which this is number `rank`; a subclass says how they exchange bytes.

    No call is for one other alone: each is made by all ranks, at the same place of the program, and
    all get the same. What is added up is gathered first and then added in one order, for a group's
    own sums depend on its size and on the place of a number in the message.
    """

    rank, size = 0, 1

    def __init__(self) -> None:
        self._asked = self._heard = 0
        self._pending: list[Later] = []

    def _gather(self, message: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
        """The bytes (uint8) of all ranks, so many of each; RankLost where one does not answer."""
        return [message]

    def direct(self, device: str, place: str) -> Any:
        """What gathers rows from device to device; None where they go through the host."""
        return None

    def own(self, rows: np.ndarray, m: int, here: slice) -> np.ndarray:
        """Of the rows of all m particles, those of this process."""
        if rows.shape[0] != m:
            raise ValueError(
                f"in {self.size} processes upload takes the rows of all m = {m} particles; "
                f"got {rows.shape}. Each keeps its own of them."
            )
        return rows[here]

    def gather(self, part: np.ndarray, counts: Sequence[int]) -> np.ndarray:
        """The rows of all ranks one below the other; counts: how many each has.

        Numbers that wait (`later`) and what was asked for (`agree`) ride on it.
        """
        if self.size == 1:
            return part
        part = np.ascontiguousarray(part)
        row = part.dtype.itemsize * math.prod(part.shape[1:])
        sizes = [row * count for count in counts]
        if max(sizes) > SMALL:
            self.meet()
            rows = self._gather(part.view(np.uint8).reshape(-1), sizes)
        else:
            rows = self._exchange(part.tobytes(), sizes)
        return np.concatenate(rows).view(part.dtype).reshape(-1, *part.shape[1:])

    def later(self, part: np.ndarray, counts: Sequence[int], finish: Callable) -> Later:
        """finish(rows of all ranks), a number, once somebody asks or a message goes out anyway."""
        made = Later(self, np.array(part, np.float64), tuple(counts), finish)
        self._pending.append(made)
        return made

    def agree(self, what: int, asked: bool) -> bool:
        """Whether a rank had asked for it by the last message: the same answer on all of them.

        Alone it is what is asked for. A request that was heard is over.
        """
        if self.size == 1:
            return asked
        self._asked = self._asked | what if asked else self._asked & ~what
        if not self._heard & what:
            return False
        self._asked &= ~what
        self._heard &= ~what
        return True

    def meet(self) -> None:
        """Nobody goes on before all have come here."""
        self._exchange(b"", [0] * self.size)

    def first(self, function: Callable[[], T]) -> T:
        """function() of rank 0, on all ranks; what it raises is raised by all."""
        if self.size == 1:
            return function()
        made: Any = None
        error: BaseException | None = None
        message = b""
        if self.rank == 0:
            try:
                made = function()
            except Exception as raised:
                error = raised
            message, error = _packed(made, error)
        one = np.array([[len(message)]], np.int64)
        length = int(self.gather(one, [1] * self.size)[0, 0])
        rows = self._exchange(message, [length] + [0] * (self.size - 1))
        if self.rank:
            made, error = pickle.loads(rows[0].tobytes())
        if error is not None:
            raise error
        return made

    def compare(self, given: dict[str, bytes]) -> None:
        """Raise on all ranks where one of these is not the same on all of them."""
        if self.size == 1:
            return
        sums = [hashlib.sha256(text).digest() for text in given.values()]
        mine = np.frombuffer(b"".join(sums), np.uint8).reshape(1, len(sums), -1)
        rows = self.gather(mine, [1] * self.size)
        differing = np.argwhere((rows != rows[0]).any(axis=2))
        if len(differing):
            rank, number = map(int, differing[0])
            raise ValueError(
                f"process {rank} has another {list(given)[number]} than process 0; all processes of a "
                "run are given the same."
            )

    def failed(self, code: int, line: str, lost: bool = False) -> int:
        """Say `line` of an error that ends the program of this rank, once where it ends all of them,
        else with the rank; returns the exit code: of the rank that failed first in their order where
        this one only lost another.
        """
        if not lost:
            print(line, file=sys.stderr)
        return code

    def all_here(self, place: str) -> bool:
        """Whether all ranks come to this place of the program, where an error has brought this one; the
        others may wait for it in a message, which it must not answer with another.
        """
        return True

    def expect_all(self, what: str) -> None:
        """Before a message that a user's program may ask for: RuntimeError where not all ranks do."""

    def flush(self) -> None:
        """Send what waits."""
        if self._pending:
            self.meet()

    def _exchange(self, body: bytes, sizes: Sequence[int]) -> list[np.ndarray]:
        """The bodies of all ranks; what waits and what is asked for goes before them."""
        if self.size == 1:
            return [np.frombuffer(body, np.uint8)]
        pending, self._pending = self._pending, []
        head = [np.array([self._asked]).tobytes(), *(item.part.tobytes() for item in pending)]
        message = np.frombuffer(b"".join([*head, body]), np.uint8)
        heads = [8 + 8 * sum(item.counts[rank] for item in pending) for rank in range(self.size)]
        found = self._gather(message, [a + b for a, b in zip(heads, sizes, strict=True)])

        asked = [rows[:8].view(np.int64)[0] for rows in found]
        self._heard = int(np.bitwise_or.reduce(asked))
        begin = [8] * self.size
        for item in pending:
            end = [at + 8 * count for at, count in zip(begin, item.counts, strict=True)]
            cut = zip(found, begin, end, strict=True)
            item.arrived(np.concatenate([rows[a:b].view(np.float64) for rows, a, b in cut]))
            begin = end
        return [rows[at:] for rows, at in zip(found, begin, strict=True)]


class Later:
    """A number of all ranks that nobody has asked for yet; float() sends what waits."""

    def __init__(
        self, ranks: Ranks, part: np.ndarray, counts: tuple[int, ...], finish: Callable
    ) -> None:
        self.part, self.counts = part, counts
        self._ranks, self._finish = ranks, finish
        self._value: float | None = None

    def arrived(self, rows: np.ndarray) -> None:
        self._value = self._finish(rows)

    def __float__(self) -> float:
        if self._value is None:
            self._ranks.flush()
        assert self._value is not None
        return self._value


def _travels(item: Any) -> bytes | None:
    """Its bytes for the other ranks; None where they would not have it again."""
    try:
        packed = pickle.dumps(item)
        pickle.loads(packed)
        return packed
    except Exception:
        return None


def _packed(made: Any, error: BaseException | None) -> tuple[bytes, BaseException | None]:
    """What rank 0 has to say to the others, and the error that all raise. One that does not travel is
    to them of the nearest kind that does, with its words: kinds have their exit codes.
    """
    if (packed := _travels((made, error))) is not None:
        return packed, error
    if error is None:
        error = TypeError(f"process 0 cannot send the others a {type(made).__name__}: no pickle.")
    kinds = [kind for kind in type(error).__mro__ if issubclass(kind, Exception)]
    for kind in kinds:
        with suppress(Exception):
            if packed := _travels((None, kind(str(error)))):
                return packed, error
    raise AssertionError("an Exception of a text travels")


ALONE = Ranks()
_current: ContextVar[Ranks] = ContextVar("ranks", default=ALONE)


def current() -> Ranks:
    """The ranks that share the runs of this process."""
    return _current.get()


@contextmanager
def joined(ranks: Ranks) -> Iterator[Ranks]:
    """Inside, runs are shared by these ranks."""
    token = _current.set(ranks)
    try:
        yield ranks
    finally:
        _current.reset(token)
