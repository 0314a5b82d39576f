"""The runs of tests/golden: small files of each kind, written once by the version that their names
say and never again.

`python golden_runs.py golden VERSION [NAME …]` adds such files, all or some, with the code of
today: do so when the layout of files has changed. What must be known of them without reading them
stands in expected.json.
"""

import json
import signal
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import toy_run

import meanfield as mf

GOLDEN = Path(__file__).parents[1] / "golden"
PROVENANCE = {
    "author": "nobody",
    "versions": {"meanfield": mf.__version__},
    "machine": {"host": "somewhere"},
}
KINK = np.linspace(-1, 1, 8)[:, None]


def relu_flow(dtype="float64"):
    return mf.GradientFlow(
        mf.EmpiricalRisk(mf.Network("relu"), KINK, np.abs(KINK[:, 0])), dtype=dtype
    )


def softmax_flow():
    x = np.random.default_rng(1).normal(size=(9, 2))
    risk = mf.EmpiricalRisk(
        mf.Network("tanh", scaling=mf.Scaling(gamma=0.75, alpha=2.0)),
        x,
        np.arange(9) % 3,
        "softmax",
    )
    return mf.GradientFlow(risk)


def population_flow():
    teacher = mf.InitialLaw(dim=3).sample(2, seed=9)
    return mf.GradientFlow(mf.PopulationRisk(mf.Network("relu", trainable=("a", "w")), teacher))


def well(x):
    return 0.5 * x[0] * x[0]


def grad_well(x, out):
    out[0] = x[0]


def repulsion(x, y):
    return 0.25 * (x[0] - y[0]) ** 2


def grad_repulsion(x, y, out):
    out[0] = 0.5 * (x[0] - y[0])


def pairwise_flow():
    return mf.GradientFlow(
        mf.PairwiseEnergy(potential=(well, grad_well), interaction=(repulsion, grad_repulsion))
    )


def mean_a(flow, state):
    """A series of a user: the plain mean of the first column."""
    return float(state.theta[:, 0].mean())


def start(dim=1, outputs=1, b_std=1.0):
    return mf.InitialLaw(dim=dim, outputs=outputs, b_std=b_std).sample(12, seed=4)


def simulated(path, flow, state, *observers, steps=12, dt=0.1):
    observers = [mf.Recorder(path, mf.every(4)), *observers]
    mf.simulate(flow, state, mf.RK4, dt=dt, t_end=steps * dt, observers=observers, progress=False)


def relu(path):
    simulated(
        path,
        relu_flow(),
        start(),
        mf.Series("mean_a", mf.every(1), mean_a),
        mf.Events(schedule=mf.every(2)),
    )


def softmax(path):
    simulated(path, softmax_flow(), start(dim=2, outputs=3))


def pairwise(path):
    simulated(path, pairwise_flow(), mf.State(np.linspace(-1, 1, 9)[:, None], outputs=0))


def population(path):
    simulated(path, population_flow(), start(dim=3, b_std=0.0))


def single(path):
    simulated(path, relu_flow("float32"), start())


def masses(path):
    first = toy_run.start()
    recording = toy_run.create(path, mass_varies=True, provenance=PROVENANCE)
    for step in range(3):
        weights = np.arange(1.0, 9.0) ** step
        recording.frame(
            mf.State(first.theta + step, mass=weights / weights.sum(), step=step, t=step / 2)
        )
        recording.observe("mass_entropy", step, step / 2, float(step))
    recording.finish({}, {"seconds": 0.0})


def jumps(path):
    """Particles that are killed and duplicated: with ids in every frame, and births among events."""
    flow = mf.GradientFlow(relu_flow().functional, reaction=3.0, jumps=True, seed=2)
    simulated(path, flow, start())


def unfinished(path):
    """Interrupted in the middle, after a checkpoint: only its parts are there."""

    def stop(flow, state):
        if state.step == 6:
            signal.raise_signal(signal.SIGINT)
        return 0.0

    try:
        simulated(path, relu_flow(), start(), mf.Series("zero", mf.every(1), stop))
    except mf.Interrupted:
        Path(f"{path}.parts/lock").unlink()  # it names a process


RUNS = {
    run.__name__: run
    for run in (relu, softmax, pairwise, population, single, masses, jumps, unfinished)
}


def write(folder, version, names):
    expected = {}
    with mock.patch("meanfield.simulation.provenance", lambda: PROVENANCE):
        for name in names or RUNS:
            path = folder / f"{name}-{version}.h5"
            RUNS[name](path)
            with mf.Trajectory(path) as made:
                last = made[-1]
                expected[path.name] = {
                    "content_hash": made.content_hash(),
                    "status": made.status,
                    "times": made.times.tolist(),
                    "theta_sum": [float(frame.theta.sum(dtype=float)) for frame in made],
                    "mass_first": [float(frame.mass[0]) for frame in made],
                    "shape": [*last.theta.shape, last.outputs],
                    "dtype": str(last.theta.dtype),
                    "series": {name: len(made.series(name).values) for name in made.series_names},
                    "events": made.event_count,
                }
    file = folder / "expected.json"
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    file.write_text(json.dumps(known | expected, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
