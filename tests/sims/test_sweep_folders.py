"""The folder of a sweep: an immutable manifest, and the states of its runs."""

import json
import math
import os
import subprocess
import sys

import pytest

import meanfield as mf
from meanfield.files.durable import IncompatibleFile
from sims.lab import experiment
from sims.sweeps import folders, leases, plans
from sims.sweeps.folders import SweepFolder, create

TABLES = {
    "base": {"m": 8, "t_end": 1, "trainable": ["a", "w"]},
    "axes": {"gamma": [0.5, 1], "seed": [0, 1]},
}


def plan(**base):
    return plans.plan({**TABLES, "base": {**TABLES["base"], **base}})


@pytest.fixture
def sweep(tmp_path):
    return create(plan(), tmp_path / "sweep")[0]


def test_the_manifest_gives_the_plan_back(sweep):
    assert SweepFolder(sweep.path).plan == plan()
    content = json.loads(sweep.manifest.read_text(encoding="utf-8"))
    assert {"schema", "base", "axes", "runs", "versions", "sha256"} == content.keys() and content[
        "versions"
    ]["numpy"]
    assert [run["digest"] for run in content["runs"]] == list(plan().runs)


def test_the_same_sweep_again_changes_nothing(sweep):
    before = sweep.manifest.read_bytes(), sweep.manifest.stat().st_mtime_ns
    again, new = create(plan(), sweep.path)
    assert (
        not new
        and again.path == sweep.path
        and (sweep.manifest.read_bytes(), sweep.manifest.stat().st_mtime_ns) == before
    )


def test_another_sweep_is_refused(sweep):
    with pytest.raises(
        FileExistsError,
        match=r"the folder holds another sweep \(its base and runs differ\), which cannot be "
        r"changed",
    ):
        create(plan(t_end=2), sweep.path)


def test_a_folder_with_other_things_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(
        FileExistsError, match=r"the folder holds other things \(thesis\.tex\); name a new one"
    ):
        create(plan(), tmp_path)
    assert os.listdir(tmp_path) == ["thesis.tex"]
    with pytest.raises(NotADirectoryError, match="a sweep needs a folder, and this is a file"):
        create(plan(), tmp_path / "thesis.tex")


def test_creating_goes_on_after_a_kill(tmp_path):
    """Folders and a half-written manifest under a temporary name are all a kill can leave."""
    (tmp_path / "sweep/runs").mkdir(parents=True)
    (tmp_path / "sweep/.tmp-manifest-0").write_text("{")
    assert create(plan(), tmp_path / "sweep")[1]


def test_of_two_who_create_at_once_the_second_finds_the_first_ones(tmp_path, monkeypatch):
    real = os.link

    def link(source, target):
        monkeypatch.setattr(os, "link", real)
        create(plan(), tmp_path / "sweep")
        real(source, target)

    monkeypatch.setattr(os, "link", link)
    assert not create(plan(), tmp_path / "sweep")[1]
    assert SweepFolder(tmp_path / "sweep").plan == plan()


def test_a_file_system_without_hard_links_is_said_to_be_unfit(tmp_path, monkeypatch):
    def link(source, target):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(OSError, match="a sweep needs a file system with hard links"):
        create(plan(), tmp_path / "sweep")
    assert not (tmp_path / "sweep/manifest.json").exists()


def test_no_sweep_a_damaged_and_a_newer_one_are_told_apart(sweep, tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match=r"no sweep here: it has no manifest\.json; make one with scripts/sweep create",
    ):
        SweepFolder(tmp_path)
    content = json.loads(sweep.manifest.read_text(encoding="utf-8"))
    del content["sha256"]
    for text, words in (
        ("{", "is damaged, or of another version"),
        (json.dumps({**content, "base": {"gama": 1}}), "no setting 'gama'"),
        (json.dumps({**content, "schema": 2}), "has schema 2; this version reads up to 1"),
    ):
        sweep.manifest.write_text(text)
        with pytest.raises(IncompatibleFile, match=words):
            _ = SweepFolder(sweep.path).plan


def test_states_say_who_is_at_work_and_whose_worker_has_gone(sweep):
    first, second, third, fourth = sweep.plan.runs
    leases.claim(sweep.leases / first, 60.0)
    leases.claim(sweep.leases / second, 60.0)
    then = leases.now_ns(sweep.leases) - int(61e9)
    os.utime(sweep.leases / second, ns=(then, then))
    folders.write_json(sweep.failed / f"{third}.json", {"message": "boom"})
    states = sweep.states()
    assert [states[name][0] for name in (first, second, third, fourth)] == [
        "running",
        "interrupted",
        "failed",
        "waiting",
    ]
    assert (
        states[first][1].pid == os.getpid()
        and sweep.failure(third) == {"message": "boom"}
        and sweep.failure(first) == {}
    )


def test_a_worker_that_was_killed_is_not_at_work(sweep, monkeypatch):
    """Its lease is not stale for a while yet: but its process is gone, or, on another machine, its
    heart has missed two beats.
    """
    killed, silent, alive, elsewhere = sweep.plan.runs
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    for name, pid in (
        (killed, process.pid),
        (silent, os.getpid()),
        (alive, os.getpid()),
        (elsewhere, process.pid),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda pid=pid: pid)
            if name == elsewhere:
                patch.setattr(leases.socket, "gethostname", lambda: "another")
            leases.claim(sweep.leases / name, 60.0)
    then = leases.now_ns(sweep.leases) - int(31e9)
    os.utime(sweep.leases / silent, ns=(then, then))
    states = sweep.states()
    assert [states[name][0] for name in (killed, silent, alive, elsewhere)] == [
        "interrupted"
    ] * 2 + ["running"] * 2
    assert not any(states[name][1].stale for name in states), (
        "the lease of a process that sleeps is not taken over so soon"
    )


def test_an_energy_defect_comes_from_the_note_or_from_the_run(sweep, monkeypatch):
    (first, *_) = sweep.plan.runs
    experiment.perform(sweep.plan.runs[first].config, sweep.run(first))
    found = sweep.energy_defect(first)
    with mf.Trajectory(sweep.run(first)) as run:
        assert found == run.summary["energy_defect"]
    for value, expected in ((0.25, 0.25), (None, math.nan)):
        folders.write_json(sweep.runs / f"{first}.json", {"energy_defect": value})
        assert repr(sweep.energy_defect(first)) == repr(expected)
