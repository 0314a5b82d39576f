"""Runs of a sweep as tasks of dask: workers and the scheduler are killed, workers end, somebody
presses Ctrl-C; every run is published once, with the content of an undisturbed sweep.
"""

import collections
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from types import SimpleNamespace

import dask
import pytest
import tiny_sweeps
import xarray
from tiny_sweeps import hashes

import meanfield as mf
from meanfield.diagnostics.stored import folder_of
from meanfield.processes import interruption
from sims.commands import sweep as command
from sims.sweeps import dask_engine, dask_tasks, indexing, leases, workers
from sims.sweeps.workers import Terms
from sims.sweeps.workplaces import Place

ENDLESS = 1e6


def made(folder, seeds=1, **more):
    return tiny_sweeps.made(folder, seeds, **more)


def events(sweep):
    """(event, digest, more) of all logs, by time."""
    lines = [
        line.split(maxsplit=4)
        for path in sweep.logs.glob("*.log")
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    lines = sorted(words for words in lines if re.match(r"\d{4}-\d\d-", words[0]))
    return [(words[2], words[3], " ".join(words[4:])) for words in lines]


def until(condition):
    end = time.monotonic() + 90
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def checkpointed(sweep):
    """Whether every run has a checkpoint and an owner."""
    reached = {
        folder.name.split(".")[0]: Place(folder).reached() for folder in sweep.work.iterdir()
    }
    return len(reached) == len(sweep.plan.runs) and min(reached.values()) > 0


@pytest.fixture(scope="module")
def client():
    """Of a cluster on this machine whose scheduler gives up a task when one worker was lost, the
    strictest there is; and with a setting by which it would lose a killed worker for good.
    """
    hasty = dask.config.set({"distributed.deploy.lost-worker-timeout": "1 ms"})
    with hasty, dask_engine.connected(workers=2) as found:
        found.run_on_scheduler(
            lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", 0)
        )
        yield found


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """Content hashes of the undisturbed runs, by digest; those of more seeds where asked."""
    kept = {}

    def of(seeds):
        if seeds not in kept:
            sweep = made(tmp_path_factory.mktemp("calm") / "sweep", seeds)
            workers.work(sweep, Terms())
            kept[seeds] = hashes(sweep)
        return kept[seeds]

    return of


def in_a_thread(sweep, client, terms):
    """supervise, and what it raised."""
    raised = []

    def supervise():
        try:
            dask_engine.supervise(sweep, client, terms, progress=False)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=supervise)
    thread.start()
    return thread, raised


@pytest.mark.parametrize(
    ("seeds", "kills"), [(5, 2), pytest.param(100, 40, marks=pytest.mark.slow)]
)
def test_runs_whose_workers_are_killed_are_there_once_and_are_the_undisturbed_ones(
    tmp_path, client, calm, seeds, kills
):
    """SIGKILL of processes of dask that hold a lease, at random instants up to 0.1 s after they
    were seen with it, where dask itself calls a task failed at the first.

    By its inode each file is the one that was first seen under its name; no log has a second line
    "published" of a run.
    """
    sweep, chance, inodes, killed = made(tmp_path / "fire", seeds), random.Random(seeds), {}, 0
    thread, raised = in_a_thread(sweep, client, Terms(1.0, 0.0))
    while thread.is_alive():
        for name in sweep.published():
            inodes.setdefault(name, sweep.run(name).stat().st_ino)
        held = [leases.look(path) for path in sweep.leases.glob("[0-9a-f]*")]
        # a lease whose owner was killed while it wrote its name has pid 0: kill(0) is for all of us
        alive = [holder.pid for holder in held if holder and holder.pid > 0 and not holder.gone]
        due = len(inodes) >= 0.9 * killed * len(sweep.plan.runs) / kills  # all along the sweep
        if killed < kills and due and alive and chance.random() < 0.5:
            time.sleep(chance.uniform(0.0, 0.1))
            with suppress(ProcessLookupError):  # it has just been killed
                os.kill(chance.choice(alive), signal.SIGKILL)
                killed += 1
        time.sleep(0.01)
    assert not raised and killed == kills
    assert hashes(sweep) == calm(seeds) and len(sweep.plan.runs) == 2 * seeds
    published = collections.Counter(
        name for event, name, _ in events(sweep) if event == "published"
    )
    assert set(published.values()) == {1} and len(published) >= 2 * seeds - kills
    assert all(sweep.run(name).stat().st_ino == inode for name, inode in inodes.items())
    assert not any(sweep.work.iterdir()) and not sweep.failures()
    left = [name for name in os.listdir(sweep.leases) if not name.startswith(".aside-")]
    assert left == [".clock"]


