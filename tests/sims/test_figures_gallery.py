"""Every public figure on every kind of run: an Axes with title, verdict and labels, drawn from the
file; PNG and PDF of each.
"""

import pydoc
import signal
from dataclasses import dataclass

import numba
import numpy as np
import pytest

import meanfield as mf
import ntk
from sims import figures
from sims.figures import functions, kernels, panels, planes, portraits, sources


@pytest.fixture(autouse=True)
def close_figures():
    yield
    figures.plt.close("all")


@dataclass(frozen=True)
class Case:
    """One kind of run: what differs from ReLU, γ = 1, one output, float64, finished."""

    dim: int = 1
    outputs: int = 1
    activation: str = "relu"
    gamma: float = 1.0
    dtype: str = "float64"
    loss: str = "squared"
    finished: bool = True
    t_end: float = 2.0


CASES = {
    "line": Case(),
    "plane": Case(dim=2),
    "high": Case(dim=5, gamma=0.5),
    "tanh": Case(activation="tanh", gamma=0.75),
    "two outputs": Case(dim=2, outputs=2),
    "classes": Case(dim=3, outputs=3, loss="softmax", activation="erf"),
    "float32": Case(dtype="float32"),
    "unfinished": Case(finished=False),
}


def flow_of(case):
    x = np.cos(np.arange(10 * case.dim)).reshape(10, case.dim)
    y = {True: np.arange(10) % 3, False: np.abs(x[:, : case.outputs])}[case.loss == "softmax"]
    risk = mf.EmpiricalRisk(mf.Network(case.activation, mf.Scaling(case.gamma)), x, y, case.loss)
    return mf.GradientFlow(risk, dtype=case.dtype)


def record(path, case):
    """A run of 8 neurons on 10 samples, 6 frames, or interrupted after 3 of them."""
    law = mf.InitialLaw(dim=case.dim, outputs=case.outputs, a="normal", b_std=1.0)
    watch = [mf.Recorder(path, mf.evenly(6)), mf.Series("risk", mf.every(1))]
    if not case.finished:

        def stop(flow, state):
            signal.raise_signal(signal.SIGINT)
            return 0.0

        watch.append(mf.Series("mine", mf.at_steps([10]), stop))
    try:
        mf.simulate(
            flow_of(case),
            law.sample(8, seed=1),
            mf.RK4,
            dt=0.1,
            t_end=case.t_end,
            observers=watch,
            progress=False,
        )
    except mf.Interrupted:
        assert not case.finished
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """name -> path; one thread, for the runs are tiny."""
    folder, before = tmp_path_factory.mktemp("gallery"), numba.get_num_threads()
    numba.set_num_threads(1)
    yield {
        name: record(folder / f"{name.replace(' ', '_')}.h5", case) for name, case in CASES.items()
    }
    numba.set_num_threads(before)


class Falling:
    """A limit that knows its risk."""

    def risk(self, times):
        return np.exp(-times)


GALLERY = {
    "compare": lambda run: figures.compare([run, run]),
    "overlay": lambda run: figures.overlay(run, Falling()),
    "paths": figures.paths,
    "series": lambda run: figures.series(run, ["risk", "displacement"]),
    "function_1d": figures.function_1d,
    "function_evolution": figures.function_evolution,
    "phase_portrait, sizes": figures.phase_portrait,
    "phase_portrait, plane": lambda run: figures.phase_portrait(run, "plane", frame=-1),
    "kernel_image": figures.kernel_image,
    "kernel_change": lambda run: figures.kernel_change(run)[1],
    "kernel_ellipse": figures.kernel_ellipse,
}


def words(ax):
    return [text.get_text() for text in ax.texts]


def said(ax):
    return " ".join(" ".join(words(ax)).split())


