"""The CUDA backend: against the CPU in CUDA's simulator, absent, and (marked gpu) on a GPU.

The simulator shows what the kernels compute, the compiler's report what they cost. No GPU has run
the gpu tests yet.
"""

import json
import os
import subprocess
import sys
import threading
import types
from pathlib import Path

import numpy as np
import pytest

import meanfield as mf
from meanfield import backends

pytest.importorskip("numba_cuda", reason="the CUDA backend needs numba-cuda (Linux only)")

import cuda_parity
import numba
import pair_formulas

ROOT = Path(__file__).resolve().parents[2]
GROUPS = {
    "kernels": ("every_", "single_"),
    "cases": (
        "several_",
        "two_",
        "one_",
        "many_",
        "frozen_",
        "stages_",
        "norms_",
        "memory_",
        "not_",
        "philox_",
        "a_run_",
        "features_",
    ),
    "steps": ("whole_", "a_step_", "what_", "a_linearised_", "a_number_", "the_first_"),
    "pairs": ("pairs_",),
    "neurons": ("neurons_",),
    "ranks": ("ranks_",),
}


def simulated(*names):
    """Run checks in the simulator; {name: error or None}."""
    environment = {
        **os.environ,
        "NUMBA_ENABLE_CUDASIM": "1",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'helpers'}",
    }
    command = [sys.executable, "-m", "tests.helpers.cuda_simulator", *names]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(map(json.loads, done.stdout.splitlines()))


@pytest.mark.parametrize("group", GROUPS)
def test_in_the_simulator_the_device_computes_what_the_cpu_does(group):
    expected = {
        name
        for name, (slow, *_) in cuda_parity.CHECKS.items()
        if not slow and name.startswith(GROUPS[group])
    }
    found = simulated(*GROUPS[group])
    assert set(found) == expected
    failed = {name: error for name, error in found.items() if error}
    assert not failed, "\n\n".join(f"{name}:\n{error}" for name, error in failed.items())


def test_every_check_belongs_to_a_group():
    assert all(
        name.startswith(sum(GROUPS.values(), ()))
        for name, (slow, *_) in cuda_parity.CHECKS.items()
        if not slow
    )


@pytest.mark.slow
def test_in_the_simulator_the_device_computes_what_the_cpu_does_for_the_whole_grid():
    found = simulated("--slow")
    assert set(found) == {name for name, (slow, *_) in cuda_parity.CHECKS.items() if slow}
    failed = {name: error for name, error in found.items() if error}
    assert not failed, "\n\n".join(f"{name}:\n{error}" for name, error in failed.items())


@pytest.mark.parametrize("misses", [0, 1, 2], ids=["the first", "another", "the last"])
def test_a_thread_that_misses_a_barrier_is_an_error_of_the_simulator(misses):
    """On a GPU the others would wait for ever; a block in which all come is done phase by phase."""
    from tests.helpers.cuda_simulator import Block

    done = []

    def work(missed=None):
        lane = threading.current_thread()
        done.append(("before", lane.threadIdx.x))
        if lane.threadIdx.x != missed:
            lane.syncthreads()
        done.append(("after", lane.threadIdx.x))

    Block(work, (0, 0, 0), (3, 1, 1))
    assert done == [(phase, x) for phase in ("before", "after") for x in range(3)]
    with pytest.raises(RuntimeError, match="barrier"):
        Block(lambda: work(misses), (0, 0, 0), (3, 1, 1))
    Block(work, (0, 0, 0), (3, 1, 1))
    assert done[-6:] == done[:6]


# ---- without a GPU

no_gpu = pytest.mark.skipif(backends.why_no_cuda() is None, reason="there is a GPU")


def toy(**settings):
    x = np.linspace(-1, 1, 5)[:, None]
    return mf.GradientFlow(mf.EmpiricalRisk(mf.Network(), x, x[:, 0]), **settings)


@no_gpu
def test_without_a_gpu_the_error_says_what_was_asked_what_is_there_and_what_to_do():
    with pytest.raises(
        ValueError,
        match=r'backend="cuda" was asked for, but no usable NVIDIA GPU.*Install an NVIDIA '
        r'driver.*"cpu"',
    ):
        toy(backend="cuda")


def test_without_numba_cuda_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(
        ValueError, match=r'numba-cuda is not installed.*pip install -e "\.\[cuda\]"'
    ):
        toy(backend="cuda")
    assert toy(backend="auto").backend == "cpu"
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ValueError, match=r"Linux with an NVIDIA GPU only; this is darwin"):
        toy(backend="cuda")


