"""Exponents: known slopes and curvatures come out, errors and intervals cover, short ranges are
refused with the reason.
"""

import dataclasses
import re
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from sims import fit_exponent
from sims.lab import collapse, fits, runs

M = 2.0 ** np.arange(8, 15)  # 256 … 16384


def noisy(rng, slope, seeds, m=M, bend=0.0, size=0.5, power=-0.5, shared=0.7):
    """Values of a power law (bend: of the slope over the range) with lognormal scatter
    size·(m/m_0)^power over seeds, partly shared by all widths of a seed, as nested networks have
    it.
    """
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
    assert (
        fit.error < 1e-12
        and fit.local == pytest.approx((slope,) * 6, abs=1e-12)
        and fit.widths == tuple(M)
    )
    assert (
        fit.bend == pytest.approx(0.0, abs=1e-11) and fit.curvature_p > 0.99 if seeds > 1 else True
    )
    assert fit.predict(M) == pytest.approx(
        np.exp(np.log(values).mean(axis=0))[np.argsort(M[order])], rel=1e-12
    )
    assert (
        fit.agrees(slope)
        and not fit.agrees(slope + 0.01)
        and fit.agrees(slope + 0.01, tolerance=0.02)
    )


def test_one_seed_is_ordinary_least_squares():
    """Slope and standard error of scipy.stats.linregress; interval from Student's t with w - 2
    degrees of freedom.
    """
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
    """Nested scatter ~ m^(-1/2): over 600 repeats of 8 seeds the 95 % interval holds the truth in
    at least 92 %: 3 standard errors of a frequency .95 are .027. The slope has no bias, and its
    error is its scatter, within 10 %: 3 relative errors √(1/(2·600)) of a standard deviation.
    """
    rng = np.random.default_rng(1)
    found = [fit_exponent(M, noisy(rng, -0.5, 8)) for _ in range(600)]
    assert np.mean([fit.low <= -0.5 <= fit.high for fit in found]) > 0.92
    slopes, errors = (
        np.array([getattr(fit, name) for fit in found]) for name in ("slope", "error")
    )
    assert abs(slopes.mean() + 0.5) < 4 * slopes.std() / np.sqrt(600)
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(slopes.std(), rel=0.1)
    # the curvature test at 5 % rejects a straight line in 5 % of the cases, ± 3·.009
    assert 0.02 < np.mean([fit.curvature_p < 0.05 for fit in found]) < 0.08


@pytest.mark.parametrize(
    ("seeds", "share"), [(2, (0.87, 0.95)), (3, (0.91, 0.95)), (4, (0.92, 0.95)), (8, (0.93, 0.96))]
)
@pytest.mark.parametrize(("m", "shared", "power"), [(M, 0.7, -0.5), (M[::3], 0.0, 0.0)])
def test_the_interval_of_few_seeds_covers_what_its_docstring_says(m, seeds, share, shared, power):
    """The best and the worst of the scatters: shares of 600 repeats, ± 3·√(.09/600) at .9; more for
    what .05 leaves.
    """
    rng = np.random.default_rng(6)
    found = [
        fit_exponent(m, noisy(rng, -0.5, seeds, m, shared=shared, power=power)) for _ in range(600)
    ]
    error = 3 * np.sqrt(0.09 / 600)
    assert (
        share[0] - error
        < np.mean([fit.low <= -0.5 <= fit.high for fit in found])
        < share[1] + error
    )


def test_the_verdict_agrees_with_what_lies_in_the_interval_and_with_nothing_else():
    """At any number of seeds, and as printed: read from the verdict, and from the fit for exponents
    of three decimals.
    """
    rng = np.random.default_rng(7)
    for seeds in (1, 2, 3, 8):
        fit = fit_exponent(M, noisy(rng, -0.5, seeds, size=0.02))
        printed = ends(str(fit))
        for expected in (
            *np.round(np.linspace(fit.low - 0.003, fit.high + 0.003, 31), 3),
            fit.low,
            fit.high,
            -1 / 2,
            -2 / 3,
        ):
            inside = fit.low <= expected <= fit.high
            verdict = fit.verdict(expected)
            low, high = ends(verdict)
            assert fit.agrees(expected) == verdict.startswith("agrees") == inside
            shown = float(
                verdict.replace("−", "-").split("with " if inside else "from ")[1].split()[0]
            )
            assert (low <= shown <= high) == inside
            if abs(expected - round(expected, 3)) < 1e-12:
                assert (printed[0] <= expected <= printed[1]) == inside


