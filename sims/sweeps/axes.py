"""The values of one axis of a sweep: a list, or a range of equal steps or equal ratios, as its
setting takes them.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping
from typing import Any

import numpy as np

from meanfield.checks import hint, is_integer

from ..lab.config import BadSettings
from ..lab.experiment import Experiment

LARGEST = 100_000  # runs: beyond that a count is a slip of the pen
RANGE = {"from", "to", "count", "log"}


def values(name: str, given: Any, base: dict[str, Any]) -> list[Any]:
    """What [axes] says of one setting, as a list; raises BadSettings. base: the settings, of which
    `m` must know the start.
    """
    if isinstance(given, list):
        if not given:
            raise BadSettings(f"axes: {name} is an empty list.")
        return given
    if not isinstance(given, Mapping):
        raise BadSettings(
            f"axes: {name} must be a list or a range {{from=, to=, count=}}; got "
            f"{given!r}. One value goes into [base]."
        )
    for key in given:
        if key not in RANGE:
            raise BadSettings(
                f"axes: {name} has no {key!r}.{hint(key, RANGE)} A range is {{from=, to=, "
                f"count=, log=true}}."
            )
    return _spaced(name, given, base)


def _spaced(name: str, given: Mapping[str, Any], base: dict[str, Any]) -> list[Any]:
    """Both ends and what lies between, evenly or in equal ratios; whole numbers for settings that
    are, m even for pairs.
    """
    if missing := {"from", "to", "count"} - given.keys():
        raise BadSettings(
            f"axes: the range of {name} needs from, to and count; "
            f"{', '.join(sorted(missing))} is missing."
        )
    ends, count, log = [given["from"], given["to"]], given["count"], given.get("log", False)
    numbers = [
        value
        for value in ends
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    ]
    if len(numbers) < 2 or not is_integer(count) or count < 2 or not isinstance(log, bool):
        raise BadSettings(
            f"axes: the range of {name} needs numbers from and to, a count >= 2, and log "
            f"= true or none; got {dict(given)}."
        )
    few(count)
    if log and min(ends) <= 0:
        raise BadSettings(
            f"axes: a log range of {name} needs from > 0 and to > 0; got {ends[0]} and {ends[1]}."
        )
    raw = (np.geomspace if log else np.linspace)(float(ends[0]), float(ends[1]), count)
    # 0.3, as a list would have it, not 0.30000000000000004
    values = [float(f"{value:.12g}") for value in raw]
    if name == "m":
        step = 2 if base["law"]["symmetric"] else 1
        return [step * max(1, round(value / step)) for value in values]
    if _kind(name) is int or (_kind(name) is None and all(value.is_integer() for value in values)):
        return [round(value) for value in values]
    return values


def _kind(name: str) -> Any:
    """The type of a setting: int, float, …; None where the schema leaves it open (the options of a
    data set).
    """
    kind: Any = Experiment
    for part in name.split("."):
        if not dataclasses.is_dataclass(kind):
            return None
        kind = typing.get_type_hints(kind).get(part)
    return kind


def few(count: int) -> None:
    """Refuse what must be a slip of the pen."""
    if count > LARGEST:
        raise BadSettings(
            f"that is {count} runs; at most {LARGEST} go into one sweep. Make several, or "
            "fewer points."
        )