def test_every_public_figure_is_in_the_gallery():
    """What is exported and no tool of the house style, nor an animation."""
    tools = {
        "fraction",
        "heading",
        "house",
        "lines",
        "movement",
        "panel",
        "particles",
        "plane",
        "power_laws",
        "projected",
    }
    tools |= {"regime", "save", "sheet", "animate"}
    shown = {name.split(",")[0] for name in GALLERY}
    assert shown == {name for name in figures.__all__ if name.islower()} - tools


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("figure", GALLERY)
def test_a_figure_has_a_title_a_verdict_and_labels_and_can_be_saved(runs, tmp_path, kind, figure):
    """PNG and PDF are written of one kind of run; of the others everything but the pixels is made."""
    case = CASES[kind]
    if figure.startswith("function") and (case.dim, case.outputs) != (1, 1):
        with pytest.raises(ValueError, match=r"draws f: R → R.*figures\.paths"):
            GALLERY[figure](runs[kind])
        return
    ax = GALLERY[figure](runs[kind])
    assert isinstance(ax, figures.Axes)
    title, verdict = sorted(
        (text for text in ax.texts if text.get_text()),
        key=lambda text: text.get_fontweight() != "bold",
    )[:2]
    assert (
        title.get_fontweight() == "bold"
        and verdict.get_fontstyle() == "italic"
        and verdict.get_text().endswith(".")
    )
    assert ax.get_xlabel() and (ax.get_ylabel() or figure == "kernel_change")
    if kind != "two outputs" and not (kind == "line" and figure.startswith("function")):
        ax.figure.draw_without_rendering()
        return
    png, pdf = figures.save(ax.figure, tmp_path / "figure")
    assert png.stat().st_size > 5000 and pdf.read_bytes().startswith(b"%PDF")


def test_figures_draw_on_the_axes_they_are_given(runs):
    """And on those alone: no figure of their own is made. A kernel's colour bar stands beside it."""
    sheet, axes = figures.plt.subplots(2, 3)
    for ax, name in zip(
        axes.flat,
        ("paths", "series", "function_evolution", "phase_portrait", "kernel_image"),
        strict=False,
    ):
        assert getattr(figures, name)(runs["line"], ax=ax) is ax
    assert figures.kernel_change(runs["line"], axes=axes[1, 1:])[0] is axes[1, 1]
    assert figures.plt.get_fignums() == [sheet.number]


def boxes(ax):
    """Where the title and the verdict are, in pixels, once the figure is drawn."""
    return [text.get_window_extent() for text in ax.texts if text.get_gid() in ("title", "verdict")]


@pytest.mark.parametrize("layout", [None, "constrained"])
def test_in_a_grid_of_subplots_no_words_overlap_or_leave_the_figure(runs, layout):
    """Seven inches for two columns: what stands over one panel ends before the next begins, and
    below what is above it.
    """
    sheet, axes = figures.plt.subplots(2, 2, figsize=(7, 7), layout=layout)
    for ax, name in zip(
        axes.flat, ("paths", "function_evolution", "phase_portrait", "kernel_image"), strict=True
    ):
        getattr(figures, name)(runs["line"], ax=ax)
    sheet.draw_without_rendering()
    for row, column in np.ndindex(2, 2):
        found = boxes(axes[row, column])
        assert (
            len(found) == 2
            and found[1].y1 <= found[0].y0
            and found[1].y0 >= axes[row, column].get_window_extent().y1
        )
        assert found[0].y1 <= (
            sheet.bbox.y1 if row == 0 else axes[0, column].xaxis.label.get_window_extent().y0
        )
        edge = sheet.bbox.x1 if column else min(box.x0 for box in boxes(axes[row, 1]))
        assert max(box.x1 for box in found) <= edge


def test_on_a_sheet_the_words_of_the_last_column_end_before_the_page():
    """A verdict of 58 wide letters, as long as a line may be, is wrapped once more."""
    sheet, axes = figures.sheet(1, 1, 3)
    for ax in axes[0, 0]:
        figures.panel(ax, "A title", "M" * 27 + " " + "M" * 27 + ".")
        assert max(box.x1 for box in boxes(ax)) < sheet.bbox.x1
    figures.plt.close(sheet)


def test_a_panel_written_again_takes_the_place_of_the_first():
    ax = figures.plt.figure().add_axes((0.2, 0.2, 0.5, 0.5))
    for verdict in ("One.", "Two."):
        figures.panel(ax, "Title", verdict)
    # placed by hand: it stays there
    assert words(ax) == ["Title", "Two."] and ax.get_position().y1 == pytest.approx(0.7)


def test_help_lists_the_figures_and_not_matplotlib_s_classes():
    text = pydoc.plain(pydoc.render_doc(figures))
    assert text.count("\n") < 400 and "class Axes" not in text
    assert all(f"    {name.split(',')[0]} " in figures.__doc__ for name in GALLERY)


def test_neurons_are_seen_scaled_by_a_only_where_sigma_is_homogeneous(runs):
    labels = {name: planes.plane(runs[name])[1:] for name in ("line", "tanh", "plane", "high")}
    assert (
        labels["line"] == ("|a| w", "|a| b")
        and labels["tanh"] == ("w", "b")
        and labels["plane"] == ("|a| w₁", "|a| w₂")
    )
    assert "main directions of movement" in labels["high"][0]


