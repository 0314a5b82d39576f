"""Figures for print: bare ones have no words above them, those in style "paper" letters of 7 points
on one column at 300 dpi.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from diagnosed import problem, record
from PIL import Image

import meanfield as mf
from sims import figures
from sims.commands import inspect

FIGURES = {
    "compare": lambda run, **look: figures.compare([run, run], **look),
    "compare, test error": lambda run, **look: figures.compare([run, run], "test_error", **look),
    "paths": figures.paths,
    "series": lambda run, **look: figures.series(run, ["risk", "displacement"], **look),
    "function_1d": figures.function_1d,
    "function_evolution": figures.function_evolution,
    "phase_portrait": figures.phase_portrait,
    "kernel_image": figures.kernel_image,
    "kernel_change": figures.kernel_change,
    "kernel_ellipse": figures.kernel_ellipse,
}


@pytest.fixture(autouse=True)
def close_figures():
    yield
    figures.plt.close("all")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Signs of x on a line, with a test set."""
    x = np.linspace(-1, 1, 12)[:, None]
    y = np.sign(x[:, 0])
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu"), x, y))
    start = mf.InitialLaw(dim=1, b_std=1.0).sample(10, seed=1)
    return record(
        tmp_path_factory.mktemp("paper") / "run.h5",
        (flow, start, mf.data.Dataset(x, y, x + 0.01, y)),
    )


def all_axes(found):
    return found if isinstance(found, tuple) else (found,)


def letters(figure):
    """The sizes of everything written on a figure, as it is drawn."""
    figure.draw_without_rendering()
    found = figure.findobj(lambda item: isinstance(item, figures.matplotlib.text.Text))
    return {text.get_fontsize() for text in found if text.get_visible() and text.get_text().strip()}


@pytest.mark.parametrize("kind", FIGURES)
def test_a_bare_figure_has_neither_title_nor_verdict_and_tells_both_on_request(run, kind):
    axes = all_axes(FIGURES[kind](run, bare=True))
    usual = all_axes(FIGURES[kind](run))
    for ax, other in zip(axes, usual, strict=True):
        assert (
            not [text for text in ax.texts if text.get_visible() and text.get_text()]
            and not ax.get_title()
        )
        assert any(text.get_text() for text in other.texts), "and the next figure has them again"
    assert figures.said(axes[0].figure) == figures.said(usual[0].figure)
    assert all(title and verdict for title, verdict in figures.said(axes[0].figure))


@pytest.mark.parametrize("kind", FIGURES)
def test_on_paper_letters_have_7_points_the_width_is_3_4_inches_and_nothing_leaves_it(
    run, tmp_path, kind
):
    axes = all_axes(FIGURES[kind](run, style="paper"))
    figure = axes[0].figure
    assert letters(figure) == {7.0} and figure.get_figwidth() == 3.4
    assert not [text for ax in axes for text in ax.texts if text.get_visible() and text.get_text()]
    for ax in axes:
        for label in (ax.xaxis.label, ax.yaxis.label):
            box = label.get_window_extent()
            assert (
                box.x0 >= 0
                and box.y0 >= 0
                and box.x1 <= figure.bbox.x1
                and box.y1 <= figure.bbox.y1
            )
    png, _ = figures.save(figure, tmp_path / "figure")
    with Image.open(png) as picture:
        assert picture.width == 1020  # 3.4 inches of 300 dots
    if len(axes) == 2:
        assert (
            not axes[0]
            .xaxis.label.get_window_extent()
            .overlaps(axes[1].xaxis.label.get_window_extent())
        )


def test_axes_of_ones_own_are_dressed_for_paper_too(run):
    figure, ax = figures.plt.subplots(figsize=(3.4, 2.5), layout="constrained")
    figures.paths(run, ax=ax, style="paper")
    assert letters(figure) == {7.0}


def test_a_style_holds_for_all_that_is_drawn_inside_and_an_unknown_one_is_refused(run):
    with figures.house("paper"):
        assert figures.paths(run).figure.get_figwidth() == 3.4
    assert figures.paths(run).figure.get_figwidth() == 6.0
    with pytest.raises(ValueError, match="style must be one of 'house', 'paper'; got 'journal'"):
        figures.paths(run, style="journal")


