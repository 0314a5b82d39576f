"""simulate: its clock, its observers, what it says, what it warns of, and how it ends."""

import re
import sys
import warnings

import numba
import numpy as np
import pytest

import meanfield as mf

X = np.linspace(-1, 1, 8)[:, None]
Y = np.abs(X[:, 0])
LAW = mf.InitialLaw(dim=1, b_std=1.0, symmetric=True)
START = LAW.sample(20, seed=0)


@pytest.fixture(autouse=True)
def one_thread():
    """The runs are tiny: a second thread only waits. Bits do not depend on it."""
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)


def flow(activation="tanh", scaling=mf.MEAN_FIELD, dtype="float64", **settings):
    return mf.GradientFlow(
        mf.EmpiricalRisk(mf.Network(activation, scaling), X, Y, **settings), dtype=dtype
    )


def go(*observers, of=None, state=START, method=mf.RK4, progress=False, **clock):
    return mf.simulate(
        of or flow(),
        state,
        method,
        observers=observers,
        progress=progress,
        **(clock or {"dt": 0.1, "t_end": 2.0}),
    )


# ---- time


@pytest.mark.parametrize(
    ("dt", "t_end", "steps"),
    [(0.1, 2.0, 20), (0.3, 2.0, 7), (5.0, 2.0, 1), (0.1, 0.1 * 3, 3), (2.0 / 3, 2.0, 3)],
)
def test_a_fixed_dt_is_shortened_so_that_the_last_step_ends_at_t_end_exactly(dt, t_end, steps):
    clock = mf.Series("risk", mf.every(1))
    end = go(clock, dt=dt, t_end=t_end)
    assert (end.step, end.t) == (steps, t_end)
    # t = step·dt is computed, not accumulated: one rounding each for the product and for dt
    np.testing.assert_allclose(
        clock.times, t_end * np.arange(steps + 1) / steps, rtol=4 * np.finfo(float).eps
    )


def test_n_steps_is_relative_and_t_end_is_absolute():
    middle = go(dt=0.1, n_steps=7)
    assert (middle.step, middle.t) == (7, pytest.approx(0.7, rel=1e-15))
    assert go(state=middle, dt=0.1, n_steps=7).step == 14
    later = go(state=middle, dt=0.1, t_end=1.0)
    assert (later.step, later.t) == (10, 1.0)


def test_one_euler_step_is_theta_plus_dt_times_the_velocity():
    end = go(method=mf.EULER, dt=0.25, n_steps=1)
    np.testing.assert_allclose(
        end.theta, START.theta + 0.25 * flow().velocity(START), rtol=1e-15, atol=1e-16
    )


def test_the_states_that_go_in_and_out_are_values():
    before = START.theta.copy()
    end = go()
    np.testing.assert_array_equal(START.theta, before)
    assert end.origin == (LAW, 0) and not end.theta.flags.writeable
    np.testing.assert_array_equal(end.mass, START.mass)


def test_float32_agrees_with_float64_to_its_precision():
    single = go(of=flow(dtype="float32"))
    assert single.theta.dtype == np.float32
    # 20 steps of four stages, each rounding θ of size about 3 to 6e-8 of it: 80 · 2e-7
    np.testing.assert_allclose(single.theta, go().theta, atol=2e-5)


@pytest.mark.parametrize("height", [5.0, 20.0])
@pytest.mark.parametrize("method", [mf.EULER, mf.HEUN, mf.RK4], ids=lambda method: method.name)
def test_auto_steps_train_a_steep_kink_and_the_risk_stays_near_its_lowest(height, method):
    """H grows by orders of magnitude on the way, so a step from H_0 alone would throw every unit
    off the data.
    """
    network = mf.Network("relu")
    of = mf.GradientFlow(mf.EmpiricalRisk(network, X, height * Y))
    risk = mf.Series("risk", mf.every(1))
    go(risk, of=of, dt="auto", t_end=10.0)
    assert risk.values[-1] < 1e-2 * risk.values[0]
    assert all(now <= 1.01 * min(risk.values[: k + 1]) for k, now in enumerate(risk.values[1:]))


def test_auto_steps_do_not_grind_at_a_kink():
    """A neuron that has come to rest on a data point chatters across it at every dt: halving must
    end.
    """
    x = np.linspace(-1, 1, 16)[:, None]
    of = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu"), x, 20 * np.abs(x[:, 0])))
    end = go(
        of=of,
        state=mf.InitialLaw(dim=1, b_std=1.0).sample(50, seed=1),
        method=mf.HEUN,
        dt="auto",
        t_end=30.0,
    )
    assert end.step < 5000  # 437 000 for the last third alone where every rise was refused


