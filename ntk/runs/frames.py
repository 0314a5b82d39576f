"""What the frames of a run show of f, of its rate, and of the errors that the run itself has made."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from meanfield.files.trajectory import Trajectory
from meanfield.flow import GradientFlow
from meanfield.stepping import runge_kutta


class Seen(NamedTuple):
    """At each frame: f and df/dt on the training inputs (frames, n, K); on x (frames, n', K) f, s ∫∇φ·θ dμ over the trainable
    columns (0 without a ridge), and (frames,) the RMS by which one time step of the run misses the flow."""

    f: np.ndarray
    rate: np.ndarray
    at_x: np.ndarray
    pulled: np.ndarray
    missed: np.ndarray


def check_frames(run: Trajectory, wrong: str) -> None:
    """Raises ValueError with what is `wrong` with the run, if anything, or for under three frames, or a last one with NaN."""
    if not wrong and len(run) < 3:
        wrong = f"has {len(run)} frame(s); record three at least, as with mf.Recorder(path, mf.log_spaced(50))"
    elif not wrong and not np.isfinite(run[-1].theta).all():
        wrong = "ends in NaN"
    if wrong:
        raise ValueError(f"{run.path} {wrong}.")


def look(run: Trajectory, flow: GradientFlow, x: np.ndarray) -> Seen:
    """Everything that needs the states, frame by frame; no kernel is formed."""
    risk = flow.functional
    dt = np.diff(run.times) / np.diff(run.steps)
    rows = []
    for number, state in enumerate(run):
        field = flow.on_device(state)
        backend, theta = field.backend, field.backend.upload(state.theta)
        f, velocity = field.predictions(theta), field.velocity(theta)
        rate = field.s * backend.download(
            backend.push_forward(theta, field.weight, field.samples, velocity)
        )
        samples = field.samples if x is risk.x else backend.samples(x)
        at_x = (
            f
            if x is risk.x
            else field.s * backend.download(backend.mean_feature(theta, field.weight, samples))
        )
        pulled = np.zeros_like(at_x)
        if risk.ridge:
            columns = flow.network.trainable_columns(state.dim, state.outputs)
            moved = backend.push_forward(
                theta, field.weight, samples, backend.upload(state.theta * columns)
            )
            pulled = field.s * backend.download(moved)
        missed = _missed(run, field, theta, velocity, samples, float(dt[min(number, len(dt) - 1)]))
        rows.append((f, rate, at_x, pulled, missed))
    return Seen(*(np.stack(column) for column in zip(*rows, strict=True)))


def _missed(
    run: Trajectory, field: Any, theta: Any, velocity: Any, samples: Any, dt: float
) -> float:
    """The error of f in one step of the run's method, from a step and two halves: 2^p/(2^p - 1) times their difference, RMS."""
    method = runge_kutta.from_dict(run.config["integrator"])
    method = method.tableau if isinstance(method, runge_kutta.Adaptive) else method
    whole = method.step(field, theta, velocity, dt).theta
    half = method.step(field, theta, velocity, 0.5 * dt).theta
    halves = method.step(field, half, field.velocity(half), 0.5 * dt).theta
    backend = field.backend
    values = [
        backend.download(backend.mean_feature(point, field.weight, samples))
        for point in (whole, halves)
    ]
    return (
        field.s
        * float(np.sqrt(np.square(values[0] - values[1]).mean()))
        * 2**method.order
        / (2**method.order - 1)
    )


def rounding(run: Trajectory, flow: GradientFlow, x: np.ndarray) -> np.ndarray:
    """What rounding θ at each step does to f, independent from step to step and neuron to neuron: ε s √(steps/m) |φ|.

    |φ| of a neuron is of the size ½|θ|² √(1 + |x|²), as a σ(z) with |σ(z)| <= |z| is; and f itself has rounding ε s |φ|√(1/m).
    """
    first, last = run[0], run[-1]
    steps = np.asarray(run.steps - run.steps[0], dtype=np.float64)
    size = max(
        float(state.mass @ np.square(state.theta.astype(np.float64)).sum(axis=1))
        for state in (first, last)
    )
    reach = float(np.sqrt(1.0 + np.square(x).sum(axis=1).mean()))
    s = flow.network.scaling.output_scale(first.m)
    return (
        float(np.finfo(first.theta.dtype).eps)
        * s
        * 0.5
        * size
        * reach
        * np.sqrt((1.0 + steps) / first.m)
    )
