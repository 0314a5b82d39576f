"""Workers of a sweep that are forks of the process that supervises them."""

import functools
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tiny_sweeps import hashes, made

import meanfield as mf
from meanfield.backends.cpu import launch
from meanfield.processes.workers import THREADS
from sims.sweeps import forks, workers
from sims.sweeps.workers import Terms

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no forks of workers here")


def forked(work, folder, threads=3):
    with open(folder / "log", "ab") as log:
        return forks.fork(work, threads, log)


def test_a_fork_has_a_session_a_log_and_its_number_of_threads(tmp_path):
    def work():
        print(os.getsid(0) == os.getpid(), {os.environ[name] for name in THREADS})
        print("to stderr", file=sys.stderr)
        return 75

    assert forked(work, tmp_path).wait() == 75
    assert (tmp_path / "log").read_text() == "True {'3'}\nto stderr\n"


def test_a_fork_that_raises_says_why_and_ends_with_1(tmp_path):
    assert forked(lambda: 1 // 0, tmp_path).wait(60) == 1
    assert "ZeroDivisionError" in (tmp_path / "log").read_text()


def test_a_fork_says_what_no_encoding_has(tmp_path):
    """A name of a file that is not UTF-8, say."""
    assert forked(lambda: print("run\udcff.h5") or 0, tmp_path).wait(60) == 0
    assert (tmp_path / "log").read_text() == "run\\udcff.h5\n"


def test_a_fork_is_waited_for_asked_and_killed_as_another_process(tmp_path):
    made = forked(lambda: time.sleep(600) or 0, tmp_path)
    assert made.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        made.wait(0.01)
    made.kill()
    assert made.wait(60) == made.poll() == -signal.SIGKILL
    made.send_signal(signal.SIGTERM)  # to nobody

    asked = forked(lambda: time.sleep(600) or 0, tmp_path)
    asked.send_signal(signal.SIGTERM)
    assert asked.wait(60) == -signal.SIGTERM


def test_tasks_are_done_in_forks_and_one_that_fails_there_raises_here(tmp_path):
    here = os.getpid()

    def task(name):
        (tmp_path / name).write_text(str(os.getpid()))

    forks.together([functools.partial(task, name) for name in "abc"], 2)
    assert len({here, *(int((tmp_path / name).read_text()) for name in "abc")}) == 4
    with pytest.raises(ZeroDivisionError):
        forks.together([lambda: 1 // 0, functools.partial(task, "d")], 1)


def test_while_a_process_loads_for_its_forks_nothing_is_looked_through_for_garbage():
    before = gc.isenabled()
    with pytest.raises(ZeroDivisionError), forks.loading():
        assert not gc.isenabled()
        raise ZeroDivisionError
    assert gc.isenabled() == before and gc.get_freeze_count() == 0


TOGETHER = """
import os, pathlib, sys, time
from sims.sweeps import forks

def task():
    pathlib.Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(600)

forks.together([task, task], 2)
"""


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_forks_that_compile_end_with_the_process_that_started_them(tmp_path, number):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, "-c", TOGETHER, tmp_path], env=environment)
    until(lambda: len(os.listdir(tmp_path)) == 2)
    parent.send_signal(number)
    assert parent.wait(60) == -number
    for name in os.listdir(tmp_path):
        until(functools.partial(over, name))


def over(process):
    """Whether it is gone, or waits for somebody who asks how it ended."""
    try:
        return ") Z " in Path("/proc", process, "stat").read_text()
    except OSError:
        return True


def until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_process_with_threads_is_not_forked(monkeypatch):
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    monkeypatch.setattr(launch, "started", lambda: False)
    assert forks.possible()
    monkeypatch.setattr(launch, "started", lambda: True)
    assert not forks.possible()
    monkeypatch.undo()
    over = threading.Event()
    waiting = threading.Thread(target=over.wait)
    waiting.start()
    assert not forks.possible()
    over.set()
    waiting.join()


LOADING = """
import sys
from sims.sweeps import forks, local_workers
from sims.sweeps.folders import SweepFolder
sweep = SweepFolder(sys.argv[1])
local_workers.compile_kernels(sweep)
local_workers.load(sweep)
assert forks.possible()
assert not {"torch", "matplotlib", "ot"} & sys.modules.keys()
"""


@pytest.mark.process
def test_what_workers_need_is_loaded_without_a_thread(tmp_path):
    sweep = made(tmp_path / "sweep", seeds=1)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", LOADING, sweep.path], env=environment, check=True)


@pytest.mark.process
def test_workers_of_the_command_are_forks_and_make_the_same_runs(tmp_path):
    calm, sweep = made(tmp_path / "calm"), made(tmp_path / "sweep")
    workers.work(calm, Terms())
    words = [sys.executable, "-m", "sims.commands.sweep", "work", sweep.path, "--workers", "2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(words, env=environment, check=True, capture_output=True)
    assert hashes(sweep) == hashes(calm)
    for name in sweep.plan.runs:
        with mf.Trajectory(sweep.run(name)) as run:
            assert "sims/commands/sweep.py work" in run.provenance["command"]
