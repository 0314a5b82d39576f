"""Which run a file holds: formulas and series of the same names are told apart by their values and
their code.
"""

import json
import math
import types
import warnings

import h5py
import numpy as np
import pytest
from sweeps import sweep

import meanfield as mf
import ntk
from meanfield.data.dataset import Dataset
from meanfield.resuming import function_code

X = np.linspace(-1, 1, 8)[:, None]
Y = np.abs(X[:, 0])
# f_0 = 0: F cannot tell activations apart
SYMMETRIC = mf.InitialLaw(dim=1, b_std=1.0, symmetric=True).sample(20, seed=0)
SETTINGS = types.SimpleNamespace(k=1.0, table={"a": 1.0})
FACTOR = 1.0


def swish(beta):
    def value(z):
        return z / (1.0 + math.exp(-beta * z))

    def slope(z):
        e = 1.0 / (1.0 + math.exp(-beta * z))
        return e + beta * z * e * (1.0 - e)

    return mf.Activation("swish", value, slope)


def soft_loss(delta):
    def value(f, y):
        return delta * delta * (math.sqrt(1.0 + (f - y) * (f - y) / (delta * delta)) - 1.0)

    def slope(f, y):
        return (f - y) / math.sqrt(1.0 + (f - y) * (f - y) / (delta * delta))

    return mf.Loss("soft", value, slope)


def risk(activation="tanh", loss="squared"):
    return mf.GradientFlow(mf.EmpiricalRisk(mf.Network(activation), X, Y, loss=loss))


def attraction(k):
    def U(x, y):
        return 0.5 * k * (x[0] - y[0]) * (x[0] - y[0])

    def grad_U(x, y, out):
        out[0] = k * (x[0] - y[0])

    return mf.GradientFlow(mf.PairwiseEnergy(interaction=(U, grad_U)))


def well(k):
    def V(x):
        return 0.5 * k * x[0] ** 2

    def grad_V(x, out):
        out[0] = k * x[0]

    return mf.GradientFlow(mf.PairwiseEnergy(potential=(V, grad_V)))


def go(path, flow, *observers, start=SYMMETRIC, t_end=0.5):
    watch = [mf.Recorder(path, mf.evenly(3), exists="resume"), *observers]
    return mf.simulate(flow, start, mf.RK4, dt=0.1, t_end=t_end, observers=watch, progress=False)


# U between particles that coincide is 0 for every k
ONE_POINT = mf.State(np.ones((3, 1)), outputs=0)
CASES = {
    "V": (well, 1.0, 3.0, ONE_POINT, "the potential V: k = 3.0, in the file 1.0"),
    "U": (attraction, 1.0, 3.0, ONE_POINT, "the interaction U: k = 3.0, in the file 1.0"),
    "sigma": (
        lambda b: risk(swish(b)),
        1.5,
        2.5,
        SYMMETRIC,
        "the activation 'swish': beta = 2.5, in the file 1.5",
    ),
    "loss": (
        lambda d: risk(loss=soft_loss(d)),
        1.0,
        1.01,
        SYMMETRIC,
        "the loss 'soft': delta = 1.01, in the file 1.0",
    ),
}


@pytest.mark.parametrize("case", sweep(CASES, "sigma", "V"))
def test_a_formula_of_the_same_name_with_another_constant_is_refused_and_the_constant_named(
    case, tmp_path
):
    make, here, other, start, message = CASES[case]
    path = tmp_path / "run.h5"
    end = go(path, make(here), start=start)
    before = path.read_bytes()
    np.testing.assert_array_equal(go(path, make(here), start=start).theta, end.theta)
    for again in (
        lambda: go(path, make(other), start=start),
        lambda: mf.resume(path, flow=make(other), progress=False),
        lambda: mf.resume(path, t_end=1.0, flow=make(other), progress=False),
    ):
        with pytest.raises(ValueError, match=f"different here: .*{message}"):
            again()
    assert path.read_bytes() == before and not (tmp_path / "run.h5.parts").exists()
    assert mf.resume(path, t_end=1.0, flow=make(here), progress=False).t == 1.0


