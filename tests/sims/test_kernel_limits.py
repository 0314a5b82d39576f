"""The lazy limit closes: networks that the engine trains against the closed form of the
infinite-width kernel.
"""

import numpy as np
import pytest

import meanfield as mf
import ntk
from sims import kernel_limits
from sims.lab import runs


@pytest.mark.slow
def test_held_out_predictions_approach_those_of_the_limit_kernel_like_one_over_root_m(tmp_path):
    """Issue: slope -.5 ± .07 over m = 2⁸ … 2¹⁴ at λ_median t/n = 1; here 2⁸ … 2¹² with 10 seeds,
    scatter ± .02.
    """
    results = kernel_limits.run(kernel_limits.demo(), tmp_path)
    fit = runs.exponent(results.rows, "test_gap")
    assert fit.slope == pytest.approx(-0.5, abs=0.07) and fit.error < 0.04
    # the spectral norm scatters more: mean over 10 seeds ± .03
    assert runs.exponent(results.rows, "kernel_error").slope == pytest.approx(-0.5, abs=0.12)


def test_the_end_is_where_the_median_mode_has_fallen_to_its_e_th_part():
    config = kernel_limits.tiny()
    data = kernel_limits.dataset(config)
    H = ntk.kernel(kernel_limits.network(config), kernel_limits.law(data.d), data.x)
    times = ntk.mode_times(H, np.exp(-1.0))
    # n even: median of two modes
    assert kernel_limits.end_time(config, data) == pytest.approx(np.median(times), rel=0.5)
    assert times.min() < kernel_limits.end_time(config, data) < times.max()


def test_the_loss_with_a_repeated_input_stops_at_its_floor(tmp_path):
    """TRUTHS.md, section 4: (y1 - y2)²/4 = 1 for labels ±1, at γ = 1/2 and 1; nothing else is
    unlearnable there.
    """
    config = kernel_limits.Config(
        widths=(8, 16),
        seeds=2,
        n=6,
        test=5,
        dtype="float64",
        repeated=kernel_limits.Repeated(m=256, t_end=150),
    )
    results = kernel_limits.run(config, tmp_path)
    assert len(results.duplicates) == 2
    for name in results.duplicates:
        with mf.Trajectory(tmp_path / name) as run:
            risk, data = run.series("risk").values, run.data
            H = ntk.kernel(run.network, run.law, data.x)
        assert ntk.loss_floor(H, -data.y, reduction="sum") == pytest.approx(1.0, abs=1e-12)
        assert risk.min() >= 1.0 - 1e-12 and risk[-1] == pytest.approx(1.0, abs=1e-3)
