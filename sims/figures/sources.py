"""What figures need of a run: the run opened, its finite frames, its flow, and a few frames spread
over the way it went.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import meanfield as mf
import ntk as ntk  # registers how its flows are made from a file
from meanfield.diagnostics import defects

from .style import regime

STILL = 400  # frames that a still picture looks at


def open_run(run: Any) -> mf.Trajectory:
    """A run, or the one a path names."""
    return run if isinstance(run, mf.Trajectory) else mf.Trajectory(run)


def usable(run: mf.Trajectory, least: int = 1) -> int:
    """Number of frames up to the last finite one; ValueError where there are fewer than `least`.

    A run that diverged ends in frames that are not finite; an unfinished one has none before its
    first checkpoint.
    """
    count = len(run)
    while count and not np.isfinite(run[count - 1].theta).all():
        count -= 1
    if count < least:
        lost = f", {len(run) - count} of them not finite" if count < len(run) else ""
        raise ValueError(
            f"this figure needs {least} or more frames; {run.path} ({run.status}) has "
            f"{len(run)}{lost}."
        )
    return count


def number(run: mf.Trajectory, frame: int) -> int:
    """Which frame is meant: -1 is the last finite one; ValueError for one that is not there."""
    count = usable(run)
    if not -count <= frame < count:
        raise ValueError(
            f"frame {frame} was asked for; {run.path} has {count} to draw: 0 … "
            f"{count - 1}, or -1 for the last."
        )
    return frame % count


def travelled(run: mf.Trajectory, end: mf.State) -> tuple[str, float]:
    """How far a state is from the first frame, and the name of that distance: the RMS displacement, or
    an upper bound of W2 where masses change or particles are replaced.
    """
    if run.mass_varies or run.replaces:
        return "W2 at most", mf.w2_interval(run[0], end).upper
    return "RMS displacement", mf.displacement(run[0], end)


def scaling_text(run: mf.Trajectory) -> str:
    """γ and α with the name of the scaling, and the rate of a reaction; for flows without a network
    what they are.
    """
    settings, flow = run.config.get("network"), run.config.get("flow") or {}
    text = regime(**settings["scaling"]) if settings else "a flow without a network"
    rate = flow.get("reaction", 0.0)
    return f"{text}, ρ = {rate:g}{' by jumps' if flow.get('jumps') else ''}" if rate else text


def caveat(run: mf.Trajectory) -> str:
    """What a verdict has to add about a run that is not the flow, or whose neurons slide: a
    sentence after a blank, or "".
    """
    finding = defects.of_run(run)
    return f" {finding.short}" if finding is not None else ""


def flow_of(run: mf.Trajectory, flow: mf.GradientFlow | None = None) -> mf.GradientFlow:
    """The run's flow, made from its file, or the one handed in: no file holds functions that a user
    wrote.

    Drawing needs no GPU: a flow from a file computes on the CPU, wherever the run was made.
    """
    return run.flow("cpu") if flow is None else flow


def network_of(run: mf.Trajectory, flow: mf.GradientFlow | None = None) -> mf.Network:
    """The network whose tangent kernel the frames have: the run's, or that of the flow handed in."""
    settings = run.config.get("flow")
    if settings and settings["functional"]["kind"] == "LinearisedRisk":
        raise ValueError(
            f"{run.path} is a run of a linearised network: its kernel is that of its "
            "start in every frame."
        )
    if flow is not None:
        return flow.network
    try:
        return run.network
    except ValueError as error:
        raise ValueError(f"{error} Or pass flow=, the mf.GradientFlow of the run.") from error


def some_frames(run: mf.Trajectory) -> np.ndarray:
    """The finite frames that a still picture of the whole way looks at: all, or of more than 400 as
    many, evenly spaced.
    """
    return thinned(usable(run), STILL)


def milestones(values: np.ndarray, count: int) -> list[int]:
    """At most `count` >= 2 indices into values (times, …), the first and the last among them,
    equally far apart along the way.

    The way from one index to the next is the Euclidean length of the difference, so that little is
    drawn where little happens.
    """
    steps = np.linalg.norm(np.diff(values.reshape(len(values), -1), axis=0), axis=1)
    way = np.concatenate([[0.0], np.cumsum(steps)])
    between = {
        int(np.abs(way - length).argmin()) for length in np.linspace(0.0, way[-1], count)[1:-1]
    }
    return sorted({0, *between, len(values) - 1})


def thinned(count: int, most: int) -> np.ndarray:
    """All of 0 … count - 1, or, of more than `most`, that many evenly spaced, the first and the
    last among them.
    """
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))
