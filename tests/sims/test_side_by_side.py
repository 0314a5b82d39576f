"""Small runs side by side: the rows and files of runs in turn, and what becomes of those that fail."""

import operator
import os
import signal
import threading
import time
from functools import partial

import pytest

import meanfield as mf
from sims import lazy_vs_mean_field as lazy
from sims.lab import runs
from sims.lab.side_by_side import Run, measured


def test_runs_side_by_side_have_the_rows_and_the_bits_of_runs_in_turn(tmp_path, monkeypatch):
    teacher = lazy.Teacher(n=20, dim=15, n_test=20, t_end=1.0)
    config = lazy.Config(tasks=("teacher",), gammas=(0.5, 1.0), widths=(8, 16), seeds=1, frames=3, teacher=teacher)  # fmt: skip
    in_turn = lazy.run(config, tmp_path / "turn")
    monkeypatch.setattr(lazy, "FEW", 0)
    monkeypatch.setattr(runs, "cores", lambda: 2)
    beside = lazy.run(config, tmp_path / "beside")
    assert beside.rows == in_turn.rows
    for row in in_turn.rows:
        with mf.Trajectory(tmp_path / "turn" / row.file) as one:
            with mf.Trajectory(tmp_path / "beside" / row.file) as other:
                assert one.content_hash() == other.content_hash()


def test_the_error_of_a_run_ends_all():
    runs = [Run(partial(operator.truediv, 1.0, x), partial(abs, -x)) for x in (1.0, 0.0)]
    with pytest.raises(ZeroDivisionError):
        list(measured(runs, 2))


def test_what_a_killed_process_had_in_hand_is_done_here():
    """Both processes end with their first task."""
    ends = partial(exec, f"import os\nif os.getpid() != {os.getpid()}: os._exit(9)")
    found = list(measured([Run(ends, partial(abs, -x)) for x in (1.0, 2.0, 3.0)], 2))
    assert sorted(found) == [(0, 1.0), (1, 2.0), (2, 3.0)]


def test_a_signal_ends_all_within_seconds():
    threading.Timer(3.0, signal.raise_signal, (signal.SIGINT,)).start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(measured([Run(partial(time.sleep, 60.0), dict)] * 2, 2))
    assert time.monotonic() - begun < 20.0
