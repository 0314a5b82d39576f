"""Every sim of sims/: found by itself, run at tiny size, drawn, and held to what a command line
promises.
"""

import csv
import dataclasses
import importlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import meanfield as mf
from meanfield.files.durable import IncompatibleFile, InUse
from sims import figures
from sims.lab import config, runs, study

ROOT = Path(__file__).resolve().parents[2]
HOMES = sorted((ROOT / "sims").glob("*/__init__.py"))
SIMS = [
    path.parent.name for path in HOMES if re.search(r"^def tiny\(", path.read_text("utf-8"), re.M)
]


@pytest.fixture(scope="module", params=SIMS)
def ran(request, tmp_path_factory):
    """A sim, the folder it wrote to at tiny size, and its results."""
    sim, out = (
        importlib.import_module(f"sims.{request.param}"),
        tmp_path_factory.mktemp(request.param),
    )
    return SimpleNamespace(sim=sim, out=out, results=sim.run(sim.tiny(), out))


@pytest.fixture
def sim(request):
    return importlib.import_module(f"sims.{request.param}")


def contents(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_there_is_a_sim():
    assert "lazy_vs_mean_field" in SIMS


def test_a_sim_states_its_question_and_draws_its_results(ran, tmp_path):
    """And the tables that it names lie where it says."""
    assert ran.sim.QUESTION.endswith("?")
    png, pdf = figures.save(ran.sim.figure(ran.results), tmp_path / "figure")
    assert png.read_bytes().startswith(b"\x89PNG") and pdf.read_bytes().startswith(b"%PDF")
    named = re.findall(r"\S+\.csv", ran.sim.STUDY.report(ran.results, tmp_path))
    assert all(Path(name).is_file() for name in named), named


def test_a_second_run_trains_nothing_and_gives_the_same(ran):
    before = contents(ran.out)
    assert ran.sim.run(ran.sim.tiny(), ran.out) == ran.results
    assert contents(ran.out) == before


def test_files_of_batches_hold_all_that_the_results_are_made_of(ran):
    """Their settings too, up to the order of a list: --redraw needs no other option."""
    if not hasattr(ran.sim, "BATCHES"):
        pytest.skip("its files are no batches")
    found = ran.sim.collect(ran.sim.Config(), ran.out)
    ours, theirs = (dataclasses.replace(one, config=None) for one in (found, ran.results))
    assert repr(ours) == repr(theirs)  # a NaN is the same NaN


@pytest.mark.parametrize("sim", SIMS, indirect=True)
def test_help_teaches(sim, capsys):
    """Every setting with its meaning, the exit codes, an example."""
    with pytest.raises(SystemExit) as stop:
        sim.main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert (
        sim.QUESTION[:40] in text
        and "--dry-run" in text
        and "Examples:" in text
        and "75 interrupted" in text
    )
    for name in config.to_dict(sim.tiny()):
        assert f"--{name.replace('_', '-')}" in text


def test_help_says_what_a_number_may_be(capsys):
    """The bounds of the annotation beside the default, of a tuple those of its values."""
    sim = importlib.import_module("sims.two_layer_convergence")
    with pytest.raises(SystemExit):
        sim.main(["--help"])
    text = re.sub(r"[│\s]+", " ", capsys.readouterr().out)
    for said in (
        "(>= 2; default: 5)",
        "(>= 2; default: 16 64 256 1024 4096 16384)",
        "(>= 1e-06, <= 0.5; default: 0.1)",
        "(> 0; default: 24.0)",
    ):
        assert said in text


@pytest.mark.parametrize("sim", SIMS, indirect=True)
def test_a_dry_run_says_what_it_would_cost_and_writes_nothing(sim, capsys, tmp_path):
    if sim.__name__.endswith((".deep_convergence", ".gaussian_process_view")):
        pytest.importorskip("torch")  # their steps are those of the kernels of torch's layers
    assert sim.main(["--demo", "--dry-run", "--out", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in (sim.QUESTION, "runs", "steps", "memory", "on disk"))
    assert not (tmp_path / "out").exists()


# What follows is about lazy_vs_mean_field, the main job.

SMALL = [
    "--gammas",
    "0.5",
    "1",
    "--widths",
    "8",
    "16",
    "--seeds",
    "1",
    "--tasks",
    "teacher",
    "--teacher.n",
    "20",
]
SMALL += ["--teacher.dim", "15", "--teacher.n-test", "20", "--teacher.t-end", "1"]


@pytest.fixture
def lazy():
    return importlib.import_module("sims.lazy_vs_mean_field")


def test_the_command_line_writes_runs_table_and_figure(lazy, tmp_path, capsys):
    assert lazy.main([*SMALL, "--out", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "mf.Trajectory(" in text and "lazy_vs_mean_field.png" in text
    with open(tmp_path / "lazy_vs_mean_field.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["gamma"], row["m"]) for row in rows] == [
        ("0.5", "8"),
        ("0.5", "16"),
        ("1.0", "8"),
        ("1.0", "16"),
    ]
    with mf.Trajectory(tmp_path / rows[0]["file"]) as run:
        assert run.status == "finished" and run.data.n_test == 20 and run.times[-1] == 1.0
        assert float(rows[0]["displacement"]) == mf.displacement(run[0], run[-1])


def test_table_and_figure_are_made_again_from_the_files_alone(lazy, tmp_path, capsys):
    assert lazy.main([*SMALL, "--out", str(tmp_path)]) == 0
    made = {
        name: (tmp_path / name).read_bytes()
        for name in ("lazy_vs_mean_field.csv", "lazy_vs_mean_field.png")
    }
    for name in made:
        (tmp_path / name).unlink()
    assert lazy.main(["--redraw", "--out", str(tmp_path)]) == 0
    assert {name: (tmp_path / name).read_bytes() for name in made} == made


def test_a_row_holds_what_the_file_says(lazy, tmp_path):
    """W2 <= displacement (the identity is a coupling), H_T from the file, wrong signs counted on
    the test images.
    """
    settings = lazy.Config(
        tasks=("digits",),
        gammas=(0.5, 1.0),
        widths=(8, 16),
        seeds=1,
        frames=3,
        digits=lazy.Digits(n=30, t_end=5.0),
    )
    results = lazy.run(settings, tmp_path)
    for row in results.rows:
        with mf.Trajectory(tmp_path / row.file) as run:
            first, last, data, network = run[0], run[-1], run.data, run.network
        flow = mf.GradientFlow(mf.EmpiricalRisk(network, data.x, data.y))
        H0, H = (mf.tangent.kernel(network, state, data.x) for state in (first, last))
        wrong = flow.predict(last, data.x_test)[:, 0] * data.y_test <= 0
        assert row.w2_lower <= row.w2_upper <= row.displacement * (1 + 1e-12)
        assert row.kernel_drift == pytest.approx(
            np.linalg.norm(H - H0) / np.linalg.norm(H0), rel=1e-12
        )
        assert row.test_error == wrong.mean() and row.error_kind == "wrong signs"
        # float32 predictions against float64 ones of the same particles: 1e-5
        assert row.train_loss == pytest.approx(flow.risk(last), rel=1e-5)
        assert row.train_loss < row.train_loss_start == pytest.approx(0.5, rel=1e-5)


def test_fitted_slopes_are_those_of_a_power_law():
    """value = c m^(-1/2) with c by seed: slope -1/2 for each, no scatter."""
    rows = [
        SimpleNamespace(m=m, seed=seed, value=(1 + seed) * m**-0.5, file="a.h5") for m in (16, 64, 256) for seed in range(3)
    ]  # fmt: skip
    fit = runs.exponent(rows, "value")
    assert (fit.slope, fit.error, fit.seeds) == pytest.approx((-0.5, 0.0, 3), abs=1e-12)
    assert "no exponent from 2 widths" in str(
        runs.exponent([row for row in rows if row.m < 256], "value")
    )
    with pytest.raises(ValueError, match="runs are missing beside a.h5: m = 256, seed 2"):
        runs.exponent(rows[:-1], "value")


def test_runs_that_end_at_different_times_do_not_share_a_figure(lazy, tmp_path):
    assert lazy.main([*SMALL, "--out", str(tmp_path)]) == 0
    first = sorted(tmp_path.glob("*.h5"))[0]
    mf.resume(first, t_end=2.0, progress=False)
    with pytest.raises(ValueError, match=r"different flow times \(1 and 2\)"):
        runs.collect(sorted(tmp_path.glob("*.h5")))


def test_data_of_ones_own(lazy, tmp_path, rng, capsys):
    """Two classes become ±1; real targets are standardised; NaN and three classes are bad data,
    exit code 4.
    """
    x = rng.normal(size=(40, 15))
    y = {"classes": (x[:, 0] > 0).astype(int), "real": x[:, 0] ** 2, "three": np.arange(40) % 3}
    for name, targets in y.items():
        np.savez(tmp_path / f"{name}.npz", x=x, y=targets)
    np.savez(tmp_path / "holes.npz", x=np.where(x > 2, np.nan, x), y=y["real"])
    made = {name: lazy.dataset(lazy.Config(tasks=("file",), file=lazy.File(path=str(tmp_path / f"{name}.npz"))), "file")
            for name in ("classes", "real")}  # fmt: skip
    assert set(made["classes"].y) == {-1.0, 1.0} and made["classes"].n_test == 12
    assert made["real"].y.mean() == pytest.approx(0, abs=1e-12) and made[
        "real"
    ].y.std() == pytest.approx(1)
    for name in ("holes", "three"):
        assert (
            lazy.main(
                ["--tasks", "file", "--file.path", str(tmp_path / f"{name}.npz"), "--dry-run"]
            )
            == 4
        )
        assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--gamas", "1"], 2, "Did you mean --gammas?"),
        (["--digits.n", "many"], 2, "--digits.n"),
        (["--tasks", "mnist"], 2, "'digits'"),
        (["--widths", "7", "9"], 2, "must be even"),
        (["--widths", "8"], 2, "two values"),
        (["--seeds", "0"], 2, "seeds"),
        (["--config", "absent.toml"], 5, "absent.toml"),
        (["--tasks", "file", "--file.path", "absent.npz", "--dry-run"], 5, "absent.npz"),
        (["--digits.n", "5000", "--dry-run"], 2, "n must be an integer"),
        (["--redraw", "--out", "absent"], 2, "no runs"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_an_exit_code(
    lazy, tmp_path, monkeypatch, capsys, options, code, said
):
    monkeypatch.chdir(tmp_path)
    assert lazy.main(options) == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and said in lines[0]
    assert not list(tmp_path.iterdir())


def test_another_study_in_the_same_folder_is_refused_and_loses_nothing(lazy, tmp_path, capsys):
    assert lazy.main([*SMALL, "--out", str(tmp_path)]) == 0
    before = contents(tmp_path)
    assert lazy.main([*SMALL, "--teacher.seed", "4", "--out", str(tmp_path)]) == 2
    assert "holds another run" in capsys.readouterr().err
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("x"), 2),
        (config.BadSettings("x"), 2),
        (mf.Diverged("x"), 3),
        (config.BadData("x"), 4),
        (FileNotFoundError("x"), 5),
        (InUse("x"), 6),
        (IncompatibleFile("x"), 7),
        (mf.Interrupted("x", None), 75),
        (KeyboardInterrupt(), 75),
    ],
)
def test_exit_codes(error, code, capsys):
    """DESIGN.md, section 3."""

    def fail():
        raise error

    assert config.exit_code(fail) == code
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_what_goes_on_after_an_interruption_is_said_by_its_path(capsys):
    def fail():
        raise mf.Interrupted("interrupted. Continue with mf.resume('../run.h5')", None)

    assert config.exit_code(fail) == 75
    said = "Continue with mf.resume('../run.h5'). The same command goes on from here."
    assert said in capsys.readouterr().err


def test_an_interrupted_study_says_so_and_goes_on(lazy, tmp_path):
    """SIGINT to the process while it trains: exit code 75; the same command ends with every run of
    an undisturbed study.
    """
    options = [*SMALL, "--teacher.t-end", "400", "--out"]
    command = [sys.executable, "-m", "sims.lazy_vs_mean_field", *options]
    process = subprocess.Popen([*command, str(tmp_path / "a")], cwd=ROOT, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL)  # fmt: skip
    while process.poll() is None and not list(tmp_path.glob("a/*.h5.parts/start.h5")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 75, said
    assert said.splitlines()[-1].endswith("The same command goes on from here.")
    for name in ("a", "b"):
        assert lazy.main([*options, str(tmp_path / name)]) == 0
    for path in sorted((tmp_path / "b").glob("*.h5")):
        assert (
            mf.Trajectory(path).content_hash()
            == mf.Trajectory(tmp_path / "a" / path.name).content_hash()
        )


def test_settings_are_frozen_checked_and_hashed(lazy):
    """DESIGN.md, decision 11: extra keys forbidden, the nearest name offered, 1 and 1.0 one hash."""
    one, other = lazy.Config(gammas=(1, 0.5)), lazy.Config(gammas=[1.0, 0.5])
    assert one == other and config.digest(one) == config.digest(other) != config.digest(
        lazy.Config()
    )
    assert hash(one) == hash(other)
    with pytest.raises(AttributeError):
        one.seeds = 3
    with pytest.raises(config.BadSettings, match="no setting 'gamas'. Did you mean 'gammas'?"):
        lazy.Config(gamas=(1,))
    with pytest.raises(config.BadSettings, match="no setting 'teacher.dmi'. Did you mean 'dim'?"):
        lazy.Config(teacher={"dmi": 3})
    assert config.from_dict(lazy.Config, config.to_dict(one)) == one


def test_a_toml_file_is_read_over_the_defaults_and_options_over_it(lazy, tmp_path, capsys):
    path = tmp_path / "study.toml"
    path.write_text("widths = [8, 16]\ngammas = [1, 0.5]\n[teacher]\ndim = 7\n", encoding="utf-8")
    read = config.load(path, lazy.tiny())
    assert (
        read.widths == (8, 16) and read.teacher.dim == 7 and read.teacher.n == lazy.tiny().teacher.n
    )
    presets = {"full": (lazy.Config(), ""), "demo": (lazy.demo(), "small")}
    given = ["--config", str(path), "--demo", "--teacher.dim", "9"]
    found, options = config.command_line("x", "y", presets, study.Options, given)
    assert (
        found.widths == (8, 16)
        and found.teacher.dim == 9
        and found.seeds == lazy.demo().seeds
        and not options.dry_run
    )
    with pytest.raises(config.BadSettings, match="choose one of --full, --demo"):
        config.command_line("x", "y", presets, study.Options, ["--demo", "--full"])
    assert config.command_line("x", "y", presets, study.Options, ["--full"])[0] == lazy.Config()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gamas = [1]", "Did you mean 'gammas'?"),
        ("[teacher]\ndim = true", "teacher.dim"),
        ('seeds = "3"', "seeds"),
        ("[nothing", "is not a TOML file"),
        ("widths = [8, 9]", "must be even"),
    ],
)
def test_a_wrong_toml_file_is_named_with_what_is_wrong(lazy, tmp_path, text, said):
    path = tmp_path / "study.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(config.BadSettings, match=r"study\.toml") as error:
        config.load(path, lazy.Config())
    assert said in str(error.value)


def test_another_activation_is_trained_named_in_the_heading_and_held_to_its_own_exponents(
    lazy, tmp_path, capsys
):
    """σ smooth: kernel drift m^(2(γ - 1)), so -1 at γ = 1/2, where ReLU has -3/4."""
    options = ["--activation", "tanh", *SMALL, "--widths", "8", "16", "32", "--out", str(tmp_path)]
    assert lazy.main(options) == 0
    with mf.Trajectory(next(iter(tmp_path.glob("*.h5")))) as run:
        assert run.network.sigma.name == "tanh"
    sheet = lazy.figure(runs.collect(sorted(tmp_path.glob("*.h5"))))
    words = " ".join(text.get_text().replace("\n", " ") for ax in sheet.axes for text in ax.texts)
    assert "tanh, squared loss" in words and "ReLU" not in words
    labels = [
        text.get_text()
        for ax in sheet.axes
        if ax.get_legend()
        for text in ax.get_legend().get_texts()
    ]
    drift = [
        text
        for text in [*labels, *words.split("γ")]
        if "theory −1" in text and "theory −1/2" not in text
    ]
    assert drift, "of the kernel's drift at γ = 1/2"
    figures.plt.close("all")
    capsys.readouterr()
    assert (
        lazy.main(["--activation", "tahn", "--dry-run"]) == 2
        and "Did you mean 'tanh'" in capsys.readouterr().err
    )


def test_ones_own_inputs_keep_their_lengths_unless_asked_and_the_heading_says_what_was_done(
    lazy, tmp_path, rng
):
    """sqrt_d: |x|² is 1 on average over the training rows, exactly, as columns have mean 0 and
    variance 1; rows: 1 for each.
    """
    x = rng.normal(size=(40, 4)) * np.linspace(1, 9, 40)[:, None]
    np.savez(tmp_path / "mine.npz", x=x, y=x[:, 0] ** 2)
    lengths, said = {}, {}
    for normalise in ("sqrt_d", "rows", "none"):
        settings = lazy.Config(
            tasks=("file",), gammas=(0.5, 1.0), widths=(8, 16), seeds=1, frames=2,
            file=lazy.File(path=str(tmp_path / "mine.npz"), normalise=normalise, t_end=0.2),
        )  # fmt: skip
        lengths[normalise] = np.linalg.norm(lazy.dataset(settings, "file").x, axis=1)
        sheet = lazy.figure(lazy.run(settings, tmp_path / normalise))
        said[normalise] = " ".join(text.get_text() for text in sheet.axes[0].texts)
        figures.plt.close("all")
    assert np.ptp(lengths["sqrt_d"]) > 0.5 and np.square(lengths["sqrt_d"]).mean() == pytest.approx(
        1, rel=1e-12
    )
    np.testing.assert_allclose(lengths["rows"], 1, rtol=1e-12)
    assert np.square(lengths["none"]).mean() == pytest.approx(4, rel=1e-12)
    assert lazy.File().normalise == "sqrt_d", "no row is rescaled by itself unless asked"
    assert (
        "d = 4 (standardised, x/√d, y standardised)" in said["sqrt_d"]
        and "|x| = 1" not in said["sqrt_d"]
    )
    assert "d = 4 (standardised, |x| = 1, y standardised)" in said["rows"]


def test_real_targets_have_a_test_loss_and_no_test_error(lazy, tmp_path, capsys):
    assert lazy.main([*SMALL, "--out", str(tmp_path)]) == 0
    table = capsys.readouterr().out
    assert "test loss/start's" in table and "test error" not in table.split("settings")[1]
    results = runs.collect(sorted(tmp_path.glob("*.h5")))
    sheet = lazy.figure(results)
    words = [
        text.get_text() for ax in sheet.axes for text in (*ax.texts, ax.xaxis.label, ax.yaxis.label)
    ]
    assert "Test loss" in words and not any("error" in text.lower() for text in words)
    figures.plt.close("all")


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (2.0, "At m = 64 drift passes 0.1 at γ = 0.639 (95 %: 0.63"),
        (1e-3, "drift passes 0.1 is not bracketed (below at all γ)"),
    ],
)
def test_the_verdict_says_at_which_gamma_the_kernel_leaves_the_lazy_regime(
    lazy, tmp_path, factor, said
):
    """Drifts set to c m^(2(γ - 1)), which are .1 at γ = 1 + log(.1/c)/(2 log m) = .6392 on average,
    c = 2 and 2.02, m = 64.
    """
    config = lazy.Config(
        tasks=("teacher",), gammas=(0.5, 0.75, 1.0), widths=(16, 32, 64), seeds=2, frames=2,
        teacher=lazy.Teacher(n=10, dim=3, n_test=5, t_end=0.1),
    )  # fmt: skip
    results = lazy.run(config, tmp_path)
    rows = tuple(
        dataclasses.replace(
            row, kernel_drift=factor * (1 + 0.01 * row.seed) * row.m ** (2 * (row.gamma - 1))
        )
        for row in results.rows
    )
    sheet = lazy.figure(dataclasses.replace(results, rows=rows))
    verdicts = [
        verdict for title, verdict in figures.said(sheet) if title == "Change of the tangent kernel"
    ]
    assert said in verdicts[0]
    lines = [line for ax in sheet.axes for line in ax.lines if line.get_gid() == "threshold"]
    assert [line.get_ydata()[0] for line in lines] == [0.1]
    figures.plt.close("all")
