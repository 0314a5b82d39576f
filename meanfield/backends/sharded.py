"""Several processes for one run: those that torchrun has started join here, by torch.distributed.

The arithmetic of a part is in cpu/part.py and cuda/part.py; what the processes say to each other in processes/ranks.py.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import numpy as np

from ..checks import is_number
from ..processes.ranks import ALONE, RankLost, Ranks, current, joined

TIMEOUT = 60.0  # seconds
GRACE = 2.0  # … for the others to come to the same error
HEARD = 30.0  # … for the others to read why the process that keeps the store has ended
LOOK = 0.02


@contextmanager
def ranks(timeout: float = TIMEOUT) -> Iterator[Ranks]:
    """Share the runs inside among the processes that torchrun has started; without torchrun there
    is one.

        with mf.ranks():
            mf.simulate(flow, state, mf.RK4, dt="auto", t_end=200, observers=[recorder])

    Each process runs the whole script and holds a part of the particles; all get the same State, of
    the same bits as in one process. Process 0 writes files and says what happens; every process
    reads them, so their folder is one that all of them see.

    Parameters
    ----------
    timeout : seconds after which a process that does not come to a message is given up, mf.RankLost.
        A process that has ended is noticed at once. Longer than process 0 takes to write a checkpoint.

    Yields
    ------
    .rank (0 … size - 1) and .size; .meet() waits for all.

    Raises
    ------
    ValueError : for a timeout that is none; inside, for runs that cannot be shared: backends of torch,
        more processes than min(64, ⌈m/64⌉), or than ⌈m/256⌉ on GPUs.
    mf.RankLost : inside. The last checkpoint stands; the same script with exists="resume", or
        mf.resume, goes on from there in any number of processes.

    Notes
    -----
    All processes ask for the same: mf.simulate, and moment.state of an observer of your own, are made by
    all together, and where one alone asks for them, all end. What flows say of a State, and mf.diagnose, each
    makes alone. An observer that raises in all of them has its checkpoint, one that raises in one has none.

    One message for each mean feature and one for the numbers of a step: every rank gets the partial
    sums of all shards, 64·n·K numbers, and adds them in the order of one process. gloo's all_reduce adds
    in an order of its own. Sums over pairs gather θ, and so do reactions and mf.Sphere. With
    backend="cuda" each process has the GPU of its LOCAL_RANK, and 1024·n·K numbers go from GPU to GPU by
    nccl where no two share one, else through the host; no GPU has run either yet.
    """
    if not is_number(timeout) or not 0 < timeout < float("inf"):
        raise ValueError(f"timeout must be a number of seconds > 0; got {timeout!r}.")
    if current() is not ALONE or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield current()
        return
    # else a store that has gone with its process is told in fifty lines of addresses
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from torch import distributed

    wait = timedelta(seconds=timeout)
    with explained(timeout):
        store, rank, size = _meeting_place(wait)
        distributed.init_process_group(
            "gloo", store=store, rank=rank, world_size=size, timeout=wait
        )
    lost = False
    made = Processes(distributed, store, timeout)
    try:
        with joined(made):
            yield made
    except RankLost:
        lost = True  # nobody is there to leave the group with
        raise
    finally:
        if not lost:
            distributed.destroy_process_group()
            made.wait_for_readers()


_met: list[Any] = []  # store, rank and size
_groups = itertools.count()


def _meeting_place(wait: timedelta) -> tuple[Any, int, int]:
    """(a store of this group alone, rank, size). A process meets the others once: process 0 may keep
    the store, and torchrun's still has what groups before this one wrote.
    """
    from torch import distributed

    if not _met:
        _met.extend(next(distributed.rendezvous("env://", timeout=wait)))
    store, rank, size = _met
    store.set_timeout(wait)
    return distributed.PrefixStore(f"group/{next(_groups)}", store), rank, size


class Processes(Ranks):
    """The ranks of a torch.distributed group. store: where a rank that fails says so, for it cannot
    do it by a message that the others do not expect.
    """

    def __init__(self, distributed: Any, store: Any, timeout: float) -> None:
        super().__init__()
        self._distributed, self._store, self.timeout = distributed, store, timeout
        self.rank, self.size = distributed.get_rank(), distributed.get_world_size()
        self._known: dict[int, dict[str, Any]] = {}  # failures
        self._expected: list[str] = []  # the names of all ranks, where they met last
        self._meetings = 0
        self._direct: dict[str, Any] = {}  # of a device

    def _gather(self, message: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
        import torch

        found = [torch.empty(size, dtype=torch.uint8) for size in sizes]
        found[self.rank].numpy()[:] = message
        others = [rank for rank in range(self.size) if rank != self.rank]
        # one to one: all_gather takes twice the time, in threads of its own, and wants one length
        with explained(self.timeout, self):
            sent = [self._distributed.isend(found[self.rank], rank) for rank in others]
            for work in sent + [self._distributed.irecv(found[rank], rank) for rank in others]:
                work.wait()
        return [rows.numpy() for rows in found]

    def direct(self, device: str, place: str) -> Any:
        if device not in self._direct:
            from .torch.direct import between

            self._direct[device] = between(self, device, place)
        return self._direct[device]

    def failed(self, code: int, line: str, lost: bool = False) -> int:
        if lost:  # and said where it was found, or by the one that failed
            return min(self.failures().items(), default=(0, {"code": code}))[1]["code"]
        mine = {"code": code, "line": line}
        everywhere, mute = False, False
        with suppress(RuntimeError):  # of a store that has gone with its process
            self._store.set(f"failed/{self.rank}", json.dumps(mine))
            begun = time.monotonic()
            while len(known := self.failures()) < self.size and time.monotonic() - begun < GRACE:
                time.sleep(LOOK)
            everywhere = len(known) == self.size and all(item == mine for item in known.values())
            name = hashlib.sha256(line.encode()).hexdigest()
            mute = (everywhere and self.rank > 0) or self._store.add(f"said/{name}", 1) > 1
        if not mute:
            print(line if everywhere else f"process {self.rank}: {line}", file=sys.stderr)
        return code

    def all_here(self, place: str) -> bool:
        names = [f"{place}/{rank}" for rank in range(self.size)]
        with suppress(RuntimeError):  # of a store that has gone with its process
            self._store.set(names[self.rank], "")
            begun = time.monotonic()
            while not (together := self._store.check(names)) and time.monotonic() - begun < GRACE:
                time.sleep(LOOK)
            return together
        return False

    def expect_all(self, what: str) -> None:
        """By the store: gloo aborts a process that sends what the others do not expect. Half of the
        time that they wait for their own message.
        """
        self._meetings += 1
        names = [f"{what}/{self._meetings}/{rank}" for rank in range(self.size)]
        self._store.set(names[self.rank], "")
        try:
            self._store.wait(names, timedelta(seconds=self.timeout / 2))
        except RuntimeError as error:
            raise RuntimeError(
                f"process {self.rank} asks for {what}, and not all {self.size} processes of the run do, which "
                "make it together; or one has ended."
            ) from error
        if self._expected:  # all have been there: the message came after
            self._store.delete_key(self._expected[self.rank])
        self._expected = names

    def failures(self) -> dict[int, dict[str, Any]]:
        """The exit code and the line of each rank that has failed, as far as it is known here."""
        names = {rank: f"failed/{rank}" for rank in range(self.size) if rank not in self._known}
        with suppress(RuntimeError):  # of a store that has gone, which it may once this has heard
            for rank, name in names.items():
                if self._store.check([name]):
                    self._known[rank] = json.loads(self._store.get(name))
            if self._known:
                self._store.set(f"heard/{self.rank}", "")
        return self._known

    def wait_for_readers(self) -> None:
        """Of a rank 0 that keeps the store, which torchrun does itself, and knows of a failure: until
        the others do.
        """
        if self.rank or not self._known or os.environ.get("TORCHELASTIC_USE_AGENT_STORE"):
            return
        begun, names = time.monotonic(), [f"heard/{rank}" for rank in range(self.size)]
        while time.monotonic() - begun < HEARD and not self._store.check(names):
            time.sleep(LOOK)


@contextmanager
def explained(timeout: float, ranks: Processes | None = None) -> Iterator[None]:
    """Errors of the group in our words."""
    try:
        yield
    except RuntimeError as error:
        if ranks is not None and (failures := ranks.failures()):
            rank = min(failures)
            raise RankLost(f"process {rank} has failed: {failures[rank]['line']}") from None
        said = " ".join(str(error).split())[:160]
        message = (
            f"process {os.environ.get('RANK', '?')}: another process of this run has ended, or has not "
            f"answered for {timeout:g} s. What was published is safe: start the run again, in any number of "
            "processes, and it goes on from its last checkpoint."
        )
        # at once: torchrun ends the others as soon as it has found the one that is lost
        say(message)
        raise RankLost(f"{message} torch: {said}") from None  # its own traceback says no more


@functools.cache  # once: who finds nobody there asks again on the way out
def say(message: str) -> None:
    print(f"meanfield: {message}", file=sys.stderr, flush=True)
