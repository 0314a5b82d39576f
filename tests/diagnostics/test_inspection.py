"""scripts/inspect: what it prints is what the file holds; what it exports reads back exactly; its
exit codes.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

import meanfield as mf
from sims.commands import inspect

ROOT = Path(__file__).resolve().parents[2]
LAW = mf.InitialLaw(dim=1, b_std=1.0)
DATA = mf.data.kink(n=16, n_test=8, seed=0)


@pytest.fixture(autouse=True)
def one_thread():
    """The runs are tiny: a second thread only waits. Bits do not depend on it."""
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)


def record(path, *observers, activation="tanh", dt=0.1, t_end=2.0, frames=3, **recorder):
    flow = mf.GradientFlow(
        mf.EmpiricalRisk(mf.Network(activation, mf.Scaling(0.75, 2.0)), DATA.x, DATA.y, ridge=0.01)
    )
    watch = [mf.Recorder(path, mf.evenly(frames), data=DATA, **recorder), *observers]
    mf.simulate(
        flow, LAW.sample(20, seed=5), mf.RK4, dt=dt, t_end=t_end, observers=watch, progress=False
    )
    return path


def interrupted(path, step=7, **settings):
    def stop(flow, state):
        signal.raise_signal(signal.SIGINT)
        return 1.5

    with pytest.raises(mf.Interrupted):
        record(path, mf.Series("mine", mf.at_steps([step]), stop), **settings)
    return path


def shown(capsys, *arguments):
    """(exit code, lines on stdout, lines on stderr)."""
    code = inspect.main([str(item) for item in arguments])
    out, err = capsys.readouterr()
    return code, out.splitlines(), err.splitlines()


def words(lines, first):
    """The words of the line that starts with `first`."""
    return next(line.split() for line in lines if line.split()[:1] == [first])


def test_it_shows_configuration_provenance_series_frames_and_defects(capsys, h5_path):
    record(h5_path, mf.Series("theta_max", mf.every(5)))
    code, lines, err = shown(capsys, h5_path)
    run = mf.Trajectory(h5_path)
    assert (code, err) == (0, [])
    assert lines[0].startswith(
        f"{h5_path}: finished, 3 frames of 20 particles, d = 1, K = 1, float64, "
    )
    text = "\n".join(lines)
    for expected in (
        "  network      tanh; trained: a, w, b",
        f"  scaling      {mf.Scaling(0.75, 2.0).describe(20, 0.1)}",
        f"  initial law  {LAW.describe()}; seed 5",
        "  functional   EmpiricalRisk: loss = squared, reduction = mean, ridge = 0.01",
        "  data         kink: x (16, 1), y (16, 1); ",
        "  integrator   rk4, dt = 0.1",
        "  flow time    from t = 0 (step 0) to t = 2",
        "  observers    frames evenly(3); theta_max every(5)",
        f"numpy {np.__version__}",
    ):
        assert expected in text, expected
    assert words(lines, "author") and words(lines, "git")
    for name in run.series_names:
        steps, times, values = run.series(name)
        found = next(line.split() for line in lines if line.split()[:2] == [name, str(len(steps))])
        assert found[2:] == [
            f"{value:.6g}" for value in (values[0], values[-1], times[0], times[-1])
        ]
    assert float(words(lines, "energy_defect")[1]) == pytest.approx(
        run.summary["energy_defect"], rel=1e-5
    )
    assert lines[-3:] == ["0         0  0", "1        10  1", "2        20  2"]


def test_of_many_frames_the_first_and_the_last_are_shown(capsys, h5_path):
    record(h5_path, frames=21)
    _, lines, _ = shown(capsys, h5_path)
    frames = [line.split() for line in lines[lines.index("frame  step    t") + 1 :]]
    assert [row[0] for row in frames] == [*"012345", "…", *map(str, range(15, 21))]
    assert frames[-1] == ["20", "20", "2"]


def test_hash_is_the_content_hash(capsys, h5_path):
    record(h5_path)
    _, lines, _ = shown(capsys, h5_path, "--hash")
    assert lines[1] == f"content hash {mf.Trajectory(h5_path).content_hash()}"


def test_an_unfinished_run_is_shown_as_far_as_it_went_and_left_alone(capsys, h5_path):
    interrupted(h5_path)
    folder = h5_path.with_name("run.h5.parts")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name in (h5_path, folder):
        code, lines, _ = shown(capsys, name)
        assert code == 0 and lines[0].startswith(f"{name}: unfinished, 1 frames of 20 particles")
        assert lines[1] == f"Still running, or to be continued with mf.resume({str(h5_path)!r})."
        needed = f"so with it: mf.resume({str(h5_path)!r}, functions={{'mine': …}})."
        assert lines[2] == f"No file holds what its user wrote, {needed}"
        assert words(lines, "mine") == ["mine", "1", "1.5", "1.5", "0.7", "0.7"]
        assert "mine at_steps([7]) (user-written)" in "\n".join(lines)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


class Mass(mf.Observer):
    """An observer of a user's."""

    name, series = "total", ("total",)

    def observe(self, moment):
        return {"total": moment.state.mass.sum()}


def test_it_names_all_that_an_unfinished_run_goes_on_with_as_the_interruption_did(capsys, h5_path):
    """A formula, a series and an observer; of built-ins alone the path is enough."""

    def stop(flow, state):
        signal.raise_signal(signal.SIGINT)
        return 1.5

    own = mf.Activation("cube", lambda z: z * z * z, lambda z: 3.0 * z * z)
    with pytest.raises(mf.Interrupted) as caught:
        record(
            h5_path,
            Mass(mf.every(2)),
            mf.Series("mine", mf.at_steps([7]), stop),
            activation=own,
            dt=0.002,
            t_end=0.02,
        )
    _, lines, _ = shown(capsys, h5_path)
    asked = f"mf.resume({str(h5_path)!r}, flow=…, functions={{'mine': …}}, observers=[Mass(…)])"
    assert str(caught.value).endswith(asked) and lines[2].endswith(f"{asked}.")


