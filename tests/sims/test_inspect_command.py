"""scripts/inspect's commands: what they print is what the Python functions return; files are whole
or not there; exit codes.

The report itself is held to account in test_inspection.py.
"""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import meanfield as mf
import ntk
from sims.commands import inspect

ROOT = Path(__file__).resolve().parents[2]


def record(path, gamma=1.0, dim=1, flow=None, start=None):
    data = mf.data.kink(n=8) if dim == 1 else mf.data.teacher_student(8, dim, seed=0)
    start = start or mf.InitialLaw(dim=dim, b_std=1.0).sample(6, seed=0)
    flow = flow or mf.GradientFlow(
        mf.EmpiricalRisk(mf.Network("relu", mf.Scaling(gamma)), data.x, data.y)
    )
    mf.simulate(
        flow,
        start,
        mf.HEUN,
        dt=0.1,
        t_end=1.0,
        observers=[mf.Recorder(path, mf.evenly(4))],
        progress=False,
    )
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """name -> path: a line and a plane, and a lazy line."""
    folder = tmp_path_factory.mktemp("runs")
    kinds = {"line": {}, "lazy": {"gamma": 0.5}, "plane": {"dim": 2}}
    return {name: record(folder / f"{name}.h5", **settings) for name, settings in kinds.items()}


def shown(capsys, *arguments):
    """(exit code, stdout, stderr)."""
    try:
        code = inspect.main([str(item) for item in arguments])
    except SystemExit as stop:
        code = stop.code
    return code, *capsys.readouterr()


def test_the_folder_of_a_sweep_is_said_to_be_one(capsys, tmp_path):
    assert inspect.main([str(tmp_path)]) == 7
    assert "scripts/sweep" not in capsys.readouterr().err
    (tmp_path / "manifest.json").touch()
    assert inspect.main([str(tmp_path)]) == 7
    assert f"is a folder, not a run. {tmp_path} holds a sweep" in capsys.readouterr().err


def test_without_names_the_diagnostics_are_listed_with_unit_and_meaning_and_why_not(capsys, runs):
    code, out, err = shown(capsys, "diagnose", runs["line"])
    found = mf.diagnose(runs["line"])
    assert (code, err) == (0, "")
    lines = out.splitlines()
    # a row for each that is available, and one for all that are not for the same reason, which
    # stands below
    rows = {}
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("  ") and line[2] != " ":
            grouped = [name for name in line.strip().split(", ") if name in found.unavailable]
            rows |= {name: line + below for name in grouped or [line.split()[0]]}
    assert set(rows) == {*found.available, *found.unavailable}
    assert "[θ] (∫|θ_t - θ_0|² dμ)^½" in rows["displacement"] and "no test set" in rows["test_risk"]
    assert "information" in rows  # ntk's own are there
    assert max(map(len, out.splitlines())) <= 120


def test_named_diagnostics_are_printed_as_mf_diagnose_prints_them(capsys, runs):
    code, out, _ = shown(capsys, "diagnose", runs["line"], "displacement", "kernel_drift")
    assert code == 0 and out == f"{mf.diagnose(runs['line'], ['displacement', 'kernel_drift'])}\n"


