"""Observers: every series equals its direct computation, in the object and in the file, on the
moments its schedule asks for.
"""

import naive
import numpy as np
import pytest
from sweeps import sweep

import meanfield as mf
from meanfield.backends.cpu import balance
from meanfield.observers.moment import MEASURES


def problem(activation="tanh", ridge=0.0, scaling=mf.MEAN_FIELD, m=10):
    """A flow on 8 samples in 3 dimensions and a start."""
    rng = np.random.default_rng(2)
    network = mf.Network(activation, scaling=scaling)
    risk = mf.EmpiricalRisk(network, rng.normal(size=(8, 3)), rng.normal(size=8), ridge=ridge)
    return mf.GradientFlow(risk), mf.InitialLaw(dim=3, b_std=1.0).sample(m, seed=4)


@pytest.fixture
def run(h5_path):
    """A recorded run with a ridge at γ = 0.7, its flow and its Series objects, one of them a
    user's.
    """
    flow, state = problem(ridge=0.1, scaling=mf.Scaling(gamma=0.7, alpha=2.0))
    own = mf.Series("mean_a", mf.every(4), lambda flow, state: state.a.mean())
    built_in = mf.Series("displacement", mf.every(2))
    mf.simulate(
        flow,
        state,
        mf.HEUN,
        dt=0.1,
        n_steps=10,
        observers=[mf.Recorder(h5_path, mf.every(1)), own, built_in],
        progress=False,
    )
    return flow, mf.Trajectory(h5_path), own, built_in


def test_instantaneous_series_are_those_of_the_recorded_states(run):
    """Every value against its formula on the frame of the same step: sums of at most 80 terms of
    order 1 in another order.
    """
    flow, trajectory, _, _ = run
    network, x, y = flow.network, flow.functional.x, flow.functional.y
    start = trajectory[0]
    expected = {
        "energy": lambda s: naive.energy(network, s, x, y, ridge=0.1),
        "risk": lambda s: naive.risk(network, s, x, y),
        "regulariser": lambda s: float(s.mass @ naive.regulariser(network, s, 0.1)),
        "speed2": lambda s: float(
            s.mass @ (naive.velocity(network, s, x, y, ridge=0.1) ** 2).sum(axis=1)
        ),
        "displacement": lambda s: naive.displacement(start.theta, s.theta, s.mass),
        "theta_max": lambda s: np.abs(s.theta).max(),
        "nonfinite": lambda s: 0.0,
    }
    for name, function in expected.items():
        steps, times, values = trajectory.series(name)
        assert steps.tolist() == list(range(11)) and np.array_equal(times, trajectory.times)
        np.testing.assert_allclose(
            values, [function(state) for state in trajectory], rtol=1e-12, atol=1e-15
        )
    np.testing.assert_allclose(
        trajectory.series("energy").values,
        trajectory.series("risk").values / network.scaling.output_scale(10) ** 2
        + trajectory.series("regulariser").values,
        rtol=1e-15,
    )


def test_path_and_energy_defect_are_sums_with_the_weights_of_the_method(run):
    """Heun's b = (1/2, 1/2) at θ_n and θ_n + dt v: path Σ dt (|v_1| + |v_2|)/2, q Σ dt (|v_1|² +
    |v_2|²)/2 (THEORY.md, 2).
    """
    flow, trajectory, _, _ = run
    path, q, energy = [0.0], [0.0], [flow.energy(state) for state in trajectory]
    for state in trajectory[:-1]:
        v1 = flow.velocity(state)
        v2 = flow.velocity(mf.State(state.theta + 0.1 * v1))
        squares = [(v**2).sum(axis=1).mean() for v in (v1, v2)]
        path.append(path[-1] + 0.1 * (np.sqrt(squares[0]) + np.sqrt(squares[1])) / 2)
        q.append(q[-1] + 0.1 * sum(squares) / 2)
    np.testing.assert_allclose(trajectory.series("path").values, path, rtol=1e-13)
    fall = energy[0] - np.array(energy[1:])
    # The defect is a difference of numbers near F(0) = 1: their rounding, 1e-16, relative to the
    # fall.
    np.testing.assert_allclose(
        trajectory.series("energy_defect").values[1:],
        np.abs(fall - q[1:]) / fall,
        atol=1e-14 / fall.min(),
        rtol=1e-12,
    )


