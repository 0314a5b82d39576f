"""One rule for a run that is not the flow (energy_defect above 0.1), said by all who look at it."""

import re
import warnings

import numpy as np
import pytest

import meanfield as mf
import ntk
from meanfield.diagnostics import defects
from meanfield.diagnostics.inspection import report

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(60, 3)), RNG.choice([-1.0, 1.0], 60)
START = mf.InitialLaw(dim=3, b_std=1.0, symmetric=True).sample(100, seed=0)


def go(path=None, activation="tanh", method=mf.RK4, dt=5.0, t_end=100.0, **more):
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network(activation), X, Y))
    watch = [mf.Recorder(path, mf.evenly(6))] if path else []
    return mf.simulate(
        flow, START, method, dt=dt, t_end=t_end, observers=watch, progress=False, **more
    )


@pytest.fixture(scope="module")
def coarse(tmp_path_factory):
    """RK4 at dt = 5: F falls, and twenty times as much is dissipated."""
    path = tmp_path_factory.mktemp("coarse") / "coarse.h5"
    with pytest.warns(
        RuntimeWarning,
        match="energy_defect .* above 0.1: .* not the gradient flow. Use a smaller dt",
    ) as caught:
        go(path)
    assert len(caught) == 1 and caught[0].filename == __file__
    return path


def test_a_run_with_an_energy_defect_above_a_tenth_warns_once_and_all_who_look_at_it_say_the_same(
    coarse, tmp_path
):
    with mf.Trajectory(coarse) as run:
        finding = defects.of_run(run)
        assert (
            finding.kind == "steps" == run.summary["defect"]
            and finding.defect == run.summary["energy_defect"] > 1
        )
        assert f"note: {finding.text}" in list(report(run))
    fine = tmp_path / "fine.h5"
    go(fine, dt=0.5)
    comparison = mf.compare(coarse, fine)
    assert [note.partition(": ")[2] for note in comparison.notes if "energy_defect" in note] == [
        finding.text
    ]
    assert finding.text in str(ntk.laziness(coarse)) and "energy_defect" not in str(
        ntk.laziness(fine)
    )
    with mf.Trajectory(fine) as run:
        assert defects.of_run(run) is None and run.summary["defect"] == "none"


def test_the_verdicts_of_figures_say_that_a_run_is_not_the_flow(coarse):
    from sims import figures

    def words(ax):
        return " ".join(" ".join(text.get_text() for text in ax.texts).split())

    for draw in (figures.paths, figures.series, figures.phase_portrait):
        assert re.search(r"Not the flow: energy_defect \d", words(draw(coarse))), draw
    assert "Not the flow: energy_defect" in words(figures.compare([coarse, coarse]))


@pytest.mark.kernel
def test_euler_with_long_steps_is_called_gradient_descent_with_its_rate():
    """η = dt·m/s² = 80 at γ = 1; the steps are too long for the flow, and F falls all the same."""
    with pytest.warns(
        RuntimeWarning,
        match=r"this run is gradient descent with learning rate 80 on R, and not the gradient",
    ):
        go(method=mf.EULER, dt=0.8, t_end=8.0, activation="linear")


def test_a_run_that_follows_the_flow_has_no_finding():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        go(dt=0.1, t_end=2.0)
        go(method=mf.Adaptive(1e-6), dt=None, t_end=2.0)


def test_rounding_at_a_minimum_is_no_defect(h5_path):
    """F has nowhere to fall: the ratio of two roundings says nothing, in float32 either."""
    network, start = mf.Network("tanh"), mf.InitialLaw(dim=3, b_std=1.0).sample(100, seed=0)
    for dtype in ("float64", "float32"):
        y = mf.GradientFlow(mf.EmpiricalRisk(network, X, Y), dtype=dtype).predict(start)[:, 0]
        flow = mf.GradientFlow(mf.EmpiricalRisk(network, X, y + 1e-6 * Y), dtype=dtype)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            watch = [mf.Recorder(h5_path, mf.evenly(2), exists="replace")]
            mf.simulate(flow, start, mf.RK4, dt=0.1, n_steps=20, observers=watch, progress=False)
        with mf.Trajectory(h5_path) as run:
            assert defects.of_run(run) is None


def test_a_file_that_does_not_say_what_its_defect_means_leaves_it_open(coarse, monkeypatch):
    """As earlier versions wrote them: a smooth σ cannot slide, one with kinks may."""
    with mf.Trajectory(coarse) as run:
        summary = {name: value for name, value in run.summary.items() if name != "defect"}
        monkeypatch.setattr(run, "summary", summary)
        assert defects.of_run(run).kind == "steps"
        config = {
            "network": {"activation": "relu", "scaling": {"gamma": 1.0, "alpha": 1.0}},
            "integrator": {"name": "rk4"},
        }
        monkeypatch.setattr(run, "config", config)
        assert defects.of_run(run).kind == "unclear"
