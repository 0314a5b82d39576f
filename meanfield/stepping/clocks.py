"""The time axis of a run, as schedules see it."""

from __future__ import annotations

from typing import NamedTuple


class Span(NamedTuple):
    """What a run is about to cover: from (step, t) to t_end with steps of about dt."""

    step: int
    t: float
    t_end: float
    dt: float