def test_halvings_are_in_the_summary(h5_path):
    of = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu"), X, 20 * Y))
    go(mf.Recorder(h5_path, mf.evenly(3)), of=of, dt="auto", t_end=2.0)
    summary = mf.Trajectory(h5_path).summary
    assert summary["halvings"] and summary["halvings"][0].keys() == {"step", "t", "dt"}
    assert summary["dt"] <= summary["halvings"][-1]["dt"] / 2


def test_adaptive_lands_on_requested_times_and_on_the_end():
    wanted = [0.3, 0.77, 1.9]
    risk, every = mf.Series("risk", mf.at_times(wanted)), mf.Series("energy", mf.every(1))
    end = go(risk, every, method=mf.Adaptive(1e-6, 1e-9), t_end=2.0)
    assert risk.times == wanted and end.t == 2.0
    assert every.steps == list(range(end.step + 1)) and np.all(np.diff(every.times) > 0)


@pytest.mark.parametrize(
    ("clock", "message"),
    [
        ({"dt": 0.0, "t_end": 1.0}, "dt must be a positive number"),
        ({"dt": -0.1, "t_end": 1.0}, "dt must be a positive number"),
        ({"dt": float("nan"), "t_end": 1.0}, "dt must be a positive number"),
        ({"dt": "fast", "t_end": 1.0}, 'dt must be a positive number or "auto"; got .fast'),
        ({"dt": None, "t_end": 1.0}, "dt must be a positive number"),
        ({"dt": True, "t_end": 1.0}, "dt must be a positive number"),
        ({"dt": 0.1}, "give either t_end .* or n_steps"),
        ({"dt": 0.1, "t_end": 1.0, "n_steps": 3}, "give either t_end .* or n_steps"),
        (
            {"dt": 0.1, "t_end": 0.0},
            "t_end must be a finite flow time after the state's t = 0; got 0.0",
        ),
        ({"dt": 0.1, "t_end": -1.0}, "t_end must be a finite flow time after"),
        ({"dt": 0.1, "t_end": float("inf")}, "t_end must be a finite flow time after"),
        ({"dt": 0.1, "t_end": "1"}, "t_end must be a finite flow time after"),
        ({"dt": 0.1, "n_steps": 0}, "n_steps must be an integer >= 1; got 0"),
        ({"dt": 0.1, "n_steps": 2.5}, "n_steps must be an integer >= 1; got 2.5"),
        ({"dt": 0.1, "n_steps": True}, "n_steps must be an integer >= 1"),
        ({"method": mf.Adaptive(), "n_steps": 3}, "Adaptive chooses its own steps: give t_end"),
        ({"method": mf.Adaptive(), "dt": -1.0, "t_end": 1.0}, "dt must be a positive number"),
    ],
)
def test_time_that_makes_no_sense_raises_before_any_work(h5_path, clock, message):
    with pytest.raises(ValueError, match=message):
        go(mf.Recorder(h5_path, mf.evenly(3)), **clock)
    assert not list(h5_path.parent.iterdir())


# ---- observers


def test_a_series_calls_its_function_when_due_and_keeps_what_it_returns():
    seen = mf.Series("a2", mf.every(6), lambda flow, state: np.square(state.a).mean())
    end = go(seen)
    assert (seen.steps, seen.times) == (
        [0, 6, 12, 18],
        pytest.approx([0.0, 0.6, 1.2, 1.8], rel=1e-15),
    )
    assert seen.values[0] == 1.0 and seen.values[-1] != np.square(end.a).mean()


def test_a_series_starts_afresh_in_the_next_run():
    seen = mf.Series("risk", mf.evenly(3))
    go(seen)
    first = list(seen.values)
    go(seen)
    assert seen.values == first and len(first) == 3


def test_the_recorder_keeps_start_and_end_whatever_its_schedule(h5_path):
    end = go(mf.Recorder(h5_path, mf.at_steps([5])), mf.Series("risk", mf.every(1)))
    run = mf.Trajectory(h5_path)
    assert run.steps.tolist() == [0, 5, 20]
    np.testing.assert_array_equal(run[-1].theta, end.theta)
    assert run.series("risk").steps.tolist() == list(range(21)) and run.series(
        "energy"
    ).steps.tolist() == [0, 5, 20]


