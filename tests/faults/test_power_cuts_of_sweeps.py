"""A sweep, and its worker, cut off before each of their calls that change the disk: by a kill, and
by a power cut (helpers/disk_model.py).

Whatever is left, the sweep can be made again, or is there; and the next worker publishes every run
with the bits of an undisturbed one, and leaves nothing else.
"""

import os

import pytest
from disk_model import Disk, folders_left
from dying_worker import TERMS, sweep

import meanfield as mf
from sims.sweeps import leases, workers
from sims.sweeps.folders import SweepFolder

AMOUNTS = [(13, 1), pytest.param((1, 4), marks=pytest.mark.slow)]


def content(here):
    (name,) = here.plan.runs
    with mf.Trajectory(here.run(name)) as run:
        return run.content_hash()


def aged(here):
    """As if every lease had been left alone for an hour."""
    for path in here.leases.glob("[0-9a-f]*"):
        then = leases.now_ns(here.leases) - int(3600e9)
        os.utime(path, ns=(then, then))


@pytest.mark.parametrize("amount", AMOUNTS)
def test_a_sweep_is_made_or_can_be_made_again(amount, tmp_path):
    (tmp_path / "watched").mkdir()
    disk = Disk(tmp_path / "watched")
    with disk.watched():
        right = sweep(tmp_path / "watched" / "sweep").manifest.read_bytes()
    stride, most = amount
    for _, folder in folders_left(disk.cuts[:: min(3, stride)], tmp_path / "cut", most):
        manifest = folder / "sweep" / "manifest.json"
        if manifest.is_file():
            assert manifest.read_bytes() == right
        assert sweep(folder / "sweep").manifest.read_bytes() == right


@pytest.mark.parametrize("amount", AMOUNTS)
def test_the_next_worker_finishes_a_sweep_wherever_one_is_cut(amount, tmp_path):
    here = sweep(tmp_path / "undisturbed")
    workers.work(here, TERMS)
    right = content(here)

    (tmp_path / "watched").mkdir()
    here = sweep(tmp_path / "watched" / "sweep")
    disk = Disk(tmp_path / "watched")
    with disk.watched():
        workers.work(here, TERMS)
    assert content(here) == right

    stride, most = amount
    for cut, folder in folders_left(disk.cuts[::stride], tmp_path / "cut", most):
        here = SweepFolder(folder / "sweep")
        if here.published():
            assert content(here) == right
        aged(here)
        assert workers.work(here, TERMS) == 0, cut.call
        assert content(here) == right
        assert not [*here.work.iterdir(), *here.failed.iterdir(), *here.leases.glob("[0-9a-f]*")]
