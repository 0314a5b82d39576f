"""Runs that get signals at random instants, and runs that two processes want: what is published can
be read at every instant, and in the end the bits are those of an undisturbed run.
"""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import dying_run
import pytest
import toy_run
import two_writers

import meanfield as mf

ROOT = Path(__file__).resolve().parents[2]
HELPERS = ROOT / "tests" / "helpers"


def content(path):
    with mf.Trajectory(path) as run:
        return run.content_hash()


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    """The content of undisturbed runs by kind: as begun, and as extended."""
    folder, found = tmp_path_factory.mktemp("right"), {}
    for kind in dying_run.KINDS:
        path = folder / f"{kind}.h5"
        dying_run.simulate(path, kind)
        begun = content(path)
        mf.resume(path, dying_run.LONGER[kind], progress=False)
        found[kind] = begun, content(path)
    return found


def said(script, *words):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NUMBA_NUM_THREADS": "1"}
    command = [sys.executable, str(HELPERS / script), *map(str, words)]
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=1200
    )
    return [line.split() for line in done.stdout.splitlines()]


@pytest.mark.slow  # 20 of SIGKILL, and one of SIGINT and SIGTERM: tests/stepping/test_resume.py
@pytest.mark.parametrize(
    ("number", "count"), [("SIGTERM", 50), ("SIGINT", 50), ("SIGUSR1", 50), ("SIGKILL", 200)]
)
def test_signals_at_random_instants_leave_the_content_of_an_undisturbed_run(
    number, count, right, tmp_path
):
    """SIGTERM and SIGINT end a run after its checkpoint; SIGUSR1, of which a run knows nothing, ends
    the process, as SIGKILL does.
    """
    *found, kills = said("dying_run.py", tmp_path, count, number)
    assert kills == ["kills", str(count)]
    assert {kind for kind, _ in found} == set(dying_run.KINDS)
    assert all(digest == right[kind][1] for kind, digest in found)


def one_leaves(found, count, wanted):
    assert len(found) == count and not [line for line in found if "wrong:" in line]
    owned = [line for line in found if line[2] == "held"]
    assert all((code, changed) == ("6", "0") for _, code, _, changed, _ in owned)
    assert len(owned) >= count / 2 and len({line[0] for line in found}) == 4
    assert Counter(line[4] for line in found) == {wanted: count}


def test_of_two_writers_one_leaves_with_6_and_changes_no_byte(tmp_path):
    wanted = content(toy_run.whole(tmp_path / "whole.h5", steps=60))
    one_leaves(said("two_writers.py", tmp_path, 8, "toy"), 8, wanted)


@pytest.mark.slow
def test_of_two_simulations_of_one_run_one_leaves_with_6_and_changes_no_byte(right, tmp_path):
    one_leaves(said("two_writers.py", tmp_path, 100), 100, right[two_writers.KIND][0])


MILLION = """
import sys
import time
import numpy as np, meanfield as mf

x = np.random.default_rng(0).normal(size=(256, 2))
flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu"), x, np.abs(x[:, 0])))
start = mf.InitialLaw(dim=2, b_std=1.0).sample(10**6, seed=0)

def say(flow, state):
    print(state.step, flush=True)
    return 0.0

watch = [mf.Recorder(sys.argv[1], mf.evenly(3)), mf.Series("say", mf.every(1), say)]
try:
    mf.simulate(flow, start, mf.RK4, dt=0.1, n_steps=10**6, observers=watch, progress=False)
except mf.Interrupted:
    sys.exit(75)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_of_a_million_particles_serves_a_signal_within_five_seconds(number, tmp_path):
    """The step in hand is finished, a checkpoint of 32 MB published."""
    path = tmp_path / "run.h5"
    command = [sys.executable, "-c", MILLION, str(path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        while process.stdout.readline().strip() != "2":
            assert process.poll() is None
        begun = time.monotonic()
        process.send_signal(number)
        assert process.wait(60) == 75
        served = time.monotonic() - begun
    print(f"served in {served:.2f} s")
    assert served < 5
    with mf.Trajectory(path) as run:
        assert run.status == "unfinished" and run.start.m == 10**6
