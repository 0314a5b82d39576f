"""Rows from the GPU of each rank to those of all, by torch's nccl, without the host between.

The partial sums of slabs go this way; all else that ranks say goes by gloo. A kernel of nccl waits on the
GPU for a rank that has ended, and nobody can call it back. So no rank begins one before its own GPU is idle
and all have met by gloo, where a rank that has ended is found at once: what may be waited for in vain is the
way of the rows alone. That wait is the host's, and has an end. Where the process then cannot end, for its GPU
still waits, torchrun ends it, or torch itself (TORCH_NCCL_ASYNC_ERROR_HANDLING). As the host waits before and
after, the streams of numba and of torch need not be one.

Not yet run on a GPU. In CUDA's simulator the same is done with arrays of the host, by a group of gloo.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from torch import distributed

from ...processes.ranks import RankLost
from ..sharded import Processes, explained, say

VARIABLE = "MEANFIELD_NCCL"  # 0: through the host
HOST = "cpu"  # torch's name of it
LOOK = 1e-5  # seconds
SERVES, FAILS, HANGS = range(3)


class Direct:
    """The rows of all ranks for the device of each, `place` to torch."""

    def __init__(self, ranks: Processes, group: Any, place: str) -> None:
        self.ranks, self.group, self.place = ranks, group, place
        self.seconds = ranks.timeout / 2  # torch ends a process that waits for all of it

    def gather(self, mine: torch.Tensor, counts: Sequence[int], whole: torch.Tensor) -> None:
        """whole = the rows of all ranks one below the other; counts: how many each has. Nothing is
        under way on the device.
        """
        self.ranks.meet()
        with explained(self.seconds, self.ranks):
            self._send(mine, counts, whole, self.seconds)

    def _send(
        self, mine: torch.Tensor, counts: Sequence[int], whole: torch.Tensor, seconds: float
    ) -> None:
        parts = torch.split(whole, list(counts))
        parts[self.ranks.rank].copy_(mine)
        works = [
            distributed.broadcast(part, rank, group=self.group, async_op=True)
            for rank, part in enumerate(parts)
        ]
        begun = time.monotonic()
        while not all(work.is_completed() for work in works):
            if time.monotonic() - begun > seconds:
                raise RuntimeError("the rows of another device did not come")
            time.sleep(LOOK)
        for work in works:
            work.wait()  # raises what went wrong; kernels to come wait for the rows

    def trial(self) -> tuple[int, str]:
        """Whether a few rows arrive, and what is wrong. In a thread: to begin, nccl waits for the
        others without an end.
        """
        found = [(HANGS, "no answer")]
        thread = threading.Thread(target=lambda: found.append(self._tried()), daemon=True)
        thread.start()
        thread.join(self.seconds)
        return found[-1]

    def _tried(self) -> tuple[int, str]:
        counts, own = range(1, self.ranks.size + 1), self.ranks.rank + 1
        values = np.repeat(np.sqrt(counts), counts)
        if self.place != HOST:
            torch.cuda.set_device(self.place)  # of this thread
        on_device = {"dtype": torch.float64, "device": self.place}
        mine = torch.full((own,), own**0.5, **on_device)
        whole = torch.zeros(len(values), **on_device)
        try:
            self._send(mine, counts, whole, float("inf"))
            same = np.array_equal(whole.cpu().numpy(), values)
        except Exception as error:
            return FAILS, " ".join(str(error).split())[:160]
        return (SERVES, "") if same else (FAILS, "other numbers than were sent")


def between(ranks: Processes, device: str, place: str) -> Direct | None:
    """… these ranks; None where rows go through the host: two have one device, a torch is without nccl, or it
    does not serve. device: a name that no other has.
    """
    able = place == HOST or (distributed.is_nccl_available() and torch.cuda.is_available())
    able = able and os.environ.get(VARIABLE) != "0"
    named = np.frombuffer(device.encode() if able else b"", np.uint8)
    names = ranks.gather(np.pad(named, (0, 64 - len(named)))[None], [1] * ranks.size)
    if len(np.unique(names, axis=0)) < ranks.size or not names.any(axis=1).all():
        return None
    if place != HOST:
        torch.cuda.set_device(place)
    backend, wait = "gloo" if place == HOST else "nccl", timedelta(seconds=ranks.timeout)
    made = Direct(ranks, distributed.new_group(backend=backend, timeout=wait), place)
    outcome, fault = made.trial()
    outcomes = ranks.gather(np.array([[outcome]]), [1] * ranks.size)[:, 0]
    worst = int(outcomes.max())
    if worst == SERVES:
        return made
    line = f"nccl does not serve between the GPUs of these processes ({fault or 'another has said why'}); "
    line += f"with {VARIABLE}=0 " * (worst == HANGS) + "sums go through the host."
    if ranks.rank == int(np.argmax(outcomes)):
        say(line)
    if worst == HANGS:  # what was begun may still be on the GPU
        raise RankLost(line)
    return None
