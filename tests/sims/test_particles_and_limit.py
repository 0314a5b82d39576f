"""Networks against the density that they tend to: distances on the circle, and the rate."""

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

import meanfield as mf
from sims import particles_and_limit
from sims.lab import config, runs
from sims.particles_and_limit import circle_w1


def test_w1_on_the_circle_is_that_of_the_best_cut(rng):
    """Equal masses: the least over cyclic shifts of the sorted points, by hand. Clouds far from the
    cut: W1 on the line.
    """
    p, q = rng.uniform(-np.pi, np.pi, (2, 9))
    p.sort()
    q.sort()
    shifts = []
    for k in range(9):
        way = np.abs(p - np.roll(q, k))
        shifts.append(np.minimum(way, 2 * np.pi - way).mean())
    even = np.full(9, 1 / 9)
    assert circle_w1(p, even, q, even) == pytest.approx(min(shifts), rel=1e-12)
    assert circle_w1(p, even, p, even) == 0.0
    masses = rng.dirichlet(np.ones(9))
    line = wasserstein_distance(0.1 * p, 0.1 * q, even, masses)
    assert circle_w1(0.1 * p, even, 0.1 * q, masses) == pytest.approx(line, rel=1e-12)
    turned = [np.remainder(0.1 * x + 2 * np.pi, 2 * np.pi) - np.pi for x in (p, q)]  # across ±π
    assert circle_w1(turned[0], even, turned[1], masses) == pytest.approx(line, rel=1e-12)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    small = particles_and_limit.Config(widths=(32, 512), seeds=12, cells=(60, 240), n=6, t_end=2.0)
    return particles_and_limit.run(small, tmp_path_factory.mktemp("particles"))


def test_neurons_approach_the_density_like_one_over_root_m(results):
    """Issue: m^(-½) in W1. 12 seeds scatter by a third each: the slope over a factor of 16 in m has a
    standard error of √2·.33/√12/ln 16 = .05; of f, whose scatter is twice that, .1.
    """
    for name, error in (("w1", 0.05), ("f_gap", 0.1)):
        widths, values = runs.against_width(results.rows, name)
        slope = np.diff(np.log(values.mean(axis=0)))[0] / np.log(widths[1] / widths[0])
        assert slope == pytest.approx(-0.5, abs=3.5 * error)
    # of uniform points n = m/2 on a circle E W1 is 2π/√n E∫|B - median|, .22 with a bridge B
    starts = [np.mean([row.w1_start for row in results.rows if row.m == m]) for m in (32, 512)]
    assert starts[0] == pytest.approx(2 * np.pi * 0.22 / 4, rel=0.35)
    assert starts[1] == pytest.approx(2 * np.pi * 0.22 / 16, rel=0.35)


def test_the_density_is_the_limit_that_wide_networks_have_too(results):
    """A network of 4096 neurons at equal angles, both signs, against the finer density: a quarter of
    what 512 drawn neurons are off by, and less.
    """
    data = particles_and_limit.dataset(
        particles_and_limit.Config(widths=(32, 512), cells=(60, 240), n=6)
    )
    angle = np.repeat((np.arange(2048) + 0.5) / 2048 * 2 * np.pi, 2)
    signs = np.tile([1.0, -1.0], 2048)
    start = mf.State(np.column_stack([signs, np.cos(angle), np.sin(angle), 0 * angle]))
    flow = particles_and_limit.flow(data)
    end = mf.simulate(flow, start, mf.RK4, dt=0.05, t_end=2.0, progress=False)
    with mf.Trajectory(results.folder / results.limit) as limit:
        gap = particles_and_limit.function(data, end) - particles_and_limit.function(
            data, limit[-1]
        )
    drawn = np.mean([row.f_gap for row in results.rows if row.m == 512])
    assert np.sqrt(np.mean(gap**2)) < 0.25 * drawn
    assert results.coarser[0][0] == 60 and 0 < results.coarser[0][1] < 2 * np.pi / 60


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"widths": (8, 9)}, "widths must be even"),
        ({"cells": (8,)}, "cells needs two different values"),
    ],
)
def test_settings_that_make_no_study_are_refused(settings, said):
    with pytest.raises(config.BadSettings, match=said):
        particles_and_limit.Config(**settings)