def test_a_sweep_measured_by_dask_is_the_one_measured_here(tmp_path, client):
    """Every column, with a diagnostic of the last frame computed there."""
    sweep = made(tmp_path / "sweep")
    workers.work(sweep, Terms())
    hands = dask_engine.executor(sweep, client)
    there = indexing.measure(sweep, False, ("kernel_drift",), hands)
    kept = list(sweep.runs.glob("*.diagnostics"))
    assert len(kept) == 2
    for folder in kept:
        shutil.rmtree(folder)
    here = indexing.measure(sweep, False, ("kernel_drift",))
    assert repr(there) == repr(here) and there[0]["kernel_drift"] > 0


def test_frames_diagnosed_by_dask_are_those_diagnosed_here(tmp_path, client):
    """Each frame a task; what is kept beside the run is the same."""
    sweep = made(tmp_path / "sweep")
    workers.work(sweep, Terms())
    path = next(iter(sweep.runs.glob("*.h5")))
    names = ["kernel_drift", "displacement"]
    there = mf.diagnose(path, names, executor=dask_engine.hands(client))
    shutil.rmtree(folder_of(path))
    here = mf.diagnose(path, names, workers=1)
    for name in names:
        assert there[name].values.tolist() == here[name].values.tolist()
    assert here["displacement"].values[-1] > 0


def ctrl_c_after(action, sweep, client):
    """An endless sweep, supervised here until `action` has been done in a thread beside it."""

    def press():
        try:
            until(lambda: checkpointed(sweep))
            action()
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    pressed = threading.Thread(target=press)
    pressed.start()
    with pytest.raises(KeyboardInterrupt, match="stopped with 0 of 1 runs finished"):
        dask_engine.supervise(sweep, client, Terms(3600.0, 0.0), progress=False)
    pressed.join()
    assert os.listdir(sweep.leases) == [".clock"] and checkpointed(sweep)


def test_ctrl_c_stops_the_run_at_a_checkpoint(tmp_path, client):
    sweep = made(tmp_path / "sweep", gammas=(1.0,), t_end=ENDLESS)
    ctrl_c_after(lambda: None, sweep, client)
    assert [event for event, *_ in events(sweep)] == ["claimed", "interrupted"]


def program(module, *options):
    """One of dask's, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.{module}", *options],
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_where_the_scheduler_is_killed_the_runs_stay_at_a_checkpoint(tmp_path):
    """The command ends with 5; the workers, who miss the scheduler, publish checkpoints and give
    the leases back, long before these are stale: the same command goes on at once.
    """
    sweep = made(tmp_path / "sweep", t_end=ENDLESS)
    told = tmp_path / "scheduler.json"
    scheduler = program(
        "dask_scheduler",
        "--port",
        "0",
        "--no-dashboard",
        "--no-show",
        "--scheduler-file",
        str(told),
    )
    until(told.exists)
    worker = program(
        "dask_worker", "--scheduler-file", str(told), "--nthreads", "1", "--nworkers", "2",
        "--no-dashboard", "--local-directory", str(tmp_path),
    )  # fmt: skip
    try:
        address = until(lambda: re.search(r"tcp://[^\"]+", told.read_text()))[0]

        def kill():
            try:
                until(lambda: checkpointed(sweep))
            finally:
                scheduler.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        words = ["work", str(sweep.path), "--engine", "dask", "--scheduler", address]
        assert command.main([*words, "--lease-seconds", "3600", "--checkpoint-seconds", "0"]) == 5
        killer.join()
        until(lambda: os.listdir(sweep.leases) == [".clock"])
        assert checkpointed(sweep) and not sweep.failures()
    finally:
        for process in (scheduler, worker):
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    ("changes", "nthreads", "words"),
    [
        ({"versions": {"numpy": "1.0"}}, 1, r"has other versions: numpy \d.* \(here 1.0\)"),
        ({}, 4, "runs 4 tasks at a time; start it with --nthreads 1"),
        ({"folder": "/nowhere"}, 1, "finds no sweep at /nowhere; client and workers must share"),
        ({"manifest": "0"}, 1, "finds another sweep at"),
    ],
)
def test_a_worker_that_cannot_make_the_runs_says_why(tmp_path, changes, nthreads, words):
    sweep = made(tmp_path / "sweep")
    session = dask_tasks.session("s", sweep, Terms())
    worker = SimpleNamespace(address="tcp://there:1", state=SimpleNamespace(nthreads=nthreads))
    changed = dask_tasks.Session(**{**vars(session), **changes})
    with pytest.raises(dask_tasks.UnfitWorker, match=f"the worker tcp://there:1 on .*{words}"):
        dask_tasks.check(changed, worker)
    worker.state.nthreads = 1
    dask_tasks.check(session, worker)


def test_what_a_worker_raises_reaches_the_command(tmp_path, client, monkeypatch):
    sweep = made(tmp_path / "sweep")
    real = dask_tasks.session
    changed = lambda *given: dask_tasks.Session(**{**vars(real(*given)), "manifest": "0"})
    monkeypatch.setattr(dask_tasks, "session", changed)
    with pytest.raises(dask_tasks.UnfitWorker, match="finds another sweep"):
        dask_engine.supervise(sweep, client, Terms(), progress=False)
    assert not sweep.published() and not any(sweep.work.iterdir())


def test_dask_is_left_as_it_was_in_whatever_order_clients_end(tmp_path, client):
    """distributed's own default would outlive them: to_netcdf of xarray then asks for a client."""
    clients = [dask_engine.connected(client.scheduler.address) for _ in range(2)]
    for one in clients:
        one.__enter__()
    for one in clients:
        one.__exit__(None, None, None)
    with pytest.raises(dask_engine.SchedulerGone), dask_engine.connected("tcp://127.0.0.1:9"):
        pass
    with pytest.raises(ValueError, match="must be an address"), dask_engine.connected("what://x:1"):
        pass
    assert dask.config.get("scheduler", None) is None
    xarray.Dataset({"m": ("runs", [64, 256])}).to_netcdf(tmp_path / "m.nc", engine="h5netcdf")


