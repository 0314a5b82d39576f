"""What the frames of a run show of f, of its rate, and of the errors that the run itself has made."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from meanfield.files.trajectory import Trajectory
from meanfield.flow import GradientFlow
from meanfield.particles import Particles
from meanfield.stepping import methods


class Seen(NamedTuple):
    """At each frame: f and df/dt on the training inputs (frames, n, K); on x (frames, n', K) f, s
    ∫∇φ·θ dμ over the trainable columns (0 without a ridge), and (frames,) the RMS by which one time
    step of the run misses the flow.
    """

    f: np.ndarray
    rate: np.ndarray
    at_x: np.ndarray
    pulled: np.ndarray
    missed: np.ndarray


def check_frames(run: Trajectory, wrong: str) -> None:
    """Raises ValueError with what is `wrong` with the run, if anything, or for under three frames,
    or a last one with NaN.
    """
    if not wrong and len(run) < 3:
        wrong = (
            f"has {len(run)} frame(s); record three at least, as with mf.Recorder(path, "
            "mf.log_spaced(50))"
        )
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
        backend, particles = field.backend, Particles.of(state, field.backend)
        theta, weight = particles.theta, field.weight(particles)
        f, velocity = field.predictions(particles), field.velocity(particles)
        moved = backend.push_forward(theta, weight, field.samples, velocity)
        rate = field.s * backend.download(moved)

        samples, at_x = field.samples, f
        if x is not risk.x:
            samples = backend.samples(x)
            at_x = field.s * backend.download(backend.mean_feature(theta, weight, samples))

        pulled = np.zeros_like(at_x)
        if risk.ridge:
            columns = flow.network.trainable_columns(state.dim, state.outputs)
            held = backend.upload(state.theta * columns)
            pushed = backend.push_forward(theta, weight, samples, held)
            pulled = field.s * backend.download(pushed)

        missed = _missed(run, field, particles, samples, float(dt[min(number, len(dt) - 1)]))
        rows.append((f, rate, at_x, pulled, missed))
    return Seen(*(np.stack(column) for column in zip(*rows, strict=True)))


def _missed(run: Trajectory, field: Any, particles: Particles, samples: Any, dt: float) -> float:
    """The error of f in one step of the run's method, from a step and two halves: 2^p/(2^p - 1)
    times their difference, RMS.
    """
    method = methods.from_dict(run.config["integrator"])
    backend, weight = field.backend, field.weight(particles)
    whole = method.step(field, particles, dt).particles
    half = method.step(field, particles, 0.5 * dt).particles
    halves = method.step(field, half, 0.5 * dt).particles

    values = [
        backend.download(backend.mean_feature(point.theta, weight, samples))
        for point in (whole, halves)
    ]
    difference = float(np.sqrt(np.square(values[0] - values[1]).mean()))
    return field.s * difference * 2**method.order / (2**method.order - 1)


def rounding(run: Trajectory, flow: GradientFlow, x: np.ndarray) -> np.ndarray:
    """What rounding θ at each step does to f, independent from step to step and neuron to neuron: ε
    s √(steps/m) |φ|.

    |φ| of a neuron is of the size ½|θ|² √(1 + |x|²), as a σ(z) with |σ(z)| <= |z| is; and f itself
    has rounding ε s |φ|√(1/m).
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
