"""The heavy ball, dθ/dt = v, dv/dt = -∇ δF/δμ - friction·v, against exact solutions and its own
energy identity.
"""

import math

import numpy as np
import pytest
from scipy.special import j1

import meanfield as mf
from meanfield.stepping import methods

RATE = 2.0  # λ of V = λ|x|²/2


def potential(x):
    total = 0.0
    for j in range(x.size):
        total += x[j] * x[j]
    return 0.5 * RATE * total


def gradient(x, out):
    for j in range(x.size):
        out[j] = RATE * x[j]


FLOW = mf.GradientFlow(mf.PairwiseEnergy(potential=(potential, gradient)))
ONE = mf.State([[1.0, -0.5]], outputs=0)
X = np.random.default_rng(1).normal(size=(12, 2))
SMOOTH = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("tanh"), X, np.sin(X[:, 0]), ridge=0.01))
START = mf.InitialLaw(dim=2, b_std=1.0).sample(30, seed=2)


def march(flow, start, friction, n_steps, t_end, *observers):
    method, dt = mf.HeavyBall(friction), t_end / n_steps
    return mf.simulate(
        flow, start, method, dt=dt, n_steps=n_steps, observers=observers, progress=False
    )


def oscillator(friction, t):
    """x(t) of x'' + friction x' + λ x = 0 from x = 1 at rest; with 3/t it is 2 J_1(√λ t)/(√λ t)
    (Su, Boyd, Candès).
    """
    if friction == "nesterov":
        return 2 * j1(math.sqrt(RATE) * t) / (math.sqrt(RATE) * t)
    root = np.sqrt(complex(friction**2 / 4 - RATE))
    a, b = -friction / 2 + root, -friction / 2 - root
    return float(((a * np.exp(b * t) - b * np.exp(a * t)) / (a - b)).real)


def order(errors):
    """By halved steps."""
    return np.log2(np.array(errors[:-1]) / errors[1:])


@pytest.mark.parametrize("friction", [0.0, 0.5, 5.0, "nesterov"])
def test_a_well_is_a_damped_oscillator_to_order_two(friction):
    errors = []
    for n in (40, 80, 160):
        end = march(FLOW, ONE, friction, n, 2.0).theta
        errors.append(np.abs(end - oscillator(friction, 2.0) * ONE.theta).max())
    assert errors[-1] < 1e-3
    assert np.abs(order(errors) - 2).max() < 0.15


@pytest.mark.parametrize("friction", [0.5, "nesterov"])
def test_f_and_k_lose_what_friction_takes_to_order_two(friction, h5_path):
    """d/dt (F + K) = -2 friction K, on a network."""
    defects = []
    for n in (50, 100, 200):
        defect = mf.Series("energy_defect", mf.evenly(2))
        march(SMOOTH, START, friction, n, 5.0, defect)
        defects.append(defect.values[-1])
    assert defects[-1] < 1e-3
    assert np.abs(order(defects) - 2).max() < 0.25


