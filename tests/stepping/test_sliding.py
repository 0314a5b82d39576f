"""Neurons that slide along a kink of σ: their chatter is counted by energy_defect at every dt, and
not by the motion that took place (THEORY.md, section 2; TRUTHS.md, section 6).
"""

import warnings

import golden_runs
import numpy as np
import pytest
from golden_copies import copied

import meanfield as mf
from meanfield.diagnostics import defects
from meanfield.particles import Particles
from meanfield.stepping.motion import Motion

X = np.array([[1.0, 0.0], [1.0, 1.0]])
Y = np.array([-1.0, 3.0])
E0 = 0.5


def one_neuron(dtype="float64"):
    """w_1 slides along the kink of x_1 = (1, 0), at w_1 = 0, while e = 3 - w_2 falls as
    e0·exp(-t/2).
    """
    risk = mf.EmpiricalRisk(mf.Network("relu", trainable=("w",)), X, Y)
    return mf.GradientFlow(risk, dtype=dtype), mf.State(np.array([[1.0, 0.0, 3.0 - E0, 0.0]]))


def natural(dt="auto", method=mf.RK4, t_end=50.0, activation="relu", observers=()):
    """60 random labels in R³, 200 neurons: at t = 50 most of them slide."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)), rng.choice([-1.0, 1.0], 60)
    state = mf.InitialLaw(dim=3, b_std=1.0, symmetric=True).sample(200, seed=0)
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network(activation), x, y))
    return mf.simulate(flow, state, method, dt=dt, t_end=t_end, observers=observers, progress=False)


@pytest.mark.parametrize("method", [mf.EULER, mf.HEUN, mf.RK4], ids=lambda method: method.name)
def test_one_sliding_neuron_has_the_defect_of_its_closed_form_and_none_from_its_motion(method):
    """Defect 2/(e0(1 + e^(-t/2))) - 1 = 2.5232 at e0 = .5, t = 4, for every method as dt → 0. A
    step that crosses the kink is off by its own length: relative errors of some dt/t, of each of
    1/e0 = 2 … 15 steps in a period of the chatter.
    """
    flow, state = one_neuron()
    expected = 2 / (E0 * (1 + np.exp(-2.0))) - 1
    moved = []
    for dt in (0.04, 0.01, 0.0025):
        series = (
            mf.Series("energy_defect", mf.at_times([4.0])),
            mf.Series("energy_defect_motion", mf.at_times([4.0])),
        )
        end = mf.simulate(flow, state, method, dt=dt, t_end=4.0, observers=series, progress=False)
        own, motion = (item.values[-1] for item in series)
        assert own == pytest.approx(expected, rel=3 * dt)
        assert 3 - end.theta[0, 2] == pytest.approx(E0 * np.exp(-2.0), rel=5 * dt)
        moved.append(motion)
    # A window of L steps sees the chatter's end points alone, 1/L² of it: 2.5/100 at first, then L
    # = √(t/dt), so first order in dt: 1/100 and 2.5/1000 of the two smaller dt; Euler adds its own
    # first order, dt·|d ln|v|²/dt|/2 of some units.
    assert moved[0] < 0.1 and moved[1] < 0.04 and moved[2] < 0.012


@pytest.mark.parametrize("e0", [0.05, 0.25, 1.0])
@pytest.mark.parametrize(
    ("method", "dt"),
    [(mf.EULER, 0.02), (mf.HEUN, 0.1), (mf.RK4, "auto"), (mf.Adaptive(1e-4), None)],
)
def test_no_size_of_chatter_method_or_step_is_blamed_on_the_steps(e0, method, dt):
    """Periods from one step to some 1/e0 = 150; the defect 2/(e0(1 + e^(-t/2))) - 1 is 0.8 … 34 at
    t = 4.
    """
    flow, _ = one_neuron()
    own = mf.Series("energy_defect", mf.at_times([4.0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        state = mf.State(np.array([[1.0, 0.0, 3.0 - e0, 0.0]]))
        mf.simulate(flow, state, method, dt=dt, t_end=4.0, observers=[own], progress=False)
    assert own.values[-1] == pytest.approx(2 / (e0 * (1 + np.exp(-2.0))) - 1, rel=0.25)


def test_a_sliding_run_says_so_and_does_not_blame_the_steps(capsys, h5_path):
    flow, state = one_neuron()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mf.simulate(
            flow, state, mf.RK4, dt=0.01, t_end=4.0, observers=[mf.Recorder(h5_path, mf.evenly(5))]
        )
    said = " ".join(capsys.readouterr().err.split())
    assert "neurons are sliding along kinks" in said and "At the end 100% slide" in said
    assert "steps were too long" not in said and "Use a smaller dt" not in said
    with mf.Trajectory(h5_path) as run:
        assert run.summary["defect"] == "sliding" and run.summary["sliding_neurons"] == 1.0
        finding = defects.of_run(run)
        assert finding.kind == "sliding" and "A smaller dt does not change that." in finding.text
        motion = run.series("energy_defect_motion").values
        assert (
            motion[-1]
            == run.summary["energy_defect_motion"]
            < 0.01
            < 2.5
            < run.summary["energy_defect"]
        )
    found = mf.diagnose(h5_path, ["energy_defect_motion", "sliding_neurons"], progress=False)
    np.testing.assert_array_equal(found["energy_defect_motion"].values, motion)
    assert found["sliding_neurons"].values.tolist() == [1.0] * 5


@pytest.mark.parametrize("method", [mf.EULER, mf.RK4], ids=lambda method: method.name)
def test_a_natural_run_whose_neurons_slide_dissipates_what_it_loses_by_its_motion(method):
    """Integrator's own: off by a half and more at every dt; of the motion, within the few per cent
    of its windows.
    """
    names = ("energy_defect", "energy_defect_motion", "sliding_neurons")
    series = [mf.Series(name, mf.evenly(2)) for name in names]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        natural(0.03, method, observers=series)
    own, motion, share = (item.values[-1] for item in series)
    assert own > 0.1 and motion < 0.03 and share > 0.5


def test_steps_at_the_edge_of_stability_are_not_taken_for_sliding():
    """RK4 at dt = .5: the mean motion follows the valley as that of sliding neurons does (its
    defect is small), and dt λ_max of the tangent kernel stays at the stability limit of the method,
    where training has driven it.
    """
    series = [mf.Series(name, mf.evenly(2)) for name in ("energy_defect", "energy_defect_motion")]
    with pytest.warns(
        RuntimeWarning, match=r"energy_defect \d+, above 0.1: .*the steps were too long"
    ):
        natural(0.5, t_end=100.0, observers=series)
    assert series[0].values[-1] > 10 and series[1].values[-1] < 0.1


def test_a_smooth_flow_measures_no_motion(h5_path):
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("tanh"), X, Y))
    state = mf.InitialLaw(dim=2).sample(6, seed=0)
    mf.simulate(
        flow,
        state,
        mf.RK4,
        dt=0.1,
        n_steps=3,
        observers=[mf.Recorder(h5_path, mf.evenly(2))],
        progress=False,
    )
    with mf.Trajectory(h5_path) as run:
        assert (
            "energy_defect" in run.series_names and "energy_defect_motion" not in run.series_names
        )
    watch = [mf.Series("energy_defect_motion", mf.every(1))]
    with pytest.raises(
        ValueError, match="no kink here along which neurons could slide. Record energy_defect"
    ):
        mf.simulate(flow, state, mf.RK4, dt=0.1, n_steps=3, observers=watch, progress=False)
    with pytest.raises(
        ValueError,
        match="no series energy_defect_motion with a value at each frame: it is recorded where",
    ):
        mf.diagnose(h5_path, ["energy_defect_motion"])


def test_a_hinge_loss_has_a_kink_of_its_own_and_a_population_risk_has_none():
    def recorded(functional, dim):
        flow = mf.GradientFlow(functional)
        march = mf.simulation.Run(
            flow,
            mf.InitialLaw(dim=dim).sample(4, seed=0),
            mf.EULER,
            (0.1, None, 2),
        ).march
        return march.motion is not None

    assert recorded(mf.EmpiricalRisk(mf.Network("tanh"), X, np.sign(Y), loss="hinge"), 2)
    assert not recorded(mf.EmpiricalRisk(mf.Network("tanh"), X, np.sign(Y), loss="logistic"), 2)
    network = mf.Network("relu", trainable=("a", "w"))
    assert not recorded(mf.PopulationRisk(network, mf.InitialLaw(dim=2).sample(2, seed=1)), 2)


@pytest.mark.parametrize("stop", [1, 5, 13, 27])
def test_the_motion_of_a_resumed_run_is_that_of_one_that_never_stopped_to_the_bit(stop, tmp_path):
    """Windows of ten steps and their halves: stopped in each part of them, resumed, and extended."""
    flow, state = one_neuron()
    calls = []

    def stops(flow, state):
        calls.append(state.step)
        if len(calls) == stop + 1:
            raise KeyboardInterrupt
        return 0.0

    def go(path, function):
        series = mf.Series("user", mf.every(1), function)
        watch = [mf.Recorder(path, mf.every(3), checkpoint_seconds=0.0), series]
        return mf.simulate(
            flow, state, mf.HEUN, dt=0.05, t_end=2.0, observers=watch, progress=False
        )

    go(tmp_path / "whole.h5", lambda flow, state: 0.0)
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "run.h5", stops)
    for name in ("run.h5", "whole.h5"):
        mf.resume(
            tmp_path / name, t_end=3.0, functions={"user": lambda flow, state: 0.0}, progress=False
        )
    with mf.Trajectory(tmp_path / "whole.h5") as whole, mf.Trajectory(tmp_path / "run.h5") as run:
        assert run.content_hash() == whole.content_hash()
        assert (
            len(run.series("energy_defect_motion").values) == len(run)
            and run.summary == whole.summary
        )


def test_a_run_of_an_earlier_version_goes_on_without_the_series_that_it_does_not_have(tmp_path):
    for name in [
        path.name
        for path in golden_runs.GOLDEN.iterdir()
        if path.name.startswith(("relu-schema1.h5", "unfinished-schema1.h5"))
    ]:
        name = name.removesuffix(".parts")
        path = copied(name, tmp_path)
        functions = {"zero": lambda flow, state: 0.0, "mean_a": golden_runs.mean_a}
        mf.resume(path, t_end=1.6, functions=functions, progress=False)
        with mf.Trajectory(path) as run:
            assert run.status == "finished" and run.times[-1] == pytest.approx(1.6)
            assert (
                "energy_defect" in run.series_names
                and "energy_defect_motion" not in run.series_names
            )


def test_sliding_neurons_are_those_that_a_kink_draws_in_from_both_sides():
    """Two neurons of mass 1/2 at s = 1: one on the kink of x_1, the other far from it."""
    theta = np.array([[2.0, 0.0, 2.5, 0.0], [2.0, 5.0, -9.0, 0.0]])
    flow, _ = one_neuron()
    state = mf.State(theta)
    share = mf.Series("sliding_neurons", mf.at_steps([0]))
    mf.simulate(flow, state, mf.EULER, dt=1e-3, n_steps=1, observers=[share], progress=False)
    # f = (5, 2.5): the second neuron (on for x_1 alone) is pushed down; x_1 pushes the first down
    # from above, x_2 up: it slides
    assert share.values == [0.5]
    repelled = mf.GradientFlow(
        mf.EmpiricalRisk(mf.Network("relu", trainable=("w",)), X, np.array([9.0, 3.0]))
    )
    mf.simulate(repelled, state, mf.EULER, dt=1e-3, n_steps=1, observers=[share], progress=False)
    assert share.values == [0.0]


def test_a_window_whose_first_half_vanishes_beside_its_second_has_the_mean_speed():
    """Of a run that diverges: 1e-200 / 1e200 is 0, of which there is no logarithm."""
    motion = Motion(Particles(np.zeros((1, 1)), np.ones(1)))
    motion.passed(10, [[2.0, 1e200, 1e-200, 4.0]], np.ones((1, 1)), 1e-200)
    assert motion.total == 4.0 / 2.0