def test_csv_has_a_line_for_each_frame_and_bounds_in_two_columns(capsys, runs, tmp_path):
    """Values read back exactly; what is measured between frames has none at the first."""
    out, names = tmp_path / "measured.csv", ["displacement", "w2", "displacement_step"]
    assert shown(capsys, "diagnose", runs["line"], "--csv", out, *names) == (0, "", "")
    with open(out, encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["step", "time", "displacement", "w2_lower", "w2_upper", "displacement_step"]
    found = mf.diagnose(runs["line"], names)
    columns = dict(zip(head, zip(*rows, strict=True), strict=True))
    for name, expected in (
        ("time", found.times),
        ("displacement", found["displacement"].values),
        ("w2_upper", found["w2"].upper),
    ):
        np.testing.assert_array_equal(np.array(columns[name], dtype=float), expected)
    assert columns["displacement_step"][0] == ""
    np.testing.assert_array_equal(
        np.array(columns["displacement_step"][1:], dtype=float), found["displacement_step"].values
    )
    assert [path.name for path in tmp_path.iterdir()] == ["measured.csv"]


def test_a_companion_is_another_run(capsys, runs, tmp_path):
    data, start = mf.data.kink(n=8), mf.InitialLaw(dim=1, b_std=1.0).sample(6, seed=0)
    flow = mf.GradientFlow(ntk.linearise(mf.Network("relu"), start).risk(data.x, data.y))
    linear = record(tmp_path / "linear.h5", flow=flow, start=start)
    code, out, _ = shown(capsys, "diagnose", runs["line"], "companion_gap", "--companion", linear)
    assert code == 0 and "companion_gap" in out
    code, _, err = shown(capsys, "diagnose", runs["line"], "companion_gap")
    assert code == 2 and "companion" in err


def test_two_runs_are_compared_as_mf_compare_prints_them(capsys, runs):
    code, out, err = shown(capsys, "compare", runs["lazy"], runs["line"])
    assert (code, out, err) == (0, f"{mf.compare(runs['lazy'], runs['line'])}\n", "")


@pytest.mark.parametrize("kind", ["paths", "function", "kernel", "ellipse", "phase", "risk"])
def test_a_figure_is_plotted_as_png_and_pdf(capsys, runs, tmp_path, monkeypatch, kind):
    """Named after the run and the kind unless --out says otherwise, with or without an ending; dots
    in a name stay.
    """
    monkeypatch.chdir(tmp_path)
    assert shown(capsys, "plot", runs["line"], "--kind", kind) == (
        0,
        f"line_{kind}.png\nline_{kind}.pdf\n",
        "",
    )
    assert Path(f"line_{kind}.png").read_bytes().startswith(b"\x89PNG")
    code, _, err = shown(capsys, "plot", runs["line"], "--kind", kind)
    assert code == 5 and f"line_{kind}.png exists: choose another name for --out." in err
    if kind == "paths":
        assert shown(capsys, "plot", runs["line"], "--out", "run_0.5.pdf")[0] == 0
        assert Path("run_0.5.png").exists() and Path("run_0.5.pdf").exists()


def test_a_run_is_animated(capsys, runs, tmp_path):
    out = tmp_path / "run.gif"
    assert shown(
        capsys, "animate", runs["plane"], "--kind", "ellipse", "--out", out, "--fps", 5
    ) == (0, f"{out}\n", "")
    with Image.open(out) as gif:
        assert gif.n_frames == 4 and gif.info["duration"] == 200
    assert shown(capsys, "animate", runs["plane"], "--out", out) == (
        5, "", f"inspect: {out} exists: choose another name for --out.\n",
    )  # fmt: skip


def test_an_mp4_without_ffmpeg_is_wrong_usage(capsys, runs, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = shown(capsys, "animate", runs["line"], "--out", tmp_path / "run.mp4")
    assert code == 2 and err.count("\n") == 1 and "needs ffmpeg" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["diagnose"], "the following arguments are required: RUN"),
        (["diagnose", "{line}", "--csv", "x.csv"], "--csv needs the names"),
        (["diagnose", "{line}", "displacment"], "Did you mean 'displacement'?"),
        (["compare", "{line}"], "the following arguments are required: B"),
        (["plot", "{line}", "--kind", "path"], "invalid choice: 'path'"),
        (["plot", "{plane}", "--kind", "function"], "draws f: R → R"),
        (["animate", "{line}"], "the following arguments are required: --out"),
        (["animate", "{line}", "--out", "run.avi"], "must end in .gif or .mp4"),
    ],
)
def test_wrong_usage_exits_with_2_and_writes_nothing(
    capsys, runs, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    code, out, err = shown(capsys, *(item.format(**runs) for item in arguments))
    assert (code, out) == (2, "") and message in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command", [["diagnose"], ["compare", "{line}"], ["plot"], ["animate", "--out", "run.gif"]]
)
def test_a_file_that_is_not_there_exits_with_5_and_one_that_is_no_run_with_7(
    capsys, runs, tmp_path, monkeypatch, command
):
    monkeypatch.chdir(tmp_path)
    Path("text.h5").write_text("text")
    arguments = [item.format(**runs) for item in command]
    code, out, err = shown(capsys, *arguments, "absent.h5")
    assert (code, out) == (5, "") and err.startswith("inspect: no run at ")
    code, out, err = shown(capsys, *arguments, "text.h5")
    assert (code, out) == (7, "") and "is not a readable HDF5 file" in err


def test_a_folder_that_is_not_there_is_said_before_anything_is_computed(
    capsys, runs, tmp_path, monkeypatch
):
    monkeypatch.setattr(mf, "diagnose", lambda *arguments, **options: 1 / 0)
    for arguments in (
        ["diagnose", "{line}", "risk", "--csv"],
        ["plot", "{line}", "--out"],
        ["animate", "{line}", "--out"],
    ):
        target = tmp_path / "absent" / "x.gif"
        code, _, err = shown(capsys, *(item.format(**runs) for item in arguments), target)
        assert code == 5 and "no such folder" in err


def test_a_file_with_the_name_of_a_command_is_inspected_as_a_path(
    capsys, runs, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("compare").write_bytes(runs["line"].read_bytes())
    code, out, _ = shown(capsys, "./compare")
    assert code == 0 and out.startswith("compare: finished, 4 frames of 6 particles")
    code, _, err = shown(capsys, "compare")
    assert code == 2 and "the file of that name is ./compare" in err


@pytest.mark.parametrize("command", inspect.COMMANDS)
def test_help_teaches(capsys, command):
    code, out, _ = shown(capsys, command, "--help")
    assert code == 0 and f"scripts/inspect {command} " in out and "in Python:" in out
    assert f"scripts/inspect {command} " in shown(capsys, "--help")[1]


def test_the_report_needs_no_matplotlib(runs):
    program = (
        "import sys; from sims.commands import inspect as c; c.main(sys.argv[1:]); "
        "print('matplotlib' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, str(runs["line"])]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout.splitlines()[-1:] == ["False"], done.stderr
