"""Many small runs at once: processes of one thread each train and measure them, for one small run does
not keep several cores busy.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any

from meanfield.processes.interruption import signals
from meanfield.processes.workers import NoWorkers, WorkerDied, Workers

LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Run:
    """Two functions without arguments that another process can have, one after the other."""

    train: Callable[[], Any]
    measure: Callable[[], Any]


class Call:
    """The job of the workers: a task is what to call."""

    def answer(self, task: Callable[[], Any]) -> Any:
        return task()


def measured(
    runs: Sequence[Run], count: int, meanwhile: Callable[[], Any] = dict
) -> Iterator[tuple[int, Any]]:
    """(number, run.measure() after run.train()) of each run, as `count` processes have them.

    The first run compiles what all of them find in the cache, and another process calls meanwhile(),
    which compiles what measuring takes. The work of a process that died is done here. An error of a
    run ends all, and so does a signal, with KeyboardInterrupt: what was in hand goes on from its last
    checkpoint another time.
    """
    train, measure = deque(enumerate(runs)), deque[tuple[int, Run]]()
    busy: dict[Future, tuple[int, Run, bool]] = {}
    first = True
    with signals() as received, Workers(Call(), count) as workers:
        compiling = workers.submit(meanwhile)
        while train or measure or busy:
            free = count - len(busy) - (not compiling.done())
            while free > 0 and (measure or (train and not (first and busy))):
                last = bool(measure)
                number, run = (measure if last else train).popleft()
                busy[workers.submit(run.measure if last else run.train)] = number, run, last
                free -= 1
            done = wait(busy or [compiling], LOOK_SECONDS, FIRST_COMPLETED).done & busy.keys()
            if received:
                raise KeyboardInterrupt
            first = first and not done
            for future in done:
                number, run, last = busy.pop(future)
                try:
                    answer = future.result()
                except (NoWorkers, WorkerDied):
                    answer = (run.measure if last else run.train)()
                if last:
                    yield number, answer
                else:
                    measure.append((number, run))
