"""Training to a stated fraction of the first loss: the doubling, the budget, and that a finished
run is left alone.
"""

import dataclasses
import math

import numpy as np
import pytest

import meanfield as mf
from meanfield import tangent
from meanfield.stepping import march
from sims.lab import convergence, experiment

RUN = experiment.Experiment(
    gamma=1.0,
    m=16,
    frames=2,
    law=experiment.Law(a="normal", b_std=1.0),
    data=experiment.Data("luo_points", {}),
)


def test_the_first_end_is_that_of_the_slowest_mode_of_the_linearised_loss():
    """γ = 1/2, m large: e^(-2 λ_min t/n) = tol; at γ = 2 the time 10 s of the saddle instead."""
    lazy = dataclasses.replace(RUN, gamma=0.5, m=4096)
    made = experiment.make(lazy)
    slowest = np.linalg.eigvalsh(tangent.kernel(made.flow.network, made.start, made.data.x))[0]
    assert math.exp(-2 * slowest / 3 * convergence.first_end(lazy, 1e-3)) == pytest.approx(
        1e-3, rel=1e-9
    )
    assert convergence.first_end(dataclasses.replace(RUN, gamma=2.0), 1e-4) == pytest.approx(
        math.log(1e2) * 10 / 16
    )


@pytest.mark.parametrize(("reduction", "outputs"), [("sum", 1), ("mean", 2), ("sum", 2)])
def test_the_first_end_of_a_wide_lazy_run_is_enough_whatever_reduction_and_outputs(
    tmp_path, reduction, outputs
):
    """γ = 0.2, m = 1000: s = 251, the loss decays as linearised to relative O(1/s). At a sixth of
    that time the slowest mode has tol^(1/6) = .3 of its part left: above tol where it began with a
    hundredth of the loss.
    """
    options = {"n": 3, "dim": 4, "outputs": outputs, "seed": 2}
    lazy = dataclasses.replace(
        RUN,
        gamma=0.2,
        m=1000,
        reduction=reduction,
        data=experiment.Data("teacher_student", options),
        law=experiment.Law(),
    )
    path = tmp_path / "run.h5"
    assert convergence.train(lazy, path, tol=1e-3, doublings=0)
    with mf.Trajectory(path) as run:
        risk = run.series("risk")
    assert np.interp(risk.times[-1] / 6, risk.times, risk.values) > 1e-3 * risk.values[0]


def test_the_time_is_doubled_until_the_loss_is_below_the_fraction(tmp_path, monkeypatch):
    """From a first end far too short: ends at first·2^k, above tol at half of it (the run's own
    series of R says so).
    """
    monkeypatch.setattr(convergence, "first_end", lambda config, tol: 0.5)
    path = tmp_path / "run.h5"
    assert convergence.train(RUN, path, tol=1e-2, doublings=20)
    with mf.Trajectory(path) as run:
        t_end, risk = run.times[-1], run.series("risk")
    assert (
        math.log2(t_end / 0.5) == pytest.approx(round(math.log2(t_end / 0.5)), abs=1e-9)
        and t_end > 0.5
    )
    assert risk.values[-1] <= 1e-2 * risk.values[0] < np.interp(t_end / 2, risk.times, risk.values)
    assert convergence.loss_left(path) == risk.values[-1] / risk.values[0]


def test_a_spent_budget_is_said_and_not_exceeded(tmp_path, monkeypatch):
    monkeypatch.setattr(convergence, "first_end", lambda config, tol: 0.5)
    path = tmp_path / "run.h5"
    assert not convergence.train(RUN, path, tol=1e-9, doublings=2)
    assert (
        mf.Trajectory(path).times[-1] == pytest.approx(2.0) and convergence.loss_left(path) > 1e-9
    )


def test_a_run_that_has_come_to_its_end_is_left_alone_and_another_is_refused(tmp_path):
    path = tmp_path / "run.h5"
    assert convergence.train(RUN, path, tol=1e-2, doublings=10)
    before, bits = path.stat().st_mtime_ns, mf.Trajectory(path).content_hash()
    assert convergence.train(RUN, path, tol=1e-2, doublings=10)
    assert path.stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="holds another run"):
        convergence.train(dataclasses.replace(RUN, seed=1), path, tol=1e-2, doublings=10)
    assert mf.Trajectory(path).content_hash() == bits


@pytest.mark.parametrize("part", [0, 1])
def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path, monkeypatch, part):
    """Interrupted in the first stretch of flow time, or in the stretch that doubles it."""
    monkeypatch.setattr(convergence, "first_end", lambda config, tol: 2.0)
    whole, cut = tmp_path / "whole.h5", tmp_path / "cut.h5"
    assert convergence.train(RUN, whole, 1e-2, 10) == convergence.train(
        RUN, tmp_path / "again.h5", 1e-2, 10
    )
    calls, advance = [], march.March.advance

    def stop(self, *arguments):
        calls.append(self.t)
        if len([t for t in calls if t >= 2.0 * part]) == 3:
            raise KeyboardInterrupt
        advance(self, *arguments)

    monkeypatch.setattr(march.March, "advance", stop)
    with pytest.raises(KeyboardInterrupt):
        convergence.train(RUN, cut, 1e-2, 10)
    monkeypatch.setattr(march.March, "advance", advance)
    assert convergence.train(RUN, cut, 1e-2, 10)
    assert mf.Trajectory(cut).content_hash() == mf.Trajectory(whole).content_hash()
