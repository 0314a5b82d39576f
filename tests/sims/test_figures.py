"""Figures: what is drawn is what was given, every panel has its verdict, and files are complete and
the same every time.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import meanfield as mf
import ntk
from sims import figures

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    figures.plt.close("all")


def recorded(path, gamma, dim, outputs=1):
    """A short run on 12 samples, 8 neurons, biases trained."""
    x = np.linspace(-1, 1, 12 * dim).reshape(12, dim)
    y = np.abs(x[:, :outputs]) if outputs > 1 else np.abs(x[:, 0])
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu", scaling=mf.Scaling(gamma)), x, y))
    start = mf.InitialLaw(dim=dim, outputs=outputs, b_std=1.0, symmetric=True).sample(8, seed=1)
    mf.simulate(
        flow,
        start,
        mf.RK4,
        dt=0.1,
        t_end=2.0,
        observers=[mf.Recorder(path, mf.evenly(5))],
        progress=False,
    )
    return path


def texts(ax):
    return " ".join(text.get_text() for text in ax.texts)


def test_compare_draws_the_risk_of_every_run(tmp_path):
    paths = [recorded(tmp_path / f"{gamma}.h5", gamma, 1) for gamma in (0.5, 1.0)]
    ax = figures.compare([paths[0], mf.Trajectory(paths[1])])
    for line, path in zip(ax.lines, paths, strict=True):
        _, times, risk = mf.Trajectory(path).series("risk")
        np.testing.assert_array_equal(line.get_xdata(), times)
        np.testing.assert_array_equal(line.get_ydata(), risk)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert (
        "γ = 1/2 (NTK scaling), m = 8" in labels[0]
        and "γ = 1 (mean-field scaling), m = 8" in labels[1]
    )
    assert "RMS displacement" in " ".join(texts(ax).split())
    with pytest.raises(ValueError, match="at least one run"):
        figures.compare([])


def test_no_title_calls_a_run_lazy_by_its_gamma(tmp_path):
    """γ = 1/2, α = .1, two points, labels ±1: rich, the kernel drifts by more than .5; the title
    states the scaling and α.
    """
    x = np.array([[-1.0], [0.5]])
    flow = mf.GradientFlow(
        mf.EmpiricalRisk(mf.Network("tanh", mf.Scaling(0.5, 0.1)), x, np.array([1.0, -1.0]))
    )
    start = mf.InitialLaw(dim=1, b_std=1.0, symmetric=True).sample(20, seed=0)
    watch = [mf.Recorder(tmp_path / "small_alpha.h5", mf.log_spaced(20))]
    mf.simulate(flow, start, mf.RK4, dt=0.05, t_end=20.0, observers=watch, progress=False)
    assert ntk.laziness(tmp_path / "small_alpha.h5").drift.max() > 0.5
    title = texts(ax := figures.kernel_ellipse(tmp_path / "small_alpha.h5")) + ax.get_title()
    assert "γ = 1/2, α = 0.1 (NTK scaling)" in title and "lazy" not in title.lower()
    assert (
        figures.regime(1.0) == "γ = 1 (mean-field scaling)"
        and figures.regime(0.75, 2.0) == "γ = 3/4, α = 2"
    )


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_paths_draws_where_neurons_were_and_are(tmp_path, dim):
    """|a|(w, b) for d = 1, |a|w for d = 2, two orthonormal directions of |a|w beyond."""
    path = recorded(tmp_path / "run.h5", 1.0, dim)
    ax = figures.paths(path)
    with mf.Trajectory(path) as run:
        basis = figures.plane(run)[0]
        frames, positive = figures.projected(run, basis, scaled=True)
        last = run[-1]
    inner = np.abs(last.a) * np.column_stack([last.w, last.b])
    np.testing.assert_allclose(basis.T @ basis, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(frames[-1], inner @ basis, atol=1e-12)
    if dim <= 2:
        np.testing.assert_allclose(frames[-1], inner[:, :2], atol=1e-12)
    drawn = np.vstack([points.get_offsets() for points in ax.collections if points.get_gid()])
    np.testing.assert_allclose(np.sort(drawn, axis=0), np.sort(frames[-1], axis=0))
    assert len(positive) == 8 and "RMS displacement" in texts(ax)


def test_the_plane_of_movement_holds_the_movement():
    """Neurons that move along e_2 and, less, e_4: these are the axes."""
    theta = np.random.default_rng(0).normal(size=(20, 6))
    moved = theta.copy()
    moved[:, 2] += np.linspace(-3, 3, 20)
    moved[:, 4] += 0.1 * np.cos(np.arange(20))

    basis = figures.movement(mf.State(theta), mf.State(moved))
    assert abs(basis[1, 0]) == pytest.approx(1, abs=1e-2) and abs(basis[3, 1]) == pytest.approx(
        1, abs=1e-2
    )


def test_function_1d_draws_the_function_before_and_after(tmp_path):
    path = recorded(tmp_path / "run.h5", 1.0, 1)
    ax = figures.function_1d(path)
    data, before, after = ax.lines
    with mf.Trajectory(path) as run:
        flow = mf.GradientFlow(mf.EmpiricalRisk(run.network, run.data.x, run.data.y))
        x = np.asarray(after.get_xdata()).reshape(-1, 1)
        np.testing.assert_array_equal(data.get_ydata(), run.data.y)
        np.testing.assert_allclose(np.ravel(after.get_ydata()), flow.predict(run[-1], x)[:, 0])
        np.testing.assert_allclose(np.ravel(before.get_ydata()), 0.0, atol=1e-13)
    assert "the risk fell from" in texts(ax)
    with pytest.raises(ValueError, match=r"figures\.paths"):
        figures.function_1d(recorded(tmp_path / "plane.h5", 1.0, 2))


def test_power_laws_draw_the_expected_slope_through_the_middle_of_the_data():
    ax = figures.plt.figure().add_subplot()
    x = np.array([16.0, 64.0, 256.0])
    figures.power_laws(ax, [figures.Curve("half", x, 3 * x[None] ** -0.5)], [-0.5], "m", "D")
    band = next(line for line in ax.lines if line.get_linewidth() == 7)
    np.testing.assert_allclose(band.get_ydata(), 3 * x**-0.5)
    assert "half" in texts(ax)


def test_a_curve_is_the_mean_with_its_standard_error():
    ax = figures.plt.figure().add_subplot()
    values = np.array([[1.0, 2.0], [3.0, 6.0]])
    figures.lines(ax, [figures.Curve("c", np.array([0.0, 1.0]), values)], "x", "y")
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [2.0, 4.0])
    # the standard error of two values is half their difference
    corners = ax.collections[0].get_paths()[0].vertices
    assert {(0.0, 1.0), (0.0, 3.0), (1.0, 2.0), (1.0, 6.0)} <= {
        tuple(corner) for corner in corners.tolist()
    }


def test_curves_differ_in_colour_line_and_marker_and_in_gray():
    """Okabe and Ito's colours; the three of a study differ in luminance, and every pair in line
    style or marker.
    """
    assert len(set(figures.COLOURS)) == len(set(figures.MARKERS)) == 6
    assert len({str(line) for line in figures.LINES[:5]}) == 5
    rgb = np.array([figures.matplotlib.colors.to_rgb(colour) for colour in figures.COLOURS[:2]])
    assert np.ptp(rgb @ (0.2126, 0.7152, 0.0722)) > 0.2


def test_fractions_are_written_as_such():
    assert [figures.fraction(value) for value in (0.5, 0.75, 1.0, -0.25, 0.61)] == [
        "1/2",
        "3/4",
        "1",
        "−1/4",
        "0.61",
    ]


def test_saved_files_are_the_same_every_time_and_leave_nothing_behind(tmp_path):
    ax = figures.function_1d(recorded(tmp_path / "run.h5", 1.0, 1))
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        found.append(
            [path.read_bytes() for path in figures.save(ax.figure, tmp_path / name / "figure")]
        )
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == [
            "figure.pdf",
            "figure.png",
        ]
    assert found[0] == found[1]


@pytest.mark.parametrize("name", ["run_0.5", "run_0.5.png", "run_0.5.pdf"])
def test_a_name_with_a_dot_keeps_it_and_no_ending_is_doubled(tmp_path, name):
    figure = figures.plt.figure()
    assert figures.save(figure, str(tmp_path / name)) == (
        tmp_path / "run_0.5.png",
        tmp_path / "run_0.5.pdf",
    )


def test_figures_are_made_without_a_display():
    """In a fresh process without DISPLAY the Agg backend is in use; `from sims import figures` is
    enough.
    """
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    program = "from sims import figures; print(figures.matplotlib.get_backend())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip().lower() == "agg"


def test_one_seed_is_no_range():
    assert (figures.seeds(1), figures.seeds(5)) == ("seed 0", "seeds 0 … 4")


def test_an_axis_made_longer_has_no_more_ticks_than_it_can_name():
    """1, 2 and 5 of each decade over one and a half decades; over six the powers of ten alone."""
    ax = figures.plt.figure().add_subplot()
    curve = figures.Curve("", np.array([1.0, 2.0]), np.array([[0.1, 3.0]]), 0)
    figures.lines(ax, [curve], "x", "y", "xy")
    assert {0.2, 0.5, 1.0} <= {float(f"{tick:.6g}") for tick in ax.get_yticks()}
    ax.set_ylim(1e-3, 1e3)
    assert all(np.log10(tick) % 1 < 1e-9 for tick in np.round(ax.get_yticks(), 12))


def test_three_lines_on_a_sheet_are_two_where_there_is_room():
    """The heading leaves room for two. Words without end stay in lines of the width asked for."""
    axes = figures.sheet(1, 1, 3)[1]
    verdict = "0.049 from the kernel limit, 0.068 from its own; 0.0082 from the mean-field limit, band 0.0029."
    assert len(verdict) > 2 * 46
    words = figures.panel(axes[0, 0, 1], "Title", verdict, 46)
    assert words.get_text().count("\n") == 1
    pitch = axes[0, 0, 2].bbox.x0 - axes[0, 0, 1].bbox.x0
    assert words.get_window_extent().width < pitch
    long = figures.panel(axes[0, 0, 0], "Title", 3 * verdict, 46)
    assert max(map(len, long.get_text().split("\n"))) <= 46
