"""run.flow(): the flow of a file's run, made again from the file alone, and what reads it:
linearised runs, weights, devices.
"""

import json
import subprocess
import sys

import numpy as np
import pytest

import meanfield as mf
import ntk
from meanfield import backends
from meanfield.files.recording import Recording
from ntk.runs import frames
from sims import scaling_exponents
from sims.figures import sources
from sims.lab import runs
from sims.sweeps import indexing

DATA = mf.data.teacher_student(12, 2, n_test=5, seed=1)
START = mf.InitialLaw(dim=2, b_std=1.0).sample(10, seed=3)
NETWORK = mf.Network("tanh", mf.NTK)
RISKS = {
    "empirical": mf.EmpiricalRisk(NETWORK, DATA.x, DATA.y, "huber", "sum", ridge=0.1),
    "weights": mf.EmpiricalRisk(NETWORK, DATA.x, DATA.y, weights=np.arange(12.0)),
    "population": mf.PopulationRisk(
        mf.Network("erf", trainable=("a", "w")), mf.InitialLaw(dim=2).sample(3, seed=5), ridge=0.1
    ),
    "linearised": ntk.linearise(NETWORK, START).risk(DATA.x, DATA.y, ridge=0.1),
    "linearised weights": ntk.linearise(NETWORK, START).risk(
        DATA.x, DATA.y, weights=np.arange(12.0)
    ),
}


def record(path, flow, start=START, data=None):
    recorder = mf.Recorder(path, mf.every(2), data=data)
    mf.simulate(flow, start, mf.RK4, dt=0.125, n_steps=8, observers=[recorder], progress=False)
    return path


@pytest.fixture
def linearised(h5_path):
    """(the file of a linearised run, the flow it was made with)."""
    flow = mf.GradientFlow(ntk.linearise(NETWORK, START).risk(DATA.x, DATA.y))
    return record(h5_path, flow, data=DATA), flow


def made_on_a_gpu(path, folder, monkeypatch):
    """The same run, as if its flow had computed on a GPU that this machine has not got."""
    monkeypatch.setattr(backends, "why_no_cuda", lambda: "there is no GPU.")
    elsewhere = folder / "elsewhere.h5"
    with mf.Trajectory(path) as run:
        config = {**run.config, "flow": {**run.config["flow"], "backend": "cuda"}}
        recording = Recording.create(
            elsewhere, "error", config=config, provenance={}, arrays=run.arrays, start=run.start
        )
        for state in run:
            recording.frame(state)
        recording.finish({}, {})
    return elsewhere


# ---- the flow itself


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        *((kind, "float64") for kind in RISKS),
        pytest.param("weights", "float32", marks=pytest.mark.kernel),
    ],
)
def test_the_flow_of_a_file_has_the_bits_and_the_settings_of_the_flow_that_was_run(
    h5_path, kind, dtype
):
    flow = mf.GradientFlow(RISKS[kind], dtype=dtype)
    start = mf.InitialLaw(dim=2).sample(10, seed=3) if kind == "population" else START
    with mf.Trajectory(record(h5_path, flow, start)) as run:
        again = run.flow()
        assert again.to_dict() == flow.to_dict()
        assert json.loads(json.dumps(again.to_dict())) == run.config["flow"]
        for state in (run[0], run[-1]):
            assert again.energy(state) == flow.energy(state) and again.risk(state) == flow.risk(
                state
            )
            np.testing.assert_array_equal(again.velocity(state), flow.velocity(state))


def test_another_dtype_and_another_backend_are_had_by_name_and_wrong_names_are_refused(h5_path):
    with mf.Trajectory(
        record(h5_path, mf.GradientFlow(RISKS["empirical"], dtype="float32"))
    ) as run:
        assert (run.flow().dtype, run.flow("cpu", np.float64).dtype) == ("float32", "float64")
        expected = mf.GradientFlow(RISKS["empirical"]).energy(run[-1])
        assert run.flow(dtype="float64").energy(run[-1]) == expected
        with pytest.raises(
            ValueError, match="backend must be one of cpu, cuda, auto, torch, .*; got 'gpu'.$"
        ):
            run.flow("gpu")
        with pytest.raises(
            ValueError, match="dtype must be one of float64, float32; got 'float16'.$"
        ):
            run.flow(dtype="float16")


def test_a_run_made_on_a_gpu_has_its_flow_on_the_cpu_of_a_machine_without_one(
    h5_path, tmp_path, monkeypatch
):
    flow = mf.GradientFlow(RISKS["weights"])
    elsewhere = made_on_a_gpu(record(h5_path, flow), tmp_path, monkeypatch)
    with mf.Trajectory(elsewhere) as run:
        assert run.flow().backend == "cpu" and run.flow().energy(run[-1]) == flow.energy(run[-1])
        with pytest.raises(
            ValueError, match='backend="cuda" was asked for, but there is no GPU'
        ) as refused:
            run.flow("cuda")
        assert "Pass flow=" not in str(refused.value), "a device is missing here, not a function"


def test_a_resumed_run_keeps_its_own_backend_and_does_not_move_to_the_cpu(
    h5_path, tmp_path, monkeypatch
):
    elsewhere = made_on_a_gpu(
        record(h5_path, mf.GradientFlow(RISKS["weights"])), tmp_path, monkeypatch
    )
    with pytest.raises(ValueError, match='backend="cuda" was asked for, but there is no GPU'):
        mf.resume(elsewhere, t_end=2.0, progress=False)


