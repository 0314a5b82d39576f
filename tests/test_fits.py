"""Exponents: known slopes and curvatures come out, errors and intervals cover, short ranges are refused with the reason."""

import numpy as np
import pytest
from scipy import stats

from sims import fit_exponent, fits

M = 2.0 ** np.arange(8, 15)  # 256 … 16384


def noisy(rng, slope, seeds, m=M, bend=0.0, size=0.5, power=-0.5, shared=0.7):
    """Values of a power law (bend: of the slope over the range) with lognormal scatter size·(m/m_0)^power over seeds, partly
    shared by all widths of a seed, as nested networks have it."""
    x = np.log(m / np.sqrt(m[0] * m[-1]))
    common, own = rng.normal(size=(seeds, 1)), rng.normal(size=(seeds, len(m)))
    scatter = size * (m / m[0]) ** power * (shared * common + np.sqrt(1 - shared**2) * own)
    return 3.0 * np.exp(slope * x + bend / (2 * np.log(m[-1] / m[0])) * x**2 + scatter)


@pytest.mark.parametrize("slope", [-0.5, 0.0, 0.25])
@pytest.mark.parametrize("seeds", [1, 3])
def test_an_exact_power_law_gives_its_slope_and_no_error(slope, seeds):
    """Up to rounding: of widths in any order, of seeds with prefactors of their own."""
    order = [3, 0, 1, 6, 5, 4, 2]
    values = np.arange(2.0, 2.0 + seeds)[:, None] * M[order] ** slope
    fit = fit_exponent(M[order], values if seeds > 1 else values[0])
    assert (fit.slope, fit.low, fit.high) == pytest.approx((slope,) * 3, abs=1e-12)
    assert fit.error < 1e-12 and fit.local == pytest.approx((slope,) * 6, abs=1e-12) and fit.widths == tuple(M)
    assert fit.bend == pytest.approx(0.0, abs=1e-11) and fit.curvature_p > 0.99 if seeds > 1 else True
    assert fit.predict(M) == pytest.approx(np.exp(np.log(values).mean(axis=0))[np.argsort(M[order])], rel=1e-12)
    assert fit.agrees(slope) and not fit.agrees(slope + 0.01) and fit.agrees(slope + 0.01, tolerance=0.02)


def test_one_seed_is_ordinary_least_squares():
    """Slope and standard error of scipy.stats.linregress; interval from Student's t with w - 2 degrees of freedom."""
    values = noisy(np.random.default_rng(0), -0.5, 1)[0]
    fit, known = fit_exponent(M, values), stats.linregress(np.log(M), np.log(values))
    assert (fit.slope, fit.error) == pytest.approx((known.slope, known.stderr), rel=1e-12)
    assert fit.high - fit.low == pytest.approx(2 * stats.t.ppf(0.975, 5) * known.stderr, rel=1e-12)
    assert fit.dof == 5 and np.isnan(fit.local_errors).all()
    design = np.vander(np.log(M), 3)  # the quadratic term's own t-test, from the normal equations
    beta, residue = np.linalg.lstsq(design, np.log(values), rcond=None)[:2]
    t = beta[0] / np.sqrt(residue[0] / 4 * np.linalg.inv(design.T @ design)[0, 0])
    assert fit.curvature_p == pytest.approx(2 * stats.t.sf(abs(t), 4), rel=1e-6)


def test_three_widths_of_one_seed_leave_nothing_to_test_curvature_with():
    fit = fit_exponent([1, 2, 4], [1.0, 0.6, 0.5])
    assert np.isnan(fit.curvature_p) and "not testable" in str(fit)


def test_errors_and_intervals_cover():
    """Nested scatter ~ m^(-1/2): over 600 repeats of 8 seeds the 95 % interval holds the truth in at least 92 %, and so does
    the verdict; 3 standard errors of a frequency .95 are .027. The slope has no bias, and its error is its scatter, within 10 %:
    3 relative errors √(1/(2·600)) of a standard deviation."""
    rng = np.random.default_rng(1)
    found = [fit_exponent(M, noisy(rng, -0.5, 8)) for _ in range(600)]
    assert np.mean([fit.low <= -0.5 <= fit.high for fit in found]) > 0.92
    assert np.mean([fit.agrees(-0.5) for fit in found]) > 0.92
    slopes, errors = (np.array([getattr(fit, name) for fit in found]) for name in ("slope", "error"))
    assert abs(slopes.mean() + 0.5) < 4 * slopes.std() / np.sqrt(600)
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(slopes.std(), rel=0.1)
    # the curvature test at 5 % rejects a straight line in 5 % of the cases, ± 3·.009
    assert 0.02 < np.mean([fit.curvature_p < 0.05 for fit in found]) < 0.08


