"""θ at the end of ten small runs, as sha256: `python tests/helpers/ten_runs.py` prints the same
lines before and after a change that must not change a bit (same machine, same versions).
Activations, dimensions, dtypes, methods, outputs, masses, and every functional have a run.
"""

import hashlib
import warnings

import numpy as np

import meanfield as mf


def V(x):
    return 0.5 * (x[0] * x[0] + x[1] * x[1])


def grad_V(x, out):
    out[0] = x[0]
    out[1] = x[1]


def U(x, y):
    dx = x[0] - y[0]
    dy = x[1] - y[1]
    return 1.0 / (1.0 + dx * dx + dy * dy)


def grad_U(x, y, out):
    dx = x[0] - y[0]
    dy = x[1] - y[1]
    c = -2.0 / (1.0 + dx * dx + dy * dy) ** 2
    out[0] = c * dx
    out[1] = c * dy


def fit(
    activation,
    dim,
    dtype="float64",
    scaling=mf.MEAN_FIELD,
    outputs=1,
    loss="squared",
    masses=False,
    m=200,
):
    """(flow, start) of a network on random samples."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(40, dim)) / dim**0.5
    y = rng.integers(0, outputs, 40) if loss == "softmax" else np.sin(3 * x[:, :outputs])
    state = mf.InitialLaw(dim, outputs=outputs, b_std=0.5).sample(m, seed=1)

    if masses:
        weights = rng.uniform(0.5, 1.5, m)
        state = mf.State(state.theta, outputs=outputs, mass=weights / weights.sum())

    risk = mf.EmpiricalRisk(mf.Network(activation, scaling), x, y, loss=loss)
    return mf.GradientFlow(risk, dtype=dtype), state


def population():
    network = mf.Network("relu", mf.MEAN_FIELD, trainable=("a", "w"))
    teacher = mf.InitialLaw(5, w="sphere").sample(3, seed=3)
    return mf.GradientFlow(mf.PopulationRisk(network, teacher)), mf.InitialLaw(5).sample(
        200, seed=0
    )


def pairwise():
    energy = mf.PairwiseEnergy(potential=(V, grad_V), interaction=(U, grad_U))
    return mf.GradientFlow(energy), mf.State(
        np.random.default_rng(5).normal(size=(150, 2)), outputs=0
    )


RUNS = {
    "relu d=2 float64 euler": lambda: (*fit("relu", 2), mf.EULER, 0.1),
    "relu d=2 float32 rk4": lambda: (*fit("relu", 2, "float32"), mf.RK4, 0.1),
    "tanh d=13 float64 rk4": lambda: (*fit("tanh", 13), mf.RK4, 0.1),
    "gelu d=64 float32 euler": lambda: (*fit("gelu", 64, "float32"), mf.EULER, 0.1),
    "relu d=64 float64 auto": lambda: (*fit("relu", 64, scaling=mf.NTK), mf.RK4, "auto"),
    "tanh d=2 float64 adaptive": lambda: (*fit("tanh", 2), mf.Adaptive(1e-5, 1e-8), None),
    "tanh d=2 K=3 softmax": lambda: (*fit("tanh", 2, outputs=3, loss="softmax"), mf.HEUN, 0.1),
    "gelu d=2 masses": lambda: (*fit("gelu", 2, masses=True), mf.RK4, 0.1),
    "population relu d=5 auto": lambda: (*population(), mf.RK4, "auto"),
    "pairwise p=2 rk4": lambda: (*pairwise(), mf.RK4, 0.1),
}


def main():
    warnings.simplefilter("ignore")
    for name, make in RUNS.items():
        flow, start, method, dt = make()
        end = mf.simulate(flow, start, method, dt=dt, t_end=5.0, progress=False)
        print(
            f"{name:28s} steps {end.step:4d} {hashlib.sha256(end.theta.tobytes()).hexdigest()[:32]}"
        )


if __name__ == "__main__":
    main()