def test_every_run_carries_its_measures(h5_path):
    end = go(mf.Recorder(h5_path, mf.evenly(3)), of=flow("relu", mf.Scaling(0.75, 2.0)))
    run = mf.Trajectory(h5_path)
    names = {
        "energy",
        "risk",
        "regulariser",
        "speed2",
        "path",
        "displacement",
        "theta_max",
        "nonfinite",
        "energy_defect",
    }
    assert set(run.series_names) == names | {"energy_defect_motion", "balance_defect"}
    last = {name: run.series(name).values[-1] for name in run.series_names}
    of = flow("relu", mf.Scaling(0.75, 2.0))
    assert last["risk"] == pytest.approx(of.risk(end), rel=1e-14)
    assert last["energy"] == pytest.approx(of.energy(end), rel=1e-14)
    assert last["displacement"] == pytest.approx(mf.displacement(START, end), rel=1e-13)
    assert last["speed2"] == pytest.approx(
        np.square(of.velocity(end)).sum(axis=1).mean(), rel=1e-13
    )
    assert (
        last["theta_max"] == np.abs(end.theta).max()
        and last["nonfinite"] == last["regulariser"] == 0
    )
    assert last["displacement"] <= last["path"]
    assert {name: run.summary[name] for name in last} == last


def test_recording_is_of_what_happens_and_never_changes_it(h5_path):
    np.testing.assert_array_equal(go(mf.Recorder(h5_path, mf.every(1))).theta, go().theta)


def test_the_test_set_travels_in_the_file(h5_path):
    data = mf.data.kink(n=16, n_test=8, seed=1)
    of = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu"), data.x, data.y))
    go(
        mf.Recorder(h5_path, mf.evenly(2), data=data),
        of=of,
        state=mf.InitialLaw(dim=data.d, b_std=1.0).sample(8),
    )
    stored = mf.Trajectory(h5_path).data
    for name in ("x", "y", "x_test", "y_test"):
        np.testing.assert_array_equal(getattr(stored, name), getattr(data, name))
    assert stored.name == data.name and stored.origin == data.origin
    with pytest.raises(ValueError, match="is not the data set whose x the flow was given"):
        go(mf.Recorder(h5_path.with_name("other.h5"), mf.evenly(2), data=data))


@pytest.mark.parametrize(
    ("observers", "error", "message"),
    [
        (
            [mf.Series("risk", mf.every(1)), mf.Series("risk", mf.every(2))],
            ValueError,
            "each series needs a name of its own",
        ),
        (
            [mf.Series("risk", mf.every(1), lambda flow, state: 0.0)],
            ValueError,
            "not that of another or of a built-in: risk",
        ),
        (
            ["run.h5"],
            TypeError,
            "observers are mf.Recorder, mf.Series, mf.Events, mf.W2 and "
            "mf.StopOnNonFinite; got 'run.h5'",
        ),
        (
            [mf.Recorder("a.h5", mf.every(1)), mf.Recorder("b.h5", mf.every(1))],
            ValueError,
            "one run has one Recorder",
        ),
        (mf.Series("risk", mf.every(1)), TypeError, "observers is a list"),
    ],
)
def test_observers_that_make_no_sense_raise(observers, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        mf.simulate(flow(), START, mf.RK4, dt=0.1, t_end=2.0, observers=observers, progress=False)
    assert not list(tmp_path.iterdir())


def test_a_series_function_that_returns_no_scalar_raises():
    with pytest.raises(
        ValueError,
        match=re.escape(
            "series 'a': function(flow, state) must return a scalar; got shape (20, 1)"
        ),
    ):
        go(mf.Series("a", mf.every(1), lambda flow, state: state.a))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1 + 2j, "got (1+2j). Return its .real, .imag or abs()."),
        (np.complex128(1 + 2j), "got (1+2j). Return"),
        (np.array([1 + 2j]), "got (1+2j). Return"),
        (None, "got None."),
        ("1", "got '1'."),
    ],
    ids=repr,
)
def test_a_series_function_that_returns_no_real_number_raises(value, words):
    said = f"series 'a': function(flow, state) must return a real number; {words}"
    with pytest.raises(TypeError, match=re.escape(said)):
        go(mf.Series("a", mf.every(1), lambda flow, state: value))


def test_an_error_in_a_series_function_leaves_a_run_that_can_be_resumed(h5_path):
    def fragile(flow, state):
        if state.step == 12:
            raise ZeroDivisionError("user code")
        return 1.0

    with pytest.raises(ZeroDivisionError, match="user code"):
        go(
            mf.Recorder(h5_path, mf.every(1), checkpoint_seconds=0),
            mf.Series("user", mf.every(1), fragile),
        )
    assert mf.Trajectory(h5_path).steps[-1] == 11
    end = mf.resume(h5_path, functions={"user": lambda flow, state: 1.0}, progress=False)
    np.testing.assert_array_equal(end.theta, go().theta)


