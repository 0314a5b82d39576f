"""mf.W2: distances beside a run are those of mf.w2 on its frames, bit for bit, through kills; the
steps go on meanwhile.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from watched_run import GATE, START, Foreign, Gated, Mortal, Stuck, X, flow, watched

import meanfield as mf
from meanfield.diagnostics.inspection import report
from meanfield.files.recording import Recording, unfinished
from meanfield.observers import distances as w2_beside
from meanfield.observers.distances import Beside
from meanfield.transport.distances import SlowSolve


def content(path):
    with mf.Trajectory(path) as run:
        return run.content_hash()


def distances(run):
    """Of the frames, one after the other."""
    return [mf.w2(run.start, frame) for frame in run], [mf.w2(a, b) for a, b in pairwise(run)]


@pytest.fixture
def gate(tmp_path, monkeypatch):
    """The file that Gated solvers wait for."""
    monkeypatch.setenv(GATE, str(tmp_path / "gate"))
    monkeypatch.setattr(w2_beside, "Solver", Gated)
    return tmp_path / "gate"


# ---- the values


@pytest.mark.parametrize(("dtype", "outputs", "workers"), [("float64", 1, 1), ("float32", 2, 2)])
def test_the_values_are_mf_w2_of_the_frames_bit_for_bit_and_in_order(
    h5_path, dtype, outputs, workers
):
    """Unequal masses, start and end included though the schedule names neither; the frames are at
    the same moments.
    """
    state = mf.InitialLaw(dim=1, outputs=outputs, b_std=1.0).sample(40, seed=3)
    mass = np.random.default_rng(1).uniform(0.5, 1.5, 40)
    state = mf.State(state.theta.astype(dtype), outputs, mass / mass.sum())
    w2 = mf.W2(mf.every(7), previous=True, workers=workers)
    watched(mf.Recorder(h5_path, mf.every(7)), w2, of=flow(dtype, outputs), state=state)
    run = mf.Trajectory(h5_path)
    assert (
        run.steps.tolist() == w2.steps == [*range(0, 60, 7), 60] and w2.times == run.times.tolist()
    )
    assert (w2.values, w2.step_values) == distances(run)
    assert w2.values[0] == 0.0 < min(w2.values[1:])
    for name, steps, values in (
        ("w2", w2.steps, w2.values),
        ("w2_step", w2.steps[1:], w2.step_values),
    ):
        found = run.series(name)
        assert (found.steps.tolist(), found.values.tolist()) == (steps, values)
        assert found.times.tolist() == w2.times[-len(steps) :]
    assert any("w2 every(7)" in line for line in report(run))


def test_without_a_recorder_the_values_are_kept_in_the_observer():
    """Of the last run."""
    w2 = mf.W2(mf.evenly(4))
    w2.keep("w2", 7, 0.7, 1.0)
    end = watched(w2, steps=3)
    assert w2.steps == [0, 1, 2, 3] and w2.values[-1] == mf.w2(START, end) and w2.step_values == []


def test_once_the_particles_are_no_numbers_the_distance_is_none_either(tmp_path):
    """Steps of 1e200 overflow at once; a run that stops there still has the distances up to the
    last good frame.
    """
    wild = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu"), X, np.abs(X[:, 0])))
    w2 = mf.W2(mf.every(1), previous=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mf.simulate(wild, START, mf.EULER, dt=1e200, n_steps=4, observers=[w2], progress=False)
        assert w2.values[0] == 0.0 and np.isnan(w2.values[-1]) and np.isnan(w2.step_values[-1])
        path = tmp_path / "run.h5"
        with pytest.raises(mf.Diverged):
            watch = [mf.Recorder(path, mf.every(1)), w2, mf.StopOnNonFinite()]
            mf.simulate(wild, START, mf.EULER, dt=1e200, n_steps=4, observers=watch, progress=False)
    run = mf.Trajectory(path)
    assert (
        run.status == "diverged"
        and run.series("w2").steps.tolist() == run.steps.tolist() == w2.steps
    )
    assert np.isfinite(w2.values).all()


# ---- beside the run


def test_the_steps_go_on_while_a_distance_is_being_solved(h5_path, gate):
    """No process answers before the last step is done, so a run that waited for one would never
    end.
    """

    def last(flow, state):
        if state.step == 60:
            assert w2.values == []
            gate.touch()
        return 0.0

    w2 = mf.W2(mf.evenly(6), previous=True, workers=2)
    watched(mf.Recorder(h5_path, mf.evenly(6)), w2, mf.Series("last", mf.every(1), last))
    assert (w2.values, w2.step_values) == distances(mf.Trajectory(h5_path))


def test_with_too_many_snapshots_waiting_the_stepping_waits(gate, monkeypatch):
    """Three may wait: with the fourth, at step 3, no further step is taken until an answer comes."""
    monkeypatch.setattr(w2_beside, "WAITING", 3)
    steps, seen = [], []

    def look(flow, state):
        steps.append(state.step)
        return 0.0

    def open_late():
        time.sleep(0.5)
        seen.extend(steps)
        gate.touch()

    opener = threading.Thread(target=open_late)
    w2 = mf.W2(mf.every(1))
    opener.start()
    watched(w2, mf.Series("look", mf.every(1), look), steps=12)
    opener.join()
    assert seen[-1] <= 3 and w2.steps == list(range(13))


def test_a_progress_line_says_that_the_run_waits_at_its_end(gate, capsys):
    timer = threading.Timer(0.5, gate.touch)
    timer.start()
    watched(mf.W2(mf.evenly(4)), progress=True)
    timer.join()
    assert "meanfield: waiting for the W2 of 4 snapshots" in capsys.readouterr().err


# ---- nothing is lost


def interrupting(number):
    """A guard, called before each checkpoint, that asks the run to stop at its call of that number."""
    calls = []

    def guard():
        calls.append(None)
        if len(calls) == number:
            signal.raise_signal(signal.SIGINT)

    return guard


def test_an_interrupted_run_waits_for_no_distance_and_goes_on_from_its_file_to_the_same_bits(
    tmp_path, gate
):
    path, whole, w2 = tmp_path / "run.h5", tmp_path / "whole.h5", mf.W2(mf.every(5), previous=True)
    with pytest.raises(mf.Interrupted):
        watched(mf.Recorder(path, mf.evenly(3), checkpoint_seconds=0, guard=interrupting(23)), w2)
    assert w2.values == [] and "w2" not in mf.Trajectory(path).series_names
    recording, memory = Recording.reopen(path)
    recording.close()
    assert [item["step"] for item in memory["observers"]["w2"]["memory"]["pending"]] == [
        0,
        5,
        10,
        15,
        20,
    ]
    gate.touch()
    watched(mf.Recorder(whole, mf.evenly(3)), mf.W2(mf.every(5), previous=True, workers=2))
    again = mf.W2(mf.every(5), previous=True)
    watched(mf.Recorder(path, mf.evenly(3), exists="resume"), again)
    assert content(path) == content(whole)
    assert again.steps == list(range(0, 61, 5)) and len(again.step_values) == 12
    with mf.Trajectory(whole) as run:
        assert again.values == run.series("w2").values.tolist()
        assert again.step_values == run.series("w2_step").values.tolist()


def test_a_run_interrupted_while_it_waits_at_its_end_has_only_the_distances_left_to_do(
    tmp_path, gate
):
    path, whole = tmp_path / "run.h5", tmp_path / "whole.h5"
    timer = threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(mf.Interrupted, match="step 60"):
        watched(mf.Recorder(path, mf.evenly(3)), mf.W2(mf.every(20), previous=True))
    timer.join()
    gate.touch()
    mf.resume(path, progress=False)
    watched(mf.Recorder(whole, mf.evenly(3)), mf.W2(mf.every(20), previous=True))
    assert content(path) == content(whole)


SCRIPT = """
import os, signal, subprocess, sys
sys.path[:0] = {paths!r}
import watched_run as t
import meanfield as mf
from meanfield.observers import distances
from meanfield.processes import workers
distances.Solver = t.Gated
class Popen(subprocess.Popen):
    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        if workers.PROGRAM in self.args:
            print(self.pid, flush=True)