def test_another_formula_of_the_same_name_is_refused_by_its_values(tmp_path):
    def other(beta):
        def value(z):
            return z * 0.5 * (1.0 + math.tanh(beta * z))

        def slope(z):
            t = math.tanh(beta * z)
            return 0.5 * (1.0 + t) + 0.5 * z * beta * (1.0 - t * t)

        return mf.Activation("swish", value, slope)

    go(tmp_path / "run.h5", risk(swish(1.5)))
    # swish(z) = z/(1 + e^(-βz)) = z/2 (1 + tanh(βz/2)): the same with β/2, another with β
    with pytest.raises(
        ValueError,
        match=r"the activation 'swish': .* before, .* now, and another at .* of 12 points",
    ):
        go(tmp_path / "run.h5", risk(other(1.5)))
    with pytest.warns(
        RuntimeWarning, match="the activation 'swish' is written differently.*points.*are the same"
    ):
        go(tmp_path / "run.h5", risk(other(0.75)))


def closure(k):
    return lambda flow, state: k * float(state.theta.mean())


def default(k):
    def function(flow, state, k=k):
        return k * float(state.theta.mean())

    return function


def setting(k):
    SETTINGS.k = k
    return lambda flow, state: SETTINGS.k * float(state.theta.mean())


def table(k):
    SETTINGS.table["a"] = k
    return lambda flow, state: SETTINGS.table["a"] * float(state.theta.mean())


def factor(k):
    global FACTOR
    FACTOR = k
    return lambda flow, state: FACTOR * float(state.theta.mean())


def array(k):
    weights = np.array([k, 1.0])
    return lambda flow, state: float((weights[0] * state.theta).mean())


@pytest.mark.parametrize("make", [closure, default, setting, table, factor, array])
def test_a_series_with_another_constant_is_refused_wherever_the_constant_lies(make, tmp_path):
    path = tmp_path / "run.h5"
    go(path, risk(), mf.Series("mine", mf.every(1), make(1.0)))
    go(path, risk(), mf.Series("mine", mf.every(1), make(1.0)))
    with pytest.raises(ValueError, match=r"different here: the series 'mine': .*in the file"):
        go(path, risk(), mf.Series("mine", mf.every(1), make(3.0)))
    with pytest.raises(ValueError, match=r"different here: the series 'mine': .*in the file"):
        mf.resume(path, t_end=1.0, functions={"mine": make(3.0)}, progress=False)


def test_a_series_of_other_code_is_held_against_the_recorded_values(tmp_path):
    path = tmp_path / "run.h5"
    go(path, risk(), mf.Series("mine", mf.every(1), lambda flow, state: float(state.theta.std())))
    with pytest.raises(ValueError, match=r"the series 'mine': .* at t = .*, in the file"):
        go(
            path,
            risk(),
            mf.Series("mine", mf.every(1), lambda flow, state: float(np.median(state.theta))),
        )
    with pytest.warns(RuntimeWarning, match="the series 'mine' is written differently.*3 points"):
        go(
            path,
            risk(),
            mf.Series("mine", mf.every(1), lambda flow, state: float(np.std(state.theta))),
        )


def test_what_a_series_itself_changes_is_no_constant_of_it(tmp_path):
    seen, count = [], 0

    def mine(flow, state):
        nonlocal count
        count += 1
        seen.append(state.step)
        return 1.0

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            go(tmp_path / "run.h5", risk(), mf.Series("mine", mf.every(1), mine))
    assert count == len(seen) == 6


def test_a_file_without_probes_is_resumed_as_before_and_has_the_same_hash(tmp_path):
    path = tmp_path / "run.h5"
    go(path, well(1.0), start=ONE_POINT)
    before = mf.Trajectory(path).content_hash()
    with h5py.File(path, "r+") as file:
        del file["parameters/identity"]
    assert mf.Trajectory(path).content_hash() == before and mf.Trajectory(path).identity == {}
    assert mf.resume(path, t_end=1.0, flow=well(1.0), progress=False).t == 1.0


