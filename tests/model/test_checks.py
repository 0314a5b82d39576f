"""NumPy scalars are numbers at every door, True and False at none; float32 masses divided by their
sum are masses.
"""

import json

import numpy as np
import pytest

import meanfield as mf
import ntk
from meanfield import checks
from meanfield.observers import schedules

K = np.diag([1.0, 2.0, 3.0])
END = mf.State(np.eye(2, 3))
NUMBERS = {
    "gamma": lambda v: mf.Scaling(gamma=v),
    "alpha": lambda v: mf.Scaling(alpha=v),
    "w_std": lambda v: mf.InitialLaw(dim=2, w_std=v),
    "ridge": lambda v: mf.EmpiricalRisk(mf.Network(), np.ones((2, 1)), np.ones(2), ridge=v),
    "population ridge": lambda v: mf.PopulationRisk(
        mf.Network(trainable=("a", "w")), mf.State(np.eye(1, 3)), ridge=v
    ),
    "rtol": lambda v: mf.Adaptive(rtol=v),
    "seconds": lambda v: mf.w2_interval(np.eye(2), 2 * np.eye(2), seconds=v),
    "reg": lambda v: mf.w2(np.eye(2), 2 * np.eye(2), "sinkhorn", reg=v),
    "degrees": lambda v: mf.Events(schedule=mf.every(1), degrees=v),
    "test_fraction": lambda v: mf.data.iris(test_fraction=v),
    "noise": lambda v: mf.data.teacher_student(5, 2, noise=v),
    "checkpoint_seconds": lambda v: mf.Recorder("never.h5", mf.every(1), checkpoint_seconds=v),
    "epsilon": lambda v: ntk.mode_times(K, v),
    "cutoff": lambda v: ntk.split(K, np.ones(3), v),
    "t of a State": lambda v: mf.State(np.ones((2, 3)), t=v),
    "at_times": lambda v: mf.at_times([v]),
    "slope": lambda v: mf.leaky_relu(v),
    "interpolate": lambda v: mf.interpolate(END, END, [v]),
    "t of a KernelFlow": lambda v: ntk.KernelFlow(K, np.ones(3)).at(v),
    "fraction of a split": lambda v: mf.data.split(8, v),
    "tolerance": lambda v: mf.w2(np.eye(2), 2 * np.eye(2), "sinkhorn", tolerance=v),
}
INTEGERS = {
    "dim": lambda v: mf.InitialLaw(dim=v),
    "m": lambda v: mf.InitialLaw(dim=2).sample(v),
    "outputs": lambda v: mf.State(np.ones((2, 6)), v),
    "every": lambda v: mf.every(v),
    "evenly": lambda v: mf.evenly(v),
    "log_spaced": lambda v: mf.log_spaced(v),
    "at_steps": lambda v: mf.at_steps([v]),
    "n": lambda v: mf.data.teacher_student(v, 2),
    "subset": lambda v: mf.data.two_points().subset(v),
    "workers": lambda v: mf.W2(mf.every(1), workers=v),
    "n_projections": lambda v: mf.w2(np.eye(2), 2 * np.eye(2), "sliced", n_projections=v),
    "tracked": lambda v: mf.Events(schedule=mf.every(1), tracked=v),
    "depth": lambda v: ntk.deep(np.eye(2), depth=v),
    "step of a State": lambda v: mf.State(np.ones((2, 3)), step=v),
    "output_scale": lambda v: mf.Scaling().output_scale(v),
    "seed of projections": lambda v: mf.w2(np.eye(2), 2 * np.eye(2), "sliced", seed=v),
}


@pytest.mark.parametrize("door", NUMBERS)
@pytest.mark.parametrize(
    "value", [np.float32(0.5), np.float64(0.5), np.float16(0.5), np.array(0.5)], ids=repr
)
def test_a_numpy_number_is_a_number(door, value):
    NUMBERS[door](value)


@pytest.mark.parametrize("door", NUMBERS)
@pytest.mark.parametrize("value", [True, np.True_, "0.5", None, np.array([0.5])], ids=repr)
def test_a_truth_value_is_no_number(door, value):
    if (door == "noise" and value is None) or (
        door == "t of a KernelFlow" and isinstance(value, np.ndarray)
    ):
        return
    with pytest.raises((TypeError, ValueError)):
        NUMBERS[door](value)


@pytest.mark.parametrize("door", INTEGERS)
@pytest.mark.parametrize("value", [np.int64(2), np.int32(2), np.uint8(2), np.array(2)], ids=repr)
def test_a_numpy_integer_is_an_integer(door, value):
    INTEGERS[door](value)


@pytest.mark.parametrize("door", INTEGERS)
@pytest.mark.parametrize("value", [True, np.True_, 2.0, np.float64(2), "2"], ids=repr)
def test_a_truth_value_or_a_real_number_is_no_integer(door, value):
    with pytest.raises((TypeError, ValueError)):
        INTEGERS[door](value)


