"""Runs with noise, momentum and reaction, on the sphere, of fresh samples and of cells, killed by
kill -9 and resumed from their file alone, have the bits of whole ones.
"""

import numpy as np
import pytest
from killed import killed

import meanfield as mf
from meanfield.files.recording import unfinished

METHODS = {
    "euler_maruyama": mf.EULER_MARUYAMA,
    "stochastic_heun": mf.STOCHASTIC_HEUN,
    "leimkuhler_matthews": mf.LEIMKUHLER_MATTHEWS,
    "heavy_ball": mf.HeavyBall("nesterov"),
    "sphere": mf.Sphere(mf.EULER_MARUYAMA),
    "online": mf.EULER,
    "jumps": mf.EULER,
    "resampled": mf.EULER,
    "finite_volumes": mf.limits.FINITE_VOLUMES,
}
REACTIONS = {
    "jumps": {"reaction": 1.0, "jumps": True},
    "resampled": {"reaction": 4.0, "resample": 0.8, "jitter": 0.1},
}
STEPS = 3000
OF_CELLS = 300  # each of several parts


def run(path, name, **settings):
    x = np.linspace(-1, 1, 12)[:, None]
    cells = name == "finite_volumes"
    temperature = [(0.0, 0.2), (60.0, 0.01)] if METHODS[name].noisy else 0.0
    risk = mf.EmpiricalRisk(mf.Network("relu" if cells else "tanh"), x, np.abs(x[:, 0]))
    if name == "online":
        teacher = mf.InitialLaw(dim=1, b_std=1.0).sample(4, seed=9)
        risk = mf.OnlineRisk(mf.Network("tanh"), teacher, batch=2, seed=6)
    flow = mf.GradientFlow(risk, temperature, seed=5, **REACTIONS.get(name, {}))
    start = mf.limits.circle(24) if cells else mf.InitialLaw(dim=1, b_std=1.0).sample(40, seed=3)
    if name == "sphere":
        u = start.theta[:, 1:]
        u = u / np.linalg.norm(u, axis=1, keepdims=True)
        start = mf.State(np.hstack([start.a, u]))
    watch = [mf.Recorder(path, mf.every(20), **settings)] if path else []
    steps = (OF_CELLS if cells else STEPS) if path else 2
    method = METHODS[name]
    mf.simulate(flow, start, method, dt=0.02, n_steps=steps, observers=watch, progress=False)


def go_on(path, name):
    if path and unfinished(path):
        mf.resume(path, progress=False, checkpoint_seconds=0.02)
    else:
        run(path, name, checkpoint_seconds=0.02)


@pytest.mark.process
@pytest.mark.parametrize("name", METHODS)
def test_killed_and_resumed_a_run_has_the_bits_of_a_whole_one(name, tmp_path):
    whole, path = tmp_path / "whole.h5", tmp_path / "killed.h5"
    run(whole, name)
    killed(1, go_on, path, name)
    with mf.Trajectory(whole) as first, mf.Trajectory(path) as second:
        assert first.content_hash() == second.content_hash()
        assert bool(len(first.births.ids)) == (name in ("jumps", "resampled"))
