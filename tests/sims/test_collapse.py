"""Data collapse: synthetic curves with a known critical point, and what their spread is."""

import numpy as np
import pytest

from sims.lab.collapse import critical_point, spread

GAMMA = np.linspace(0.8, 1.2, 9)
M = np.array([256.0, 1024.0, 4096.0, 16384.0])


def master(x):
    """A scaling function that goes as e^x on one side and e^(x/2) on the other: its logarithm."""
    return 0.75 * x - 0.25 * np.sqrt(x**2 + 1)


def curves(centre, seeds=1, noise=0.0, gamma=GAMMA, m=M):
    """log values (seeds, widths, gammas) of a quantity that depends on (γ - γ_c) log m alone, up to
    noise.
    """
    exact = np.array([master((gamma - centre) * np.log(width)) for width in m])
    return exact + noise * np.random.default_rng(0).normal(size=(seeds, *exact.shape))


@pytest.mark.parametrize("centre", [0.9, 1.0, 1.0731])
def test_the_critical_point_of_curves_that_collapse_is_found(centre):
    """Without noise, up to the interpolation: cubic with slopes of second order, error about h³
    f''' / 24 per point, with h = 0.05·9.7 and f''' < 0.25: 1.2e-3; it moves γ_c by at most that
    over the slope d/dγ, of order log m = 5.5.
    """
    found = critical_point(GAMMA, M, curves(centre))
    assert found.value == pytest.approx(centre, abs=1.2e-3 / 5.5)
    # a pair has a third of the lever arm
    assert found.local == pytest.approx([centre] * 3, abs=1.2e-3 / 5.5 * 3)
    assert found.spread < 1.2e-3 / curves(centre).std() and found.spread_before > 0.2
    assert np.isnan([found.error, found.low, found.high]).all() and found.seeds == 1


def test_the_bootstrap_error_is_that_of_repeated_studies():
    """25 studies of 6 seeds: their γ_c scatter by what each says its error is, within 40 % (the
    scatter of 25 is known to 1/√50 = 14 %, the mean of the errors of 6 seeds each to 1/√(10·25) = 6
    %), around the true one, within 4 standard errors.
    """
    studies = curves(1.0, 150, 0.05).reshape(25, 6, len(M), len(GAMMA))
    found = [critical_point(GAMMA, M, values, resamples=20) for values in studies]
    centres = np.array([one.value for one in found])
    assert np.mean([one.error for one in found]) == pytest.approx(centres.std(ddof=1), rel=0.4)
    assert abs(centres.mean() - 1.0) < 4 * centres.std(ddof=1) / np.sqrt(25)


def test_the_interval_holds_the_true_value_and_has_a_level():
    values = curves(1.0, 6, 0.05)
    found, narrow = critical_point(GAMMA, M, values), critical_point(GAMMA, M, values, level=0.5)
    assert found.low < narrow.low < found.value < narrow.high < found.high
    assert found.low < 1.0 < found.high
    assert f"γ_c = {found.value:.3f}" in str(found) and "95 %" in str(found)


def test_curves_that_do_not_cross_have_no_critical_point():
    """γ_c = 2 lies beyond the gammas."""
    with pytest.raises(ValueError, match=r"γ_c = 1\.2, at an end of the gammas 0\.8 … 1\.2"):
        critical_point(GAMMA, M, curves(2.0))


def test_one_curve_cut_in_pieces_has_no_spread():
    x = np.linspace(-2, 2, 41)
    y = 3 * x + 1
    assert spread([(x[:30], y[:30]), (x[10:], y[10:]), (x[::2], y[::2])]) == pytest.approx(
        0.0, abs=1e-12
    )


def test_the_spread_of_two_shifted_lines_is_their_distance_over_their_deviation():
    x = np.linspace(0, 1, 11)
    y = np.concatenate([x, x + 0.3])
    assert spread([(x, x), (x, x + 0.3)]) == pytest.approx(0.3 / y.std(), rel=1e-12)
    assert spread([(x, x), (x + 0.3, x + 0.3)]) == pytest.approx(0.0, abs=1e-12)


def test_the_spread_of_unrelated_curves_is_about_the_square_root_of_two():
    """E (y - y')² = 2 var y for independent y: over 3·2·200 differences of 600 numbers within
    4/√(600/2) = 23 % in the square.
    """
    rng = np.random.default_rng(0)
    x = np.arange(200.0)
    assert spread([(x, rng.normal(size=200)) for _ in range(3)]) ** 2 == pytest.approx(
        2.0, rel=0.23
    )


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: spread([([0, 1], [0, 1])]), "two curves at least; got 1"),
        (lambda: spread([([0, 1], [0, 1]), ([2, 3], [0, 1])]), "no two curves overlap"),
        (lambda: spread([([0, 1], [0, 1]), ([1, 0], [0, 1])]), "rising"),
        (lambda: spread([([0, 1], [0, 1]), ([0, 1], [0, np.nan])]), "NaN"),
        (
            lambda: critical_point(GAMMA, M, curves(1.0)[0]),
            r"values must be \(seeds, widths, gammas\)",
        ),
        (lambda: critical_point(GAMMA[:3], M, curves(1.0)[:, :, :3]), "four gammas"),
        (lambda: critical_point(GAMMA, M[::-1], curves(1.0)), "must rise"),
    ],
)
def test_what_cannot_be_collapsed_is_said(call, said):
    with pytest.raises(ValueError, match=said):
        call()
