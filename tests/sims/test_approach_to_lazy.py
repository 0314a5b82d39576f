"""The kernel limit from an independent start: three terms, of which the largest is smallest at γ =
5/6. TRUTHS.md, section 6.
"""

import numpy as np
import pytest

import ntk
from sims import approach_to_lazy
from sims.approach_to_lazy import measures
from sims.lab import runs


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    config = approach_to_lazy.Config(
        gammas=(0.5, 0.75, 5 / 6), widths=(64, 128, 256, 512), seeds=12, narrow=(16, 64), groups=4, group=24, n=6, test=20
    )  # fmt: skip
    return approach_to_lazy.run(config, tmp_path_factory.mktemp("lazy"))


def test_the_fastest_is_five_sixths_with_a_third_from_zero_and_a_half_from_its_own_start():
    gammas = np.linspace(0.5, 1, 601)
    slopes = [approach_to_lazy.theory(gamma) for gamma in gammas]
    assert gammas[np.argmin(slopes)] == pytest.approx(5 / 6) and min(slopes) == pytest.approx(
        -1 / 3
    )
    own = [approach_to_lazy.theory(gamma, own=True) for gamma in gammas]
    assert all((slope == -0.5) == (gamma <= 0.75) for slope, gamma in zip(own, gammas, strict=True))


@pytest.mark.parametrize("name", ["f0_term", "kernel_term", "drift_term"])
def test_each_term_has_its_power(results, name):
    """TRUTHS.md, section 6. 4 standard errors over 12 seeds; .08 for what 64 … 512 are off m → ∞."""
    for gamma in (0.5, 0.75, 5 / 6):
        rows = [row for row in results.rows if row.gamma == gamma]
        fit = runs.exponent(rows, name)
        power = {"f0_term": 0.5 - gamma, "kernel_term": -0.5, "drift_term": 2 * (gamma - 1)}[name]
        assert abs(fit.slope - power) < 4 * fit.error + 0.08


def test_the_terms_bound_the_distance(results):
    """The triangle inequality, in both directions, of every network; 1e-12 for rounding."""
    for row in results.rows:
        terms = sorted((row.f0_term, row.kernel_term, row.drift_term))
        assert row.to_limit <= sum(terms) + 1e-12
        assert terms[2] - terms[0] - terms[1] <= row.to_limit + 1e-12
        assert row.to_own <= row.kernel_term + row.drift_term + 1e-12


def test_the_mean_over_seeds_falls_twice_as_fast_as_their_rms(results):
    """TRUTHS.md, section 6: m^(-1) and m^(-1/2), ratio over a factor 4 in m: 1/4 and 1/2. The RMS of
    4 × 24 seeds is known to a tenth, the mean to a third.
    """
    rms, mean = (
        [np.mean([getattr(row, name) for row in results.groups if row.m == m]) for m in (16, 64)]
        for name in ("rms", "mean")
    )
    assert 0.4 < rms[1] / rms[0] < 0.6
    assert mean[1] / mean[0] < 0.4 < rms[1] / rms[0]


def test_the_kernel_flow_of_a_start_is_that_of_its_own_kernel():
    """part = 1 of H∞ + part (H_0 - H∞); 1e-10 of O(1) numbers through an eigendecomposition."""
    config = approach_to_lazy.tiny()
    known = measures.limit(config)
    state, net = known.law.sample(8, seed=3), measures.network(config, 0.5)
    start = measures._start(config, known, state, 0.5)
    data = known.data
    H, H_test = (ntk.empirical(net, state, x, data.x) for x in (data.x, data.x_test))
    own = ntk.KernelFlow(H, data.y, start.f0, H_test, start.f0_test).at(config.t_end).test
    np.testing.assert_allclose(measures._flow(config, known, start, 1.0), own, atol=1e-10)
