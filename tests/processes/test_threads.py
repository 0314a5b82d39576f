"""BLAS on one thread where bits depend on it, and nowhere else: recorded values cost next to
nothing and are the same bits.
"""

import ast
import inspect
import sys

import numpy as np
import pytest
import scipy.linalg  # noqa: F401
from threadpoolctl import ThreadpoolController, threadpool_limits

import meanfield as mf
from meanfield.diagnostics import registry
from meanfield.diagnostics.frame import Frame, Problem, evaluate
from meanfield.diagnostics.registry import Diagnostic
from meanfield.processes.threads import one_thread

X = np.random.default_rng(2).normal(size=(5, 1))
LAW = mf.InitialLaw(dim=1, b_std=1.0)


def flow(dtype="float64"):
    return mf.GradientFlow(mf.EmpiricalRisk(mf.Network("relu"), X, np.abs(X[:, 0])), dtype=dtype)


def threads():
    """How many threads each BLAS of this process uses."""
    return [
        library["num_threads"]
        for library in ThreadpoolController().info()
        if library["user_api"] == "blas"
    ]


def test_inside_every_blas_has_one_thread_and_outside_what_it_had():
    with threadpool_limits(2, user_api="blas"):
        before = threads()
        with one_thread():
            assert set(threads()) == {1}
            with one_thread():
                assert set(threads()) == {1}
            assert set(threads()) == {1}
        assert threads() == before
        with pytest.raises(ZeroDivisionError), one_thread():
            1 / 0  # noqa: B018
        assert threads() == before


def test_diagnostics_are_called_with_blas_on_one_thread_unless_they_say_that_they_call_none():
    state = LAW.sample(4, seed=0)
    frame = Frame(Problem(flow(), state), lambda: state)
    with threadpool_limits(2, user_api="blas"):
        before = max(threads())
        for blas, expected in ((True, 1), (False, before)):
            assert (
                evaluate(
                    Diagnostic("most", lambda frame: max(threads()), "1", "Threads.", blas=blas),
                    frame,
                )
                == expected
            )


def test_what_says_that_it_calls_no_blas_has_no_matrix_product():
    """In its own source; what it calls is the backend, whose sums have one order
    (tests/backends/test_backend_bits.py).
    """
    free = [registry.get(name) for name in registry.names() if not registry.get(name).blas]
    assert {item.name for item in free} >= {"energy", "risk", "displacement", "theta_max"}
    module = ast.parse(inspect.getsource(sys.modules[free[0].function.__module__]))
    assert {item.function.__module__ for item in free} == {"meanfield.diagnostics.library.measures"}
    assert not [node for node in ast.walk(module) if isinstance(node, ast.MatMult)]
    named = {node.attr for node in ast.walk(module) if isinstance(node, ast.Attribute)}
    assert not named & {"dot", "vdot", "inner", "matmul", "tensordot", "linalg"}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_recorded_values_are_the_same_bits_whatever_the_number_of_blas_threads(tmp_path, dtype):
    """12 000 neurons: products of that length are shared out by OpenBLAS (from 10 000 on) unless it
    is told not to.
    """
    state, hashes = LAW.sample(12_000, seed=1), []
    names = [
        "sign_flips",
        "relative_weight_change",
        "effective_neurons",
        "direction_order",
        "kernel_drift",
    ]
    for count in (1, 2):
        path = tmp_path / f"{count}.h5"
        watch = [mf.Recorder(path, mf.every(2)), *(mf.Series(name, mf.every(2)) for name in names)]
        with threadpool_limits(count, user_api="blas"):
            mf.simulate(
                flow(dtype), state, mf.EULER, dt="auto", n_steps=4, observers=watch, progress=False
            )
            distance = (
                mf.w2(state.theta[:, :1], state.theta[::-1, 1:2]),
                mf.displacement(state, mf.Trajectory(path)[-1]),
            )
        hashes.append((mf.Trajectory(path).content_hash(), distance))
    assert hashes[0] == hashes[1]


def test_the_values_that_every_run_records_limit_nothing(h5_path, monkeypatch):
    def refuse():
        raise AssertionError("BLAS was limited")

    monkeypatch.setattr("meanfield.diagnostics.frame.one_thread", refuse)
    watch = [mf.Recorder(h5_path, mf.every(5)), mf.Series("risk", mf.every(1))]
    mf.simulate(
        flow(),
        LAW.sample(8, seed=0),
        mf.RK4,
        dt="auto",
        n_steps=10,
        observers=watch,
        progress=False,
    )
    assert len(mf.Trajectory(h5_path).series("risk").values) == 11
