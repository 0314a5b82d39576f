"""Animations: a frame for every recorded frame, the same axes in all, a complete file or none; MP4
where ffmpeg is.
"""

import shutil

import numpy as np
import pytest
from PIL import Image

import meanfield as mf
from sims import figures
from sims.figures import animations, scenes, sources


@pytest.fixture(autouse=True)
def close_figures():
    yield
    assert figures.plt.get_fignums() == []  # an animation leaves no figure open, whatever happens


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Pictures of 200 × 147 pixels: 13 times less to draw."""
    make = figures.plt.figure
    monkeypatch.setattr(animations.plt, "figure", lambda **options: make(**{**options, "dpi": 34}))


def record(path, dim=1, outputs=1, frames=7, dtype="float64"):
    x = np.cos(np.arange(6 * dim)).reshape(6, dim)
    flow = mf.GradientFlow(
        mf.EmpiricalRisk(mf.Network("relu"), x, np.abs(x[:, :outputs])), dtype=dtype
    )
    start = mf.InitialLaw(dim=dim, outputs=outputs, a="normal", b_std=1.0).sample(8, seed=1)
    mf.simulate(
        flow,
        start,
        mf.HEUN,
        dt=0.1,
        t_end=1.2,
        observers=[mf.Recorder(path, mf.evenly(frames))],
        progress=False,
    )
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return record(tmp_path_factory.mktemp("line") / "run.h5")


@pytest.mark.parametrize("kind", scenes.SCENES)
def test_a_gif_has_one_picture_for_each_recorded_frame(run, tmp_path, kind):
    out = tmp_path / "run.gif"
    assert figures.animate(run, kind, out, fps=10, progress=False) == out
    with Image.open(out) as gif:
        assert gif.n_frames == len(mf.Trajectory(run)) == 7
        durations = []
        for k in range(7):
            gif.seek(k)
            durations.append(gif.info["duration"])
            corner = gif.convert("RGB").getpixel((199, 0))
            assert corner == (255, 255, 255)  # paper stays white
    assert durations == [100] * 6 + [2000] and gif.info["loop"] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["run.gif"]


@pytest.mark.parametrize(("dim", "outputs", "dtype"), [(2, 1, "float64"), (5, 2, "float32")])
@pytest.mark.parametrize("kind", ["paths", "kernel", "ellipse"])
def test_planes_higher_dimensions_outputs_and_float32_are_animated_too(
    tmp_path, kind, dim, outputs, dtype
):
    path = record(tmp_path / "run.h5", dim, outputs, frames=3, dtype=dtype)
    with Image.open(figures.animate(path, kind, tmp_path / "run.gif", progress=False)) as gif:
        assert gif.n_frames == 3


def test_of_many_frames_evenly_spaced_ones_are_shown_with_both_ends(run, tmp_path):
    with Image.open(
        figures.animate(run, "ellipse", tmp_path / "run.gif", most=4, progress=False)
    ) as gif:
        assert gif.n_frames == 4
    np.testing.assert_array_equal(sources.thinned(7, 4), [0, 2, 4, 6])
    np.testing.assert_array_equal(sources.thinned(7, 150), np.arange(7))
    assert len(sources.thinned(1000, 150)) == 150


@pytest.mark.parametrize("kind", scenes.SCENES)
def test_the_axes_are_the_same_in_every_frame_and_hold_all_of_them(run, kind):
    with mf.Trajectory(run) as opened:
        ax = figures.plt.figure().add_subplot()
        draw = scenes.SCENES[kind](opened, np.arange(7), ax, None)
        seen = []
        for k in range(7):
            draw(k)
            scale = ax.images[0].get_clim() if ax.images else ()
            seen.append((ax.get_xlim(), ax.get_ylim(), scale))
        assert len(set(seen)) == 1
        if kind == "function":
            low, high = ax.get_ylim()
            y = np.concatenate([np.ravel(line.get_ydata()) for line in ax.lines])
            assert low < y.min() and y.max() < high
    figures.plt.close("all")


def test_a_neuron_s_tail_is_where_it_was(run, monkeypatch):
    monkeypatch.setattr(scenes, "TAIL", 2)
    with mf.Trajectory(run) as opened:
        ax = figures.plt.figure().add_subplot()
        draw = scenes.paths_scene(opened, np.arange(7), ax)
        basis = figures.plane(opened)[0]
        frames, positive = figures.projected(opened, basis, scaled=True)
        draw(5)
        tails = [item for item in ax.collections if isinstance(item, scenes.LineCollection)]
        expected = frames[3:6, positive].transpose(1, 0, 2)
        np.testing.assert_allclose(np.array(tails[0].get_segments()), expected)
        draw(1)
        np.testing.assert_allclose(
            np.array(tails[0].get_segments()), frames[:2, positive].transpose(1, 0, 2)
        )
        verdict = ax.texts[-1].get_text()
        assert f"t = {opened.times[1]:.4g}, risk " in verdict
        assert f"RMS displacement {mf.displacement(opened[0], opened[1]):.3g}" in verdict
    figures.plt.close("all")


def test_a_failure_leaves_no_file_and_the_old_one_as_it_was(run, tmp_path, monkeypatch):
    out = tmp_path / "run.gif"
    out.write_bytes(b"the old one")
    monkeypatch.setattr(animations, "_pixels", lambda figure: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        figures.animate(run, "paths", out, progress=False)
    assert out.read_bytes() == b"the old one" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("kind", "name", "options", "message"),
    [
        ("path", "run.gif", {}, "kind must be one of paths, function, kernel, ellipse; got 'path'"),
        ("paths", "run.avi", {}, r"out must end in \.gif or \.mp4; got 'run\.avi'"),
        ("paths", "run.gif", {"fps": 0}, "fps must be positive and at most 50"),
        ("paths", "run.gif", {"fps": float("nan")}, "fps must be positive"),
        ("paths", "run.gif", {"most": 1}, "at least 2 frames; got 1"),
    ],
)
def test_what_cannot_be_animated_is_said_before_anything_is_drawn(
    run, tmp_path, kind, name, options, message
):
    with pytest.raises(ValueError, match=message):
        figures.animate(run, kind, tmp_path / name, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_said(run, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder .*absent to write run.gif to"):
        figures.animate(run, "paths", tmp_path / "absent" / "run.gif")


def test_a_function_of_two_variables_is_no_film(tmp_path):
    path = record(tmp_path / "run.h5", dim=2, frames=2)
    with pytest.raises(ValueError, match="draws f: R → R"):
        figures.animate(path, "function", tmp_path / "run.gif", progress=False)
    assert not (tmp_path / "run.gif").exists()


def test_without_ffmpeg_an_mp4_asks_for_it_or_for_a_gif(run, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        RuntimeError,
        match=r"needs ffmpeg, which is not on the PATH: install it, or write .*run\.gif",
    ):
        figures.animate(run, "paths", tmp_path / "run.mp4", progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_an_mp4_is_written_where_ffmpeg_is(run, tmp_path):
    out = figures.animate(run, "paths", tmp_path / "run.mp4", progress=False)
    assert out.read_bytes()[4:8] == b"ftyp" and [path.name for path in tmp_path.iterdir()] == [
        "run.mp4"
    ]


def test_the_bar_is_quiet_where_stderr_is_no_terminal(run, tmp_path, capfd):
    figures.animate(run, "ellipse", tmp_path / "run.gif", most=2)
    assert capfd.readouterr() == ("", "")