def test_the_flow_of_an_unfinished_run_is_there_too(h5_path):
    flow = mf.GradientFlow(RISKS["weights"])

    def stop(flow, state):
        if state.step == 4:
            raise KeyboardInterrupt
        return 0.0

    with pytest.raises(KeyboardInterrupt):
        watch = [
            mf.Recorder(h5_path, mf.every(1), checkpoint_seconds=0.0),
            mf.Series("stop", mf.every(1), stop),
        ]
        mf.simulate(flow, START, mf.RK4, dt=0.1, n_steps=6, observers=watch, progress=False)
    with mf.Trajectory(h5_path) as run:
        assert run.status == "unfinished" and run.flow().to_dict() == flow.to_dict()


def test_a_function_that_its_user_wrote_is_asked_for_by_name_with_what_to_hand_in(
    h5_path, tmp_path
):
    cube = mf.Activation("cube", lambda z: 0.01 * z * z * z, lambda z: 0.03 * z * z)
    with mf.Trajectory(
        record(h5_path, mf.GradientFlow(mf.EmpiricalRisk(mf.Network(cube), DATA.x, DATA.y)))
    ) as run:
        with pytest.raises(
            ValueError,
            match="unknown activation 'cube'.*Pass flow= with the user-written function of "
            "this run",
        ):
            run.flow()

    well = mf.PairwiseEnergy(potential=(lambda x: 0.5 * x[0] * x[0], half_square_slope))
    points = mf.State(np.linspace(-1.0, 1.0, 5)[:, None], outputs=0)
    with mf.Trajectory(record(tmp_path / "pairs.h5", mf.GradientFlow(well), points)) as run:
        with pytest.raises(
            ValueError,
            match="PairwiseEnergy is not made from settings alone. Pass flow= .*an mf.GradientFlow",
        ):
            run.flow()


def half_square_slope(x, out):
    out[0] = x[0]


def test_without_ntk_the_error_of_a_linearised_run_says_import_ntk(linearised):
    program = f"import meanfield as mf; mf.Trajectory({str(linearised[0])!r}).flow()"
    failed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "`import ntk` first: it makes this functional from a file." in failed.stderr


# ---- a linearised run's file where flows were made by hand


def test_a_linearised_run_is_resumed_from_its_file(linearised):
    path, flow = linearised
    straight = mf.simulate(flow, START, mf.RK4, dt=0.125, n_steps=12, progress=False)
    np.testing.assert_array_equal(mf.resume(path, t_end=1.5, progress=False).theta, straight.theta)


def test_a_linearised_run_is_diagnosed_from_its_file(linearised):
    path, flow = linearised
    with mf.Trajectory(path) as run:
        expected = [flow.risk(state) for state in run]
    np.testing.assert_array_equal(mf.diagnose(path, ["risk"])["risk"].values, expected)


def test_the_frames_of_a_linearised_run_show_f_of_the_linearised_network(linearised):
    path, flow = linearised
    with mf.Trajectory(path) as run:
        seen = frames.look(run, run.flow("cpu", "float64"), DATA.x_test)
        expected = [flow.predict(state, DATA.x_test) for state in run]
    # f of size 1, sums of 10 terms
    np.testing.assert_allclose(seen.at_x, expected, rtol=1e-13, atol=1e-14)


def test_a_linearised_run_is_drawn_from_its_file(linearised):
    path, flow = linearised
    with mf.Trajectory(path) as run:
        np.testing.assert_array_equal(sources.flow_of(run).predict(run[-1]), flow.predict(run[-1]))


def test_a_row_of_a_sim_holds_the_losses_of_a_linearised_run_and_a_kernel_that_does_not_move(
    linearised,
):
    path, flow = linearised
    row = runs.measure(path)
    with mf.Trajectory(path) as run:
        missed = flow.predict(run[-1], DATA.x_test)[:, 0] - DATA.y_test
        assert row.train_loss == flow.risk(run[-1]) and row.train_loss_start == flow.risk(run[0])
    assert row.test_loss == pytest.approx(0.5 * np.mean(missed**2), rel=1e-13)
    assert row.kernel_drift == 0.0 < row.displacement


def test_a_row_of_scaling_exponents_holds_a_linearised_run_whose_gap_is_that_of_the_integrator(
    linearised,
):
    """RK4 misses e^{-λ dt} by (λ dt)⁵/120 a step; λ <= λ_max(H_0/n) = 0.65 here, so 3e-8 a step and
    3e-7 of |f - y| = O(1).
    """
    row = scaling_exponents.measure(linearised[0])
    assert row.kernel_drift == 0.0 and row.linear_gap < 1e-6


def test_a_row_of_a_sweep_holds_the_risks_of_a_linearised_run_and_of_a_weighted_one(
    linearised, tmp_path
):
    path, flow = linearised
    weighted = mf.GradientFlow(RISKS["weights"])
    for file, of in (
        (path, flow),
        (record(tmp_path / "weighted.h5", weighted, data=DATA), weighted),
    ):
        row = indexing._measured(file)
        with mf.Trajectory(file) as run:
            missed = of.predict(run[-1], DATA.x_test)[:, 0] - DATA.y_test
            assert row["train_risk"] == of.risk(run[-1])
        assert row["test_risk"] == pytest.approx(0.5 * np.mean(missed**2), rel=1e-13)
