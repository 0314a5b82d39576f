"""Birth–death of a few particles, and the numbers of a small study of it."""

import numpy as np
import pytest

import meanfield as mf
from sims import birth_death, figures
from sims.birth_death import known


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    config = birth_death.Config(
        m=64, rates=(1.0, 10.0), seeds=3, time=20.0, n=30, dim=3, family=20, sizes=(5,), draws=150
    )
    return birth_death.run(config, tmp_path_factory.mktemp("birth_death"))


def test_masses_of_a_law_fall_as_half_over_one_plus_rho_t():
    """TRUTHS.md, 3.7 with V = x²/2 and x ~ N(0, 1): F = ½/(1 + ρt). The mean of V under weights of M
    particles has the relative variance ((1 + t)/√(1 + 2t))(2q² + (1 - q)²)/M, q = (1 + t)/(1 + 2t):
    at most 2/M.
    """
    times = np.array([0.0, 1.0, 10.0])
    found = np.mean([known.of_masses(known.heights(2000, k), times) for k in range(10)], axis=0)
    assert np.abs(found * 2 * (1 + times) - 1).max() < 4 * np.sqrt(2 / 20000)


def test_jumps_follow_the_masses():
    """Within four standard errors over seeds: starts are shared, so these are of the jumps alone."""
    times = np.array([0.5, 2.0])
    starts = [known.heights(200, k) for k in range(30)]
    gaps = np.array([
        known.of_jumps(start, times, k) - known.of_masses(start, times)
        for k, start in enumerate(starts)
    ])  # fmt: skip
    assert (np.abs(gaps.mean(axis=0)) < 4 * gaps.std(axis=0, ddof=1) / np.sqrt(30)).all()


def test_a_reaction_is_faster_and_leaves_fewer_neurons_that_count(study):
    mean = {
        flow: np.mean([(row.risk_end, row.share) for row in study.rows if (row.kind, row.rate) == flow], axis=0)
        for flow in birth_death.settings_of(study.rows)
    }  # fmt: skip
    alone = mean["transport", 0.0][0]
    assert mean["masses", 10.0][0] < alone and mean["jumps", 10.0][0] < alone
    assert mean["masses", 10.0][1] < mean["masses", 1.0][1] < 1 == mean["transport", 0.0][1]
    assert mean["jumps", 10.0][1] < 0.9


def test_one_dirac_is_left_mostly_on_the_lowest(study):
    """Issue 14: .86 at N = 5; 150 runs tell it to .03."""
    ((size, count, left),) = study.lowest
    assert (size, count) == (5, 150) and abs(left / count - 0.86) < 0.12


def test_every_panel_has_its_verdict_and_the_lineages_end_in_every_neuron(study):
    figure = birth_death.figure(study)
    said = dict(figures.said(figure))
    assert len(said) == 6 and all(said.values())
    with mf.Trajectory(study.folder / birth_death.GENEALOGY) as run:
        founders = len(np.unique(run.ancestors()))
    assert f"{founders} of 20 neurons have descendants" in said["Genealogy, from the file"]
    lineages = next(ax for ax in figure.axes if ax.get_ylabel() == "neurons of the last frame")
    ends = [line.get_ydata()[-1] for line in lineages.lines]
    assert sorted(ends) == list(range(20))
    assert len({line.get_ydata()[0] for line in lineages.lines}) == founders


def test_birth_death_needs_one_of_the_rates():
    with pytest.raises(ValueError, match=r"jumps = 3 must be one of the rates \[1.0, 10.0\]"):
        birth_death.Config(rates=(1.0, 10.0), jumps=3.0)