def ends(text):
    """low and high as they are printed."""
    return [
        float(end)
        for end in re.search(r"95 %: (\S+) … (−?[\d.]+)", text)
        .expand(r"\1 \2")
        .replace("−", "-")
        .split()
    ]


def test_an_end_of_the_interval_never_stands_on_the_other_side_of_what_it_is_compared_with():
    """An end -.49996 is not printed as −0.500: 2 seeds with slopes -.49996 and -.4 have t = 12.7;
    set by hand.
    """
    fit = dataclasses.replace(
        fit_exponent(M, noisy(np.random.default_rng(0), -0.48, 2)),
        low=-0.49996,
        high=-0.46,
        error=0.001,
    )
    assert "−0.49996 … −0.46" in str(fit) and "over 2 seeds" in str(fit)
    assert fit.verdict(-0.5).startswith(
        "differs from −0.50000 ("
    ) and "95 %: −0.49996 … −0.46000" in fit.verdict(-0.5)
    assert fit.verdict(-0.49).startswith("agrees with −0.490 (")


def test_the_verdict_says_that_a_curve_has_no_single_exponent():
    """Also where it agrees; a straight line is said to be nothing else. .05 is 1 - level."""
    rng = np.random.default_rng(8)
    bent, straight = (
        fit_exponent(M, noisy(rng, -0.5, 8, bend=bend, size=0.02)) for bend in (0.2, 0.0)
    )
    said = (
        "a single exponent does not describe these data: curvature p = "
        f"{bent.curvature_p:.2g}, the slope changes by +0."
    )
    assert bent.curved and said in bent.verdict(-0.3) and said in bent.verdict(bent.slope)
    assert not straight.curved and "curvature" not in straight.verdict(-0.5)
    assert not fit_exponent([1, 2, 4], [1.0, 0.6, 0.5]).curved  # not testable


def test_near_is_not_the_same_as_within_errors():
    fit = fit_exponent(M, noisy(np.random.default_rng(9), -0.5, 8, size=0.01))
    assert fit.verdict(-0.48, 0.03).startswith("is within 0.03, but not within errors, of −0.48")
    assert fit.verdict(-0.44, 0.03).startswith("differs from −0.44") and fit.verdict(
        -0.5, 0.03
    ).startswith("agrees with")


def array(values, *dims, **coordinates):
    return pytest.importorskip("xarray").DataArray(values, dims=dims, coords=coordinates)


def test_named_dimensions_say_which_is_the_width_in_any_order_also_of_a_square():
    """(m, seed) is the order of sims.open_sweep; the width is known by its coordinate or its name."""
    m = M[:4]
    values = noisy(np.random.default_rng(10), -0.5, 4, m)
    known = fit_exponent(m, values)
    named = array(values.T, "m", "seed", m=m.astype(int), seed=range(4))
    assert (
        known == fit_exponent(m, named) == fit_exponent(m, named.T) == fit_exponent(named.m, named)
    )
    assert (
        known
        == fit_exponent(m, named.rename(m="width"))
        == fit_exponent(m, array(values.T, "m", "seed"))
    )
    # seeds that are called 256, 512, …
    assert known == fit_exponent(m, array(values.T, "m", "seed", seed=m))
    # as a sweep has m zipped to another axis
    zipped = array(values.T, "dt", "seed", dt=list("abcd")).assign_coords(m=("dt", m))
    assert known == fit_exponent(m, zipped)
    assert fit_exponent(m, named.isel(seed=0)) == fit_exponent(m, values[0])
    assert (
        fits.fit_or_refuse(m[:2], named[:2]).reason == "no exponent from 2 widths, give 3 at least"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda a: a.expand_dims(gamma=[0.5]),
            r"got \('gamma', 'm', 'seed'\). Choose along gamma with values.sel\(…\).$",
        ),
        (
            lambda a: a.rename(seed="gamma"),
            r"got \('m', 'gamma'\). Choose along gamma .* what counts seeds: .*gamma='seed'",
        ),
        (
            lambda a: a.assign_coords(m=2 * M[:4]),
            r"the coordinate m of values, \[512.0, .*; got \[256.0",
        ),
        (lambda a: a[::-1], r"the coordinate m of values, \[2048.0, .*; got \[256.0"),
        (
            lambda a: a.drop_vars("m").rename(m="k"),
            r"called m, or have m = \[256.0, .*; got \('k', 'seed'\)",
        ),
    ],
)
def test_named_dimensions_that_do_not_fit_are_refused_with_their_names(change, said):
    named = array(np.ones((4, 4)), "m", "seed", m=M[:4], seed=range(4))
    with pytest.raises(ValueError, match=said):
        fit_exponent(M[:4], change(named))