def test_what_a_file_keeps_of_a_numpy_number_is_plain():
    kept = [
        mf.every(np.int64(3)),
        mf.Adaptive(rtol=np.float32(0.5)),
        mf.Scaling(gamma=np.float32(0.5)),
    ]
    assert kept == [mf.every(3), mf.Adaptive(rtol=0.5), mf.Scaling(gamma=0.5)]
    json.dumps([schedules.to_dict(kept[0]), kept[1].rtol, kept[2].to_dict()])


def test_a_step_given_in_float32_is_that_step_and_not_an_automatic_one():
    flow = mf.GradientFlow(
        mf.EmpiricalRisk(mf.Network(), np.array([[-1.0], [1.0]]), np.array([1.0, 2.0]))
    )
    state = mf.InitialLaw(dim=1).sample(4)
    for dt, n in ((np.float32(0.25), np.int64(3)), (np.array(0.25), np.array(3))):
        end = mf.simulate(flow, state, mf.EULER, dt=dt, n_steps=n)
        assert end.t == 0.75 and np.array_equal(
            end.theta, mf.simulate(flow, state, mf.EULER, dt=0.25, n_steps=3).theta
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_masses_in_single_precision_divided_by_their_sum_are_masses(dtype):
    """Their sum misses 1 by at most m roundings, of eps/2 each."""
    weight = np.random.default_rng(0).random(1000).astype(dtype)
    mass = weight / weight.sum()
    assert abs(mass.astype(float).sum() - 1) > 1e-9
    for given in (mass, mass.astype(np.float64), mass.tolist()) if dtype == np.float32 else (mass,):
        state = mf.State(np.ones((1000, 3)), 1, given)
        assert state.mass.dtype == np.float64 and abs(state.mass.sum() - 1) < 1e-14
        np.testing.assert_allclose(
            state.mass, mass.astype(float) / mass.astype(float).sum(), rtol=1e-15
        )
    wrong = mass.astype(np.float64)
    wrong[0] += 1e-7  # no longer what float32 holds
    with pytest.raises(ValueError, match="masses must sum to 1"):
        mf.State(np.ones((1000, 3)), 1, wrong)
    with pytest.raises(ValueError, match="masses must sum to 1"):
        mf.State(np.ones((1000, 3)), 1, 1.01 * mass.astype(np.float32))


def test_masses_that_sum_to_one_in_double_precision_keep_their_bits():
    mass = np.random.default_rng(1).random(100)
    mass /= mass.sum()
    assert np.array_equal(mf.State(np.ones((100, 3)), 1, mass).mass, mass)


def test_the_checks_that_raise_name_what_they_checked():
    assert checks.integer("m", np.int8(3), 0) == 3 and type(checks.integer("m", np.int8(3))) is int
    assert type(checks.number("alpha", np.float32(0.5))) is float
    for bad in (True, 0, 1.0, "1"):
        with pytest.raises(ValueError, match="m must be an integer >= 1; got"):
            checks.integer("m", bad)
    for bad in (True, -1, np.nan, np.inf, "1"):
        with pytest.raises(ValueError, match="alpha must be a finite number >= 0; got"):
            checks.number("alpha", bad)


def test_a_long_double_in_a_data_set_s_origin_becomes_a_number_of_json():
    data = mf.data.teacher_student(5, 2, noise=np.longdouble(0.5))
    assert (
        data.origin["arguments"]["noise"] == 0.5
        and type(data.origin["arguments"]["noise"]) is float
    )


def test_the_step_and_time_of_a_state_are_what_was_given_or_refused():
    """step=2.7 was cut to 2."""
    for wrong in (2.7, -1, "2"):
        with pytest.raises(ValueError, match="step must be an integer >= 0; got"):
            mf.State(np.ones((2, 3)), step=wrong)
    for wrong in (np.nan, np.inf, "x", 1j):
        with pytest.raises(ValueError, match="t must be a finite number; got"):
            mf.State(np.ones((2, 3)), t=wrong)
    assert mf.State(np.ones((2, 3)), step=np.uint16(3), t=np.float16(0.5)).step == 3


@pytest.mark.parametrize(
    "call",
    [
        lambda v: ntk.deep(np.eye(2), depth=1, normalise=v),
        lambda v: mf.w2(np.eye(2), 2 * np.eye(2), lazy=v),
        lambda v: mf.InitialLaw(dim=2, symmetric=v),
    ],
    ids=["normalise", "lazy", "symmetric"],
)
def test_a_flag_is_true_or_false_and_no_number_or_text(call):
    call(np.bool_(True))
    for wrong in (1, "no", np.array([True])):
        with pytest.raises(TypeError, match="must be True or False; got"):
            call(wrong)


@pytest.mark.parametrize("wrong", [0, -1.0, np.nan])
def test_a_tolerance_that_no_iteration_meets_is_refused_before_ten_thousand_of_them(wrong):
    with pytest.raises(ValueError, match="tolerance must be a number > 0"):
        mf.w2(np.eye(2), 2 * np.eye(2), "sinkhorn", tolerance=wrong)
