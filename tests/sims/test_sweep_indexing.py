"""What is collected from a sweep: one row a run, from its file; the same rows over the axes; the
figure drawn of them.
"""

import csv
import json
import math
import os
import sys

import numpy as np
import pytest

import meanfield as mf
import sims
from sims import figures
from sims.lab.config import BadSettings
from sims.sweeps import folders, indexing, plans, plotting, workers
from sims.sweeps.workers import Terms

DATA = {"name": "teacher_student", "options": {"n": 12, "dim": 3, "n_test": 10}}
BASE = {"t_end": 0.5, "dt": 0.1, "frames": 2, "data": DATA}
AXES = {"gamma": [0.5, 1], "m": [8, 16, 32], "seed": [0, 1]}


def made(folder, axes, zipped=(), **base):
    sweep, _ = folders.create(
        plans.plan({"base": {**BASE, **base}, "axes": axes, "zipped": list(zipped)}), folder
    )
    workers.work(sweep, Terms())
    return sweep


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    return made(tmp_path_factory.mktemp("index") / "sweep", AXES)


@pytest.fixture(scope="module")
def data(sweep):
    return sims.open_sweep(sweep.path)


def test_a_row_holds_what_the_runs_file_says(sweep):
    rows = indexing.measure(sweep)
    assert [row["digest"] for row in rows] == list(sweep.plan.runs)
    for row in rows:
        with mf.Trajectory(sweep.run(row["digest"])) as run:
            last, flow = run[-1], mf.GradientFlow.from_dict(run.config["flow"], run.arrays)
            assert (row["gamma"], row["m"], row["seed"]) == (
                run.network.scaling.gamma,
                run.start.m,
                run.config["seed"],
            )
            assert (
                row["status"] == "finished"
                and row["content_hash"] == run.content_hash()
                and row["attempts"] == 1
            )
            assert row["displacement"] == run.series("displacement").values[-1]
            # another order of summing
            np.testing.assert_allclose(
                row["displacement"], mf.displacement(run[0], last), rtol=1e-13
            )
            assert row["train_risk"] == flow.risk(last) == row["risk"]
            f = flow.predict(last, run.data.x_test)[:, 0]
            np.testing.assert_allclose(
                row["test_risk"], 0.5 * np.mean((f - run.data.y_test) ** 2), rtol=1e-12
            )
            assert (
                row["energy_defect"] == run.summary["energy_defect"]
                and row["steps"] == run[-1].step
            )
            assert "test_error" not in row, "real targets have no wrong signs"


def test_labels_have_an_error_and_classes_too(tmp_path):
    """The fraction of wrong signs, and of wrong classes, on both sets."""
    digits = {"targets": "sign", "classes": [3, 8], "n": 40, "test_fraction": 0.1}
    signs = made(tmp_path / "signs", {"seed": [0]}, m=8, data={"name": "digits", "options": digits})
    classes = made(
        tmp_path / "classes",
        {"seed": [0]},
        m=8,
        loss="softmax",
        data={"name": "iris", "options": {"test_fraction": 0.2}},
    )
    for sweep in (signs, classes):
        (row,) = indexing.measure(sweep)
        with mf.Trajectory(sweep.run(row["digest"])) as run:
            found = mf.GradientFlow.from_dict(run.config["flow"], run.arrays).predict(
                run[-1], run.data.x_test
            )
            guess = np.sign(found[:, 0]) if sweep is signs else found.argmax(axis=1)
            assert (
                row["test_error"] == np.mean(guess != run.data.y_test)
                and 0 <= row["train_error"] <= 1
            )