def test_a_picture_says_how_many_neurons_leave_it():
    """Of 400 neurons 3 beyond the rest: within a hundredth, they may leave."""
    frames = np.zeros((2, 400, 2))
    frames[1] = np.random.default_rng(0).uniform(-1, 1, size=(400, 2))
    frames[1, :3] = 50.0
    ax = figures.plt.figure().add_subplot()
    assert figures.panels.fit(ax, frames) == "; 3 of 400 leave the picture"
    assert ax.get_xlim()[1] < 5 and figures.panels.fit(ax, frames[:, 3:]) == ""
    box = ax.get_window_extent()
    assert np.ptp(ax.get_xlim()) / np.ptp(ax.get_ylim()) == pytest.approx(box.width / box.height)


def test_phase_velocities_are_the_time_derivatives_of_what_is_drawn(runs):
    """Central differences along the velocity, h = 1e-6: error O(h²) + eps/h ~ 1e-10, relative to
    speeds O(1).
    """
    with mf.Trajectory(runs["two outputs"]) as run:
        state, flow = run[1], sources.flow_of(run)
    v, h = flow.velocity(state), 1e-6
    ahead, behind = (mf.State(state.theta + sign * h * v, outputs=2) for sign in (1, -1))
    for place, velocity in (
        (portraits.sizes, portraits.size_velocity(state, v)),
        (lambda s: planes.weights(s, True), portraits.weight_velocity(state, v, True)),
        (lambda s: planes.weights(s, False), portraits.weight_velocity(state, v, False)),
    ):
        np.testing.assert_allclose((place(ahead) - place(behind)) / (2 * h), velocity, atol=1e-8)


def test_a_neuron_at_rest_has_a_size_velocity_too():
    """a = 0: |a| grows with |v_a|; w = 0 and b = 0: nothing divides by zero."""
    state = mf.State(np.array([[0.0, 1.0, 0.0], [2.0, 0.0, 0.0]]))
    v = np.array([[3.0, 4.0, 5.0], [-1.0, 0.0, 0.0]])
    np.testing.assert_array_equal(portraits.size_velocity(state, v), [[4.0, 3.0], [0.0, -1.0]])


def test_phase_portraits_show_the_conserved_size_only_where_it_is_conserved(runs):
    """ReLU, all trained: dashed level lines, kept to the integrator's error; tanh: none."""
    with mf.Trajectory(runs["line"]) as run:
        assert portraits._kept(run, 1.0) < 1e-3  # at kinks RK4 with dt = 0.1 is of order 1–2
    assert "|w|² + b² − |a|² = const" in " ".join(
        words(figures.phase_portrait(runs["line"]))
    ).replace("\n", " ")
    assert "const" not in " ".join(words(figures.phase_portrait(runs["tanh"])))