def test_an_animation_may_be_bare(run, tmp_path, monkeypatch):
    close, seen = figures.plt.close, []
    monkeypatch.setattr(figures.plt, "close", lambda figure: seen.append(figure) or close(figure))
    for bare in (False, True):
        figures.animate(run, "paths", tmp_path / f"{bare}.gif", progress=False, bare=bare)
    words, none = (
        [text.get_text() for text in film.axes[0].texts if text.get_visible()] for film in seen
    )
    assert any("RMS displacement" in text for text in words) and not any(none)


def test_the_command_line_draws_for_paper(run, tmp_path):
    assert (
        inspect.main(["plot", str(run), "--style", "paper", "--out", str(tmp_path / "figure")]) == 0
    )
    with Image.open(tmp_path / "figure.png") as picture:
        assert picture.width == 1020


def test_compare_draws_the_diagnostic_or_series_that_is_named(run, tmp_path):
    ax = figures.compare([run, run], "test_error")
    found = mf.diagnose(run, ["test_error"], progress=False)["test_error"]
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), found.times)
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), found.values)
    assert (
        ax.get_ylabel() == "test error"
        and f"Ends at {found.values[-1]:.3g} for" in figures.said(ax.figure)[0][1]
    )
    assert figures.compare([run], "displacement").get_ylabel() == "RMS displacement [θ]"
    assert figures.compare([run], "w2").get_ylabel() == "W2 from the start [θ]"
    with pytest.raises(ValueError, match="no series 'test_eror'.*Did you mean 'test_error'"):
        figures.compare([run], "test_eror")
    with ThreadPoolExecutor(1) as executor:  # in place of those of a cluster
        there = figures.compare([run], "kernel_drift", executor=executor).lines[0]
    here = mf.diagnose(run, ["kernel_drift"], progress=False)["kernel_drift"]
    np.testing.assert_array_equal(there.get_ydata(), here.values)
    with pytest.raises(TypeError, match="executor must be a concurrent.futures.Executor"):
        figures.compare([run], "kernel_rank", executor=3)
    real = record(tmp_path / "real.h5", problem("real"))
    with pytest.raises(ValueError, match="'test_error' cannot be computed for .*real targets"):
        figures.compare([real], "test_error")
    with pytest.raises(TypeError, match="Axes are given as ax="):
        figures.compare([run], figures.plt.gca())


def test_the_phase_portrait_says_what_its_grey_lines_are(run):
    names = [text.get_text() for text in figures.phase_portrait(run).get_legend().get_texts()]
    assert names[0] == "ways of the neurons, t = 0 … 1.8"


@pytest.mark.parametrize("spread", [0.0, 0.02, 0.5])
def test_the_labels_of_four_slopes_do_not_cover_one_another(spread):
    """Four curves that start together, or near, or apart: labels beside the data, or all of them in
    the legend.
    """
    ax = figures.sheet(1)[1][0, 0, 0]
    m = np.array([16.0, 64.0, 256.0])
    slopes = [-0.5, -0.4, -0.3, -0.2]
    curves = [
        figures.Curve(
            f"γ = {1 + slope:g}: slope −0.123 ± 0.001, theory −0.1",
            m,
            (1 + spread * k) * (m[None] / 16) ** slope,
            k,
        )
        for k, slope in enumerate(slopes)
    ]
    figures.power_laws(ax, curves, slopes, "width m", "RMS displacement")
    ax.figure.draw_without_rendering()
    beside = [text for text in ax.texts if text.get_gid() == "slope"]
    shown = [text.get_text() for text in (*beside, *ax.get_legend().get_texts())]
    assert set(shown) == {curve.label for curve in curves} | {"theory's slope"}
    boxes = [text.get_window_extent() for text in (*beside, *ax.get_legend().get_texts())]
    assert not [1 for k, box in enumerate(boxes) for other in boxes[:k] if box.overlaps(other)]
    lines = [
        ax.transData.transform(np.column_stack([curve.x, curve.values[0]])) for curve in curves
    ]
    paths = [figures.matplotlib.path.Path(line) for line in lines]
    if not beside:
        assert not any(
            path.intersects_bbox(box, filled=False) for path in paths for box in boxes
        ), "room is made above the data"