def test_no_scheduler_no_address_and_no_dask_are_said(tmp_path, monkeypatch, capsys):
    folder = str(made(tmp_path / "sweep").path)
    monkeypatch.setattr(dask_engine, "CONNECT_SECONDS", 0.2)
    cases = (
        (
            ["--engine", "dask", "--scheduler", "tcp://127.0.0.1:9"],
            5,
            "no scheduler of dask answers",
        ),
        (["--engine", "dask", "--scheduler", "what://x:1"], 2, "--scheduler must be an address"),
        (["--scheduler", "tcp://127.0.0.1:9"], 2, "say --engine dask too"),
        (["--engine", "dask", "--scheduler", "tcp://a:1", "--workers", "2"], 2, "Leave one of the"),
    )
    for options, code, words in cases:
        assert command.main(["work", folder, *options]) == code
        assert words in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert command.main(["work", folder, "--engine", "dask"]) == 2
    told = 'needs distributed: pip install -e ".[cluster]"'
    assert told in capsys.readouterr().err


def test_a_run_in_another_thread_is_stopped_by_the_name_of_its_thread():
    """interruption.stop reaches the innermost signals() of that thread, and from it the outer."""
    seen, ready, go = [], threading.Event(), threading.Event()

    def run():
        with interruption.signals() as outer, interruption.signals() as inner:
            ready.set()
            go.wait(10)
            seen.append((list(inner), list(outer)))
        seen.append(outer)

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait(10)
    interruption.stop(thread.ident)
    interruption.stop()  # nothing runs in this one
    go.set()
    thread.join()
    assert seen == [([signal.SIGTERM], []), [signal.SIGTERM]]
    interruption.stop(thread.ident)


def test_a_run_of_a_worker_that_is_asked_to_end_goes_on_elsewhere_at_once(tmp_path, client):
    """As at the end of a job of a cluster: the run goes on before its lease of an hour is stale.

    The last test of this file: the cluster has one worker less then.
    """
    sweep = made(tmp_path / "sweep", gammas=(1.0,), t_end=ENDLESS)
    (digest,) = sweep.plan.runs

    def retire():
        owner = leases.look(sweep.leases / digest).pid
        address = next(at for at, pid in client.run(os.getpid).items() if pid == owner)
        client.retire_workers([address], close_workers=False)
        until(lambda: len(events(sweep)) == 3)

    ctrl_c_after(retire, sweep, client)
    assert [event for event, *_ in events(sweep)] == ["claimed", "interrupted"] * 2
    assert events(sweep)[2][2].startswith("from checkpoint")
