"""How far stochastic gradients are from their flow: orders in the step, in the number of neurons, with
and without replacement. A seed is a run of its own: errors are those of means over seeds.
"""

from functools import cache

import numpy as np
import pytest

import meanfield as mf

RNG = np.random.default_rng(7)
X = RNG.normal(size=(16, 2))
RISK = mf.EmpiricalRisk(mf.Network("tanh"), X, np.sin(2.0 * X[:, 0]) + 0.5 * X[:, 1])
LAW = mf.InitialLaw(dim=2, b_std=1.0)
T_END = 1.0


def end(functional, m, n_steps, t_end=T_END, seed=0):
    start = LAW.sample(m, seed)
    flow = mf.GradientFlow(functional)
    return mf.simulate(flow, start, mf.EULER, dt=t_end / n_steps, n_steps=n_steps, progress=False)


@cache
def deviations(m, n_steps, replace, seeds):
    """θ_SGD - θ at t = 1, batches of one sample, by seed: (seeds, m, p); θ by full steps of the same
    dt, so that what is left is the draw.
    """
    flow = end(RISK, m, n_steps).theta
    return np.array(
        [
            end(mf.MiniBatch(RISK, 1, seed=s, replace=replace), m, n_steps).theta - flow
            for s in range(seeds)
        ]
    )


def rms(gaps):
    """(E ∫|θ_SGD - θ|² dμ)^½."""
    return float(np.sqrt(np.square(gaps).sum(axis=-1).mean()))


def slope(x, y):
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


STEPS = np.array([32, 64, 128, 256])


def test_with_replacement_the_square_deviation_is_of_order_dt():
    """TRUTHS.md 6: batch 1 at γ = 1: rms ∝ dt^.50. 24 seeds: one or two directions carry most of the
    square, whose mean over 24 has the relative error √(2/24) = .29 and its root half of that; a line
    over a factor 8 in dt has an error of .06 from four independent points.
    """
    sizes = [rms(deviations(50, int(n), True, 24)) for n in STEPS]
    assert slope(1.0 / STEPS, np.square(sizes)) == pytest.approx(1.0, abs=0.24)


def test_reshuffled_epochs_deviate_by_order_dt():
    """TRUTHS.md 6: dt^(1.0–1.2) where epochs (16 steps) end at t = 1; each sample comes once in each."""
    sizes = [rms(deviations(50, int(n), False, 12)) for n in STEPS]
    assert 0.9 < slope(1.0 / STEPS, sizes) < 1.3
    assert sizes[-1] < 0.5 * rms(deviations(50, 256, True, 24))


def test_the_deviation_does_not_depend_on_the_number_of_neurons():
    """TRUTHS.md 6: rms ∝ m^(-.02) at γ = 1: the same samples push all neurons, so it is the noise of
    f that counts. The same 24 seeds at each width, and 400 neurons sample the law to 5 %.
    """
    sizes = [rms(deviations(m, 64, True, 24)) for m in (50, 400)]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.25)


@pytest.mark.slow
def test_with_many_seeds_the_square_is_of_order_dt_to_a_tenth_and_m_does_not_count():
    """As above, slope 1 ± .1 from 200 seeds: √(2/200) = 10 % in each square, .05 in the slope; the
    same rms for m = 50 … 3200, of the same 60 seeds.
    """
    squares = [rms(deviations(50, int(n), True, 200)) ** 2 for n in STEPS]
    assert slope(1.0 / STEPS, squares) == pytest.approx(1.0, abs=0.1)
    widths = [50, 200, 800, 3200]
    assert abs(slope(widths, [rms(deviations(m, 64, True, 60)) for m in widths])) < 0.05


@pytest.mark.slow
def test_the_mean_over_noises_is_of_order_dt():
    """TRUTHS.md 6. The mean of N = 2000 deviations has the square |mean|² + E|deviation|²/N; at 8 and
    16 steps the second is a tenth and a fifth of the first, known to a few per cent.
    """
    means = []
    for n in (8, 16):
        gaps = deviations(50, n, True, 2000)
        square = np.square(gaps.mean(axis=0)).sum(axis=-1).mean()
        means.append(np.sqrt(square - rms(gaps) ** 2 / len(gaps)))
    assert np.log2(means[0] / means[1]) == pytest.approx(1.0, abs=0.3)


def one_pass(widths, seeds):
    """m Var f(x) over start and samples drawn anew, m steps of one fresh sample, dt = 1/m, by width."""
    teacher = mf.InitialLaw(dim=2, w="sphere").sample(3, seed=3)
    x = np.random.default_rng(0).normal(size=(8, 2))
    found = []
    for m in widths:
        outputs = []
        for seed in range(seeds):
            online = mf.OnlineRisk(RISK.network, teacher, batch=1, seed=seed)
            last = end(online, m, m, seed=1000 + seed)
            outputs.append(mf.GradientFlow(online).predict(last, x)[:, 0])
        found.append(m * float(np.var(outputs, axis=0, ddof=1).mean()))
    return np.array(found)


def test_after_one_pass_m_times_the_variance_of_f_is_of_order_one():
    """Mei, Montanari, Nguyen (2018): one pass of as many samples as neurons deviates from its limit by
    O(m^(-½)): m Var f constant. 40 seeds, 8 inputs that go together: √(2/40) = 22 % each.
    """
    found = one_pass((32, 128), 40)
    assert 0.5 < found[1] / found[0] < 2.0


@pytest.mark.slow
def test_after_one_pass_m_times_the_variance_of_f_is_constant():
    """Within 20 % over m = 64 … 1024; 300 seeds: √(2/300) = 8 % each, less over 8 inputs."""
    found = one_pass((64, 256, 1024), 300)
    assert np.abs(found / found.mean() - 1.0).max() < 0.2