def test_a_series_in_the_file_and_in_the_object_agree(run):
    _, trajectory, own, built_in = run
    for series, steps in ((own, [0, 4, 8]), (built_in, [0, 2, 4, 6, 8, 10])):
        stored = trajectory.series(series.name)
        kept = [np.flatnonzero(stored.steps == step)[0] for step in steps]
        assert series.steps == steps
        assert (
            series.values == stored.values[kept].tolist()
            and series.times == stored.times[kept].tolist()
        )
    assert own.values == [trajectory[step].a.mean() for step in own.steps]
    # a user's series is written on its own schedule alone
    assert trajectory.series("mean_a").steps.tolist() == [
        0,
        4,
        8,
    ]


def test_a_series_without_a_recorder_is_kept_and_starts_afresh_with_each_run():
    flow, state = problem()
    series = mf.Series("risk", mf.evenly(3))
    for _ in range(2):
        end = mf.simulate(
            flow, state, mf.RK4, dt=0.1, t_end=1.0, observers=[series], progress=False
        )
        assert series.steps == [0, 5, 10] and series.times == pytest.approx(
            [0.0, 0.5, 1.0], abs=1e-15
        )
        assert series.values[0] == flow.risk(state) and series.values[-1] == flow.risk(end)


def test_adaptive_lands_on_the_times_asked_for_and_evenly_takes_what_comes():
    flow, state = problem()
    wanted = mf.Series("risk", mf.at_times([0.1, 1 / 3, 0.5, 2.0]))
    evenly = mf.Series("energy", mf.evenly(4))
    mf.simulate(
        flow, state, mf.Adaptive(1e-6), t_end=2.0, observers=[wanted, evenly], progress=False
    )
    assert wanted.times == [0.1, 1 / 3, 0.5, 2.0]  # exactly: the step ends there
    assert evenly.times[0] == 0.0 and evenly.times[-1] == 2.0
    assert all(t >= asked for t, asked in zip(evenly.times, np.linspace(0, 2, 4), strict=True))


def test_absolute_times_of_a_continued_state_go_on_from_its_clock():
    """t_end is absolute, n_steps relative, steps and schedules count on."""
    flow, state = problem()
    middle = mf.simulate(flow, state, mf.EULER, dt=0.1, t_end=1.0, progress=False)
    series = mf.Series("energy", mf.every(5))
    end = mf.simulate(flow, middle, mf.EULER, dt=0.1, t_end=2.0, observers=[series], progress=False)
    straight = mf.simulate(flow, state, mf.EULER, dt=0.1, t_end=2.0, progress=False)
    assert (end.step, end.t, series.steps) == (20, 2.0, [10, 15, 20])
    # dt = 1/10 either way, up to rounding
    np.testing.assert_allclose(end.theta, straight.theta, rtol=0, atol=1e-14)
    assert mf.simulate(flow, middle, mf.EULER, dt=0.1, n_steps=3, progress=False).step == 13


@pytest.mark.parametrize(
    ("activation", "law", "trainable", "ridge", "reported"),
    [
        ("relu", {"b_std": 1.0}, ("a", "w", "b"), 0.0, True),
        ("relu", {}, ("a", "w"), 0.0, True),
        pytest.param("square", {}, ("a", "w"), 0.0, True, marks=pytest.mark.kernel),
        (
            "relu",
            {"b_std": 1.0},
            ("a", "w"),
            0.0,
            False,
        ),  # a frozen bias takes part in z but not in the balance
        ("relu", {}, ("w", "b"), 0.0, False),
        ("relu", {}, ("a", "w", "b"), 0.1, False),
        ("tanh", {}, ("a", "w", "b"), 0.0, False),
    ],
)
def test_the_balance_defect_is_reported_where_the_theory_conserves_it(
    h5_path, activation, law, trainable, ridge, reported
):
    """THEORY.md, section 2: homogeneous σ, a and w trained, the bias trained or absent, no ridge."""
    rng = np.random.default_rng(0)
    network = mf.Network(activation, trainable=trainable)
    flow = mf.GradientFlow(
        mf.EmpiricalRisk(network, rng.normal(size=(5, 3)), np.ones(5), ridge=ridge)
    )
    state = mf.InitialLaw(dim=3, **law).sample(6)
    mf.simulate(
        flow,
        state,
        mf.EULER,
        dt=0.01,
        n_steps=2,
        observers=[mf.Recorder(h5_path, mf.every(1))],
        progress=False,
    )
    assert ("balance_defect" in mf.Trajectory(h5_path).series_names) == reported