def test_a_numba_cuda_that_fails_is_no_gpu(monkeypatch):
    def fail():
        raise AttributeError("no NPDatetime")

    monkeypatch.setattr(numba.cuda, "is_available", fail)
    assert toy(backend="auto").backend == "cpu"
    with pytest.raises(
        ValueError, match=r"numba-cuda does not load \(AttributeError: no NPDatetime\).*pip install"
    ):
        toy(backend="cuda")


def test_a_torch_without_a_gpu_is_named_where_d_is_large(monkeypatch):
    from meanfield.backends.cuda import wide

    monkeypatch.setattr(wide.torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        ValueError,
        match=r"d = 20 inputs multiplies matrices by torch.*finds no GPU\. Install a torch "
        r"built for CUDA",
    ):
        wide.Wide(types.SimpleNamespace(dim=20))


def test_a_tensor_of_torch_lies_on_the_device_of_its_array(monkeypatch):
    """On another device, such as torch's own current one, it would be a copy, and what is written into it lost."""
    pytest.importorskip("numba_cuda", reason="the CUDA backend needs numba-cuda (Linux only)")
    from meanfield.backends.cuda import wide

    second, asked = types.SimpleNamespace(id=1), []
    monkeypatch.setattr(wide, "cuda", types.SimpleNamespace(get_current_device=lambda: second))
    monkeypatch.setattr(wide.torch, "as_tensor", lambda array, device: asked.append(device))
    wide.tensor(np.ones(3))
    assert asked == ["cuda:1"]


@no_gpu
def test_auto_is_settled_when_the_flow_is_made_and_goes_into_the_file(tmp_path, capsys):
    flow = toy(backend="auto")
    assert flow.backend == "cpu"
    mf.simulate(
        flow,
        mf.InitialLaw(1).sample(6),
        mf.EULER,
        dt=0.1,
        n_steps=1,
        observers=[mf.Recorder(tmp_path / "run.h5", mf.every(1))],
    )
    assert "; cpu, float64" in capsys.readouterr().err
    assert mf.Trajectory(tmp_path / "run.h5").config["flow"]["backend"] == "cpu"


# ---- on a GPU

gpu = [pytest.mark.gpu, pytest.mark.skipif(backends.why_no_cuda() is not None, reason="no GPU")]


@pytest.mark.parametrize("name", [pytest.param(name, marks=gpu) for name in cuda_parity.CHECKS])
def test_on_a_gpu_the_device_computes_what_the_cpu_does(name):
    _, function, arguments = cuda_parity.CHECKS[name]
    function(*arguments)


