"""Rows that go from the device of each rank to those of all without the host: by nccl between GPUs, here by
gloo between arrays of the host, which CUDA's simulator has for GPUs.
"""

import threading
import time

import numpy as np
import pytest
from ranks_in_memory import together
from started_ranks import started

from meanfield import RankLost, backends
from meanfield.backends.torch import direct

ROWS = """
import os
import numpy as np, torch, meanfield as mf

with mf.ranks(20) as ranks:
    found = ranks.direct(f"gpu {ranks.rank}", "cpu")
    counts = [2, 1, 3]
    for n in (5, 1000):
        rows = np.random.default_rng([ranks.rank, n]).normal(size=(counts[ranks.rank], 2, n))
        later = ranks.later(np.ones(1), (1, 1, 1), lambda parts: float(parts.sum()))
        whole = torch.empty((sum(counts), 2, n), dtype=torch.float64)
        found.gather(torch.from_numpy(rows), counts, whole)
        assert not ranks._pending and float(later) == 3.0
        assert np.array_equal(whole.numpy(), ranks.gather(rows, counts))
    assert ranks.direct(f"gpu {ranks.rank}", "cpu") is found

    assert ranks.direct("the only gpu", "cpu") is None
    if ranks.rank == 1:
        os.environ["MEANFIELD_NCCL"] = "0"
    assert ranks.direct(f"another gpu {ranks.rank}", "cpu") is None
    assert ranks.direct(f"gpu {ranks.rank}", "cpu") is found
"""

LOST = """
import os
import torch, meanfield as mf

with mf.ranks(20) as ranks:
    found = ranks.direct(f"gpu {ranks.rank}", "cpu")
    if ranks.rank == 1:
        ranks.meet()
        os.abort()
    found.gather(torch.ones(1), [1, 1], torch.empty(2))
"""

RUN = """
import os, sys
import numpy as np, meanfield as mf
from numba import cuda
from tests.helpers.cuda_simulator import quicken_simulator

if os.environ.get("NUMBA_ENABLE_CUDASIM"):
    quicken_simulator()
    cuda.get_current_device().uuid = f"GPU-{os.environ.get('RANK')}"
x = np.linspace(-1, 1, 4)[:, None]
risk, start = mf.EmpiricalRisk(mf.Network("tanh"), x, np.abs(x[:, 0])), mf.InitialLaw(1).sample(300, seed=0)
flow = mf.GradientFlow(risk, backend="cuda")
energies = mf.Series("energy", mf.every(1))
with mf.ranks(100) as ranks:
    end = mf.simulate(flow, start, mf.EULER, 0.1, n_steps=1, observers=[energies])
    mf.simulate(mf.GradientFlow(risk), start, mf.EULER, 0.1, n_steps=1)
if ranks.rank == 0:
    np.savez(sys.argv[1], theta=end.theta, energies=energies.values)
"""


def said(processes, timeout=150):
    """(exit code, what it says) of each."""
    ends = [process.communicate(timeout=timeout) for process in processes]
    return [(process.returncode, end[1]) for process, end in zip(processes, ends, strict=True)]


def test_the_rows_of_all_are_those_that_the_host_gathers(tmp_path):
    """With the numbers that wait; and where two ranks have one device, or one is not to, by the host."""
    script = tmp_path / "script.py"
    script.write_text(ROWS)
    assert said(started(3, [str(script)])) == [(0, "")] * 3


