"""Stochastic gradients against the flow: the powers of the step and of m. TRUTHS.md, section 6."""

import numpy as np
import pytest

import meanfield as mf
from sims import one_pass_sgd
from sims.lab.fits import fit_exponent
from sims.one_pass_sgd import measures


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    config = one_pass_sgd.Config(
        epochs=(2, 4, 8), widths=(32, 64, 128), m=32, seeds=12, passes=24, n=8, times=2
    )
    return one_pass_sgd.run(config, tmp_path_factory.mktemp("sgd"))


@pytest.mark.parametrize(
    ("kind", "by", "low", "high"),
    [("replaced", "dt", 0.5, 0.5), ("reshuffled", "dt", 1.0, 1.2), ("width", "m", 0, 0), ("pass", "m", -0.5, -0.5)],
)  # fmt: skip
def test_the_deviation_from_the_flow_has_theorys_power(results, kind, by, low, high):
    """RMS dt^(1/2), dt^(1.0–1.2) where each sample comes once an epoch, m^0 at a fixed step, m^(-1/2)
    in one pass. 4 standard errors, and .05 for steps and widths that are not small and large.
    """
    x, values = results.of(kind, by=by)
    fit = fit_exponent(x, np.sqrt(values))
    reach = 4 * fit.error + 0.05
    assert low - reach < fit.slope < high + reach


def test_the_function_of_one_pass_is_off_by_a_constant_over_m(results):
    """m E(f - f_flow)²: the means of 24 seeds at m = 32 and 128, a factor 4 apart if it were not so,
    differ by less than 4 standard errors.
    """
    widths, values = results.of("pass", "function", "m")
    scaled = widths * values
    mean, error = scaled.mean(axis=0), scaled.std(axis=0, ddof=1) / np.sqrt(len(scaled))
    assert abs(mean[0] - mean[-1]) < 4 * np.hypot(error[0], error[-1])


def test_parts_of_a_run_are_the_run():
    """Batches are a function of the step; t_end/steps differs in its last bits, 1e-13 of O(1) numbers
    after 12 steps.
    """
    config = one_pass_sgd.tiny()
    risk = mf.MiniBatch(measures.finite(config), 1, seed=3)
    start = measures.LAW.sample(8, seed=1)
    (whole,) = measures._sgd(risk, start, 1.0, 12, 1)
    *_, parts = measures._sgd(risk, start, 1.0, 12, 3)
    assert parts.step == 12
    np.testing.assert_allclose(parts.theta, whole.theta, rtol=0, atol=1e-13)


def test_sixty_four_points_are_the_circle():
    """The mean over equispaced points of a smooth periodic function: 64 and 128 of them give one
    risk, 1e-9, and fresh samples its mean.
    """
    state, target = measures.LAW.sample(50, seed=0), measures.teacher()
    risks = []
    for points in (measures.CIRCLE, 2 * measures.CIRCLE):
        x = measures.circle(points)
        blank = mf.GradientFlow(mf.EmpiricalRisk(measures.NETWORK, x, np.zeros(points)))
        risk = mf.EmpiricalRisk(measures.NETWORK, x, blank.predict(target, x))
        risks.append(mf.GradientFlow(risk).risk(state))
    assert risks[0] == pytest.approx(risks[1], rel=1e-9)
    assert mf.GradientFlow(measures.whole()).risk(state) == risks[0]


def test_more_moments_than_steps_are_refused():
    with pytest.raises(ValueError, match="times must be at most the steps, 8; got 9"):
        one_pass_sgd.Config(n=4, epochs=(2, 4), times=9)
