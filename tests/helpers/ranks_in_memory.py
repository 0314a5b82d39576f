"""Ranks that are threads of one process: what several processes do, without starting them.

One thread works at a time, from one message to the next: numba's threads are not for two at once.
"""

import threading
from collections.abc import Callable
from typing import Any

from meanfield.processes.ranks import RankLost, Ranks, joined


class Table:
    """Where the messages lie: a baton goes round, and who has it works."""

    def __init__(self, size: int) -> None:
        self.size, self.turn = size, 0
        self.messages: dict[int, dict[int, Any]] = {}
        self.changed = threading.Condition()
        self.left: set[int] = set()

    def wait(self, rank: int) -> None:
        with self.changed:
            came = self.changed.wait_for(lambda: self.left or self.turn == rank, timeout=60)
        if self.left or not came:
            raise RankLost(f"these ranks have left: {self.left}")

    def give(self, rank: int) -> None:
        with self.changed:
            self.turn = (rank + 1) % self.size
            self.changed.notify_all()


class OneOfThreads(Ranks):
    def __init__(self, table: Table, rank: int) -> None:
        super().__init__()
        self.table, self.rank, self.size = table, rank, table.size
        self.count = self.bytes = 0  # messages, and bytes that came from others

    def _gather(self, message, sizes):
        assert message.nbytes == sizes[self.rank]
        table = self.table
        laid = table.messages.setdefault(self.count, {})
        laid[self.rank] = message.copy()
        table.give(self.rank)
        table.wait(self.rank)  # the baton came round: all have laid theirs down
        table.messages.pop(self.count - 1, None)  # read by all, for all have laid down this one
        self.count += 1
        self.bytes += sum(sizes) - message.nbytes
        return [laid[rank] for rank in range(self.size)]


def together(size: int, work: Callable[[Ranks], Any]) -> list[Any]:
    """work(ranks) of each of `size` ranks; the first error of any is raised."""
    table = Table(size)
    results: list[Any] = [None] * size
    errors: dict[int, BaseException] = {}

    def one(rank: int) -> None:
        ranks = OneOfThreads(table, rank)
        try:
            table.wait(rank)
            with joined(ranks):
                results[rank] = work(ranks)
        except BaseException as error:
            errors[rank] = error
            table.left.add(rank)
        finally:
            table.give(rank)

    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        kept = [errors[rank] for rank in sorted(errors)]
        raise next((error for error in kept if not isinstance(error, RankLost)), kept[0])
    return results