def test_collecting_writes_the_same_bytes_but_for_the_circumstances(sweep):
    """index.csv: one row a run; the columns of how a run came about stand last. Nothing else lies
    about afterwards.
    """
    rows = indexing.collect(sweep)
    first = (sweep.path / "index.csv").read_bytes()
    indexing.collect(sweep)
    assert (sweep.path / "index.csv").read_bytes() == first
    with open(sweep.path / "index.csv", newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert [row["digest"] for row in found] == list(sweep.plan.runs)
    assert list(found[0])[:7] == [
        "digest",
        "gamma",
        "m",
        "seed",
        "status",
        "message",
        "content_hash",
    ]
    assert list(found[0])[-3:] == ["seconds", "host", "attempts"]
    assert [float(row["test_risk"]) for row in found] == [row["test_risk"] for row in rows]
    assert sorted(name for name in os.listdir(sweep.path) if "index" in name) == [
        "index.csv",
        "index.h5",
    ]


def test_the_rows_stand_over_the_axes(sweep, data):
    assert dict(data.sizes) == {"gamma": 2, "m": 3, "seed": 2}
    for row in indexing.measure(sweep):
        at = data.sel(gamma=row["gamma"], m=row["m"], seed=row["seed"])
        for name in ("digest", "status", "content_hash", "test_risk", "displacement", "steps"):
            assert at[name].item() == row[name]
    assert json.loads(data.attrs["base"])["t_end"] == 0.5 and "flow time" in data.attrs["time_unit"]


def test_the_index_is_read_as_it_was_written_and_made_anew_when_runs_have_come(
    tmp_path, monkeypatch
):
    sweep = made(tmp_path / "sweep", {"gamma": [0.5, 1]}, m=8)
    _, second = sweep.plan.runs
    os.rename(sweep.run(second), tmp_path / "away.h5")
    indexing.collect(sweep)
    half = sims.open_sweep(sweep.path)
    assert (
        half.status.values.tolist() == ["finished", "unfinished"]
        and half.content_hash.values[1] == ""
    )
    assert (
        np.isfinite(half.risk.values[0])
        and math.isnan(half.risk.values[1])
        and math.isnan(half.seconds.values[1])
    )
    with monkeypatch.context() as patch:
        patch.setattr(indexing, "measure", None)
        assert sims.open_sweep(sweep.path).identical(half), (
            "from index.h5, without a look at the runs"
        )
    os.rename(tmp_path / "away.h5", sweep.run(second))
    whole = sims.open_sweep(sweep.path)
    assert whole.status.values.tolist() == ["finished"] * 2 and np.isfinite(whole.risk.values).all()
    (sweep.path / "index.h5").write_bytes(b"no index")
    assert sims.open_sweep(sweep.path).identical(whole)


def test_zipped_settings_are_coordinates_of_one_axis_and_lists_are_text(tmp_path):
    sweep = made(
        tmp_path / "sweep",
        {"trainable": [["a"], ["a", "w"]]},
        [{"alpha": [1, 2], "law.b_std": [0, 1]}],
        m=8,
    )
    indexing.collect(sweep)
    data = sims.open_sweep(sweep.path)
    assert dict(data.sizes) == {"trainable": 2, "alpha": 2}
    assert data["law.b_std"].dims == ("alpha",) and data["law.b_std"].values.tolist() == [0.0, 1.0]
    assert data.trainable.values.tolist() == ['["a"]', '["a", "w"]']
    assert np.isfinite(data.risk.values).all()


def test_a_sweep_is_a_sequence_of_runs(sweep):
    found = sims.Sweep(sweep.path)
    assert len(found) == 12 and [run.content_hash() for run in found] == [
        row["content_hash"] for row in indexing.measure(sweep)
    ]
    assert found[-1].start.m == 32
    assert repr(found) == f"Sweep({str(sweep.path)!r}, 12 runs: gamma 2 × m 3 × seed 2, 12 there)"
    assert found.to_xarray().identical(sims.open_sweep(sweep.path))
    assert [found.point(i) for i in (0, 1, 2)] == [
        {"gamma": 0.5, "m": 8, "seed": 0}, {"gamma": 0.5, "m": 8, "seed": 1}, {"gamma": 0.5, "m": 16, "seed": 0}
    ], "the last axis runs fastest"  # fmt: skip
    for i, run in enumerate(found):
        assert (
            found.settings(i).m == found.point(i)["m"] == run.start.m
            and found.settings(i).gamma == found.point(i)["gamma"]
        )
    with pytest.raises(IndexError):
        found[12]
    with pytest.raises(FileNotFoundError, match="no sweep here"):
        sims.open_sweep(sweep.path / "runs")


def test_without_xarray_the_message_says_what_to_install(sweep, monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(
        ImportError, match=r'needs xarray and h5netcdf: pip install -e "\.\[xarray\]"'
    ):
        sims.open_sweep(sweep.path)


@pytest.fixture(autouse=True)
def closed():
    """Figures are closed after each test."""
    yield
    figures.plt.close("all")


def texts(figure):
    return [text.get_text() for ax in figure.axes for text in ax.texts]


def test_the_figure_has_a_panel_for_each_quantity_a_line_for_each_value_and_the_fitted_slopes(
    data, tmp_path
):
    """Slopes of sims.lab.fits, of the means over seeds that are drawn."""
    figure = plotting.figure(data, ["displacement", "test_risk"], "m", by="gamma")
    first = figure.axes[0]
    assert len(figure.axes) == 2 and first.get_xscale() == first.get_yscale() == "log"
    assert [text.get_text() for text in first.get_legend().get_texts()] == ["γ = 1/2", "γ = 1"]
    drawn = first.containers[0].lines[0]
    np.testing.assert_allclose(drawn.get_xdata(), [8, 16, 32])
    np.testing.assert_allclose(
        drawn.get_ydata(), data.displacement.sel(gamma=0.5).mean("seed"), rtol=1e-12
    )
    slopes = [
        sims.fit_exponent([8, 16, 32], data.displacement.sel(gamma=gamma).T.values).slope
        for gamma in (0.5, 1.0)
    ]
    (verdict,) = [
        text.replace("\n", " ")
        for text in texts(figure)
        if "γ = 1/2," in text and f"{slopes[0]:.2f}".replace("-", "−") in text
    ]
    assert f"{slopes[1]:.2f}".replace("-", "−") in verdict
    png, _ = figures.save(figure, tmp_path / "figure")
    assert png.stat().st_size > 1000


def test_an_axis_that_is_neither_drawn_nor_fixed_is_asked_for(data):
    with pytest.raises(
        BadSettings, match=r"gamma has the values 0\.5, 1\.0: choose one with --where gamma=VALUE"
    ):
        plotting.figure(data, ["risk"], "m")
    fixed = plotting.figure(data, ["risk"], "m", where={"gamma": "1"})
    assert "γ\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}1" in fixed.texts[1].get_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"quantities": ["rsik"], "x": "m", "by": "gamma"},
            "no quantity 'rsik' in this sweep. Did you mean 'risk'?",
        ),
        ({"quantities": ["status"], "x": "m", "by": "gamma"}, "no quantity 'status'"),
        ({"quantities": ["gamma"], "x": "m", "by": "gamma"}, "no quantity 'gamma'"),
        ({"quantities": ["wrong"], "x": "m"}, "no quantity 'wrong'"),  # before what γ is to be
        (
            {"quantities": ["risk"], "x": "gama"},
            "no axis 'gama' in this sweep. Did you mean 'gamma'? Its axes: gamma, m, seed.",
        ),
        ({"quantities": ["risk"], "x": "m", "by": "m"}, "--x and --by are both m"),
        (
            {"quantities": ["risk"], "x": "m", "where": {"gamma": "0.6"}},
            "gamma has no value 0.6; it has: 0.5, 1.0.",
        ),
        (
            {"quantities": ["nonfinite"], "x": "m", "by": "gamma", "log": "xy"},
            "nonfinite has values that are not positive",
        ),
    ],
)
def test_what_cannot_be_drawn_is_said(data, arguments, words):
    with pytest.raises(BadSettings) as refused:
        plotting.figure(data, **arguments)
    assert words in str(refused.value)


