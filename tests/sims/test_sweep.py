"""scripts/sweep: the six commands from a TOML file to a figure, what they print, and their exit
codes.
"""

import csv
import os
import re
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import pytest

import meanfield as mf
import sims
from sims.commands import sweep
from sims.lab import config, experiment
from sims.sweeps import folders, local_workers, reporting, workers

TOML = """
[base]
m = 8
t_end = 0.5
dt = 0.1
frames = 2
data = { name = "teacher_student", options = { n = 12, dim = 3, n_test = 10 } }
[axes]
gamma = [0.5, 1]
m = { from = 8, to = 32, count = 3, log = true }
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text(TOML)
    return path


@pytest.fixture
def folder(file, tmp_path):
    path = tmp_path / "sweep"
    assert sweep.main(["create", str(file), str(path)]) == 0
    return path


def run(*words):
    return sweep.main([str(word) for word in words])


def test_from_a_file_to_a_figure(file, tmp_path, capsys):
    path = tmp_path / "sweep"
    assert run("create", file, path) == 0
    assert capsys.readouterr().out.startswith(
        "6 runs: gamma 2 × m 3\n  gamma = 0.5, 1\n  m = 8, 16, 32\nnext: scripts/sweep work"
    )
    assert run("create", file, path) == 0
    assert "it was there already" in capsys.readouterr().out
    assert run("status", path) == 0
    assert re.search(r"waiting +6 +100\.0%", capsys.readouterr().out)
    assert run("work", path, "--workers", 2) == 0
    out = capsys.readouterr().out
    assert (
        out.startswith("6 runs to do, 0 there already; 2 workers\n")
        and "6 finished\nnext: scripts/sweep collect" in out
    )
    assert run("work", path) == 0
    assert capsys.readouterr().out.startswith("nothing to do: all 6 runs are there\n6 finished\n")
    assert run("status", path) == 0
    text = capsys.readouterr().out
    assert re.search(r"finished +6 +100\.0%", text) and "nothing is left to do" in text
    assert run("collect", path) == 0
    assert f"6 of 6 runs in {path / 'index.csv'}" in capsys.readouterr().out
    with open(path / "index.csv", newline="", encoding="utf-8") as table:
        assert [(row["gamma"], row["m"]) for row in csv.DictReader(table)][:3] == [
            ("0.5", "8"),
            ("0.5", "16"),
            ("0.5", "32"),
        ]
    assert run("plot", path, "--by", "gamma", "--y", "displacement", "test_risk") == 0
    for ending in ("png", "pdf"):
        assert (path / f"displacement_test_risk_against_m_by_gamma.{ending}").is_file()
    assert run("plot", path, "--where", "gamma=1", "--log", "y") == 0
    assert (path / "displacement_against_m_gamma=1_log=y.png").is_file(), (
        "another figure, another name"
    )
    assert run("plot", path, "--where", "gamma=1", "--out", tmp_path / "mine") == 0
    assert (tmp_path / "mine.png").is_file()
    assert len(sims.Sweep(path)) == 6


def test_a_dry_run_checks_and_writes_nothing(file, tmp_path, capsys):
    assert run("create", file, tmp_path / "sweep", "--dry-run") == 0
    assert (
        capsys.readouterr().out
        == "6 runs: gamma 2 × m 3; nothing was written\n  gamma = 0.5, 1\n  m = 8, 16, 32\n"
    )
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize(
    ("old", "new", "code", "words"),
    [
        ("[axes]", "[axis]", 2, "no table 'axis'. Did you mean 'axes'?"),
        ("gamma =", "gama =", 2, "no setting 'gama'. Did you mean 'gamma'?"),
        (
            "teacher_student",
            "teacher_studnt",
            4,
            "unknown data set 'teacher_studnt'. Did you mean 'teacher_student'?",
        ),
        ("frames = 2", 'loss = "hinge"', 4, "loss 'hinge' wants labels -1 and +1"),
    ],
)
def test_nothing_is_made_of_a_file_with_a_mistake(file, tmp_path, capsys, old, new, code, words):
    file.write_text(TOML.replace(old, new))
    assert run("create", file, tmp_path / "sweep") == code
    line = capsys.readouterr().err
    assert words in line and line.startswith("error: ") and line.count("\n") == 1
    assert not (tmp_path / "sweep").exists()


def test_a_base_setting_that_an_axis_overrides_is_said(file, tmp_path, capsys):
    file.write_text(TOML.replace("m = 8\n", "m = 10\n"))
    assert run("create", file, tmp_path / "sweep", "--dry-run") == 0
    assert capsys.readouterr().out.endswith(
        "  m = 8, 16, 32\n  note: base.m = 10 is in no run: the axis m has other values\n"
    )


def test_exit_codes_of_input_and_output(file, folder, tmp_path, capsys):
    assert run("create", tmp_path / "none.toml", folder) == 5
    assert run("work", tmp_path) == 5
    found = capsys.readouterr().err
    assert (
        f"error: {tmp_path}: no sweep here: it has no manifest.json" in found
        and "[Errno" not in found
    )
    assert f"error: {tmp_path / 'none.toml'}: No such file or directory\n" in found
    file.write_text(TOML.replace("0.5, 1]", "0.5, 0.75]"))
    assert run("create", file, folder) == 5
    assert "the folder holds another sweep" in capsys.readouterr().err
    assert run("plot", folder, "--by", "gamma", "--out", tmp_path / "nowhere/figure") == 2, (
        "no run is there to draw"
    )
    (folder / "manifest.json").write_text("{}")
    assert run("status", folder) == 7
    assert run("work", folder, "--workers", 0) in (2, 7)
    with pytest.raises(SystemExit) as stop:
        run("word", folder)
    assert stop.value.code == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [(KeyboardInterrupt("stopped"), 75), (local_workers.RunsFailed("1 of 6 runs failed"), 2)],
)
def test_exit_codes_of_work(folder, monkeypatch, capsys, error, code):
    def supervise(*arguments):
        raise error

    monkeypatch.setattr(local_workers, "supervise", supervise)
    assert run("work", folder) == code
    assert str(error) in capsys.readouterr().err


def test_status_names_what_runs_and_what_failed_and_says_how_long_it_may_take(folder, capsys):
    """Half of the runs took 60 s each; two are at work, so what is left takes (6 - 2 - 1 failed) ·
    60 s / 2.
    """
    there = folders.SweepFolder(folder)
    one, two, three, four, five, _ = there.plan.runs
    for name in (one, two):
        experiment.perform(there.plan.runs[name].config, there.run(name))
        folders.write_json(there.runs / f"{name}.json", {"status": "finished", "seconds": 60.0})
    folders.write_json(there.failed / f"{three}.json", {"message": "boom"})
    for name in (four, five):
        workers.leases.claim(there.leases / name, 60.0)
    assert run("status", folder) == 0
    text = capsys.readouterr().out
    for state, count in (
        ("finished", 2),
        ("failed", 1),
        ("running", 2),
        ("interrupted", 0),
        ("waiting", 1),
        ("diverged", 0),
    ):
        assert re.search(rf"{state} +{count} ", text)
    assert f"failed      {three} gamma 0.5, m 32: boom" in text
    assert re.search(
        rf"running     {four} gamma 1\.0, m 8: \S+ pid {os.getpid()}, heartbeat 0 s ago", text
    )
    assert "3 left, 60 s each so far: about 90 s with 2 at work" in text


def test_status_does_not_count_a_killed_worker_as_one_at_work(folder, capsys):
    there = folders.SweepFolder(folder)
    one, two, *_ = there.plan.runs
    for name in (one, two):
        workers.leases.claim(there.leases / name, 60.0)
    then = workers.leases.now_ns(there.leases) - int(40e9)
    os.utime(there.leases / one, ns=(then, then))
    folders.write_json(there.runs / f"{two}.json", {"seconds": 60.0})
    assert run("status", folder) == 0
    text = capsys.readouterr().out
    assert re.search(r"running +1 ", text) and re.search(r"interrupted +1 ", text)
    assert re.search(
        rf"interrupted {one} gamma 0\.5, m 8: \S+ pid {os.getpid()} is gone, no heartbeat for 40 s",
        text,
    )
    assert "6 left, 60 s each so far: about 6.0 min with 1 at work" in text


def test_a_badly_integrated_run_is_said_to_be_one(file, tmp_path, capsys):
    """Euler's steps at the edge of stability: the runs are finished, their energy is not accounted
    for.
    """
    file.write_text(
        TOML.replace("dt = 0.1", 'dt = 1.0\nintegrator = "euler"').replace(
            "t_end = 0.5", "t_end = 3"
        )
    )
    path, mark = (
        tmp_path / "sweep",
        r"6 finished runs lost or gained energy that they did not dissipate "
        r"\(energy_defect > 0\.1, up to \S+\)",
    )
    there, _ = folders.create(sweep.plans.load(file), path)
    workers.work(there, workers.Terms())
    assert all("energy_defect" in there.note(name) for name in there.plan.runs)
    for command in ("status", "collect"):
        assert run(command, path) == 0
        text = capsys.readouterr().out
        assert re.search(mark, text) and len(re.findall(r"energy_defect \d", text)) == (
            5 if command == "status" else 0
        )


def test_what_is_said_of_badly_integrated_runs():
    assert reporting.mark([]) == reporting.mark([0.0, 0.1, float("nan")]) == ""
    assert reporting.mark([0.26]).startswith(
        "1 finished run lost or gained energy that it did not dissipate (energy_defect > 0.1"
    )
    two = reporting.mark([0.26, 0.01, 1.0])
    assert (
        "2 finished runs lost or gained energy that they did not dissipate "
        "(energy_defect > 0.1, up to 1)" in two
    )
    assert 'use a smaller dt or integrator = "adaptive"' in two


def test_diagnostics_become_columns(folder, capsys):
    """Unknown names before any work; what a run does not allow is NaN, with the reason once."""
    there = folders.SweepFolder(folder)
    assert run("collect", folder, "--diagnose", "kernel_drft") == 2
    assert (
        "unknown diagnostic 'kernel_drft'. Did you mean 'kernel_drift'?" in capsys.readouterr().err
    )
    assert not (folder / "index.csv").exists()
    workers.work(there, workers.Terms())
    assert run("collect", folder, "--diagnose", "kernel_drift", "companion_gap", "information") == 0
    assert "companion_gap is NaN for 6 of 6 runs: it needs companion=" in capsys.readouterr().err
    with open(folder / "index.csv", newline="", encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    assert all(
        float(row["kernel_drift"]) > 0 and row["companion_gap"] == "nan" and row["information"]
        for row in rows
    )
    assert run("plot", folder, "--by", "gamma", "--y", "kernel_drift") == 0
    assert run("plot", folder, "--by", "gamma", "--y", "speed") == 2
    assert (
        "It is a diagnostic: scripts/sweep collect FOLDER --diagnose speed. Known: "
        in capsys.readouterr().err
    )


def test_before_any_run_is_finished_plot_says_how_they_are_made(folder, capsys):
    """No column is known yet, so none is called wrong."""
    for words in (["--y", "displacement", "--by", "gamma"], []):
        assert run("plot", folder, *words) == 2
        assert capsys.readouterr().err == (
            f"error: no run is finished yet: make them with scripts/sweep work {folder}\n"
        )


def test_plot_says_why_there_is_no_slope(file, tmp_path, capsys):
    file.write_text(TOML.replace("count = 3", "count = 2"))
    path = tmp_path / "sweep"
    there, _ = folders.create(sweep.plans.load(file), path)
    workers.work(there, workers.Terms())
    assert run("plot", path, "--by", "gamma") == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(
        r"RMS displacement \[θ\]: Between \S+ and \S+\. No slope in m from 2 values, give 3 at least\.",
        said,
    )


def test_every_row_of_status_is_explained(capsys):
    with pytest.raises(SystemExit):
        run("status", "--help")
    text = capsys.readouterr().out
    for state in folders.STATES:
        assert re.search(rf"^  {state} +\w.*", text, re.M)


def test_every_setting_is_explained(capsys):
    """By help() of the class and by create --settings: the default, the meaning, and the formulas
    of γ and γ'.
    """
    with pytest.raises(SystemExit) as stop:
        run("create", "--settings")
    text = capsys.readouterr().out
    assert stop.value.code == 0 and text.strip() == experiment.Experiment.__doc__.strip()
    for name, meaning in experiment.meanings().items():
        assert re.search(rf"^{re.escape(name)} = .*  {re.escape(meaning)}$", text, re.M)
    assert (
        set(experiment.meanings()) == set(experiment.defaults())
        and len(experiment.meanings()) >= 25
    )
    for kind, prefix in ((experiment.Experiment, ""), (experiment.Law, "law.")):
        for name, hint in get_type_hints(kind).items():
            kinds = get_args(hint)[:1] if get_origin(hint) is tuple else (hint,)
            words = [word for one in kinds if get_origin(one) is Literal for word in get_args(one)]
            meaning = experiment.meanings().get(f"{prefix}{name}", "")
            assert all(re.search(rf"\b{word}\b", meaning) for word in words), name
    assert all(ending in experiment.meanings()["data.name"] for ending in mf.data.EXTENSIONS)
    assert "α m^(-γ)" in text and "a_std·m^(-γ'/2), (w_std, b_std)·m^(γ'/2)" in text


def test_help_teaches(capsys):
    """Every command with an example, a whole TOML file that works, every setting, the exit codes."""
    with pytest.raises(SystemExit) as stop:
        run("--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for command in ("create", "work", "status", "collect", "plot", "submit"):
        assert f"scripts/sweep {command} " in text
        with pytest.raises(SystemExit):
            run(command, "--help")
        assert "FOLDER" in capsys.readouterr().out
    for name in (*config.to_dict(experiment.Experiment()), "law.b_std = 0.0", "data.options = "):
        assert name in text
    assert "75 interrupted" in text and "[[zipped]]" in text


def test_the_example_of_the_help_is_a_sweep(tmp_path):
    example = sweep.EXAMPLE.partition("widths.toml:")[2].partition("settings, with")[0]
    (tmp_path / "widths.toml").write_text(example)
    found = sims.sweeps.plans.load(tmp_path / "widths.toml")
    assert found.describe() == "240 runs: gamma 3 × m 5 × seed 4 × law.b_std 2 × alpha+ridge 2"
    assert [point[0] for point in found.axes[1].points] == [64, 128, 256, 512, 1024]


def test_the_script_starts_it():
    text = (Path(__file__).resolve().parents[2] / "scripts/sweep").read_text(encoding="utf-8")
    assert "-m sims.commands.sweep" in text