def test_the_last_bits_of_another_machine_and_another_python_are_no_difference(tmp_path):
    path = tmp_path / "run.h5"
    go(path, risk(swish(1.5)))
    with h5py.File(path, "r+") as file:
        group = file["parameters"]
        kept = json.loads(group["identity"][()])
        for item in kept["written"].values():
            item["code"] |= {"python": "3.0", "shape": "of another Python"}
            if "probes" in item:
                item["probes"] = [value and value * (1 + 4e-16) for value in item["probes"]]
        del group["identity"]
        group["identity"] = json.dumps(kept)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        go(path, risk(swish(1.5)))
    with pytest.raises(ValueError, match="the activation 'swish': beta = 2.5, in the file 1.5"):
        go(path, risk(swish(2.5)))


def test_built_in_formulas_leave_nothing_in_the_file(tmp_path):
    go(tmp_path / "run.h5", risk("relu"))
    with h5py.File(tmp_path / "run.h5") as file:
        assert "identity" not in file["parameters"]


def test_a_blank_line_and_a_new_name_of_a_variable_leave_the_code_of_a_function_the_same():
    def one(flow, state):
        """Documented."""
        mean = state.theta.mean()

        return 2.0 * mean

    def other(flow, state):
        average = state.theta.mean()
        return 2.0 * average

    assert function_code.describe(one) == function_code.describe(other)
    assert function_code.describe(one) != function_code.describe(
        lambda flow, state: state.theta.std()
    )


def test_another_gamma_is_named_with_both_values(tmp_path):
    path = tmp_path / "run.h5"
    go(path, risk())
    ntk = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("tanh", mf.NTK), X, Y))
    for again in (
        lambda: go(path, ntk),
        lambda: mf.resume(path, t_end=1.0, flow=ntk, progress=False),
    ):
        with pytest.raises(ValueError, match="different here: gamma 0.5, in the file 1"):
            again()
    with pytest.raises(
        ValueError, match=r"different here: observers.series.risk .*, in the file absent"
    ):
        go(path, risk(), mf.Series("risk", mf.every(1)))


def test_another_test_set_is_named(tmp_path):
    for shift, fails in ((0.0, False), (0.0, False), (0.1, True)):
        recorder = mf.Recorder(
            tmp_path / "run.h5",
            mf.evenly(2),
            "resume",
            Dataset(X, Y, X + shift, Y, name="d", origin={}),
        )
        settings = {"dt": 0.1, "t_end": 0.5, "observers": [recorder], "progress": False}
        if fails:
            with pytest.raises(ValueError, match="different here: the test set"):
                mf.simulate(risk(), SYMMETRIC, mf.EULER, **settings)
        else:
            mf.simulate(risk(), SYMMETRIC, mf.EULER, **settings)


def test_a_series_of_another_linearisation_is_refused(tmp_path):
    """Its function is this package's own, its start the user's."""
    network = mf.Network("tanh")
    for seed, fails in ((0, False), (0, False), (1, True)):
        linear = ntk.linearise(network, mf.InitialLaw(dim=1, b_std=1.0).sample(20, seed=seed))
        gap = mf.Series("gap", mf.every(1), linear.gap(linear.risk(X, Y)))
        if fails:
            with pytest.raises(ValueError, match="different here: the series 'gap'"):
                go(tmp_path / "run.h5", risk(), gap)
        else:
            go(tmp_path / "run.h5", risk(), gap)


def test_a_finished_run_is_held_against_the_functions_that_are_given_without_a_flow(tmp_path):
    path = tmp_path / "run.h5"

    def series(k):
        return lambda flow, state: k * float(state.theta.sum())

    observers = [mf.Recorder(path, mf.every(1)), mf.Series("mine", mf.every(1), series(1.0))]
    start = mf.InitialLaw(dim=1).sample(4, seed=0)
    end = mf.simulate(
        risk(), start, mf.EULER, dt=0.1, n_steps=2, observers=observers, progress=False
    )
    again = mf.resume(path, functions={"mine": series(1.0)}, progress=False)
    assert np.array_equal(again.theta, end.theta)
    with pytest.raises(ValueError, match=r"the series 'mine': k = 2.0, in the file 1.0"):
        mf.resume(path, functions={"mine": series(2.0)}, progress=False)