def test_missing_runs_leave_gaps_and_not_wrong_means(data):
    """A point is drawn where every seed is there."""
    partial = data.copy(deep=True)
    partial.risk.loc[{"gamma": 0.5, "m": 16, "seed": 1}] = math.nan
    figure = plotting.figure(partial, ["risk"], "m", by="gamma")
    assert figure.axes[0].containers[0].lines[0].get_xdata().tolist() == [8.0, 32.0]
    verdict = figures.said(figure)[0][1]
    assert verdict.startswith("Fitted slope in m: ") and verdict.endswith(
        " at γ = 1. No slope in m at γ = 1/2 from 2 values, give 3 at least."
    )
    with pytest.raises(BadSettings, match="no run of this selection has a risk for every seed"):
        plotting.figure(data.assign(risk=data.risk * math.nan), ["risk"], "m", by="gamma")


def test_every_variable_says_what_it_is(data):
    for name in [*data, *data.coords]:
        assert data[name].attrs["units"] and data[name].attrs["long_name"], name
    units = {name: data[name].attrs["units"] for name in data}
    assert (units["risk"], units["displacement"], units["path"], units["t"], units["seconds"]) == (
        "R",
        "θ",
        "θ",
        "t",
        "s",
    )
    assert (
        data.displacement.attrs["long_name"].startswith("(∫|θ_t - θ_0|² dμ)^½")
        and units["status"] == "text"
    )