def large(dtype, m=200_000, n=1000, d=2, **settings):
    """A flow and a state that fill a GPU."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, d))
    flow = mf.GradientFlow(
        mf.EmpiricalRisk(mf.Network("relu"), x, np.sin(x[:, 0])),
        backend="cuda",
        dtype=dtype,
        **settings,
    )
    return flow, mf.InitialLaw(d, b_std=1.0).sample(m)


@pytest.mark.gpu
@pytest.mark.skipif(backends.why_no_cuda() is not None, reason="no GPU")
@pytest.mark.parametrize("d", [2, 10, 40])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_on_a_gpu_two_runs_give_the_same_bits(dtype, d):
    flow, state = large(dtype, d=d)
    ends = [
        mf.simulate(flow, state, mf.RK4, dt=0.1, n_steps=5, progress=False).theta for _ in range(2)
    ]
    assert np.array_equal(*ends)


@pytest.mark.gpu
@pytest.mark.skipif(backends.why_no_cuda() is not None, reason="no GPU")
@pytest.mark.parametrize("d", [2, 40])
def test_on_a_gpu_a_large_problem_agrees_with_the_cpu(d):
    """float64: sums of 2·10⁵ terms of order one over 2·10⁵, relative rounding below 1e-11 of them."""
    flow, state = large("float64", d=d)
    on_cpu = mf.GradientFlow(flow.functional)
    np.testing.assert_allclose(flow.predict(state), on_cpu.predict(state), rtol=0, atol=1e-11)
    np.testing.assert_allclose(flow.velocity(state), on_cpu.velocity(state), rtol=0, atol=1e-11)


def cloud(dtype, m=50_000):
    """A pairwise energy and points that fill a GPU."""
    energy = mf.PairwiseEnergy(pair_formulas.WELL, pair_formulas.GAUSSIAN)
    state = mf.State(np.random.default_rng(1).normal(size=(m, 2)), outputs=0)
    return mf.GradientFlow(energy, backend="cuda", dtype=dtype), state


@pytest.mark.gpu
@pytest.mark.skipif(backends.why_no_cuda() is not None, reason="no GPU")
@pytest.mark.parametrize("m", [50_000, 2 * 10**5])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_on_a_gpu_two_runs_of_a_pairwise_energy_give_the_same_bits(dtype, m):
    flow, state = cloud(dtype, m)
    ends = [
        mf.simulate(flow, state, mf.HEUN, dt=0.01, n_steps=2, progress=False).theta
        for _ in range(2)
    ]
    assert np.array_equal(*ends)


@pytest.mark.gpu
@pytest.mark.skipif(backends.why_no_cuda() is not None, reason="no GPU")
def test_on_a_gpu_a_large_pairwise_energy_agrees_with_the_cpu():
    """float64: means of 5·10⁴ terms of order one, relative rounding below 1e-11 of the largest."""
    flow, state = cloud("float64")
    on_cpu = mf.GradientFlow(flow.functional)
    for name in ("velocity", "first_variation"):
        expected = getattr(on_cpu, name)(state)
        np.testing.assert_allclose(
            getattr(flow, name)(state), expected, rtol=0, atol=1e-11 * np.abs(expected).max()
        )


def students(dtype, m, d=2):
    """A population risk and students of it."""
    law = mf.InitialLaw(d, b_std=0.0)
    risk = mf.PopulationRisk(
        mf.Network("gelu", trainable=("a", "w")), law.sample(3, seed=1), ridge=0.1
    )
    return mf.GradientFlow(risk, backend="cuda", dtype=dtype), law.sample(m)


@pytest.mark.gpu
@pytest.mark.skipif(backends.why_no_cuda() is not None, reason="no GPU")
@pytest.mark.parametrize("m", [50_000, 2 * 10**5])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_on_a_gpu_two_runs_of_a_population_risk_give_the_same_bits(dtype, m):
    flow, state = students(dtype, m)
    ends = [
        mf.simulate(flow, state, mf.HEUN, dt=0.01, n_steps=2, progress=False).theta
        for _ in range(2)
    ]
    assert np.array_equal(*ends)


@pytest.mark.gpu
@pytest.mark.skipif(backends.why_no_cuda() is not None, reason="no GPU")
@pytest.mark.parametrize(("m", "d"), [(50_000, 2), (5_000, 20)])
def test_on_a_gpu_a_large_population_risk_agrees_with_the_cpu(m, d):
    """float64: means of terms of order one, relative rounding below 1e-11 of the largest."""
    flow, state = students("float64", m, d)
    on_cpu = mf.GradientFlow(flow.functional)
    for name in ("velocity", "first_variation", "risk"):
        expected = getattr(on_cpu, name)(state)
        np.testing.assert_allclose(
            getattr(flow, name)(state),
            expected,
            rtol=0,
            atol=1e-11 * max(1.0, np.abs(expected).max()),
        )


@pytest.mark.gpu
@pytest.mark.skipif(backends.why_no_cuda() is not None, reason="no GPU")
def test_on_a_gpu_memory_is_back_where_it_was_after_a_hundred_runs():
    import gc

    from numba import cuda as numba_cuda

    problems = (
        large("float32", m=100_000, n=64),
        cloud("float32", m=10_000),
        students("float32", m=10_000),
    )

    def run():
        for flow, state in problems:
            mf.simulate(flow, state, mf.RK4, dt=0.01, n_steps=2, progress=False)

    run()
    gc.collect()
    before = numba_cuda.current_context().get_memory_info().free
    for _ in range(100):
        run()
    gc.collect()
    numba_cuda.current_context().memory_manager.deallocations.clear()
    assert numba_cuda.current_context().get_memory_info().free >= before - 2**24


@pytest.mark.gpu
@pytest.mark.skipif(backends.why_no_cuda() is not None, reason="no GPU")
def test_on_a_gpu_a_hundred_million_neurons_step():
    """d = 2, n = 256 in float32: θ is 1.6 GB, and no array of m·n = 2.6·10¹⁰ numbers is made."""
    flow, state = large("float32", m=10**8, n=256)
    field = flow.on_device(state)
    particles = mf.Particles.of(state, field.backend)
    step = mf.RK4.step(field, particles, 0.1)
    assert field.energy(step.particles) < field.energy(particles)