# ---- how a run ends


def test_divergence_stops_where_it_is_asked_to(h5_path):
    """f is linear in the data and quadratic in θ: explicit Euler with a huge step explodes doubly
    exponentially.
    """
    watch = [mf.Recorder(h5_path, mf.every(2)), mf.StopOnNonFinite()]
    with pytest.raises(mf.Diverged) as caught:
        go(*watch, of=flow("linear"), method=mf.EULER, dt=1e3, t_end=1e5)
    run = mf.Trajectory(h5_path)
    found = re.fullmatch(
        r"the run diverged: (?:\w+ of particle (\d+) \(of (\d+) in 20\)|the velocity) is not "
        r"finite at step (\d+), t = (\S+)\. "
        r'Use a smaller dt, or dt="auto"\. At the start dt = (\S+) is stable\. '
        r"The last good frame is step (\d+), t = (\S+)\.",
        str(caught.value),
    )
    assert found, str(caught.value)
    assert int(found[6]) == run[-1].step < int(found[3]) and float(found[4]) == 1e3 * int(found[3])
    go(mf.StopOnNonFinite(), of=flow("linear"), method=mf.EULER, dt=float(found[5]), n_steps=400)
    assert run.status == "diverged" and run.summary["message"] == str(caught.value)
    assert np.isfinite(run[-1].theta).all() and len(run) == 1 + run[-1].step // 2


def test_divergence_without_a_recorder_says_that_nothing_was_recorded():
    with pytest.raises(mf.Diverged, match="No frame was recorded"):
        go(mf.StopOnNonFinite(), of=flow("linear"), method=mf.EULER, dt=1e3, t_end=1e5)


def test_without_stop_on_nonfinite_a_diverged_run_goes_on_and_warns_once(h5_path):
    bad = mf.Series("nonfinite", mf.every(1))
    with pytest.warns(
        RuntimeWarning, match="the run diverged: .* at step .* Add mf.StopOnNonFinite"
    ) as caught:
        end = go(
            mf.Recorder(h5_path, mf.evenly(4)),
            bad,
            of=flow("linear"),
            method=mf.EULER,
            dt=1e3,
            t_end=1e5,
        )
    assert sum("diverged" in str(item.message) for item in caught) == 1
    assert end.step == 100 and not np.isfinite(end.theta).all() and bad.values[-1] > 0
    with mf.Trajectory(h5_path) as run:  # it says so itself, and no defect of 0 is made of NaN
        assert run.status == "diverged" and "is not finite" in run.summary["message"]
        assert np.isnan(run.summary["energy_defect"])


def test_adaptive_that_cannot_meet_its_tolerance_diverges_and_names_the_last_good_frame(h5_path):
    with pytest.raises(
        mf.Diverged, match=r"the tolerance asks for dt = .*The last good frame is step \d+"
    ):
        go(
            mf.Recorder(h5_path, mf.every(3)),
            of=flow("relu"),
            method=mf.Adaptive(1e-15, 0.0),
            t_end=2e4,
        )
    assert mf.Trajectory(h5_path).status == "diverged"


def test_a_run_whose_units_have_all_died_warns_once():
    """ReLU units that see no sample have no gradient; the risk stays where it is."""
    dead = mf.State(np.array([[1.0, 1.0, -5.0], [-1.0, -1.0, -5.0]]))
    with pytest.warns(
        RuntimeWarning,
        match=r"no particle moves any more \(step 1, t = 0.1, risk 0.\d+\): all units are dead",
    ) as caught:
        end = go(of=flow("relu"), state=dead)
    assert len(caught) == 1 and caught[0].filename == __file__.replace("\\", "/")
    np.testing.assert_array_equal(end.theta, dead.theta)


def test_where_inputs_are_not_scaled_and_all_units_died_the_warning_says_to_scale_them():
    """The step of a rate of about 10⁸ throws every unit away; a smaller dt or another seed would
    not help.
    """
    unscaled = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu"), 1e4 * X, Y))
    dead = mf.State(np.array([[1.0, 1.0, -5e5], [-1.0, -1.0, -5e5]]))
    with pytest.warns(
        RuntimeWarning,
        match="this is a critical point. The inputs are not scaled .* standardise=True",
    ):
        go(of=unscaled, state=dead)