def test_diagnostics_of_the_last_frame_are_variables(tmp_path, capsys):
    """Those of mf.diagnose at the last frame, intervals as two; kept in the index, which they do
    not make out of date.
    """
    sweep, names = (
        made(tmp_path / "sweep", {"gamma": [0.5, 1]}, m=8),
        ["kernel_drift", "w2", "information", "displacement"],
    )
    indexing.collect(sweep, diagnose=names)
    found = sims.open_sweep(sweep.path)
    for digest, gamma in zip(sweep.plan.runs, (0.5, 1.0), strict=True):
        diagnosis, at = mf.diagnose(sweep.run(digest), names[:3]), found.sel(gamma=gamma)
        assert (
            at.kernel_drift == diagnosis["kernel_drift"].values[-1]
            and at.information == diagnosis["information"].values[-1]
        )
        assert (at.w2_lower, at.w2_upper) == (
            diagnosis["w2"].lower[-1],
            diagnosis["w2"].upper[-1],
        ) and "w2" not in found
    assert found.w2_lower.attrs["units"] == "θ" and found.w2_lower.attrs["long_name"].startswith(
        "lower bound of:"
    )
    assert found.information.attrs == {**found.information.attrs, "units": "f²"}
    again = sims.open_sweep(sweep.path, diagnose=["dead_units"])
    assert "dead_units" in again and "w2_lower" in again, "and what the index has"
    assert "dead_units" not in sims.open_sweep(sweep.path)
    with pytest.raises(ValueError, match="unknown diagnostic 'kernel_drft'"):
        indexing.collect(sweep, diagnose=["kernel_drft"])
    with pytest.raises(TypeError, match=r"a list: write \['w2'\]"):
        sims.open_sweep(sweep.path, diagnose="w2")
    assert capsys.readouterr().err == ""
    with pytest.raises(
        BadSettings,
        match="no quantity 'w2' in this sweep. It is an interval: w2_lower and w2_upper",
    ):
        plotting.figure(found, ["w2"], "gamma")


