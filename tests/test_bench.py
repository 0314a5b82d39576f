"""Every contender of the benchmark computes the same step, and ours does it in little memory."""

import json
import subprocess
import sys
from pathlib import Path

import naive
import numpy as np
import pytest
from bench import bench, peers, whole_run

import meanfield as mf


def starting_point(dtype, m=6, n=5, d=3):
    rng = np.random.default_rng(3)
    return rng.normal(size=(m, d + 2)).astype(dtype), rng.normal(size=(n, d)).astype(dtype), rng.normal(size=n).astype(dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("activation", peers.ACTIVATIONS)
@pytest.mark.parametrize(
    "peer",
    [bench.Ours, *(pytest.param(peer, marks=pytest.mark.slow if "compile" in peer.name else ()) for peer in peers.PEERS)],
    ids=lambda peer: peer.name,
)
def test_a_contender_takes_the_steps_of_the_slow_twin(monkeypatch, peer, activation, dtype):
    if peer in (peers.JaxJit, peers.JaxBlocked):
        pytest.importorskip("jax")
    monkeypatch.setattr(peers, "block_size", lambda *_, **__: 2)  # three blocks
    theta, x, y = starting_point(dtype)
    dt, network = 0.05, mf.Network(activation)
    contender = peer(theta, x, y, activation, dt)
    contender.step(1)
    contender.step(2)
    expected = theta.astype(np.float64)
    for _ in range(3):
        expected = naive.euler_step(lambda theta: naive.velocity(network, mf.State(theta), x, y), expected, dt)
    tolerance = {"float64": 1e-13, "float32": 1e-5}[
        dtype
    ]  # three steps of sums of 30 terms of order one, some units in the last place
    np.testing.assert_allclose(contender.theta(), expected, rtol=tolerance, atol=tolerance)
    assert contender.theta().dtype == dtype


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_million_neurons_on_4096_samples_step_within_one_gigabyte(dtype):
    """An (n, m) array of float32 would be 16 GB; the issue is O(m p + n (d + chunks)), beside 0.2 GB of libraries."""
    command = [sys.executable, "-m", "tests.bench.bench", "--memory", dtype]
    root = Path(__file__).resolve().parents[1]
    report = json.loads(subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout)
    assert report["peak_bytes"] < 1e9


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--crossover"]])
def test_the_bench_of_the_gpu_can_be_rehearsed_without_one(tmp_path, options):
    pytest.importorskip("numba_cuda")
    command = [
        sys.executable,
        "-m",
        "tests.bench.bench",
        "--device",
        "cuda",
        "--dry-run",
        "--json",
        str(tmp_path / "out.json"),
        *options,
    ]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out.json").read_text())


def test_blocks_divide_the_width():
    for m, n in ((1000, 100), (10**5, 256), (10**6, 64), (7, 3)):
        assert m % peers.block_size(m, n, 4) == 0


def test_cases_are_chosen_by_name():
    assert [case.name for case in bench.chosen(["relu-d784*"], quick=False)] == [
        "relu-d784-n1000-m1e4-float32",
        "relu-d784-n1000-m1e4-float64",
    ]
    assert {case.activation for case in bench.chosen(["tanh-*"], quick=True)} == {"tanh"}
    assert len(bench.chosen([], quick=True)) < len(bench.chosen([], quick=False))
    with pytest.raises(SystemExit):
        bench.chosen(["no-such-case"], quick=False)


def test_watching_a_run_costs_little(monkeypatch):
    """Processor time, the best of three: measured 7 µs for a value a step (40 µs when BLAS was limited around each) and 0.05 s
    for recording 100 small frames. Generous: 4 times as much."""
    names = ("plain", "series of every step", "recorded")
    monkeypatch.setattr(whole_run, "WATCHES", {name: whole_run.WATCHES[name] for name in names})
    times = whole_run.seconds(64, 32, "float64", 1000, rounds=3)
    best = {name: min(processor for processor, _ in rows) for name, rows in times.items()}
    assert best["series of every step"] - best["plain"] < 1000 * 28e-6
    assert best["recorded"] - best["plain"] < 0.2
    shares = whole_run.shares({"plain": [(2.0, 4.0), (1.0, 1.0), (3.0, 2.0)], "recorded": [(2.2, 3.0)]})
    assert shares["plain"] == (0.0, 0.0) and shares["recorded"] == pytest.approx((0.1, 0.5))