def test_the_interval_of_four_seeds_covers_what_it_is_said_to_and_the_verdict_more():
    """The truth is beyond all four slopes in 2/16 of the cases: 87.5 %, ± 3·.014; Student's t with the error makes up for it."""
    rng = np.random.default_rng(6)
    found = [fit_exponent(M, noisy(rng, -0.5, 4)) for _ in range(600)]
    assert np.mean([fit.low <= -0.5 <= fit.high for fit in found]) == pytest.approx(0.875, abs=0.042)
    assert np.mean([fit.agrees(-0.5) for fit in found]) > 0.92


def test_weights_make_use_of_what_scatters_less():
    """Independent scatter from .5 to .5/64: the weighted slope is more than twice as sharp as the unweighted one."""
    rng = np.random.default_rng(2)
    values = [noisy(rng, -0.5, 8, power=-1.0, shared=0.0) for _ in range(200)]
    weighted = np.std([fit_exponent(M, value).slope for value in values])
    plain = np.std([np.polyfit(np.log(M), np.log(value).mean(axis=0), 1)[0] for value in values])
    assert weighted < plain / 2


def test_curvature_is_found_where_it_is():
    """The slope changes by .2 over the range: estimated without bias, and seen; local slopes show it."""
    rng = np.random.default_rng(3)
    found = [fit_exponent(M, noisy(rng, -0.5, 8, bend=0.2, size=0.02)) for _ in range(50)]
    bends = np.array([fit.bend for fit in found])
    assert abs(bends.mean() - 0.2) < 4 * bends.std() / np.sqrt(50)
    assert max(fit.curvature_p for fit in found) < 0.01
    local = np.mean([fit.local for fit in found], axis=0)
    assert local[-1] - local[0] == pytest.approx(0.2 * 5 / 6, abs=0.02)  # middles of the first and last interval


def test_the_fit_is_the_same_every_time():
    values = noisy(np.random.default_rng(4), -0.5, 5)
    assert fit_exponent(M, values) == fit_exponent(M, values) and hash(fit_exponent(M, values))


def test_a_fit_says_what_it_found():
    """Slope, error, interval, local slopes and curvature, with true minus signs."""
    fit = fit_exponent(M, noisy(np.random.default_rng(5), -0.5, 6, size=0.02))
    text = str(fit)
    assert (
        text.startswith(f"slope {fit.short} (95 %: −0.5")
        and "local slopes −0." in text
        and "curvature: " in text
        and "p = " in text
    )
    assert "-" not in text and fit.short == "−0.4993 ± 0.0004"  # as many decimals as the error needs
    assert fit.verdict(-0.5).startswith("agrees with −0.500") and fit.verdict(-0.3).startswith("differs from −0.300")
    assert fit.standard_errors(-0.5) == pytest.approx((fit.slope + 0.5) / fit.error)


@pytest.mark.parametrize(
    ("m", "values", "said"),
    [
        ([64, 128], [1, 2], "no exponent from 2 widths, give 3 at least"),
        ([64], [1], "1 widths"),
        ([64, 96, 128], [1, 2, 3], "m = 64 … 128, a factor 2, give a factor 4 at least"),
    ],
)
def test_a_short_range_is_refused_with_the_reason(m, values, said):
    with pytest.raises(fits.TooShort, match=said):
        fit_exponent(m, values)
    refused = fits.fit_or_refuse(m, values)
    assert str(refused).startswith("refused: no exponent") and said in refused.reason


@pytest.mark.parametrize(
    ("m", "values", "said"),
    [
        (M, np.ones(6), r"values must be \(len\(m\),\) or \(seeds, len\(m\)\); got m \(7,\) and values \(1, 6\)"),
        (M, np.ones((0, 7)), "values must be"),
        (M, np.arange(7.0), "1 are not, the first is 0 at m = 256, row 0"),
        (M, np.where(M > 5000, np.nan, M), "2 are not, the first is nan at m = 8192"),
        (M, [np.ones(7), -np.ones(7)], r"7 are not, the first is -1 at m = 256, row 1. For signed quantities give |·|"),
        ([1, 4, 4], np.ones(3), "without repetition"),
        ([0, 4, 8], np.ones(3), "m must be positive"),
    ],
)
def test_values_without_an_exponent_are_an_error_not_a_refusal(m, values, said):
    for fit in (fit_exponent, fits.fit_or_refuse):
        with pytest.raises(ValueError, match=said) as error:
            fit(m, values)
        assert not isinstance(error.value, fits.TooShort)
    with pytest.raises(ValueError, match="level must lie between 0 and 1"):
        fit_exponent(M, M, level=95)