@pytest.mark.parametrize("empty", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_legend_stands_in_the_corner_where_no_ways_pass(empty):
    """Ways are lines of a collection. Those of the three other corners and of the middle."""
    ends = [corner for corner in np.ndindex(2, 2) if corner != empty]
    ways = np.linspace((0.5, 0.5), ends, 50)
    ax = figures.plt.figure().add_subplot()
    ax.plot([], [], label="ways")
    ax.set(xlim=(0, 1), ylim=(0, 1))
    panels.legend_where_least(ax, ways)
    x, y = ax.transAxes.inverted().transform(ax.get_legend().get_window_extent()).mean(axis=0)
    assert (round(x), round(y)) == empty


def test_an_ellipse_is_the_unit_sphere_of_the_inverse_kernel():
    H = np.array([[2.0, 0.7], [0.7, 1.0]])
    v = kernels.ellipse(H)
    np.testing.assert_allclose(np.einsum("in,ij,jn->n", v, np.linalg.inv(H), v), 1.0, rtol=1e-12)
    line = kernels.ellipse(np.ones((2, 2)))  # singular: ± (1, 1), √λ = √2
    np.testing.assert_allclose(line[0], line[1], atol=1e-7)
    # of 200 points: cos(π/199) > 1 - 1.3e-4
    assert np.linalg.norm(line, axis=0).max() == pytest.approx(np.sqrt(2), rel=1e-4)


def test_kernel_images_show_the_kernel_in_the_order_they_state(runs):
    with mf.Trajectory(runs["plane"]) as run:
        H, y = ntk.empirical(run.network, run[-1], run.data.x), run.data.y
    leading = np.linalg.eigh(H)[1][:, -1]
    orders = {
        "label": np.argsort(y),
        "eigenvector": np.argsort(leading * np.sign(leading.sum())),
        "none": np.arange(10),
    }
    for sort, order in orders.items():
        ax = figures.kernel_image(runs["plane"], sort=sort)
        np.testing.assert_allclose(ax.images[0].get_array(), H[np.ix_(order, order)], rtol=1e-12)
        assert {"label": "by label", "eigenvector": "leading eigenvector", "none": "as they come"}[
            sort
        ] in ax.get_xlabel()
    with pytest.raises(
        ValueError, match="must be one of label, eigenvector, none here.*got 'input'"
    ):
        figures.kernel_image(runs["plane"], sort="input")


def test_a_kernel_may_be_given_as_an_array(runs):
    H = np.diag([1.0, 3.0, 2.0])
    assert "the largest eigenvalue 3 is 50% of the trace" in said(figures.kernel_image(H))
    with pytest.raises(ValueError, match="an array has no labels"):
        figures.kernel_image(H, sort="label")
    with pytest.raises(ValueError, match=r"finite array \(n, n\); got \(3, 2\)"):
        figures.kernel_image(H[:, :2])


def test_two_kernels_share_scale_and_order(runs):
    left, right = figures.kernel_change(runs["plane"])
    assert left.images[0].get_clim() == right.images[0].get_clim()
    with mf.Trajectory(runs["plane"]) as run:
        order = np.argsort(run.data.y)
        H = [ntk.empirical(run.network, run[k], run.data.x) for k in (0, -1)]
    for ax, matrix in zip((left, right), H, strict=True):
        np.testing.assert_allclose(
            ax.images[0].get_array(), matrix[np.ix_(order, order)], rtol=1e-12
        )
    assert f"= {ntk.drift(*H):.3g}" in said(right)


@pytest.mark.parametrize("kind", ["plane", "two outputs", "line"])
def test_the_kernels_verdicts_are_the_diagnostics_of_that_name(runs, kind):
    found = mf.diagnose(runs[kind], ["kernel_drift", "kernel_alignment"])
    left, right = axes = figures.kernel_change(runs[kind])
    assert isinstance(axes, tuple) and left.figure is right.figure
    first, last = found["kernel_alignment"].values[[0, -1]]
    assert f"; kernel alignment {first:.3f}." in said(
        left
    ) and f"; kernel alignment {last:.3f}." in said(right)
    assert f"‖H_t − H_0‖/‖H_0‖ = {found['kernel_drift'].values[-1]:.3g};" in said(right)


def test_a_scale_leaves_out_single_entries_that_are_far_larger():
    H = np.ones((20, 20)) + 0.1 * np.eye(20)
    assert kernels.middle(H) == (1.0, 1.1)
    H[0, 0] = 100.0
    assert kernels.middle(H)[1] == pytest.approx(1.1)


def test_several_outputs_are_drawn_by_the_mean_of_their_kernels(runs):
    with mf.Trajectory(runs["two outputs"]) as run:
        H = ntk.empirical(run.network, run[-1], run.data.x)
        mean = kernels.scalar_kernel(run.network, run[-1], run.data.x)
    np.testing.assert_allclose(mean, 0.5 * (H[:, :, 0, 0] + H[:, :, 1, 1]), rtol=1e-12)


def test_milestones_are_equally_far_apart_along_the_way():
    """A point that goes 0, 1, …, 10 and then rests: nothing is drawn of the rest but its end."""
    values = np.concatenate([np.arange(11.0), np.full(20, 10.0)])[:, None]
    assert sources.milestones(values, 6) == [0, 2, 4, 6, 8, 30]
    assert sources.milestones(values[:11], 3) == [0, 5, 10]
    assert sources.milestones(values[11:], 3) == [0, 19]  # no way at all: the ends
    assert sources.milestones(values[:1], 3) == [0]


def test_an_evolution_starts_at_the_first_frame_and_ends_at_the_last(runs):
    ax = figures.function_evolution(runs["line"], frames=4)
    with mf.Trajectory(runs["line"]) as run:
        flow = sources.flow_of(run)
        x = functions.inputs(flow, 400)
        np.testing.assert_allclose(ax.lines[1].get_ydata(), flow.predict(run[0], x)[:, 0])
        np.testing.assert_allclose(ax.lines[-1].get_ydata(), flow.predict(run[-1], x)[:, 0])
    assert 3 <= len(ax.lines) <= 5  # the data, the first, the last, at most two between
    light = [
        np.dot(figures.matplotlib.colors.to_rgb(line.get_color()), (0.2126, 0.7152, 0.0722))
        for line in ax.lines[1:]
    ]
    assert np.all(np.diff(light) < 0)  # in grayscale too, later is darker


@pytest.mark.parametrize(
    ("values", "scale"),
    [([1.0, 0.5, 0.2], "linear"), ([1.0, 0.1, 1e-3], "log"), ([1.0, 0.1, -1e-3], "linear")],
)
def test_series_are_logarithmic_where_they_span_decades(runs, monkeypatch, values, scale):
    curve = (
        mf.Trajectory(runs["line"])
        .series("risk")
        ._replace(steps=np.arange(3), times=np.arange(3.0), values=np.array(values))
    )
    monkeypatch.setattr(mf.Trajectory, "series", lambda self, name: curve)
    ax = figures.series(runs["line"], "anything")
    assert (ax.get_yscale(), ax.get_xscale()) == (scale, "linear")
    assert f"from {values[0]:.3g} to {values[-1]:.3g} by t = 2" in " ".join(words(ax))


def test_series_have_a_logarithmic_time_where_their_moments_have(runs, monkeypatch):
    times = np.array([0.0, 0.01, 0.1, 1.0, 10.0, 100.0])
    curve = (
        mf.Trajectory(runs["line"])
        .series("risk")
        ._replace(steps=np.arange(6), times=times, values=1 / (1 + times))
    )
    monkeypatch.setattr(mf.Trajectory, "series", lambda self, name: curve)
    ax = figures.series(runs["line"])
    assert (ax.get_yscale(), ax.get_xscale()) == ("log", "log")
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), times[1:])


