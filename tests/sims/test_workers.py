"""Workers of a sweep: what they make, and what they leave when they are killed, interrupted or
robbed, or when a run fails.
"""

import collections
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from tiny_sweeps import hashes, made
from tqdm import tqdm

import meanfield as mf
from meanfield.backends.cpu import stretch
from meanfield.backends.cpu.backend import CPU
from meanfield.processes.interruption import signals
from sims.lab import experiment
from sims.lab.config import digest
from sims.sweeps import (
    folders,
    forks,
    indexing,
    leases,
    local_workers,
    plans,
    reporting,
    shown,
    workers,
    workplaces,
)
from sims.sweeps.local_workers import Crew, RunsFailed
from sims.sweeps.workers import Terms
from sims.sweeps.workplaces import Place

ROOT = Path(__file__).resolve().parents[2]
TIMINGS = {"seconds", "host", "attempts"}


def events(sweep):
    """(event, digest) of all workers' logs."""
    lines = [
        line.split()
        for path in sweep.logs.glob("*.log")
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    return [
        (words[2], words[3]) for words in lines if len(words) > 3 and re.match(r"\d{4}-", words[0])
    ]


def index(sweep):
    """The rows but for how long, where and in how many attempts."""
    return [
        {name: value for name, value in row.items() if name not in TIMINGS}
        for row in indexing.measure(sweep)
    ]


def same(a, b):
    """Equal rows; NaN where there is no number equals NaN."""
    return repr(a) == repr(b)


@pytest.fixture
def two(tmp_path):
    return made(tmp_path / "sweep", seeds=1)


def test_a_worker_makes_every_run_and_leaves_nothing_else(two):
    assert workers.work(two, Terms()) == 0
    assert two.published() == set(two.plan.runs)
    assert (
        not any(two.work.iterdir()) and os.listdir(two.leases) == [".clock"] and not two.failures()
    )
    for name, planned in two.plan.runs.items():
        alone = two.path / f"{name}.h5"
        experiment.perform(planned.config, alone)
        with mf.Trajectory(alone) as run:
            assert run.content_hash() == hashes(two)[name]
        assert two.note(name)["status"] == "finished" and two.note(name)["seconds"] > 0


def test_a_finished_sweep_is_left_as_it_is(two):
    workers.work(two, Terms())
    before = {path.name: path.stat().st_mtime_ns for path in two.runs.iterdir()}
    assert workers.work(two, Terms()) == 0
    assert {path.name: path.stat().st_mtime_ns for path in two.runs.iterdir()} == before


def test_a_diverged_run_is_a_result(tmp_path):
    sweep = made(
        tmp_path / "sweep", seeds=1, activation="square", integrator="euler", dt=5.0, t_end=500.0
    )
    assert workers.work(sweep, Terms()) == 0
    assert {state for state, _ in sweep.states().values()} == {"diverged"} and not sweep.failures()
    rows = index(sweep)
    assert all(
        row["status"] == "diverged" and "is not finite at step" in row["message"] for row in rows
    )


@pytest.mark.parametrize("ended", ["here", "elsewhere"])
def test_the_note_of_a_run_says_of_its_end_what_its_file_says(tmp_path, ended):
    """Also where another worker had come to the end, and was killed before it published the run."""
    sweep = made(tmp_path / "sweep", seeds=1)
    for name, planned in sweep.plan.runs.items():
        if ended == "elsewhere":
            theirs = Place(sweep.work / f"{name}.killed")
            theirs.folder.mkdir()
            experiment.perform(planned.config, theirs.run)
    assert workers.work(sweep, Terms()) == 0
    for name in sweep.plan.runs:
        note = sweep.note(name)
        with mf.Trajectory(sweep.run(name)) as run:
            asked = {"energy_defect": run.summary["energy_defect"], "defect": run.summary["defect"]}
        assert {key: note[key] for key in asked} == asked


def test_a_failed_run_is_recorded_does_not_stop_the_others_and_is_tried_again(
    two, monkeypatch, capsys
):
    bad = next(iter(two.plan.runs))
    real, calls = experiment.perform, []

    def perform(config, *arguments, **keywords):
        calls.append(digest(config))
        if digest(config) == bad:
            raise ValueError("no such thing\nas this run")
        return real(config, *arguments, **keywords)

    monkeypatch.setattr(workers, "perform", perform)
    since = leases.now_ns(two.leases)
    assert workers.work(two, Terms(since=since)) == 0
    assert sorted(calls) == sorted(two.plan.runs), "each once: not again and again"
    assert [state for state, _ in two.states().values()] == ["failed", "finished"]
    failure = two.failure(bad)
    assert (failure["kind"], failure["message"], failure["code"]) == (
        "ValueError",
        "no such thing as this run",
        2,
    )
    assert [(row["status"], row["message"]) for row in index(two)] == [
        ("failed", "no such thing as this run"),
        ("finished", ""),
    ]
    monkeypatch.setattr(workers, "perform", real)
    assert workers.work(two, Terms(since=leases.now_ns(two.leases) + 1)) == 0
    assert two.published() == set(two.plan.runs) and not two.failures()


def test_a_worker_goes_by_one_look_at_the_folder_for_many_runs(tmp_path, monkeypatch):
    """Also for what another has failed at since."""
    sweep, looks, tried = made(tmp_path / "sweep", seeds=5), [], []
    first, second, *_ = sweep.plan.runs
    real, look = workers.perform, workers.waiting

    def perform(config, *arguments, **keywords):
        if digest(config) == first:
            folders.write_json(sweep.failed / f"{second}.json", {"message": "by another"})
        tried.append(digest(config))
        return real(config, *arguments, **keywords)

    monkeypatch.setattr(workers, "LOOK_SECONDS", 60.0)
    monkeypatch.setattr(workers, "perform", perform)
    monkeypatch.setattr(workers, "waiting", lambda *given: (looks.append(1), look(*given))[1])
    assert workers.work(sweep, Terms(since=leases.now_ns(sweep.leases))) == 0
    assert tried == [name for name in sweep.plan.runs if name != second]
    assert len(looks) == 3  # before the first, after the last, and whether there is none indeed


def interrupted_at(step, monkeypatch, action):
    """From now on every run does `action` after that step, once in all."""
    real, done = mf.Series.observe, []

    def observe(self, moment):
        if moment.step == step and not done:
            done.append(None)
            action()
        return real(self, moment)

    monkeypatch.setattr(mf.Series, "observe", observe)


def test_a_signal_checkpoints_and_another_worker_goes_on_to_the_same_bits(
    two, tmp_path, monkeypatch
):
    interrupted_at(5, monkeypatch, lambda: signal.raise_signal(signal.SIGTERM))
    assert workers.work(two, Terms()) == 75
    first = next(iter(two.plan.runs))
    (place,) = two.work.iterdir()
    assert (
        place.name.startswith(first)
        and Place(place).reached() == 1
        and leases.look(two.leases / first) is None
    )
    assert workers.work(two, Terms()) == 0
    with mf.Trajectory(two.run(first)) as run:
        assert len(run.provenance["continued"]) == 1
    whole = made(tmp_path / "whole", seeds=1)
    workers.work(whole, Terms())
    assert hashes(two) == hashes(whole) and not any(two.work.iterdir())


def test_a_run_that_nobody_holds_and_that_has_a_checkpoint_is_interrupted(two, monkeypatch):
    """It goes on from there; one that has only begun waits, as one that has not."""
    interrupted_at(5, monkeypatch, lambda: signal.raise_signal(signal.SIGINT))
    assert workers.work(two, Terms()) == 75
    first, second = two.plan.runs
    assert two.states() == {first: ("interrupted", None), second: ("waiting", None)}
    said = reporting.status(two)
    assert re.search(r"interrupted +1 ", said) and re.search(r"waiting +1 ", said)
    assert re.search(
        rf"^interrupted {first} .*: stopped after a checkpoint; the next worker goes on", said, re.M
    )
    assert reporting.counts(two) == "1 interrupted, 1 waiting"
    lease = leases.claim(two.leases / first, 60.0)
    assert two.states()[first][0] == "running"
    lease.release()
    folders.write_json(two.failed / f"{first}.json", {"message": "boom"})
    assert two.states()[first][0] == "failed"
    (place,) = map(Place, two.work.iterdir())
    for checkpoint in place.run.with_name("run.h5.parts").glob("checkpoint-*"):
        checkpoint.unlink()
    (two.failed / f"{first}.json").unlink()
    assert place.reached() == 0 and two.states()[first][0] == "waiting"
    assert workers.work(two, Terms()) == 0
    assert {state for state, _ in two.states().values()} == {"finished"}


def test_a_signal_that_comes_too_late_for_one_run_stops_the_worker_before_the_next(
    two, monkeypatch
):
    """While a run is published its loop has ended; the signal is for the loop around it."""
    real = workplaces.publish

    def publish(*arguments):
        signal.raise_signal(signal.SIGINT)
        return real(*arguments)

    monkeypatch.setattr(workers, "publish", publish)
    assert workers.work(two, Terms()) == 75
    assert len(two.published()) == 1


def test_signals_collected_inside_are_known_outside():
    with signals() as outer:
        with signals() as inner:
            signal.raise_signal(signal.SIGTERM)
        assert inner == outer == [signal.SIGTERM]


def test_a_signal_before_a_run_begins_stops_it():
    """Between the start of a program and that of its run, where formulas are compiled."""
    with signals() as outer:
        signal.raise_signal(signal.SIGTERM)
        with signals() as inner:
            assert inner == [signal.SIGTERM]
        assert outer == [signal.SIGTERM]


def test_sigterm_twice_is_one_request_and_ctrl_c_twice_does_not_wait():
    """A cluster sends SIGTERM to torchrun and its processes, and torchrun sends it on."""
    with signals() as received:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert received
    with signals():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def robbed(sweep, name):
    """Somebody else takes the lease, as if this process had slept for long."""
    path = sweep.leases / name
    then = leases.now_ns(sweep.leases) - int(3600e9)
    os.utime(path, ns=(then, then))
    thief = leases.claim(path, 120.0)
    assert thief is not None
    return thief


def test_a_worker_that_lost_its_lease_stops_before_its_next_checkpoint_and_publishes_nothing(
    two, monkeypatch, capsys
):
    first, *_ = two.plan.runs
    thieves = []
    interrupted_at(5, monkeypatch, lambda: thieves.append(robbed(two, first)))
    # for a worker that would wait for ever
    lost = threading.Timer(30.0, signal.raise_signal, [signal.SIGTERM])

    def release(*arguments):  # the thief gives up once the other run is there
        real(*arguments)
        assert first not in two.published()
        thieves[0].release()

    real = workers.write_note
    monkeypatch.setattr(workers, "write_note", release)
    lost.start()
    assert workers.work(two, Terms(checkpoint_seconds=0.0)) == 0
    lost.cancel()
    log = [tuple(line.split()[2:4]) for line in capsys.readouterr().out.splitlines()]
    second = list(two.plan.runs)[1]
    assert log[:3] == [("claimed", first), ("lost", first), ("claimed", second)]
    assert log.count(("published", first)) == 1


def test_a_worker_robbed_at_the_last_moment_does_not_publish_a_second_file(
    two, monkeypatch, capsys
):
    """After its last look at the lease it sleeps; another takes over and publishes; the link of the
    sleeper is refused.
    """
    first, *_ = two.plan.runs
    real, inodes = workplaces.publish, []

    def publish(sweep, name, place):
        if not inodes:
            thief = robbed(sweep, name)
            theirs = Place(sweep.work / f"{name}.{thief.token}")
            workplaces.adopt(sweep, name, theirs)
            experiment.perform(sweep.plan.runs[name].config, theirs.run)
            assert real(sweep, name, theirs)
            inodes.append(sweep.run(name).stat().st_ino)
            thief.release()
        return real(sweep, name, place)

    monkeypatch.setattr(workers, "publish", publish)
    assert workers.work(two, Terms()) == 0
    assert two.run(first).stat().st_ino == inodes[0]
    assert f"superseded {first}" in capsys.readouterr().out


def test_a_run_is_continued_from_the_furthest_place_and_the_old_owner_can_go_on_harming_nobody(
    two, monkeypatch
):
    """Its file after both have worked on it is the undisturbed one, whoever of them was thought
    dead.
    """
    name, planned = next(iter(two.plan.runs.items()))
    begun, further, mine = (Place(two.work / f"{name}.{letter}") for letter in "abc")
    for place, step in ((begun, 3), (further, 7)):
        place.folder.mkdir()
        with monkeypatch.context() as patch:
            interrupted_at(step, patch, lambda: signal.raise_signal(signal.SIGTERM))
            with pytest.raises(mf.Interrupted):
                experiment.perform(planned.config, place.run, checkpoint_seconds=0.0)
    assert 0 < begun.reached() < further.reached()
    assert workplaces.adopt(two, name, mine) == further.reached()
    experiment.perform(planned.config, further.run)  # it was not dead
    experiment.perform(planned.config, mine.run)
    with mf.Trajectory(mine.run) as ours, mf.Trajectory(further.run) as theirs:
        assert ours.content_hash() == theirs.content_hash()
        assert len(ours.provenance["continued"]) == 1
    assert workplaces.publish(two, name, mine) and not workplaces.publish(two, name, further)


def test_a_run_that_kills_its_workers_is_given_up_after_some(two, monkeypatch, capsys):
    first, *_ = two.plan.runs
    for _ in range(workers.DEATHS + 1):
        lease = leases.claim(two.leases / first, 60.0)
        then = leases.now_ns(two.leases) - int(3600e9)
        os.utime(two.leases / first, ns=(then, then))
    assert lease.deaths == workers.DEATHS
    assert workers.work(two, Terms()) == 0
    assert "workers in a row died of this run" in two.failure(first)["message"]


def test_the_cores_are_shared_out_as_threads(two, monkeypatch):
    """Each worker is started with its share, at least one, and in a session of its own: Ctrl-C is
    for the crew.
    """
    assert (
        local_workers.share(1) >= local_workers.share(2) >= 1 and local_workers.share(10_000) == 1
    )
    started = []
    monkeypatch.setattr(
        local_workers.subprocess, "Popen", lambda *arguments, **keywords: started.append(keywords)
    )
    Crew(two, 3, Terms(), 5).start()
    assert [each["env"]["NUMBA_NUM_THREADS"] for each in started] == ["5"] * 3
    assert all(each["start_new_session"] for each in started)


def test_a_crew_whose_workers_cannot_start_says_where_to_look(two, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    team = Crew(two, 1, Terms(), 1)
    team.start()
    with pytest.raises(
        RunsFailed, match=r"a worker ended with exit code 1; the end of .*-0\.log says why"
    ):
        while team.busy():
            time.sleep(0.01)


def test_a_killed_worker_is_said_with_when_its_run_goes_on(two, monkeypatch, capsys):
    """One is killed, the next ends well."""
    codes = iter([-signal.SIGKILL, 0])
    crew = Crew(two, 1, Terms(lease_seconds=15), 1)
    ended = lambda number: crew._at_work.update({number: Mock(poll=lambda: next(codes))})
    monkeypatch.setattr(crew, "_start", ended)
    crew.start()
    assert crew.busy() and not crew.busy()
    assert capsys.readouterr().err == (
        "a worker was killed (signal 9), another begins; a run in its hands goes on 15 s after "
        "its last sign of life\n"
    )


def test_supervise_reports_failed_runs(two, monkeypatch):
    folders.write_json(
        two.failed / f"{next(iter(two.plan.runs))}.json", {"message": "boom", "code": 2}
    )
    monkeypatch.setattr(Crew, "start", lambda self: None)
    with pytest.raises(RunsFailed, match=r"1 of 2 runs failed, the others are there; .*: boom"):
        local_workers.supervise(two, 1, Terms(), progress=False)


def command(sweep, *options):
    """`scripts/sweep work` in a process of its own."""
    words = [
        sys.executable,
        "-m",
        "sims.commands.sweep",
        "work",
        str(sweep.path),
        "--checkpoint-seconds",
        "0",
        *options,
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def test_a_supervisor_asked_to_stop_asks_its_workers_and_exits_with_75(tmp_path):
    """The runs are long: nothing would end by itself."""
    sweep = made(tmp_path / "sweep", seeds=1, t_end=1e6)
    process = command(sweep, "--workers", "2")
    until(
        lambda: (
            all(Place(place).reached() > 0 for place in sweep.work.iterdir())
            and len(list(sweep.work.iterdir())) == 2
        ),
        process,
    )
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 75
    assert (
        "stopped with 0 of 2 runs finished. The same command goes on from here."
        in process.stderr.read()
    )
    assert collections.Counter(event for event, _ in events(sweep)) == {
        "claimed": 2,
        "interrupted": 2,
    }
    assert os.listdir(sweep.leases) == [".clock"]


def test_where_there_is_no_terminal_lines_say_how_far_a_sweep_is(two, capsys, monkeypatch):
    monkeypatch.setattr(shown, "SECONDS", 0.0)
    first, second = two.plan.runs
    with shown.Shown(two, True, tqdm) as far, shown.Shown(two, False, tqdm) as silent:
        for name, more in (("", ""), (first, "1 failed"), (second, "")):
            if name:
                two.run(name).touch()
            far.update(more)
            silent.update(more)
    lines = [
        re.sub(r"about \d+ s", "about N s", line) for line in capsys.readouterr().err.splitlines()
    ]
    assert lines == [
        "sweep: 0 of 2 runs are there",
        "sweep: 1 of 2 runs are there, 1 failed, about N s left",
        "sweep: 2 of 2 runs are there",
    ]


def test_workers_whose_supervisor_was_killed_stop_after_a_checkpoint(tmp_path):
    sweep = made(tmp_path / "sweep", seeds=1, gammas=(1.0,), t_end=1e6)
    process = command(sweep)
    until(lambda: any(Place(place).reached() > 0 for place in sweep.work.iterdir()), process)
    process.kill()
    process.wait()
    until(lambda: ("interrupted", next(iter(sweep.plan.runs))) in events(sweep))


def until(condition, process=None):
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end and (process is None or process.poll() is None), (
            process and process.stderr.read()
        )
        time.sleep(0.02)


@pytest.mark.parametrize("stride", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_a_worker_killed_before_any_durable_call_leaves_a_run_that_the_next_one_finishes(
    tmp_path, stride
):
    """Never a second file, never another content, nothing left over. An undisturbed worker makes
    some eighty such calls.
    """
    script = [
        sys.executable,
        str(ROOT / "tests/helpers/dying_worker.py"),
        str(tmp_path),
        str(stride),
    ]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests/helpers")])
    }
    done = subprocess.run(script, capture_output=True, text=True, env=environment, check=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert not [line for line in lines if line[0] == "wrong:"]
    found = [line[1] for line in lines if line[0] == "run"]
    assert len(found) > 60 / stride and len(set(found)) == 1


def under_fire(sweep, kills, chance):
    """Two supervisors of two workers each, as on two machines; `kills` workers are killed (SIGKILL)
    while they hold a lease.

    Each kill comes at a random instant up to 0.1 s after its victim was seen with a lease: while it
    computes, publishes, clears up, or has the next run. Returns the inode of each run's file when
    it was first seen.
    """
    processes, inodes = (
        [command(sweep, "--workers", "2", "--lease-seconds", "1") for _ in range(2)],
        {},
    )
    killed = 0

    def see():
        for name in sweep.published():
            inodes.setdefault(name, sweep.run(name).stat().st_ino)

    while any(process.poll() is None for process in processes):
        see()
        time.sleep(0.01)
        held = [
            holder
            for path in sweep.leases.glob("[0-9a-f]*")
            if (holder := leases.look(path)) and holder.pid and not holder.stale
        ]
        alive = (
            [holder.pid for holder in held if os.path.exists(f"/proc/{holder.pid}")]
            if os.path.exists("/proc")
            else []
        )
        if killed < kills and alive and chance.random() < 0.5:
            time.sleep(chance.uniform(0.0, 0.1))
            try:
                os.kill(chance.choice(alive), signal.SIGKILL)
                killed += 1
            except ProcessLookupError:
                pass
    see()
    for process in processes:
        assert process.returncode == 0, process.stderr.read()
    assert killed == kills, "the sweep ended before all were killed"
    return inodes


@pytest.mark.skipif(not os.path.exists("/proc"), reason="looks for living processes in /proc")
@pytest.mark.parametrize(
    ("seeds", "kills"), [(20, 5), pytest.param(100, 20, marks=pytest.mark.slow)]
)
def test_a_sweep_whose_workers_are_killed_at_random_ends_as_an_undisturbed_one(
    tmp_path, seeds, kills
):
    """Every run there, with the content hash of an undisturbed sweep, published by one worker; the
    same index; nothing left over.

    That one worker publishes: no log has a second line "published" of a run (a worker killed
    between the link and the line leaves none), and each file is, by its inode, the one that was
    first seen under its name.
    """
    sweep, calm = made(tmp_path / "fire", seeds), made(tmp_path / "calm", seeds)
    inodes = under_fire(sweep, kills, random.Random(seeds))
    workers.work(calm, Terms())
    assert sweep.published() == set(sweep.plan.runs) and len(sweep.plan.runs) == 2 * seeds
    assert hashes(sweep) == hashes(calm)
    published = collections.Counter(name for event, name in events(sweep) if event == "published")
    assert set(published.values()) == {1} and 2 * seeds - kills <= len(published)
    assert inodes == {name: sweep.run(name).stat().st_ino for name in sweep.plan.runs}
    assert same(index(sweep), index(calm))
    assert not any(sweep.work.iterdir()) and not sweep.failures()
    assert [name for name in os.listdir(sweep.leases) if not name.startswith(".aside-")] == [
        ".clock"
    ]
    assert np.isfinite([row["test_risk"] for row in index(sweep)]).all()


def test_one_death_is_not_deaths():
    assert [workers._after(count) for count in (0, 1, 2)] == ["", "after 1 death", "after 2 deaths"]


def test_the_runs_of_a_sweep_share_their_data(two):
    first, second = (run.config for run in list(two.plan.runs.values())[:2])
    assert experiment.dataset(first) is experiment.dataset(second)


@pytest.mark.parametrize(("runs", "compiles"), [(1, False), (1000, True)])
def test_many_steps_in_one_call_are_compiled_where_all_runs_together_gain_by_it(
    two, monkeypatch, runs, compiles
):
    """10 RK4 steps a run save 40 stages of 20 µs: 0.8 ms, against a second of the compiler."""
    asked = []
    monkeypatch.setattr(stretch, "COMPILING", 0.5)
    monkeypatch.setattr(stretch, "_not_compiled", set())
    monkeypatch.setattr(stretch.Stretch, "compiled", False)
    monkeypatch.setattr(stretch.Stretch, "compile", lambda self: asked.append(self))
    [(kind, stages)] = plans.stages(two.plan)
    assert stages == 4 * 10 * len(two.plan.runs)
    monkeypatch.setattr(plans, "stages", lambda plan: [(kind, runs * stages)])
    local_workers.compile_kernels(two)
    assert bool(asked) == compiles


def test_kernels_are_compiled_in_forks_and_what_several_kinds_share_is_compiled_once(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(stretch, "_not_compiled", set())
    monkeypatch.setattr(stretch.Stretch, "compiled", False)
    monkeypatch.setattr(CPU, "compiled", lambda self: False)
    tables = {"base": {"m": 8, "dt": 0.1, "t_end": 1e6}, "axes": {"activation": ["relu", "tanh"]}}
    sweep, _ = folders.create(plans.plan(tables), tmp_path / "sweep")
    given = []
    monkeypatch.setattr(forks, "together", lambda tasks, count: given.extend(tasks))
    local_workers.compile_kernels(sweep, may_fork=True)
    assert (
        len(given) == 2 + 3
    )  # a run of each activation, and three functions of the loop over steps
