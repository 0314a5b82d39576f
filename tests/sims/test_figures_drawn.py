"""Which neurons a figure draws, and whose ways: the mass in the picture, ancestors, what is kept."""

import numpy as np
import pytest

import meanfield as mf
from sims import figures
from sims.figures import planes, portraits

X = np.linspace(-1, 1, 8)[:, None]
Y = np.abs(X[:, 0])


@pytest.fixture(autouse=True)
def close_figures():
    yield
    figures.plt.close("all")


def record(path, start, method=mf.HEUN, t_end=1.0, **settings):
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu"), X, Y), **settings)
    mf.simulate(flow, start, method, dt=0.1, t_end=t_end, progress=False,
                observers=[mf.Recorder(path, mf.every(2))])  # fmt: skip
    return mf.Trajectory(path)


def said(ax):
    return " ".join(" ".join(text.get_text() for text in ax.texts).split())


def test_of_unequal_masses_the_heaviest_are_drawn_and_the_verdict_says_how_many(tmp_path):
    """Two circles of 8: the first 8 cells are a > 0 alone, half of the mass."""
    run = record(tmp_path / "run.h5", mf.limits.circle(8), mf.limits.FINITE_VOLUMES)
    mass, chosen = run[-1].mass, planes.shown(run, 8)
    assert mass[chosen].min() >= np.delete(mass, chosen).max() and len(chosen) == 8
    ax = figures.paths(run, count=8)
    assert f"8 of 16 drawn, the heaviest, {mass[chosen].sum():.2g} of the mass" in said(ax)
    assert "drawn" not in said(figures.paths(run))
    assert "8 of 16 drawn" in said(figures.phase_portrait(run, count=8))


@pytest.mark.parametrize("count", [1, 5, 8])
def test_of_equal_masses_pairs_are_drawn_evenly_spaced(tmp_path, count):
    """A symmetric start has neighbours (a, w, b), (-a, w, b): both or neither."""
    law = mf.InitialLaw(dim=1, b_std=1.0, symmetric=True)
    run = record(tmp_path / "run.h5", law.sample(40, seed=0), t_end=0.2)
    chosen = planes.shown(run, count)
    assert 1 <= len(chosen) <= count and len(set(chosen)) == len(chosen)
    if count > 1:
        np.testing.assert_array_equal(chosen[1::2], chosen[::2] + 1)
        assert chosen[0] == 0 and chosen[-1] == 39
        assert f"{len(chosen)} of 40 drawn, evenly spaced" in said(figures.paths(run, count=count))


def test_ways_of_a_phase_portrait_are_those_of_ancestors(tmp_path):
    """No way jumps where a place is taken by a copy: each step is as long as the flow makes it."""
    start = mf.InitialLaw(dim=1, b_std=1.0).sample(24, seed=0)
    run = record(tmp_path / "run.h5", start, reaction=10.0, jumps=True, seed=1)
    assert len(np.unique(run.ancestors())) < 24
    ax = figures.phase_portrait(run)
    ways = np.array(ax.collections[0].get_segments())
    for k in range(len(run)):
        own = portraits.sizes(run[k])[run.ancestors(len(run) - 1, k)]
        np.testing.assert_allclose(ways[:, k], own)
    assert "ways of the ancestors of the last" in ax.get_legend().get_texts()[0].get_text()
    assert portraits._kept(run, 1.0) < 0.1  # a place that changes hands is no change of a neuron


@pytest.mark.parametrize(
    ("change", "words"), [(0.1, "kept to 0.1 of its size by"), (0.9, "not kept: 0.9 of its size")]
)
def test_what_changes_by_more_than_a_tenth_is_not_said_to_be_kept(
    tmp_path, monkeypatch, change, words
):
    run = record(tmp_path / "run.h5", mf.InitialLaw(dim=1).sample(4, seed=0), t_end=0.2)
    monkeypatch.setattr(portraits, "_kept", lambda run, power: change)
    assert words in said(figures.phase_portrait(run))


def test_of_balanced_neurons_the_change_is_in_parts_of_their_size(tmp_path):
    """|w|² + b² - |a|² is 0 at the start: parts of it are none."""
    angle = np.linspace(0, 6, 16)
    theta = np.column_stack([np.tile([1.0, -1.0], 8), np.cos(angle), np.sin(angle)])
    run = record(tmp_path / "run.h5", mf.State(theta), mf.RK4)
    assert portraits._kept(run, 1.0) < 0.01