def test_a_diagnostic_that_fails_for_one_run_is_nan_there_and_says_why(
    tmp_path, monkeypatch, capsys
):
    sweep, real = made(tmp_path / "sweep", {"gamma": [0.5, 1]}, m=8), mf.diagnose
    bad, good = (sweep.run(name) for name in sweep.plan.runs)

    def diagnose(path, names=None, **options):
        if names and path == bad:
            raise ValueError("it has\nnone")
        return real(path, names, **options)

    monkeypatch.setattr(mf, "diagnose", diagnose)
    first, second = indexing.measure(sweep, diagnose=("kernel_drift",))
    assert (
        math.isnan(first["kernel_drift"])
        and second["kernel_drift"] == real(good, ["kernel_drift"])["kernel_drift"].values[-1]
    )
    assert capsys.readouterr().err == "sweep: kernel_drift is NaN for 1 of 2 runs: it has none\n"


def test_a_run_that_comes_is_diagnosed_as_the_others_were(tmp_path):
    sweep = made(tmp_path / "sweep", {"gamma": [0.5, 1]}, m=8)
    _, second = sweep.plan.runs
    os.rename(sweep.run(second), tmp_path / "away.h5")
    indexing.collect(sweep, diagnose=["kernel_drift"])
    os.rename(tmp_path / "away.h5", sweep.run(second))
    assert np.isfinite(sims.open_sweep(sweep.path).kernel_drift.values).all()


def test_the_verdict_names_badly_integrated_runs(data):
    bad = data.copy(deep=True)
    bad.energy_defect.loc[{"gamma": 0.5, "m": 16, "seed": 1}] = 0.26
    (verdict,) = [
        text
        for text in texts(plotting.figure(bad, ["risk"], "m", by="gamma"))
        if "Steps too long" in text
    ]
    assert "Steps too long in 1 of 12 runs: energy_defect > 0.1, up to 0.26." in verdict.replace(
        "\n", " "
    )
    assert not any(
        "Steps too long" in text for text in texts(plotting.figure(data, ["risk"], "m", by="gamma"))
    )


def test_runs_whose_neurons_slide_are_not_called_badly_integrated(data):
    """Their energy_defect counts chatter at every dt (THEORY.md, section 2)."""
    sliding = data.copy(deep=True)
    assert (sliding.sliding.values == 0).all()
    sliding.energy_defect[:], sliding.sliding[:] = 2.0, 1.0
    assert not any(
        "Steps too long" in text
        for text in texts(plotting.figure(sliding, ["risk"], "m", by="gamma"))
    )


def overlaps(figure):
    """Pairs of texts above the panels that touch, and texts that leave the page."""
    figure.draw_without_rendering()
    found = [
        text
        for text in (*figure.texts, *(text for ax in figure.axes for text in ax.texts))
        if text.get_text()
    ]
    boxes = [text.get_window_extent() for text in found]
    pairs = [
        (a.get_text(), b.get_text())
        for i, a in enumerate(found)
        for j, b in enumerate(found[:i])
        if boxes[i].overlaps(boxes[j])
    ]
    page = figure.bbox
    out = [
        text.get_text()
        for text, box in zip(found, boxes, strict=True)
        if box.x0 < 0 or box.x1 > page.x1 or box.y1 > page.y1
    ]
    return pairs, out


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_heading_and_long_verdicts_have_room(data, count):
    bad = data.copy(deep=True)
    bad.energy_defect[:] = 0.26
    figure = plotting.figure(
        bad, ["risk", "displacement", "path", "test_risk"][:count], "m", "gamma", {"seed": 1}
    )
    assert overlaps(figure) == ([], [])
    heading = [text.get_text() for text in figure.texts]
    assert (
        heading[0] == "Sweep: 6 of 6 runs finished"
        and "seed\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}1" in heading[1]
    )