@pytest.mark.parametrize("dtype", sweep(["float64", "float32"]))
@pytest.mark.parametrize(
    ("activation", "p", "m", "outputs"), sweep([("relu", 1, 5, 1), ("square", 2, 200, 2)])
)
def test_the_balance_defect_is_that_of_the_slow_twin(activation, p, m, outputs, dtype):
    """One shard of 5 neurons and four of 50: sums of at most 6 squares in another order, some units
    in the last place.
    """
    rng = np.random.default_rng(1)
    y = rng.normal(size=(6, outputs))
    flow = mf.GradientFlow(
        mf.EmpiricalRisk(mf.Network(activation), rng.normal(size=(6, 3)), y), dtype=dtype
    )
    start = mf.InitialLaw(dim=3, outputs=outputs, b_std=1.0).sample(m, seed=2)
    series = mf.Series("balance_defect", mf.every(4))
    end = mf.simulate(flow, start, mf.EULER, dt=0.02, n_steps=4, observers=[series], progress=False)
    start = mf.State(start.theta.astype(dtype), outputs=outputs)
    assert series.values[0] == 0.0
    assert series.values[-1] == pytest.approx(
        naive.balance_defect(start, end, p), rel=1e-10, abs=1e-15
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", [0, 3, 4])
def test_the_balance_of_particles_that_are_no_numbers_is_none(bad, where):
    """As the largest of all changes is: whatever comes after it, a NaN stays, and ∞ - p·∞ is one."""
    theta = np.ones((5, 4))
    before = balance.invariants(theta, 1, 1.0)
    theta[where, :2] = bad
    assert np.isnan(balance.largest_change(theta, 1, 1.0, before))


def test_the_series_that_an_unknown_name_is_told_of_can_be_recorded():
    with pytest.raises(ValueError, match="Known: energy") as error:
        mf.Series("enrgy", mf.every(1))
    names = str(error.value).split("Known: ")[1].split("; or")[0].split(", ")
    assert "w2" not in names and "kernel_drift" in names
    for name in names:
        mf.Series(name, mf.every(1))
    with pytest.raises(ValueError, match="'w2' is not one number .* beside the run: mf.W2"):
        mf.Series("w2", mf.every(1))


def test_a_series_names_what_is_wrong_with_it():
    with pytest.raises(
        ValueError, match="no built-in series 'enrgy'. Did you mean 'energy'\\? Known: energy, risk"
    ):
        mf.Series("enrgy", mf.every(1))
    with pytest.raises(ValueError, match="a series needs a name without a slash; got 'a/b'"):
        mf.Series("a/b", mf.every(1), max)
    with pytest.raises(TypeError, match="function must be callable"):
        mf.Series("own", mf.every(1), 3)
    flow, state = problem()
    vector = mf.Series("own", mf.every(1), lambda flow, state: state.b)
    with pytest.raises(
        ValueError,
        match=r"series 'own': function\(flow, state\) must return a scalar; got shape \(10,\)",
    ):
        mf.simulate(flow, state, mf.EULER, dt=0.1, n_steps=1, observers=[vector], progress=False)
    taken = [mf.Series("energy", mf.every(1), lambda flow, state: 0.0)]
    with pytest.raises(ValueError, match="each series needs a name of its own.*energy"):
        mf.simulate(flow, state, mf.EULER, dt=0.1, n_steps=1, observers=taken, progress=False)
    with pytest.raises(
        TypeError,
        match="observers are mf.Recorder, mf.Series, mf.Events, mf.W2 and mf.StopOnNonFinite",
    ):
        mf.simulate(flow, state, mf.EULER, dt=0.1, n_steps=1, observers=[print], progress=False)


def test_the_contract_names_every_series():
    contract = {
        "energy",
        "risk",
        "regulariser",
        "speed2",
        "path",
        "displacement",
        "theta_max",
        "nonfinite",
    }
    defects = {"energy_defect", "energy_defect_motion", "balance_defect"}
    # with momentum; where masses change
    assert set(MEASURES) == contract | defects | {"kinetic_energy", "effective_sample_size"}


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/b", "a\0b", "a\nb", " a", "\ud800", "risk_t", "risk_step", "kernel_drift_t"],
)
def test_a_name_that_no_group_or_column_can_have_is_refused_when_the_series_is_made(name):
    with pytest.raises(
        ValueError, match="a series needs a name|needs a name|is a clock of the series"
    ):
        mf.Series(name, mf.every(1), lambda flow, state: 1.0)


def test_two_series_of_a_run_whose_columns_would_clash_are_refused():
    flow, state = problem()
    pair = [mf.Series(name, mf.every(1), lambda flow, state: 0.0) for name in ("mine", "mine_t")]
    with pytest.raises(
        ValueError,
        match="'mine_t' is a clock of the series 'mine' in an xarray.Dataset: rename one of them",
    ):
        mf.simulate(flow, state, mf.EULER, dt=0.1, n_steps=1, observers=pair, progress=False)
    mf.simulate(flow, state, mf.EULER, dt=0.1, n_steps=1, observers=pair[1:], progress=False)
