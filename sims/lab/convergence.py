"""Training until the loss is a stated fraction of what it was: the flow time is found by doubling,
and the budget is finite.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np

import meanfield as mf
from meanfield import tangent
from meanfield.files.recording import unfinished

from . import experiment
from .experiment import Experiment


def first_end(config: Experiment, tol: float) -> float:
    """The flow time to try first: ln(1/tol)/2 over the larger of λ_min(H_0)/n (the squared loss,
    mean) and 0.1/s.

    The linearised loss is down to tol when its slowest mode is, e^(-2 λ_min t/n) = tol. Where H_0
    hardly learns (γ > 1, near the saddle a = v = 0) pairs (a, v) grow as e^(t·O(1)/s) instead, to a
    kernel ~ 1/s; 0.1 is about its λ_min/n there.
    """
    made = experiment.make(config)
    network, factor = made.flow.network, 1.0 if config.reduction == "sum" else 1.0 / made.data.n
    H = tangent.as_matrix(tangent.kernel(network, made.start, made.data.x))
    rate = max(
        factor * float(np.linalg.eigvalsh(H)[0]), 0.1 / network.scaling.output_scale(config.m)
    )
    return math.log(1 / tol) / 2 / rate


def train(config: Experiment, path: Path, tol: float, doublings: int) -> bool:
    """One run, to its file, for `first_end` and then twice as long until R <= tol·R(0), or
    `doublings` are spent.

    Returns whether it got there. config.t_end is not used. An interrupted run goes on where it
    stopped; one that has come to its end is left as it is. Raises mf.Interrupted, mf.Diverged;
    ValueError where the file holds another run.
    """
    first = first_end(config, tol)
    t_end = max(first, _reached(path))
    while True:
        experiment.perform(dataclasses.replace(config, t_end=t_end), path)
        left = loss_left(path)
        if left <= tol or t_end > 0.75 * first * 2**doublings:
            return left <= tol
        t_end *= 2


def loss_left(path: Path) -> float:
    """R(T)/R(0) of the run in this file; 0 where there was nothing to learn."""
    with mf.Trajectory(path) as run:
        risk = run.series("risk").values
    return float(risk[-1] / risk[0]) if risk[0] > 0 else 0.0


def _reached(path: Path) -> float:
    """The end that the run in this file has, or is on the way to; 0 where there is none."""
    if unfinished(path):
        path = Path(f"{path}.parts")
    elif not path.exists():
        return 0.0
    with mf.Trajectory(path) as run:
        return float(run.config["t_end"])
