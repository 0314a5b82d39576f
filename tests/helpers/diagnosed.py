"""Small recorded runs for the tests of diagnostics."""

import numpy as np

import meanfield as mf


def problem(kind="signs", activation="relu", d=3, m=10, dtype="float64", n=12, gamma=0.75):
    """(flow, start, data) of a classification by signs or by three classes, or of a regression;
    test set included.
    """
    rng = np.random.default_rng(5)
    x, x_test = rng.normal(size=(n, d)), rng.normal(size=(7, d))
    if kind == "signs":
        y, y_test = (np.where(z[:, 0] * z[:, 1] > 0, 1.0, -1.0) for z in (x, x_test))
    elif kind == "classes":
        y, y_test = np.arange(n) % 3, np.arange(7) % 3
    else:
        y, y_test = x[:, 0] ** 2, x_test[:, 0] ** 2
    loss = {"signs": "logistic", "classes": "softmax", "real": "squared"}[kind]
    network = mf.Network(activation, scaling=mf.Scaling(gamma=gamma, alpha=2.0))
    flow = mf.GradientFlow(mf.EmpiricalRisk(network, x, y, loss), dtype=dtype)
    start = mf.InitialLaw(dim=d, outputs=3 if kind == "classes" else 1, b_std=1.0).sample(m, seed=4)
    return flow, start, mf.data.Dataset(x, y, x_test, y_test, name="toy")


def record(
    path,
    made=None,
    steps=9,
    every=3,
    series=(),
    method=mf.RK4,
    dt=0.2,
    test=True,
    exists="replace",
    **more,
):
    """Run a problem to `path`, a frame at every third step; returns its path."""
    flow, start, data = made or problem()
    recorder = mf.Recorder(path, mf.every(every), exists=exists, data=data if test else None)
    times = (
        {"t_end": steps * dt} if method not in (mf.EULER, mf.HEUN, mf.RK4) else {"n_steps": steps}
    )
    mf.simulate(
        flow, start, method, dt=dt, observers=[recorder, *series], progress=False, **times, **more
    )
    return path