def test_the_bootstrap_draws_whole_seeds_and_covers_what_it_is_said_to():
    """Of 4 seeds the truth is beyond all four slopes in 2/16 of the cases: 87.5 %, ± 3·.014 over
    600 repeats; of 8 the expanded interval holds it in 94.5 % (4000 repeats), ± 4·.0093 over 600.
    It lies within the seeds' own slopes.
    """
    rng = np.random.default_rng(6)
    for seeds, check in (
        (4, lambda share: share == pytest.approx(0.875, abs=0.042)),
        (8, lambda share: share == pytest.approx(0.945, abs=0.037)),
    ):
        found = [fit_exponent(M, noisy(rng, -0.5, seeds)).bootstrap for _ in range(600)]
        assert check(np.mean([low <= -0.5 <= high for low, high in found]))
    # each seed an exact law: nothing within a seed scatters
    values = np.array([3.0 * M**slope for slope in (-0.6, -0.5, -0.45)])
    fit = fit_exponent(M, values)
    assert -0.6 - 1e-9 <= fit.bootstrap[0] < fit.slope < fit.bootstrap[1] <= -0.45 + 1e-9
    assert fit.bootstrap == fit_exponent(M, values).bootstrap  # the draws are the same every time
    assert fit_exponent(M, values[:1]).bootstrap is None


def test_weights_make_use_of_what_scatters_less():
    """Independent scatter from .5 to .5/64: the weighted slope is more than twice as sharp as the
    unweighted one.
    """
    rng = np.random.default_rng(2)
    values = [noisy(rng, -0.5, 8, power=-1.0, shared=0.0) for _ in range(200)]
    weighted = np.std([fit_exponent(M, value).slope for value in values])
    plain = np.std([np.polyfit(np.log(M), np.log(value).mean(axis=0), 1)[0] for value in values])
    assert weighted < plain / 2


def test_curvature_is_found_where_it_is():
    """The slope changes by .2 over the range: estimated without bias, and seen; local slopes show
    it.
    """
    rng = np.random.default_rng(3)
    found = [fit_exponent(M, noisy(rng, -0.5, 8, bend=0.2, size=0.02)) for _ in range(50)]
    bends = np.array([fit.bend for fit in found])
    assert abs(bends.mean() - 0.2) < 4 * bends.std() / np.sqrt(50)
    assert max(fit.curvature_p for fit in found) < 0.01
    local = np.mean([fit.local for fit in found], axis=0)
    # middles of the first and last interval
    assert local[-1] - local[0] == pytest.approx(0.2 * 5 / 6, abs=0.02)


def test_the_fit_is_the_same_every_time():
    values = noisy(np.random.default_rng(4), -0.5, 5)
    assert fit_exponent(M, values) == fit_exponent(M, values) and hash(fit_exponent(M, values))


@pytest.mark.parametrize(
    ("x", "said"),
    [
        ([1.0], "from 1 value, give 3 at least"),
        ([1.0, 2.0], "from 2 values, give 3 at least"),
        ([1.0, 2.0, 3.0], "from alpha = 1 … 3, a factor 3, give a factor 4 at least"),
    ],
)
def test_what_is_no_width_is_called_by_its_name(x, said):
    refused = fits.fit_or_refuse(x, x, axis="alpha")
    assert refused.reason == f"no exponent {said}" and refused.why == said
    with pytest.raises(ValueError, match="at alpha = 2"):
        fit_exponent([1, 2, 4], [1.0, -1.0, 1.0], axis="alpha")


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
    # as many decimals as the error needs
    assert "-" not in text and fit.short == "−0.4993 ± 0.0004"
    assert fit.verdict(-0.5).startswith("agrees with −0.5000 (") and fit.verdict(-0.3).startswith(
        "differs from −0.300"
    )
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
        (
            M,
            np.ones(6),
            r"values must be \(len\(m\),\) or \(seeds, len\(m\)\); got m \(7,\) and "
            r"values \(1, 6\)",
        ),
        (M, np.ones((0, 7)), "values must be"),
        (M, np.arange(7.0), "1 are not, the first is 0 at m = 256, row 0"),
        (M, np.where(M > 5000, np.nan, M), "2 are not, the first is nan at m = 8192"),
        (
            M,
            [np.ones(7), -np.ones(7)],
            r"7 are not, the first is -1 at m = 256, row 1. For signed quantities give |·|",
        ),
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


