"""Networks between the kernel limit and the mean-field limit: what a row holds, and that both
limits are approached.
"""

import numpy as np
import pytest

import meanfield as mf
import ntk
from sims import both_limits
from sims.lab import config, experiment, runs

SMALL = both_limits.Config(gammas=(0.5, 1.0), widths=(8, 16), seeds=2, n=4, points=7, t_end=2.0)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return both_limits.run(SMALL, tmp_path_factory.mktemp("both"))


def test_a_row_holds_the_distances_of_functions_trained_by_hand(small):
    """Every limit anew: the kernels and flows of ntk, f_lin marched at the row's own γ, the
    reference simulated at γ = 1.
    """
    row = small.rows[-1]
    assert (row.gamma, row.m, row.seed) == (1.0, 16, 1)
    data = mf.data.kink(4, 5.0, n_test=7)
    law = mf.InitialLaw(dim=1, b_std=1.0, symmetric=True)
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu"), data.x, data.y))

    def trained(flow, start):
        return mf.simulate(flow, start, mf.RK4, dt=0.05, t_end=2.0, progress=False)

    start, wide = law.sample(16, seed=1), law.sample(16 * 16, seed=1)
    np.testing.assert_array_equal(start.theta, wide.theta[:16])  # nested
    f = flow.predict(trained(flow, start), data.x_test)[:, 0]
    linear = ntk.linearise(flow.network, start)
    kernels = {
        "to_ntk": (
            ntk.kernel(flow.network, law, data.x),
            ntk.kernel(flow.network, law, data.x_test, data.x),
        ),
        "to_frozen": (
            mf.tangent.kernel(flow.network, start, data.x),
            mf.tangent.kernel(flow.network, start, data.x_test, data.x),
        ),
    }
    others = {
        name: ntk.KernelFlow(K, data.y, K_test=h).at(2.0).test for name, (K, h) in kernels.items()
    }
    others["to_linear"] = linear.predict(
        trained(mf.GradientFlow(linear.risk(data.x, data.y)), start), data.x_test
    )[:, 0]
    others["to_mean_field"] = flow.predict(trained(flow, wide), data.x_test)[:, 0]
    for name, values in others.items():
        assert getattr(row, name) == pytest.approx(np.sqrt(np.mean((f - values) ** 2)), rel=1e-9)
    # RK4 at dt = 0.05 against the exact exponential: (λ dt)⁴/120 of |f| = 3, λ < 2
    assert row.to_linear == pytest.approx(row.to_frozen, abs=1e-5)
    assert row.error == pytest.approx(np.sqrt(np.mean((f - data.y_test) ** 2)), rel=1e-9)


def test_laziness_of_each_run_stands_in_row_and_table(small):
    for row in small.rows:
        found = ntk.laziness(small.folder / row.file)
        assert (row.regime, row.verdict) == (found.regime, found.verdict)
        assert row.drift == found.drift.max() and row.gap == found.gap.max() / found.start
    text = both_limits.table(small.rows)
    assert (
        len(text.splitlines()) == 1 + 4
        and both_limits.called(small.rows[-2:]) in text.splitlines()[-1]
    )
    from sims.both_limits import panels

    assert "ntk.laziness: " in panels.verdict(small.rows)


def test_from_a_start_on_the_circle_the_mean_field_limit_is_a_density(tmp_path):
    """Solved by hand: the same cells, from mf.limits.circle. One file for all seeds, nothing is
    trained again, and a normal start asks for wide networks.
    """
    settings = {**config.to_dict(SMALL), "start": "circle", "cells": 30, "t_end": 0.5}
    small = config.from_dict(both_limits.Config, settings)
    results = both_limits.run(small, tmp_path)
    assert results.references == ("reference_density.h5",) and results.density
    data = mf.data.kink(4, 5.0, n_test=7, constant=True)
    assert np.all(data.x[:, 1] == 1) and np.all(data.x_test[:, 1] == 1)
    network = mf.Network("relu", trainable=("a", "w"))
    flow = mf.GradientFlow(mf.EmpiricalRisk(network, data.x, data.y))
    cells = mf.limits.circle(30, bias=False)
    method = mf.limits.FINITE_VOLUMES
    end = mf.simulate(flow, cells, method, dt=0.05, t_end=0.5, progress=False)
    wanted = flow.predict(end, data.x_test)[:, 0]
    for row in results.rows:
        with mf.Trajectory(tmp_path / row.file) as run:
            gap = both_limits.function(run) - wanted
            assert np.allclose(np.hypot(*run.start.w.T), 1.0)
        assert row.to_mean_field == pytest.approx(np.sqrt(np.mean(gap**2)), rel=1e-9)
    from sims import figures
    from sims.both_limits import panels

    sheet = panels.page(results)
    said = dict(figures.said(sheet))
    assert "band" not in " ".join(said.values())
    figures.plt.close("all")


def test_the_reference_is_sixteen_times_as_wide_as_the_widest(small):
    with mf.Trajectory(small.folder / small.references[0]) as run:
        assert run.start.m == 16 * 16 and run.network.scaling.gamma == 1.0
    assert both_limits.network_run(SMALL, 1.0, 8, 0).law == experiment.Law(b_std=1.0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"widths": (8, 9)}, "widths must be even"),
        ({"widths": (8,)}, "widths needs two different values"),
        ({"gammas": (0.5, 0.5)}, "gammas needs two different values"),
        ({"gammas": (0.5, 1.5)}, "between the limits"),
        ({"wider": 2}, "wider"),
    ],
)
def test_settings_that_make_no_study_are_refused(settings, said):
    with pytest.raises(config.BadSettings, match=said):
        both_limits.Config(**settings)


def test_runs_of_two_studies_do_not_share_a_table(small, tmp_path):
    other = both_limits.run(
        config.from_dict(both_limits.Config, {**config.to_dict(SMALL), "t_end": 1.0}), tmp_path
    )
    paths = [other.folder / name for name in other.references]
    for results in (small, other):
        paths += [results.folder / row.file for row in results.rows]
    with pytest.raises(ValueError, match="make a folder for each study"):
        both_limits.collect(paths)
    with pytest.raises(ValueError, match="there are no runs to measure"):
        both_limits.collect([])


@pytest.mark.slow
def test_each_end_of_the_gamma_axis_approaches_its_own_limit_like_one_over_root_m(tmp_path):
    """Demo: m = 128 … 1024, 4 seeds, whose slopes scatter by 0.06: -1/2 ± 0.15. The other limit
    stays where it is.
    """
    results = both_limits.run(both_limits.demo(), tmp_path)
    lazy, rich = ([row for row in results.rows if row.gamma == gamma] for gamma in (0.5, 1.0))
    for rows, near, far in ((lazy, "to_ntk", "to_mean_field"), (rich, "to_mean_field", "to_ntk")):
        assert runs.exponent(rows, near).slope == pytest.approx(-0.5, abs=0.15)
        assert runs.exponent(rows, far).slope == pytest.approx(0.0, abs=0.05)
    assert max(row.to_ntk for row in lazy if row.m == 1024) < 0.1 * min(
        row.to_mean_field for row in lazy
    )
    assert max(row.to_mean_field for row in rich if row.m == 1024) < 0.02 * min(
        row.to_ntk for row in rich
    )
    assert {row.regime for row in lazy if row.m == 1024} == {"lazy"} and {
        row.regime for row in rich
    } == {"rich"}
    assert max(abs(row.to_linear - row.to_frozen) for row in results.rows) < 1e-6