def test_a_slope_that_is_refused_is_said_to_be_with_the_reason(data):
    near = data.assign_coords(m=[8, 12, 16])
    for found, reason in (
        (data.isel(m=[0, 2]), "from 2 values, give 3 at least."),
        (data.isel(m=[1]), "from 1 value, give 3 at least."),
        (near, "from m = 8 … 16, a factor 2, give a factor 4 at least."),
    ):
        figure = plotting.figure(found, ["risk", "displacement"], "m", "gamma")
        for _, verdict in figures.said(figure):
            assert verdict.startswith("Between ") and verdict.endswith(f". No slope in m {reason}")
        assert overlaps(figure) == ([], [])
    linear = plotting.figure(near, ["risk"], "m", "gamma", log="")
    assert "slope" not in figures.said(linear)[0][1]
    by_gamma = plotting.figure(data, ["risk"], "gamma", "m", log="xy")
    assert "No slope in gamma from 2 values" in figures.said(by_gamma)[0][1]


def test_runs_drawn_against_the_seed_are_no_means(data):
    figure = plotting.figure(data, ["risk"], "seed", by="gamma", where={"m": 8})
    assert (
        "each point one run" in (text := " ".join(figure.texts[1].get_text().split()))
        and "means" not in text
    )


@pytest.mark.parametrize("factor", [1.05, 1.5, 3.0, 20.0, 1e4, 1e12])
def test_a_logarithmic_axis_has_labels_at_three_values_or_more(data, factor):
    spread = data.copy(deep=True)
    spread.risk[:] = np.geomspace(1.0, factor, 3)[None, :, None]
    (ax,) = plotting.figure(spread, ["risk"], "m", by="gamma").axes
    low, high = ax.get_ylim()
    assert sum(low <= tick <= high for tick in ax.get_yticks()) >= 3
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert len(set(labels)) == len(labels) >= 3


@pytest.fixture(scope="module")
def lazy_sweep(tmp_path_factory):
    """A sweep over γ, m and seeds on a file of data, collected with laziness."""
    folder = tmp_path_factory.mktemp("lazy")
    x = np.cos(np.arange(60.0)).reshape(20, 3)
    np.savez(folder / "mine.npz", x=x, y=np.sin(x[:, 0]) + x[:, 1] * x[:, 2])
    axes = {"gamma": [0.5, 0.75, 1.0], "m": [8, 16, 32], "seed": [0, 1]}
    where = {"name": str(folder / "mine.npz"), "options": {}}
    sweep = made(folder / "sweep", axes, activation="tanh", t_end=2.0, dt=0.1, data=where)
    indexing.collect(sweep, diagnose=["laziness"])
    return sweep


@pytest.fixture(scope="module")
def lazy(lazy_sweep):
    return sims.open_sweep(lazy_sweep.path)


def test_laziness_is_a_column_and_brings_the_kernel_drift(lazy_sweep, lazy):
    """n = 20 < 256 samples, so that both drifts are of all; laziness is ntk.laziness's measure, the
    larger of gap and drift.
    """
    runs = sims.Sweep(lazy_sweep.path)
    for number in (0, 7, 17):
        last, point = (
            mf.diagnose(runs[number], ["departure"], progress=False),
            lazy.sel(runs.point(number)),
        )
        assert point.laziness == last["departure"].values.max()
        assert (
            point.kernel_drift
            == mf.diagnose(runs[number], ["kernel_drift"], progress=False)["kernel_drift"].values[
                -1
            ]
        )
    assert (
        lazy.laziness.attrs["units"] == "1" and "ntk.laziness" in lazy.laziness.attrs["long_name"]
    )