def test_two_seeds_that_are_some_standard_errors_off_agree_with_their_p_value_said():
    """Seeds with the slopes -.468 ± .01: with one degree of freedom t = 3.2 has p = 1 - (2/π) atan
    3.2 = .193 (Cauchy).
    """
    error, off = 0.01, 3.2
    # mean -.468, scatter of the mean .01
    slopes = np.array([-0.5 + off * error - error, -0.5 + off * error + error])
    fit = fit_exponent(M, M ** slopes[:, None])
    assert fit.standard_errors(-0.5) == pytest.approx(off, rel=1e-6)
    assert fit.p_value(-0.5) == pytest.approx(1 - 2 / np.pi * np.arctan(off), rel=1e-6)
    assert fit.verdict(-0.5).startswith(
        "agrees with −0.500 (3.2 standard errors off, p = 0.19; 95 %: "
    )


def test_the_p_value_and_the_interval_tell_the_same():
    fit = fit_exponent(M, noisy(np.random.default_rng(5), -0.5, 4, size=0.02))
    for end in (fit.low, fit.high):
        assert fit.p_value(end) == pytest.approx(0.05, rel=1e-6)


def test_one_seed_has_no_plus_minus():
    """Of one run there is no scatter: no ± stands there, above all no "± 0"; an exact power law has
    none either.
    """
    assert "±" not in fit_exponent(M, M**-0.5).short
    assert fits.with_error(0.25, None) == fits.with_error(0.25, np.nan) == "0.250"
    one = [SimpleNamespace(displacement=0.5)]
    assert runs._mean(one, "displacement") == "0.5" and runs._mean(
        [*one, *one], "displacement"
    ).startswith("0.5 ± ")
    point = collapse.CriticalPoint(1.0, np.nan, np.nan, np.nan, 0.95, 0.1, 1.0, (1.0,), 1)
    assert str(point).startswith("γ_c = 1.000 (one seed: no error), from") and "nan" not in str(
        point
    )


def test_two_settings_differ_only_where_welch_says_so():
    """(0, 2) against (5, 7): t = 5/√2 with 2 degrees of freedom, p = 1 - t/√(t² + 2) = .0715; one
    seed: not testable.
    """
    t = 5 / np.sqrt(2)
    assert fits.different([0, 2], [5, 7]) == pytest.approx(1 - t / np.sqrt(t * t + 2), rel=1e-9)
    assert (
        fits.different([1.0], [2.0, 3.0]) is None and fits.different([1.0, 1.0], [1.0, 1.0]) == 1.0
    )


def test_p_of_two_settings_is_that_of_scipy():
    """Whose test takes half a second to import."""
    first, second = [0.31, 0.34, 0.29, 0.35], [0.33, 0.41, 0.38]
    expected = stats.ttest_ind(first, second, equal_var=False).pvalue
    assert fits.different(first, second) == pytest.approx(expected, rel=1e-12)


def test_the_level_of_an_interval_is_a_number_of_any_width():
    m, values = [10, 20, 40, 80], np.array([[1.0, 0.55, 0.25, 0.11], [0.9, 0.5, 0.26, 0.13]])
    wide = fit_exponent(m, values, level=np.longdouble(0.9))
    assert (
        wide.level == 0.9
        and type(wide.level) is float
        and wide.low == fit_exponent(m, values, level=0.9).low
    )
    for wrong in ("0.9", True, np.nan, 1):
        with pytest.raises(ValueError, match="level must lie between 0 and 1"):
            fit_exponent(m, values, level=wrong)
