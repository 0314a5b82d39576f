"""mf.w2_floor: how far apart two independent samples of one law are, by the law and by one cloud."""

import numpy as np
import pytest

import meanfield as mf
from meanfield.transport.floor import _floor

LAW = mf.InitialLaw(dim=2, b_std=1.0)
PAIRS = mf.InitialLaw(dim=2, symmetric=True)


def normal(m, p, seed):
    return mf.noise.normals(seed, mf.noise.DATA, m, p)


@pytest.mark.parametrize(
    ("p", "m", "measured"), [(20, 500, 0.91), (20, 2000, 0.83), (60, 500, 1.13), (60, 2000, 1.09)]
)
def test_one_normal_cloud_says_how_far_apart_two_are(p, m, measured):
    """TRUTHS.md 6: W2/rms|θ| .91, .83 (p = 20), 1.13, 1.09 (p = 60); two digits printed, so ± .005,
    and .5 % for the exponent that is carried over one factor of 2.
    """
    floor = mf.w2_floor(normal(m, p, 0))
    assert floor.relative == pytest.approx(measured, abs=0.012)
    assert floor.error < 0.01 * floor.value
    assert floor.m == m


@pytest.mark.parametrize(("m", "measured"), [(500, 0.35), (2000, 0.23)])
def test_of_neurons_in_four_columns_the_law_and_one_cloud_agree(m, measured):
    """TRUTHS.md 6, p = 4, a = ±1: .35 and .23, one pair each, which scatters by 4 %. The law's is a
    mean over 4 to 16 pairs, the cloud's is carried from halves: within three of their errors.
    """
    of_law, of_cloud = mf.w2_floor(LAW, m), mf.w2_floor(LAW.sample(m, seed=99))
    assert of_law.relative == pytest.approx(measured, rel=0.08)
    error = np.hypot(of_law.error, of_cloud.error)
    assert of_cloud.value == pytest.approx(of_law.value, abs=3.0 * error)


def test_on_a_line_it_is_that_of_order_statistics():
    """Uniform on [0, 1]: E W2² = (2/n) Σ Var U_(i) = 1/(3(n + 1)) of two samples (1/(6n) of one
    against the law, TRUTHS.md 3.8, to leading order). One cloud's halves know it to three errors.
    """
    for m in (64, 1000):
        floor = mf.w2_floor(np.random.default_rng(m).uniform(size=(m, 1)))
        expected = (3.0 * (m + 1)) ** -0.5
        assert floor.value == pytest.approx(expected, abs=3.0 * floor.error + 0.02 * expected)


def test_samples_of_the_uniform_law_are_as_far_from_it_as_the_theorem_says():
    """E W2²(U[0, 1], n samples) = 1/(6n), TRUTHS.md 3.8, by W2² = Σ_i ∫ (u_(i) - t)² over
    [(i - 1)/n, i/n]; 4000 means of n = 20, relative scatter .9/√4000 = 1.4 %.
    """
    n, draws = 20, 4000
    u = np.sort(np.random.default_rng(0).uniform(size=(draws, n)), axis=1)
    edges = np.arange(n + 1) / n
    squares = ((edges[1:] - u) ** 3 - (edges[:-1] - u) ** 3).sum(axis=1) / 3.0
    assert squares.mean() == pytest.approx(1.0 / (6 * n), rel=0.045)


def test_in_four_dimensions_it_falls_as_the_measured_power_of_m():
    """TRUTHS.md 6: N(0, I_4), two clouds: m^(-.244 ± .004), here from m = 250 to 2000, a mean of 4
    to 16 pairs at either end, so ± .01.
    """
    law = mf.InitialLaw(dim=2, a="normal", b_std=1.0)  # N(0, I_4)
    values = [mf.w2_floor(law, m).value for m in (250, 2000)]
    assert np.log(values[1] / values[0]) / np.log(8.0) == pytest.approx(-0.244, abs=0.015)


def test_a_symmetric_start_is_cut_between_pairs():
    """Neighbours (a, w, b), (-a, w, b) are one draw: cut apart the halves are not symmetric as two
    samples are, each with as many a = 1 as -1 at every w, and the floor is too high.
    """
    law = mf.InitialLaw(dim=2, b_std=1.0, symmetric=True)
    state = law.sample(400, seed=7)
    of_law, found = mf.w2_floor(law, 400), mf.w2_floor(state)
    assert found.value == pytest.approx(of_law.value, abs=3 * np.hypot(of_law.error, found.error))
    assert mf.w2_floor(state.theta).value > found.value
    assert mf.w2_floor(state.theta, together=2) == found


def test_above_the_seconds_smaller_samples_stand_for_the_width():
    """seconds=0: samples of 32 … 63, carried to m = 500 by their own exponent: within 15 %."""
    full, quick = mf.w2_floor(LAW, 500), mf.w2_floor(LAW, 500, seconds=0.0)
    assert quick.value == pytest.approx(full.value, rel=0.15)
    assert "samples of" in quick.method
    cloud = mf.w2_floor(LAW.sample(500, seed=3), seconds=0.0)
    assert cloud.value == pytest.approx(full.value, rel=0.2)
    assert "parts of" in cloud.method


