"""Networks and their teachers: what a small study finds, and what its panels say of it."""

import numpy as np
import pytest

import meanfield as mf
from sims import figures, global_convergence
from sims.global_convergence import Row, measures, panels

CONFIG = global_convergence.Config(teachers=(2,), ratios=(1, 4), seeds=2, t_end=4.0, injections=2)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return global_convergence.run(CONFIG, tmp_path_factory.mktemp("teachers"))


def test_a_teacher_is_found_at_once_from_itself():
    """R = 0 at μ = μ*, to rounding of sums of six terms."""
    teacher = measures.teacher(CONFIG, 2, 0)
    flow = mf.GradientFlow(mf.PopulationRisk(measures.NETWORK, teacher))
    assert flow.risk(teacher) < 1e-15
    assert np.allclose(np.linalg.norm(teacher.w, axis=1), 1.0)


def test_an_injected_run_has_the_neurons_that_it_was_given():
    flow = mf.GradientFlow(mf.PopulationRisk(measures.NETWORK, measures.teacher(CONFIG, 2, 0)))
    end = measures.trained(CONFIG, flow, 3, 0, 2)
    assert end.m == 5
    assert end.t == pytest.approx(4.0)
    np.testing.assert_allclose(end.mass, 0.2, rtol=1e-14)
    start = mf.InitialLaw(dim=CONFIG.dim, w="sphere").sample(3, 0)
    assert flow.risk(end) < flow.risk(start)


def test_rows_count_the_seeds_below_the_threshold(results, tmp_path):
    assert len(results.rows) == 2 * len(measures.MODES)
    assert {row.m for row in results.rows} == {2, 8}
    assert all(0 <= row.found <= row.seeds == 2 and row.median < 1.5 for row in results.rows)


def test_the_verdict_counts_and_the_figure_is_drawn(results):
    def row(m, flow, found):
        return Row(2, m, flow, found, 16, 0.1)

    rows = [row(2, "plain", 7), row(2, "reaction", 7), row(2, "injection", 16)]
    rows += [row(4, "plain", 16), row(8, "plain", 16)]
    said = panels.verdict(rows)
    assert said == (
        "Of 16 at m = 2: plain 7, reaction 7, injection 16 (p = 0.0008). Plain in all seeds from m = 4."
    )
    low, high = panels.interval(16, 16)
    assert low < 1.0 == pytest.approx(high)
    titles = [title for title, _ in figures.said(global_convergence.figure(results))]
    assert titles == ["A teacher of 2 neurons", "Risk at the end"]


@pytest.mark.parametrize("values", [(), (2, 2)])
def test_settings_without_sense_are_refused(values):
    with pytest.raises(ValueError, match="teachers needs values without repetition"):
        global_convergence.Config(teachers=values)