def test_the_figure_answers_at_which_gamma_a_network_leaves_the_lazy_regime(lazy):
    """The crossing of sims.lab.crossings, per line; a line at the threshold; a logarithmic axis,
    unless another is asked for.
    """
    known = sims.find_crossing(lazy.gamma, lazy.laziness.sel(m=32).transpose("seed", "gamma"), 0.1)
    figure = plotting.figure(lazy, ["laziness"], "gamma", where={"m": "32"})
    ((title, verdict),) = figures.said(figure)
    assert (
        title == "laziness" and verdict == f"Leaves the lazy regime (laziness 0.1) at γ = {known}."
    )
    (ax,) = figure.axes
    assert ax.get_yscale() == "log" and ax.get_xscale() == "linear"
    assert [line.get_ydata()[0] for line in ax.lines if line.get_gid() == "threshold"] == [0.1]
    assert "lazy below 0.1" in texts(figure)
    every = figures.said(plotting.figure(lazy, ["laziness"], "gamma", by="m"))[0][1]
    assert all(f"for m = {m}" in every for m in (8, 16, 32))
    low = lazy.assign(laziness=lazy.laziness * 1e-3)
    never = figures.said(plotting.figure(low, ["laziness"], "gamma", where={"m": "32"}))[0][1]
    assert "does not pass 0.1 (not bracketed: below 0.1 over the whole range, nearest" in never


@pytest.mark.parametrize(
    ("name", "activation", "expected"),
    [
        ("displacement", "tanh", {0.5: "−1/2", 0.75: "−1/4", 1.0: "0"}),
        ("laziness", "tanh", {0.5: "−1", 0.75: "−1/2", 1.0: "0"}),
        ("kernel_drift", "relu", {0.5: "−3/4", 0.75: "−1/2", 1.0: "0"}),
        ("risk", "tanh", {}),
    ],
)
def test_theorys_slopes_stand_beside_the_fitted_ones_where_they_are_known(
    lazy, name, activation, expected
):
    """sims.lab.exponents: γ - 1 for the displacement, 2(γ - 1) for the kernel, with kinks γ/2 - 1
    where that is larger.
    """
    base = {**json.loads(lazy.attrs["base"]), "activation": activation}
    figure = plotting.figure(lazy.assign_attrs(base=json.dumps(base)), [name], "m", by="gamma")
    verdict = figures.said(figure)[0][1]
    assert [part.split(")")[0] for part in verdict.split("(theory ")[1:]] == list(expected.values())
    bands = [line for line in figure.axes[0].lines if line.get_color() == "0.85"]
    assert len(bands) == len(expected)


@pytest.mark.parametrize(
    "change", [{"ridge": 0.1}, {"gamma_prime": 1.0}, {"law": {"symmetric": False, "a": "normal"}}]
)
def test_where_theory_does_not_hold_no_slope_of_it_is_shown(lazy, change):
    base = json.loads(lazy.attrs["base"])
    base |= {
        key: {**base[key], **value} if isinstance(value, dict) else value
        for key, value in change.items()
    }
    figure = plotting.figure(
        lazy.assign_attrs(base=json.dumps(base)), ["kernel_drift"], "m", by="gamma"
    )
    assert "theory" not in figures.said(figure)[0][1]


def test_axes_have_labels_with_units_and_no_path_of_this_machine_is_shown(lazy):
    figure = plotting.figure(lazy, ["displacement", "risk"], "m", by="gamma")
    assert (
        figure.axes[0].get_ylabel() == "RMS displacement [θ]"
        and figure.axes[1].get_ylabel() == "risk R"
    )
    words = " ".join([text.get_text() for text in figure.texts] + texts(figure))
    assert "mine.npz, tanh" in words and os.sep not in words.replace("1/2", "").replace(
        "3/4", ""
    ).replace("1/4", "")


def test_a_sweep_is_drawn_for_paper_too(lazy, tmp_path):
    """Three panels on two columns: 7 inches at most; letters of 7 points; no heading."""
    with figures.house("paper"):
        figure = plotting.figure(lazy, ["displacement", "laziness", "risk"], "m", by="gamma")
    figure.draw_without_rendering()
    seen = figure.findobj(lambda item: isinstance(item, figures.matplotlib.text.Text))
    sizes = {text.get_fontsize() for text in seen if text.get_visible() and text.get_text().strip()}
    assert sizes == {7.0} and not figure.texts and 6 < figure.get_figwidth() <= 7
