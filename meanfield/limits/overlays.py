"""A run and its limit on one clock."""

from __future__ import annotations

from os import PathLike
from typing import Any, NamedTuple

import numpy as np

from ..files.trajectory import Trajectory
from .hypotheses import check_limit


class Overlay(NamedTuple):
    """One quantity at `times`, (T,): of the `run` and of its `limit`."""

    times: np.ndarray
    run: np.ndarray
    limit: np.ndarray

    @property
    def gap(self) -> float:
        """The largest distance of the two."""
        return float(np.abs(self.run - self.limit).max())


def overlay(run: Any, limit: Any, name: str = "risk") -> Overlay:
    """A series of a run beside that of its limit, at the times of the run.

    Parameters
    ----------
    run : of particles, an mf.Trajectory, or its path.
    limit : a run of the same flow by mf.limits.FINITE_VOLUMES, an mf.Trajectory or its path, linear
        between its times; or what knows its values at any time: an mf.limits.OrderParameters, an
        mf.limits.Quadratic, an ntk.KernelFlow, whose method `name` is called with times since the
        start of the run.
    name : of the series.

    Returns
    -------
    An Overlay: times, run, limit, and .gap, the largest distance. sims.figures.overlay draws it.

    Raises
    ------
    ValueError, TypeError : for a run without that series, a limit that ends earlier or begins
        later, a limit that does not know the quantity; for what is not the limit of the run: another
        γ, α, σ, loss, ridge or data, other columns that train, particles, the two in wrong order.
    """
    if not isinstance(run, (Trajectory, str, PathLike)):
        raise ValueError(
            f"the first is a run, an mf.Trajectory or its path; got {type(run).__name__}. Write "
            "overlay(run, limit)."
        )
    run = _opened(run)
    if isinstance(limit, (Trajectory, str, PathLike)):
        limit = _opened(limit)
    check_limit(run, limit)
    data = run.series(name)
    times, values = np.asarray(data.times), np.asarray(data.values)
    if not len(times):
        raise ValueError(f"the series {name!r} of the run has no values yet.")
    if isinstance(limit, Trajectory):
        there = limit.series(name)
        first, last = there.times[0], there.times[-1]
        slack = 1e-9 * max(abs(times[-1]), abs(times[0]))
        if first > times[0] + slack or last < times[-1] - slack:
            raise ValueError(
                f"the limit covers t = {first:g} … {last:g}, and the run has {name!r} from "
                f"{times[0]:g} to {times[-1]:g}: "
                f"mf.resume({str(limit.path)!r}, t_end={times[-1]:g}) extends it."
            )
        return Overlay(times, values, np.interp(times, there.times, there.values))

    known = getattr(limit, name, None)
    if not callable(known):
        raise TypeError(
            f"limit must be an mf.Trajectory, a path, or have a method {name}(times); got "
            f"{type(limit).__name__}."
        )
    start = run.config["t_start"]
    found = np.asarray(known(times - start), dtype=np.float64)
    if found.shape != times.shape:
        raise ValueError(
            f"{name}(times) of the limit must be of the shape of times, {times.shape}; got "
            f"{found.shape}."
        )
    return Overlay(times, values, found)


def _opened(run: Any) -> Trajectory:
    return run if isinstance(run, Trajectory) else Trajectory(run)