def test_w2_of_two_seeds_says_that_they_differ_by_the_floor_alone():
    p, q = LAW.sample(300, seed=0), LAW.sample(300, seed=1)
    found = mf.w2(p, q, details=True)
    assert found.floor is not None
    assert str(found).endswith("these two differ by the floor alone")
    far = mf.State(q.theta + 3.0, origin=q.origin)
    assert "these two differ by more than the floor, " in str(mf.w2(p, far, details=True))
    assert mf.w2(p, p, details=True).floor is None
    assert mf.w2(p.theta, q.theta, details=True).floor is None


def test_particles_in_one_place_have_the_floor_zero_and_others_differ_by_more():
    """Both samples of a Dirac are that Dirac. Of all quarters in one place no exponent is known."""
    floor = mf.w2_floor(np.ones((20, 3)))
    assert floor.value == 0.0 and "are 0 ± 0 apart" in str(floor)
    assert floor.verdict(0.0, 0.0) == "these two differ by the floor alone"
    assert floor.verdict(0.5, 0.5) == "these two differ by more than the floor"
    assert _floor(np.ones(4), np.zeros(8), 5, 10, 1.0, "").value == 1.0


def test_particles_without_mass_are_left_out():
    state = LAW.sample(40, seed=5)
    mass = np.repeat([1.0, 0.0], [10, 30]) / 10
    found = mf.w2_floor(mf.State(state.theta, 1, mass))
    assert found == mf.w2_floor(state.theta[:10]) and found.m == 10
    pairs = mf.State(state.theta, 1, np.tile([0.05, 0.0], 20))
    assert mf.w2_floor(pairs, together=2).m == 40  # no pair is without
    few = np.repeat([1.0, 0.0], [5, 35]) / 5
    with pytest.raises(ValueError, match="needs 8 particles or more.*got 5 with mass among 40"):
        mf.w2_floor(mf.State(state.theta, 1, few))


@pytest.mark.parametrize(("law", "m"), [(LAW, 16), (PAIRS, 16), (PAIRS, 32)])
def test_over_many_clouds_it_has_no_bias_and_scatters_by_its_error(law, m):
    """40 clouds against 80 pairs of independent samples: the mean within three of both errors, and
    the scatter over clouds, known to 1/√78 = 11 %, is the error that each tells, within 35 %. Of the
    cuts alone the error would be half of it: all cuts of one cloud share its draws.
    """
    pairs = [(law.sample(m, 1000 + 2 * k), law.sample(m, 1001 + 2 * k)) for k in range(80)]
    squares = np.square([mf.w2(p, q) for p, q in pairs])
    expected = np.sqrt(squares.mean())
    its_error = squares.std() / np.sqrt(80) / (2.0 * expected)
    floors = [mf.w2_floor(law.sample(m, seed), seconds=0.1) for seed in range(40)]
    scatter = np.std([floor.value for floor in floors], ddof=1)
    mean = np.mean([floor.value for floor in floors])
    assert mean == pytest.approx(expected, abs=3.0 * np.hypot(its_error, scatter / np.sqrt(40)))
    told = np.sqrt(np.mean([floor.error**2 for floor in floors]))
    assert told == pytest.approx(scatter, rel=0.35)


def test_clouds_far_below_the_floor_are_not_said_to_differ_by_it():
    floor = mf.w2_floor(PAIRS.sample(32, seed=1))
    near = 0.9 * floor.value - 3.1 * floor.error
    assert "nearer than the floor" in floor.verdict(near, near)
    assert "too high at m = 32" in floor.verdict(near, near)
    within = floor.value - 2.9 * floor.error
    assert floor.verdict(within, within) == "these two differ by the floor alone"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: mf.w2_floor(LAW), "m is missing"),
        (lambda: mf.w2_floor(LAW, 0), "m must be an integer >= 1"),
        (
            lambda: mf.w2_floor(PAIRS, 1),
            "m must be even, a symmetric law draws pairs; got 1. Use 2",
        ),
        (lambda: mf.w2_floor(PAIRS, 9), "got 9. Use 10"),
        (lambda: mf.w2_floor(np.zeros((7, 2))), "needs 8 particles or more.*got 7.*w2_floor"),
        (lambda: mf.w2_floor(np.zeros((33, 2)), together=2), "a multiple of 2"),
        (lambda: mf.w2_floor(np.zeros(9)), "one row a particle"),
        (lambda: mf.w2_floor(LAW, 9, seed=-1), "seed must be an integer"),
        (lambda: mf.w2_floor(LAW, 9, seconds=-1), "seconds must be a finite number"),
    ],
)
def test_bad_input_is_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()
