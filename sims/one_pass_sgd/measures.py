"""Stochastic gradient descent beside the gradient flow from the same neurons: squared deviations.

Networks f = (1/m) Σ_k a_k tanh(⟨w_k, x⟩), x on the circle, a teacher of three neurons. Batches of one
sample and Euler steps dt, which are SGD with rate dt·m on every neuron. With D² = (1/m) Σ_k |θ_k -
θ_k^flow|² at a fixed flow time t,

    drawn with replacement, or fresh    E D² ~ dt, whatever m is
    each sample once an epoch           D ~ dt and a little faster: the errors of an epoch cancel
    one pass, m samples, dt = t/m       so m E D² and m E(f - f_flow)² do not depend on m

Mei, Montanari, Nguyen (2018); TRUTHS.md, section 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import meanfield as mf

if TYPE_CHECKING:
    from . import Config

DIM = 2
CIRCLE = 64  # equispaced points: means over the circle, exact up to rounding for smooth f
FINE = 40  # steps of RK4 for the flow, in each stretch
NETWORK = mf.Network("tanh", mf.MEAN_FIELD, trainable=("a", "w"))
LAW = mf.InitialLaw(dim=DIM, a="normal")


def dataset(config: Config) -> mf.data.Dataset:
    """n samples of the teacher, x uniform on the circle."""
    return mf.data.teacher_student(config.n, DIM, activation="tanh", inputs="sphere", n_test=1, seed=1)  # fmt: skip


def teacher() -> mf.State:
    """f* = ∫φ dμ*, three neurons."""
    return mf.InitialLaw(dim=DIM, a="normal", a_std=2.0, w_std=1.5).sample(3, seed=77)


def circle(points: int = CIRCLE) -> np.ndarray:
    angles = 2 * np.pi * np.arange(points) / points
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def finite(config: Config) -> mf.EmpiricalRisk:
    """The risk on the n samples."""
    data = dataset(config)
    return mf.EmpiricalRisk(NETWORK, data.x, data.y)


def whole() -> mf.EmpiricalRisk:
    """The risk over the whole circle, which fresh samples have on average."""
    x = circle()
    blank = mf.GradientFlow(mf.EmpiricalRisk(NETWORK, x, np.zeros(len(x))))
    return mf.EmpiricalRisk(NETWORK, x, blank.predict(teacher(), x))


def against_step(config: Config, replace: bool) -> dict[str, np.ndarray]:
    """D² at `times` moments evenly in t: square (seeds, epochs, times)."""
    risk, stretches = finite(config), config.times
    square = np.empty((config.seeds, len(config.epochs), stretches))
    for seed in range(config.seeds):
        start = LAW.sample(config.m, seed=seed)
        flow = _flow(risk, start, config.t_end, stretches)
        for column, epochs in enumerate(config.epochs):
            batches = mf.MiniBatch(risk, 1, seed=seed, replace=replace)
            steps = config.n * epochs
            path = _sgd(batches, start, config.t_end, steps, stretches)
            square[seed, column] = [_square(a, b) for a, b in zip(path, flow, strict=True)]
    return {"square": square}


def against_width(config: Config, m: int) -> dict[str, np.ndarray]:
    """D² at the end with a step that does not depend on m: square (seeds,)."""
    risk, square = finite(config), np.empty(config.seeds)
    for seed in range(config.seeds):
        start = LAW.sample(m, seed=seed)
        (flow,) = _flow(risk, start, config.t_end, 1)
        batches = mf.MiniBatch(risk, 1, seed=seed, replace=True)
        (end,) = _sgd(batches, start, config.t_end, config.middle, 1)
        square[seed] = _square(end, flow)
    return {"square": square}


def one_pass(config: Config, m: int) -> dict[str, np.ndarray]:
    """m fresh samples, one a step: D² and the mean of (f - f_flow)² over the circle, (passes,)."""
    risk, target, x = whole(), teacher(), circle()
    square, function = np.empty(config.passes), np.empty(config.passes)
    for seed in range(config.passes):
        start = LAW.sample(m, seed=seed)
        (flow,) = _flow(risk, start, config.t_pass, 1)
        fresh = mf.OnlineRisk(NETWORK, target, inputs="sphere", seed=seed)
        (end,) = _sgd(fresh, start, config.t_pass, m, 1)
        square[seed] = _square(end, flow)
        f, f_flow = (mf.GradientFlow(risk).predict(state, x) for state in (end, flow))
        function[seed] = np.mean((f - f_flow) ** 2)
    return {"square": square, "function": function}


def _flow(risk: mf.EmpiricalRisk, start: mf.State, t_end: float, stretches: int) -> list[mf.State]:
    """The flow at t_end/stretches, … , t_end."""
    return _path(risk, start, mf.RK4, t_end, FINE * stretches, stretches)


def _sgd(
    risk: mf.Functional, start: mf.State, t_end: float, steps: int, stretches: int
) -> list[mf.State]:
    return _path(risk, start, mf.EULER, t_end, steps, stretches)


def _path(
    risk: mf.Functional, state: mf.State, method: mf.Method, t_end: float, steps: int, stretches: int
) -> list[mf.State]:  # fmt: skip
    """States after each of `stretches` equal parts of the steps, the last part with what is left."""
    flow, done = mf.GradientFlow(risk), 0
    path: list[mf.State] = []
    for number in range(1, stretches + 1):
        until = round(steps * number / stretches)
        state = mf.simulate(
            flow, state, method, dt=t_end / steps, n_steps=until - done, progress=False
        )
        path, done = [*path, state], until
    return path


def _square(a: mf.State, b: mf.State) -> float:
    return mf.displacement(a, b) ** 2