def test_a_run_that_diverged_is_drawn_up_to_its_last_finite_frame(tmp_path):
    flow = flow_of(Case(activation="square"))
    path = tmp_path / "diverged.h5"
    start = mf.InitialLaw(dim=1, b_std=1.0).sample(8, seed=1)
    with pytest.warns(RuntimeWarning):
        mf.simulate(
            flow,
            start,
            mf.EULER,
            dt=1.0,
            n_steps=60,
            observers=[mf.Recorder(path, mf.every(1))],
            progress=False,
        )
    with mf.Trajectory(path) as run:
        count = sources.usable(run)
        assert 1 < count < len(run)
        with pytest.raises(
            ValueError, match=f"this figure needs {count + 1} or more frames; .* of them not finite"
        ):
            sources.usable(run, count + 1)
        with pytest.raises(ValueError, match="frame 60 was asked for"):
            sources.number(run, 60)


def test_a_run_without_frames_says_so(runs, tmp_path):
    path = tmp_path / "run.h5"

    def fail(flow, state):
        raise ZeroDivisionError

    watch = [mf.Recorder(path, mf.evenly(3)), mf.Series("mine", mf.every(1), fail)]
    with pytest.raises(ZeroDivisionError):
        mf.simulate(
            flow_of(Case()),
            mf.InitialLaw(dim=1).sample(4, seed=0),
            mf.RK4,
            dt=0.1,
            t_end=1.0,
            observers=watch,
            progress=False,
        )
    with pytest.raises(ValueError, match=r"needs 1 or more frames; .*run\.h5 \(unfinished\) has 0"):
        figures.kernel_image(path)


def test_functions_of_a_user_are_handed_in_with_the_flow(tmp_path):
    """The file names the activation and cannot hold it; paths need none, all else asks for flow=."""
    swish = mf.Activation(
        "swish",
        lambda z: z / (1 + np.exp(-z)),
        lambda z: (1 + np.exp(-z) * (1 + z)) / (1 + np.exp(-z)) ** 2,
    )
    x = np.linspace(-1, 1, 8)[:, None]
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network(swish), x, np.abs(x[:, 0])))
    path = tmp_path / "run.h5"
    start = mf.InitialLaw(dim=1, b_std=1.0).sample(6, seed=0)
    mf.simulate(
        flow,
        start,
        mf.HEUN,
        dt=0.2,
        t_end=1.0,
        observers=[mf.Recorder(path, mf.evenly(4))],
        progress=False,
    )
    assert figures.paths(path).get_xlabel() == "w" and "γ = 1" in words(figures.compare([path]))[1]
    drawn = (
        figures.function_1d,
        figures.function_evolution,
        figures.phase_portrait,
        figures.kernel_image,
        figures.kernel_ellipse,
    )
    for figure in (*drawn, figures.kernel_change):
        with pytest.raises(ValueError, match="flow="):
            figure(path)
        figure(path, flow=flow)