def test_a_run_killed_before_its_first_checkpoint_is_shown(capsys, h5_path):
    def fail(flow, state):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        record(h5_path, mf.Series("mine", mf.every(1), fail))
    code, lines, _ = shown(capsys, h5_path)
    assert (
        code == 0
        and "series: none" in lines
        and "frames: none before the first checkpoint" in lines
    )


def test_a_finished_run_that_is_being_extended_says_so(capsys, h5_path):
    record(h5_path)
    interrupted(h5_path, exists="replace")
    _, lines, _ = shown(capsys, h5_path)
    assert lines[1] == f"Another run is about to replace or extend it: inspect {h5_path}.parts."


def test_a_diverged_run_says_where(capsys, h5_path):
    with pytest.raises(mf.Diverged) as caught:
        record(h5_path, mf.StopOnNonFinite(), activation="square", dt=1e4, t_end=1e6)
    code, lines, _ = shown(capsys, h5_path)
    assert code == 0 and ": diverged, " in lines[0] and lines[1] == str(caught.value)
    assert "stops when not finite" in "\n".join(lines)


def test_continuations_are_counted(capsys, h5_path):
    record(h5_path)
    mf.resume(h5_path, t_end=3.0, progress=False)
    _, lines, _ = shown(capsys, h5_path)
    assert words(lines, "continued")[1:3] == ["1", "times,"]


@pytest.mark.parametrize("to_file", [False, True])
def test_csv_reads_back_exactly(capsys, h5_path, tmp_path, to_file):
    record(h5_path, mf.Series("risk", mf.every(1)))
    out = tmp_path / "risk.csv"
    code, lines, _ = shown(capsys, h5_path, "--csv", "risk", *(["--out", out] if to_file else []))
    assert code == 0 and (not to_file or lines == [])
    lines = out.read_text(encoding="utf-8").splitlines() if to_file else lines
    assert lines[0] == "step,time,risk" and len(lines) == 22
    series = mf.Trajectory(h5_path).series("risk")
    for column, expected in zip(
        zip(*(line.split(",") for line in lines[1:]), strict=True), series, strict=True
    ):
        np.testing.assert_array_equal([float(value) for value in column], expected)


def test_csv_does_not_overwrite(capsys, h5_path, tmp_path):
    record(h5_path)
    out = tmp_path / "risk.csv"
    out.write_text("precious")
    assert shown(capsys, h5_path, "--csv", "risk", "--out", out) == (
        5, [], [f"inspect: {out} exists: choose another name for --out."],
    )  # fmt: skip
    assert out.read_text(encoding="utf-8") == "precious"
    code, _, err = shown(
        capsys, h5_path, "--csv", "risk", "--out", tmp_path / "absent" / "risk.csv"
    )
    assert code == 5 and len(err) == 1 and "absent" in err[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: FILE"),
        (["{run}", "--out", "risk.csv"], "--out says where --csv NAME goes"),
        (["{run}", "--csv", "risk", "--hash"], "two questions"),
        (["{run}", "--frames"], "unrecognized arguments: --frames"),
    ],
)
def test_wrong_usage_exits_with_2(capsys, h5_path, arguments, message):
    with pytest.raises(SystemExit) as stop:
        inspect.main([item.format(run=h5_path) for item in arguments])
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_an_unknown_series_exits_with_2_and_names_those_there_are(capsys, h5_path):
    record(h5_path)
    code, out, err = shown(capsys, h5_path, "--csv", "rsik")
    assert (
        (code, out) == (2, [])
        and len(err) == 1
        and "no series 'rsik'" in err[0]
        and "regulariser, risk" in err[0]
    )


def test_a_file_that_is_not_there_exits_with_5_and_one_that_is_no_run_with_7(capsys, tmp_path):
    code, out, err = shown(capsys, tmp_path / "nothing.h5")
    assert (code, out) == (5, []) and len(err) == 1 and err[0].startswith("inspect: no run at ")
    for content in (b"", b"text"):
        (tmp_path / "text.h5").write_bytes(content)
        code, out, err = shown(capsys, tmp_path / "text.h5")
        assert (code, out) == (7, []) and len(err) == 1 and "is not a readable HDF5 file" in err[0]
    code, _, err = shown(capsys, tmp_path)
    assert code == 7 and len(err) == 1


def test_a_truncated_run_exits_with_7(capsys, h5_path):
    record(h5_path)
    content = h5_path.read_bytes()
    h5_path.write_bytes(content[: len(content) // 2])
    assert shown(capsys, h5_path)[0] == 7


def test_help_teaches(capsys):
    with pytest.raises(SystemExit) as stop:
        inspect.main(["--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert all(
        word in text
        for word in ("examples:", "--csv risk --out risk.csv", "exit codes:", "mf.Trajectory")
    )


def test_the_entry_point_runs_the_module_and_survives_a_closed_pipe(h5_path):
    record(h5_path, mf.Series("risk", mf.every(1)), dt=0.001)
    assert "-m sims.commands.inspect" in (ROOT / "scripts" / "inspect").read_text(encoding="utf-8")
    command = (
        f"'{sys.executable}' -m sims.commands.inspect '{h5_path}' --csv risk | head -n 1; "
        f"echo ${{PIPESTATUS[0]}}"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", command],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("step,time,risk\n0\n", "")