workers.subprocess.Popen = Popen
calls = []
def guard():
    calls.append(None)
    if len(calls) == {kill}:
        os.kill(os.getpid(), signal.SIGKILL)
if {resume}:
    mf.resume({path!r}, progress=False, checkpoint_seconds=0, guard=guard)
t.watched(mf.Recorder({path!r}, mf.evenly(3), checkpoint_seconds=0, guard=guard), mf.W2(mf.every(5), previous=True, workers=2))
"""


def test_a_killed_run_goes_on_to_the_same_bits_and_leaves_no_process_behind(tmp_path, gate):
    """SIGKILL while distances wait, in a script without a __main__ guard, and again in the resumed
    run.
    """
    path, whole = tmp_path / "run.h5", tmp_path / "whole.h5"
    paths = [str(Path(__file__).parents[1] / "helpers"), str(Path(mf.__file__).parents[1])]
    for resume, kill in ((False, 20), (True, 9)):
        program = SCRIPT.format(paths=paths, path=str(path), kill=kill, resume=resume)
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert unfinished(path) and "w2" not in mf.Trajectory(path).series_names
        processes = [int(line) for line in done.stdout.split()]
        assert len(processes) == 2
        deadline = time.monotonic() + 20
        while alive(processes) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not alive(processes)
    gate.touch()
    mf.resume(path, progress=False)
    watched(mf.Recorder(whole, mf.evenly(3)), mf.W2(mf.every(5), previous=True))
    assert content(path) == content(whole)


def alive(processes):
    """Those that are there and no zombies."""
    found = subprocess.run(
        ["ps", "-o", "stat=", "-p", ",".join(map(str, processes))],
        capture_output=True,
        text=True,
        check=False,
    )
    return [state for state in found.stdout.split() if not state.startswith("Z")]


def test_an_extended_run_goes_on_from_the_snapshot_at_its_old_end(tmp_path):
    path = tmp_path / "run.h5"
    watched(mf.Recorder(path, mf.every(10)), mf.W2(mf.every(10), previous=True), steps=25)
    mf.resume(path, t_end=5.0, progress=False)
    run = mf.Trajectory(path)
    assert run.series("w2").steps.tolist() == run.steps.tolist() == [0, 10, 20, 25, 30, 40, 50]
    assert (run.series("w2").values.tolist(), run.series("w2_step").values.tolist()) == distances(
        run
    )


# ---- what goes wrong


@pytest.mark.parametrize(
    ("solver", "workers", "said"),
    [
        (
            Mortal,
            2,
            "w2 at step 30 is solved in the run's own process.*ended with code 3.*1 of them left",
        ),
        (Mortal, 1, "w2 at step 30 .*ended with code 3.*none is left, so the run waits"),
        (Foreign, 1, "w2 at step 0 .*ImportError: no such module here.*none is left"),
    ],
)
def test_what_a_worker_does_not_solve_is_solved_in_the_runs_own_process(
    h5_path, monkeypatch, solver, workers, said
):
    monkeypatch.setattr(w2_beside, "Solver", solver)
    w2 = mf.W2(mf.evenly(5), workers=workers)
    with pytest.warns(RuntimeWarning) as caught:
        watched(mf.Recorder(h5_path, mf.evenly(5)), w2)
    assert w2.values == distances(mf.Trajectory(h5_path))[0]
    assert len(caught) == 1 and Path(caught[0].filename).name == "watched_run.py"
    assert re.search(said, str(caught[0].message))


def test_a_solve_without_an_optimum_is_said_and_nan(monkeypatch):
    monkeypatch.setattr(w2_beside, "Solver", Stuck)
    w2 = mf.W2(mf.evenly(5))
    with pytest.warns(RuntimeWarning, match="w2 at step 30 is NaN: no plan"):
        watched(w2)
    assert np.isnan(w2.values).tolist() == [False, False, True, False, False]


def test_long_solves_are_announced_before_the_run_begins(h5_path):
    """Matched clouds: 1.5e-8 s · 30 000² · (1 + 3/10) = 18 s."""
    wide = mf.InitialLaw(dim=1, b_std=1.0).sample(30_000, seed=0)
    with pytest.warns(
        SlowSolve,
        match=r"30000 particles in 3 dimensions takes about 18 s .* 200 of them by 2 "
        r"worker\(s\): 29 min",
    ):
        Beside(mf.W2(mf.evenly(100), previous=True, workers=2), wide).announce(100)
    with warnings.catch_warnings(), pytest.raises(SlowSolve, match="; 12 of them by 1 worker"):
        warnings.simplefilter("error")
        watched(mf.Recorder(h5_path, mf.evenly(2)), mf.W2(mf.every(5)), state=wide)
    assert not h5_path.exists() and not unfinished(h5_path)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: mf.W2(5), TypeError, "a schedule is one of"),
        (
            lambda: mf.W2(mf.every(5), workers=0),
            ValueError,
            "workers must be an integer >= 1; got 0",
        ),
        (
            lambda: mf.W2(mf.every(5), previous=1),
            TypeError,
            "previous must be True or False; got 1",
        ),
        (
            lambda: watched(mf.W2(mf.every(5)), mf.W2(mf.every(6))),
            ValueError,
            "one run has one mf.W2",
        ),
        (
            lambda: watched(
                mf.W2(mf.every(5), previous=True),
                mf.Series("w2_step", mf.every(1), lambda flow, state: 0.0),
            ),
            ValueError,
            "mf.W2 writes series of these names itself: w2_step",
        ),
    ],
)
def test_what_makes_no_sense_is_said(make, error, message):
    with pytest.raises(error, match=message):
        make()