def test_a_run_that_has_arrived_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        still = mf.State(np.array([[0.0, 1.0, 0.0]]))
        zero = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("tanh"), X, 0 * Y))
        go(of=zero, state=still)
        go(of=mf.GradientFlow(mf.EmpiricalRisk(mf.Network("tanh", trainable=()), X, Y)))


# ---- what it says


def test_progress_names_scaling_law_and_time_unit_and_how_it_ended(capsys):
    go(of=flow("relu", mf.Scaling(0.75, 2.0)), progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    said = [
        line.removeprefix("meanfield: ")
        for line in err.splitlines()
        if not line.startswith("meanfield: compiling")
    ]
    rate = mf.Scaling(0.75, 2.0).learning_rate(0.1, 20)
    assert "gamma = 0.75 (intermediate), alpha = 2, m = 20" in said[0]
    assert (
        "an Euler step dt = 0.1 of flow time is gradient descent with learning rate "
        f"{rate:.6g} on R" in said[0]
    )
    assert said[1] == f"{LAW.describe()}; flow time t = 0 … 2; cpu, float64"
    assert re.fullmatch(
        r"t = 2 after 20 steps: risk \S+, energy_defect \S+, balance_defect \S+, "
        r"displacement \S+, path \S+",
        said[2],
    )
    assert len(said) == 3


def test_progress_false_is_quiet(capsys, h5_path):
    go(mf.Recorder(h5_path, mf.evenly(3)), progress=False)
    mf.resume(h5_path, t_end=3.0, progress=False)
    assert capsys.readouterr() == ("", "")


def test_a_resumed_run_says_from_where_to_where(capsys, h5_path):
    go(mf.Recorder(h5_path, mf.evenly(3)))
    mf.resume(h5_path, t_end=3.0)
    assert "flow time t = 2 … 3" in capsys.readouterr().err


def test_a_bar_is_drawn_on_a_terminal_only(capsys, monkeypatch):
    go(progress=True)
    assert "%|" not in capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    go(progress=True)
    assert "%|" in capsys.readouterr().err


@pytest.mark.parametrize("exists", ["error", "resume"])
def test_times_that_the_run_never_reaches_are_named_with_the_likely_slip(exists, h5_path):
    def recorded(times):
        return mf.simulate(flow(), START, mf.RK4, dt=0.1, t_end=2.0, progress=False,
                           observers=[mf.Recorder(h5_path, mf.at_times(times), exists)])  # fmt: skip

    with pytest.raises(
        ValueError,
        match=r"mf.at_times has 10, 20, but .* t_end = 2: nothing would be seen.*mf.at_steps",
    ):
        recorded([10, 20])
    assert not h5_path.exists()
    with pytest.warns(
        RuntimeWarning, match=r"mf.at_times has 2.5, but the run goes from t = 0 to t_end = 2"
    ):
        recorded([1.0, 2.5])


def test_a_series_that_raises_is_named_with_its_step_and_goes_on_once_mended_to_the_same_bits(
    h5_path,
):
    def fragile(flow, state):
        if state.step == 12:
            raise ZeroDivisionError("user code")
        return float(state.step)

    def watch(path, function):
        return (
            mf.Recorder(path, mf.every(5)),
            mf.Series("risk", mf.every(2)),
            mf.Series("mine", mf.every(3), function),
        )

    with pytest.raises(ZeroDivisionError, match="user code") as caught:
        go(*watch(h5_path, fragile))
    note = (
        "The series 'mine' raised this at step 12, t = 1.2. A checkpoint of this step is "
        "published: .*mf.resume"
    )
    assert (
        re.search(note, caught.value.__notes__[0])
        and "functions={'mine': …}" in caught.value.__notes__[0]
    )
    mf.resume(h5_path, functions={"mine": lambda flow, state: float(state.step)}, progress=False)
    whole = h5_path.with_name("whole.h5")
    go(*watch(whole, lambda flow, state: float(state.step)))
    assert mf.Trajectory(h5_path).content_hash() == mf.Trajectory(whole).content_hash()
    with pytest.raises(ValueError) as caught:
        go(mf.Series("mine", mf.every(3), lambda flow, state: state.theta))
    assert (
        "The series 'mine' raised this at step 0, t = 0. Nothing was recorded"
        in caught.value.__notes__[0]
    )


def test_the_warnings_and_errors_that_the_solvers_raise_are_names_of_the_package():
    assert issubclass(mf.NotConverged, RuntimeError) and issubclass(mf.SlowSolve, UserWarning)
