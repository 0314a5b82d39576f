"""Runs of features and of modules, killed by kill -9 and resumed, have the bits of whole ones."""

from math import exp

import numpy as np
import pytest
from killed import killed

import meanfield as mf
import ntk
from meanfield.files.recording import unfinished

X = np.linspace(-1, 1, 12)[:, None]
STEPS = {"feature": 2000, "module": 300}


def bump(theta, x):
    return theta[0] * exp(-2.0 * (x[0] - theta[1]) ** 2)


def grad_bump(theta, x, out):
    out[0] = exp(-2.0 * (x[0] - theta[1]) ** 2)
    out[1] = 4.0 * theta[0] * out[0] * (x[0] - theta[1])


def problem(name):
    """(flow, start): what is resumed needs the flow again, for no file holds functions or modules."""
    if name == "feature":
        feature = mf.Feature(bump, grad_bump, columns=("a", "c"))
        start = feature.state(np.random.default_rng(0).normal(size=(40, 2)))
    else:
        from torch import nn

        feature = mf.ModuleFeature(nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, 1)))
        start = feature.sample(5, seed=1)
    network = mf.Network(feature, mf.Scaling(0.5, 2.0), centred=True)
    risk = mf.EmpiricalRisk(network, X, np.abs(X[:, 0]))
    return mf.GradientFlow(risk, backend=network.home), start


def watching(name):
    """Of modules the kernel, layer by layer."""
    return [ntk.LayerMinima(mf.every(50), X[:4])] if name == "module" else []


def run(path, name, **settings):
    flow, start = problem(name)
    observers = [mf.Recorder(path, mf.every(20), **settings), *watching(name)]
    given = {"dt": 0.02, "n_steps": STEPS[name], "observers": observers, "progress": False}
    mf.simulate(flow, start, mf.HEUN, **given)


def go_on(path, name):
    if path is None:
        problem(name)
    elif unfinished(path):
        given = {"flow": problem(name)[0], "observers": watching(name), "progress": False}
        mf.resume(path, **given, checkpoint_seconds=0.02)
    else:
        run(path, name, checkpoint_seconds=0.02)


@pytest.mark.process
@pytest.mark.parametrize("name", STEPS)
def test_killed_and_resumed_a_run_has_the_bits_of_a_whole_one(name, tmp_path):
    if name == "module":
        pytest.importorskip("torch")
    whole, path = tmp_path / "whole.h5", tmp_path / "killed.h5"
    run(whole, name)
    killed(1, go_on, path, name)
    with mf.Trajectory(whole) as first, mf.Trajectory(path) as second:
        assert first.content_hash() == second.content_hash()
        if name == "module":
            assert len(second.series("lambda_min_2.weight").values) == STEPS[name] // 50 + 1
