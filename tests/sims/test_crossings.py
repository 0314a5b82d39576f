"""Where a drift passes the threshold of laziness: exact for a power law, with Student's interval,
said where it never does.
"""

import math

import numpy as np
import pytest
from scipy import stats

from sims.lab.crossings import find_crossing

GAMMAS = np.array([0.5, 0.75, 1.0])


def power(m, factors):
    """Drifts c·m^(2(γ - 1)) of one width, a row for each factor c: they pass .1 at 1 + log(.1/c)/(2
    log m).
    """
    return np.array(factors)[:, None] * float(m) ** (2 * (GAMMAS - 1))


def test_a_drift_of_c_m_to_the_two_gamma_minus_two_leaves_the_lazy_regime_at_one_plus_log_of_threshold_over_c_by_two_log_m():
    """Linear in γ as a logarithm, so that interpolation is exact: to rounding. The interval is t
    over the seeds' crossings.
    """
    factors = [1.0, 1.5, 2.5, 2.0]
    found = find_crossing(GAMMAS, power(1024, factors), 0.1)
    each = 1 + np.log(0.1 / np.array(factors)) / (2 * math.log(1024))
    reach = stats.t.ppf(0.975, 3) * each.std(ddof=1) / 2
    assert found.at == pytest.approx(each.mean(), rel=1e-12)
    assert (found.low, found.high) == pytest.approx(
        (each.mean() - reach, each.mean() + reach), rel=1e-12
    )
    assert found.between == (0.75, 1.0) and found.rises and found.seeds == found.crossed == 4
    said = found.sentence("gamma", "kernel drift")
    assert said.startswith(
        f"leaves the lazy regime (kernel drift 0.1) at γ = {found.at:.2f} (95 %: {found.low:.2f} … "
    )
    assert said.endswith("; 4 seeds; between 0.75 and 1)")


def test_the_order_of_the_axis_does_not_matter_and_against_m_a_falling_drift_becomes_lazy():
    m = np.array([1024.0, 64.0, 256.0])
    found = find_crossing(m, m**-0.5, 0.1, log_x=True)  # m^(-1/2) = .1 at m = 100
    assert found.at == pytest.approx(100.0) and found.between == (64.0, 256.0) and not found.rises
    assert (
        found.sentence("m", "laziness")
        == "becomes lazy (laziness 0.1) at m = 100 (one seed: no interval; between 64 and 256)"
    )


@pytest.mark.parametrize(
    ("factor", "side", "near"),
    [(1e-3, "below", "0.001 at γ = 1"), (1e5, "above", "0.954 at γ = 0.5")],
)
def test_a_threshold_that_is_not_bracketed_is_said_to_be_so(factor, side, near):
    """1e5/1024 = 97.7: here over 1024^(…) the nearest value stays above the threshold."""
    values = power(1024, [factor]) if side == "below" else power(1024, [factor]) / 102.4
    found = find_crossing(GAMMAS, values, 0.1)
    assert found.at is found.low is None and found.crossed == 0
    assert (
        found.note
        == f"not bracketed: {side} 0.1 over the whole range, nearest {near.replace('γ = ', '')}"
    )
    assert near in found.sentence("gamma", "kernel drift")


def test_seeds_that_stay_on_one_side_leave_the_crossing_of_the_mean_without_an_interval():
    """c = 2 passes .1 at γ < 1, c = .05 at no γ <= 1; their geometric mean, √.1 = .316, does."""
    found = find_crossing(GAMMAS, power(1024, [2.0, 0.05]), 0.1)
    assert found.at == pytest.approx(1 + math.log(0.1 / math.sqrt(0.1)) / (2 * math.log(1024)))
    assert found.low is None and str(found).endswith(
        "(1 of 2 seeds do not cross 0.1 here: no interval; between 0.75 and 1)"
    )


def test_a_curve_that_passes_the_threshold_three_times_says_that_the_first_is_given():
    found = find_crossing([1.0, 2.0, 3.0, 4.0], [[0.01, 1.0, 0.01, 1.0]] * 2, 0.1)
    assert found.at == pytest.approx(1.5) and "the first of 3 crossings" in found.note


def test_the_error_of_the_interpolation_is_that_of_a_curve_with_a_bend():
    """The parabola through three points is the curve itself, so that its root tells how far linear
    interpolation is off.
    """
    x = np.array([0.5, 0.7, 1.0])
    parabola = np.array([1.5, 2.0, -1.5])  # 1.5 x² + 2 x - 1.5 passes 0 at (-2 + √13)/3 = .5352
    found = find_crossing(x, [np.exp(np.polyval(parabola, x))], 1.0)
    assert found.bend == pytest.approx(abs(found.at - (-2 + math.sqrt(13)) / 3), abs=1e-12)
    assert find_crossing(GAMMAS, power(1024, [1.0, 1.5]), 0.1).bend < 1e-12, "none for a power of m"
    twice = find_crossing(x, [np.exp(np.polyval(parabola, x))] * 2, 1.0)
    assert "interpolation ± 0.002)" in str(twice), "where it is larger than the scatter, it is said"


def test_the_t_interval_holds_the_true_crossing_in_about_its_share_of_cases(rng):
    """400 studies of 4 seeds, log-normal factors: crossings are normal, the interval exact. 95 % ±
    3 standard errors of 1.1 %.
    """
    truth = 1 + math.log(0.1) / (2 * math.log(256))
    held = 0
    for _ in range(400):
        found = find_crossing(GAMMAS, power(256, np.exp(0.3 * rng.normal(size=4))), 0.1)
        held += found.low <= truth <= found.high
    assert 0.917 <= held / 400 <= 0.983


@pytest.mark.parametrize(
    ("x", "values", "message"),
    [
        ([1.0], [1.0], "two or more"),
        ([1.0, 2.0], [[1.0, 2.0, 3.0]], "values must be"),
        ([1.0, 1.0], [1.0, 2.0], "without repetition"),
        ([1.0, 2.0], [0.0, 2.0], "positive and finite"),
        ([1.0, 2.0], [math.nan, 2.0], "positive and finite"),
    ],
)
def test_what_has_no_crossing_is_refused(x, values, message):
    with pytest.raises(ValueError, match=message):
        find_crossing(x, values, 0.1)


def test_threshold_and_level_of_a_crossing_are_numbers_of_any_width():
    drifts = power(1024, [1.0, 1.5, 2.5])
    found = find_crossing(GAMMAS, drifts, np.longdouble(0.125), level=np.longdouble(0.9))
    same = find_crossing(GAMMAS, drifts, 0.125, level=0.9)
    assert (found.at, found.low, found.level, type(found.level)) == (same.at, same.low, 0.9, float)
    for wrong in ("0.1", True, None):
        with pytest.raises(
            ValueError, match="threshold must be positive and level between 0 and 1"
        ):
            find_crossing(GAMMAS, drifts, wrong)
