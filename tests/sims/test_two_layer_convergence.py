"""The convergence theorem of two-layer networks: its promises, its hypotheses, its two times."""

import math
from dataclasses import replace

import numpy as np
import pytest

import meanfield as mf
import ntk
from sims import figures, two_layer_convergence
from sims.lab import cells
from sims.two_layer_convergence import measures


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    config = two_layer_convergence.Config(widths=(16, 128, 1024), seeds=4, t_end=23.1, dt=0.3)
    return two_layer_convergence.run(config, tmp_path_factory.mktemp("proof"))


def test_the_promises_are_kept_at_widths_far_below_what_the_proof_asks(results):
    """TRUTHS.md, section 4: ‖y - f_t‖² <= e^{-λ_0 t}‖y - f_0‖² and λ_min(H_0) >= ¾λ_0 from m = 100 on,
    λ_0 = .3; ε = 10⁻³ at ln(1000)/.3 = 23.03. The hypothesis of the movement fails at all of them.
    """
    assert results.lambda0 == pytest.approx(0.3, abs=1e-9)
    for m in (128, 1024):
        for _, bound, measured, sense in two_layer_convergence.claims(results, m):
            assert two_layer_convergence.kept(bound, measured, sense) == 4
    assert all(row.asked_throughout > 1e9 and row.moved > row.radius for row in results.rows)
    lowest = [row.lambda_start for row in results.rows if row.m == 16]
    assert min(lowest) < 0.75 * 0.3


def test_a_neuron_leaves_the_ball_before_the_kernel_fails_and_later_in_wider_networks(results):
    """Lemma 3.2: T_1 <= T_2, with probability 1 - δ where λ_min(H_0) >= ¾λ_0. While neurons have
    gone R the forces have not changed, so T_1 ∝ √m: over a factor 64 it grows by 8, ± 35 % for the
    largest of m forces at random.
    """
    for row in results.rows:
        if row.lambda_start >= 0.75 * results.lambda0:
            assert row.first <= row.second
    times = {m: np.mean([row.first for row in results.rows if row.m == m]) for m in (16, 1024)}
    assert 8 / 1.35 < times[1024] / times[16] < 8 * 1.35


def test_the_first_time_is_the_radius_over_the_largest_speed(results):
    """T_1 = R/max_k|v_k(0)| to first order in T_1, here 1e-3 of the residual's own time 1/λ_max, and
    the line within a step of .3/64 of a constant speed.
    """
    row = next(row for row in results.rows if (row.m, row.seed) == (1024, 0))
    flow = measures.flow(results.config)
    speed = np.linalg.norm(flow.velocity(measures.LAW.sample(1024, seed=0)), axis=1).max()
    assert row.first == pytest.approx(row.radius / speed, rel=0.02)


def test_the_figure_tells_hypotheses_from_promises(results, tmp_path):
    said = dict(figures.said(two_layer_convergence.figure(results)))
    assert "in all seeds from m = 128 on" in said["The kernel's smallest eigenvalue"]
    assert "The hypothesis is m ≥" in said["How far the farthest neuron goes"]
    text = two_layer_convergence.report(results, tmp_path)
    asked, promised = text.split("\n\n")[1:3]
    assert asked.startswith("what the proof asks of m") and "NO" in asked
    assert promised.startswith("what it promises") and "4 of 4" in promised
    figures.plt.close("all")


def test_a_run_that_ended_too_early_says_nothing_of_the_time(results):
    """ε is promised at ln(1000)/.3 = 23.03; a run to t = 20 cannot break that promise."""
    early = replace(results, config=replace(results.config, t_end=20.0))
    names = [claim[0] for claim in two_layer_convergence.claims(early, 16)]
    assert len(names) == 4 and not any(name.startswith("time to") for name in names)
    assert "time to" not in dict(figures.said(two_layer_convergence.figure(early)))["The residual"]
    figures.plt.close("all")


@pytest.mark.parametrize("lasting", [(16, 128, 1024), (1024,), ()])
def test_runs_in_which_no_neuron_leaves_the_ball_are_drawn(results, lasting):
    """T_1 = ∞ in seed 1 at these widths: no mean and no slope there, the others as before."""
    rows = [
        replace(row, first=math.inf) if row.m in lasting and row.seed == 1 else row
        for row in results.rows
    ]
    sheet = two_layer_convergence.figure(replace(results, rows=tuple(rows)))
    said = dict(figures.said(sheet))["Why the proof asks for so much"]
    assert ("T₁ does not come" in said) == bool(lasting)
    assert f"in {len(lasting)} T₁" in said or not lasting
    assert ("theory 1/2" in said) == (len(lasting) < 3)
    figures.plt.close("all")


def test_the_file_holds_the_state_of_a_run_done_by_hand(results):
    """λ_min and the residual at the end, of the same steps: to rounding."""
    config, data = results.config, measures.dataset(5)
    start = measures.LAW.sample(128, seed=2)
    end = mf.simulate(
        measures.flow(config), start, mf.RK4, dt=config.dt, t_end=config.t_end, progress=False
    )
    file = cells.read(cells.of_width(results.folder, 128))[1]
    H = ntk.empirical(measures.NETWORK, end, data.x)
    assert file["smallest"][2, -1] == pytest.approx(np.linalg.eigvalsh(H)[0], rel=1e-9)
    before, after = (
        np.sum((measures.flow(config).predict(state)[:, 0] - data.y) ** 2) for state in (start, end)
    )
    assert file["residual"][2, -1] == pytest.approx(after / before, rel=1e-9)


def test_crossings_lie_on_the_line_between_two_looks():
    times, values = np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 3.0])
    assert measures.crossing(times, values, 2.0) == 1.5
    assert measures.crossing(times, values, 4.0) == math.inf
    assert measures.crossing(times, values, 0.0) == 0.0


@pytest.mark.parametrize("n", [6, 8, 30])
def test_polygons_whose_kernel_is_singular_are_refused(n):
    """TRUTHS.md, section 1: the eigenvalue of degree 3 is 0, and n even folds odd degrees on odd
    ones; of the square all are 1/2.
    """
    with pytest.raises(ValueError, match=f"n must be odd, or 4.* Use {n + 1}"):
        two_layer_convergence.Config(n=n)
    assert measures.limit(two_layer_convergence.Config(n=4)) == pytest.approx(0.5, abs=1e-9)
    with pytest.raises(ValueError, match="dt must be at most t_end"):
        two_layer_convergence.Config(dt=30.0)