def test_a_rank_that_ends_where_others_wait_for_its_rows_is_lost_at_once(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(LOST)
    begun = time.monotonic()
    (code, text), _ = said(started(2, [str(script)]))
    assert code == 1 and time.monotonic() - begun < 20
    assert "RankLost: process 0: another process of this run has ended" in text


def runs(folder, counts, **more):
    """What RUN has found in each of these numbers of processes, and what it says."""
    script, found = folder / "script.py", []
    script.write_text(RUN)
    for count, variables in counts:
        file = folder / f"{len(found)}.npz"
        ends = said(started(count, [str(script), str(file)], **more, **variables), timeout=600)
        assert [code for code, _ in ends] == [0] * count, ends
        with np.load(file) as arrays:
            found.append(({name: arrays[name].tolist() for name in arrays}, ends[0][1]))
    return found


def test_two_simulated_gpus_have_the_bits_of_one(tmp_path):
    """300 particles are slabs of 256 and 44. Through the host: test_torchrun.py."""
    pytest.importorskip("numba_cuda", reason="the CUDA backend needs numba-cuda (Linux only)")
    (one, _), (two, said) = runs(tmp_path, [(1, {}), (2, {})], NUMBA_ENABLE_CUDASIM="1")
    assert one == two
    assert said.count("their sums go from GPU to GPU by nccl") == 1  # not of the run on CPUs


def gpus():
    """How many are here."""
    if backends.why_no_cuda() is not None:
        return 0
    from numba import cuda

    return len(cuda.gpus)


@pytest.mark.gpu
@pytest.mark.skipif(gpus() < 2, reason="fewer than two GPUs")
def test_two_gpus_have_the_bits_of_one(tmp_path):
    """By nccl, and through the host."""
    (one, _), (two, said), (by_host, other) = runs(
        tmp_path, [(1, {}), (2, {}), (2, {"MEANFIELD_NCCL": "0"})]
    )
    assert one == two == by_host
    assert "their sums go from GPU to GPU by nccl" in said
    assert "their sums go through the host by gloo" in other


# ---- without processes


class Work:
    """A message that is under way until its end."""

    def __init__(self, completed):
        self.completed = completed

    def is_completed(self):
        return self.completed

    def wait(self):
        assert self.completed


class Two:
    """Ranks that have all come, and the first of two."""

    rank, size, timeout = 0, 2, 0.4

    def meet(self):
        self.met = True

    def failures(self):
        return {}


def test_rows_that_do_not_come_are_given_up_in_half_of_the_time(monkeypatch, capsys):
    """Torch ends the process after all of it, by a thread of its own."""
    import torch

    monkeypatch.setattr(direct.distributed, "broadcast", lambda *_, **__: Work(False))
    found, begun = direct.Direct(Two(), None, "cpu"), time.monotonic()
    with pytest.raises(RankLost, match=r"has not answered for 0.2 s.*rows of another device did"):
        found.gather(torch.ones(1), [1, 1], torch.empty(2))
    assert found.ranks.met and 0.2 <= time.monotonic() - begun < 10


def tried(monkeypatch, broadcast):
    """What two ranks have between them with this broadcast."""
    monkeypatch.setattr(direct.distributed, "broadcast", broadcast)
    monkeypatch.setattr(direct.distributed, "new_group", lambda **_: None)

    def work(ranks):
        ranks.timeout = 1.0
        return direct.between(ranks, f"gpu {ranks.rank}", "cpu")

    return together(2, work)


def test_what_does_not_serve_is_said_once_and_left(monkeypatch, capsys):
    direct.say.cache_clear()
    assert tried(monkeypatch, lambda *_, **__: Work(True)) == [None, None]
    assert capsys.readouterr().err == (
        "meanfield: nccl does not serve between the GPUs of these processes (other numbers than were sent); "
        "sums go through the host.\n"
    )

    def fail(*_, **__):
        raise RuntimeError("NCCL error: Duplicate GPU detected")

    assert tried(monkeypatch, fail) == [None, None]
    assert "(NCCL error: Duplicate GPU detected); sums go" in capsys.readouterr().err


def test_what_never_answers_ends_the_run_and_says_how_to_do_without(monkeypatch, capsys):
    """It may have left a kernel on the GPU, and torch would end the process later."""
    asked, done = threading.Event(), threading.Event()

    def wait(*_, **__):
        asked.set()
        done.wait()
        raise RuntimeError("late")

    with pytest.raises(RankLost, match=r"\(no answer\); with MEANFIELD_NCCL=0 sums go through"):
        tried(monkeypatch, wait)
    assert capsys.readouterr().err.count("no answer") == 1
    assert asked.is_set()
    done.set()