def test_a_linearised_run_has_its_function_and_no_kernel_of_its_own(tmp_path):
    x = np.linspace(-1, 1, 8)[:, None]
    network, start = mf.Network("relu"), mf.InitialLaw(dim=1, b_std=1.0).sample(6, seed=0)
    flow = mf.GradientFlow(ntk.linearise(network, start).risk(x, np.abs(x[:, 0])))
    path = tmp_path / "run.h5"
    mf.simulate(
        flow,
        start,
        mf.HEUN,
        dt=0.2,
        t_end=1.0,
        observers=[mf.Recorder(path, mf.evenly(4))],
        progress=False,
    )
    ax = figures.function_1d(path)
    np.testing.assert_allclose(
        ax.lines[-1].get_ydata(),
        flow.predict(mf.Trajectory(path)[-1], ax.lines[-1].get_xdata()[:, None])[:, 0],
    )
    with pytest.raises(ValueError, match="linearised"):
        figures.kernel_image(path)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda run: figures.phase_portrait(run, "speeds"), 'must be "sizes"'),
        (
            lambda run: figures.function_evolution(run, frames=1),
            r"2 or more frames; got 1\. figures\.function_1d",
        ),
        (
            lambda run: figures.kernel_ellipse(run, pair=(1, 1)),
            r"two different samples of the 10 there are; got \(1, 1\)",
        ),
        (lambda run: figures.kernel_ellipse(run, pair=(0, 10)), "two different samples"),
        (lambda run: figures.kernel_ellipse(run, frames=1), "2 or more frames"),
        (lambda run: figures.series(run, []), "needs a name; .* has: .*risk"),
        (lambda run: figures.series(run, "rsik"), "no series 'rsik'"),
        (lambda run: figures.kernel_image(run, frame=6), "0 … 5, or -1 for the last"),
    ],
)
def test_what_cannot_be_drawn_is_said(runs, call, message):
    with pytest.raises(ValueError, match=message):
        call(runs["line"])
    assert figures.plt.get_fignums() == []  # nothing is left behind


def test_a_teacher_s_directions_are_drawn_where_the_data_have_one(tmp_path):
    data = mf.data.teacher_student(20, 2, seed=0)
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu"), data.x, data.y))
    path, start = tmp_path / "run.h5", mf.InitialLaw(dim=2).sample(6, seed=0)
    mf.simulate(
        flow,
        start,
        mf.HEUN,
        dt=0.1,
        t_end=0.5,
        observers=[mf.Recorder(path, mf.evenly(3), data=data)],
        progress=False,
    )
    ax = figures.paths(path)
    rays = np.array([np.ravel(line.get_xydata()[1]) for line in ax.lines])
    teacher = np.array(data.origin["teacher"]["w"])
    np.testing.assert_allclose(
        rays / np.linalg.norm(rays, axis=1, keepdims=True), teacher, atol=1e-12
    )


def test_of_very_many_frames_evenly_spaced_ones_are_looked_at(runs, monkeypatch):
    monkeypatch.setattr(sources, "STILL", 3)
    with mf.Trajectory(runs["line"]) as run:
        frames, positive = figures.projected(run, np.eye(2), scaled=True)
        for drawn, k in zip(frames, (0, 2, 5), strict=True):  # 2.5 rounds to even
            np.testing.assert_array_equal(drawn, planes.weights(run[k], True))
        np.testing.assert_array_equal(positive, run[-1].a[:, 0] > 0)


def test_whole_rows_of_theta_are_seen_in_the_plane_of_their_movement():
    """Particles of a pairwise energy, outputs = 0: no a, no b to leave out."""
    theta = np.random.default_rng(0).normal(size=(20, 3))
    moved = (
        theta
        + np.outer(np.linspace(-1, 1, 20), [0.0, 0.0, 2.0])
        + np.outer(np.cos(np.arange(20)), [0.1, 0.0, 0.0])
    )
    first, last = mf.State(theta, outputs=0), mf.State(moved, outputs=0)
    basis = planes.movement(first, last)
    assert abs(basis[2, 0]) == pytest.approx(1, abs=1e-2) and basis.shape == (3, 2)
    assert planes.signs(last).all() and figures.runs.sign_names(last) == ("after", "")