def test_without_friction_f_and_k_stay():
    """What remains is the error of the step, of order 2 and bounded: F + K is that of a symplectic
    method.
    """
    spread = []
    for n in (400, 800):
        energy, kinetic = (
            mf.Series(name, mf.every(n // 40)) for name in ("energy", "kinetic_energy")
        )
        march(FLOW, ONE, 0.0, n, 40.0, energy, kinetic)
        total = np.array(energy.values) + kinetic.values
        spread.append(np.ptp(total) / total[0])
    # leapfrog's modified energy: F differs by z²/4 of itself
    assert spread[0] < (0.1**2 * RATE) / 4 * 1.1
    assert abs(order(spread)[0] - 2) < 0.15


def test_at_large_friction_it_is_the_gradient_flow_and_f_differs_as_one_over_its_square():
    """At t = 2 friction. The next term is a factor 1 + O(λ/friction²). With friction·dt = .2 the
    steps resolve the friction.
    """
    flow_end = mf.simulate(SMOOTH, START, mf.RK4, dt=0.01, t_end=2.0, progress=False)
    gaps = []
    for friction in (8.0, 16.0, 32.0):
        end = march(SMOOTH, START, friction, int(10 * friction**2), 2 * friction)
        gaps.append(SMOOTH.energy(end) - SMOOTH.energy(flow_end))
    assert np.abs(order(np.abs(gaps)) - 2).max() < 0.15


def test_it_is_recorded_extended_and_made_again_from_its_file(tmp_path):
    recorders = [mf.Recorder(tmp_path / name, mf.every(5)) for name in ("parts.h5", "whole.h5")]
    march(SMOOTH, START, 0.5, 24, 3.0, recorders[0])
    end = mf.resume(tmp_path / "parts.h5", t_end=6.0, progress=False)
    whole = march(SMOOTH, START, 0.5, 48, 6.0, recorders[1])
    assert np.array_equal(end.theta, whole.theta)
    with mf.Trajectory(tmp_path / "whole.h5") as run:
        assert run.config["integrator"]["friction"] == 0.5
        assert {"kinetic_energy", "energy_defect", "path"} <= set(run.series_names)
        assert run.series("kinetic_energy").values[0] == 0.0
        assert not {"balance_defect"} & set(run.series_names)
    method = mf.HeavyBall("nesterov")
    assert methods.from_dict(methods.to_dict(method)) == method


def test_bits_do_not_depend_on_the_threads():
    import numba

    start, ends = mf.InitialLaw(dim=2, b_std=1.0).sample(2000, seed=2), []
    for threads in (1, 2):
        numba.set_num_threads(threads)
        ends.append(march(SMOOTH, start, 0.5, 5, 0.5).theta)
    assert np.array_equal(*ends)


def test_frozen_columns_stay():
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("tanh", trainable=("w",)), X, X[:, 0]))
    end = march(flow, START, 0.5, 5, 0.5)
    assert np.array_equal(end.a, START.a) and np.array_equal(end.b, START.b)


@pytest.mark.parametrize("friction", [-1.0, np.inf, np.nan, "none", True])
def test_bad_friction_is_refused(friction):
    with pytest.raises(ValueError, match=r'friction must be a number >= 0 or "nesterov"'):
        mf.HeavyBall(friction)


def test_what_makes_no_sense_with_momentum_is_refused():
    with pytest.raises(ValueError, match="with the momentum of 'heavy_ball' F may rise. Give dt"):
        mf.simulate(SMOOTH, START, mf.HeavyBall(1.0), dt="auto", t_end=1.0, progress=False)
    hot = mf.GradientFlow(SMOOTH.functional, temperature=0.1)
    with pytest.raises(ValueError, match="draws no noise: use mf.EULER_MARUYAMA"):
        march(hot, START, 1.0, 5, 0.5)
    with pytest.raises(ValueError, match="'euler' has no momentum"):
        series = mf.Series("kinetic_energy", mf.every(1))
        mf.simulate(SMOOTH, START, mf.EULER, dt=0.1, n_steps=2, observers=[series], progress=False)


def test_without_friction_the_energies_are_exchanged_and_nothing_is_wrong(recwarn):
    """V = x²/2: F + K stays to dt²/8, while F and K are exchanged."""

    def half_square(x):
        return 0.5 * x[0] * x[0]

    def slope(x, out):
        out[0] = x[0]

    flow = mf.GradientFlow(mf.PairwiseEnergy(potential=(half_square, slope)))
    defect = mf.Series("energy_defect", mf.evenly(5))
    start = mf.State(np.array([[1.0]]), outputs=0)
    mf.simulate(
        flow, start, mf.HeavyBall(0.0), dt=0.01, t_end=1.5, observers=[defect], progress=False
    )
    assert max(defect.values) < 1e-3 and not recwarn.list


def test_a_run_from_the_end_of_another_says_that_it_starts_at_rest(capsys):
    """A State has no velocities; resuming has (above)."""
    end = march(FLOW, ONE, 0.5, 4, 1.0)
    for start, said in ((ONE, False), (end, True)):
        mf.simulate(FLOW, start, mf.HeavyBall(0.5), dt=0.25, n_steps=1)
        text = capsys.readouterr().err
        assert (
            "heavy_ball starts at rest: the State of step 4 holds no velocities" in text
        ) == said
