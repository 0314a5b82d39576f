"""The observers of a run as its file's configuration names them, and how a file makes them again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from . import schedules
from .distances import W2
from .events import Events
from .health import StopOnNonFinite
from .moment import MEASURES, series_of_clock
from .protocol import Observer
from .recorder import Recorder
from .series import Series

ONE = {
    Recorder: "one run has one Recorder; for other scalars add mf.Series(name, schedule).",
    Events: "one run has one mf.Events: join the probes, and the schedules.",
    W2: "one run has one mf.W2: join the schedules; previous=True adds the distances between "
    "its snapshots.",
}


def check(observers: Sequence[Any]) -> list[Observer]:
    """The observers in the order in which they look; raises for what is none, and for names that
    meet.
    """
    if isinstance(observers, Observer):
        raise TypeError("observers is a list: write observers=[…].")
    if unknown := [item for item in observers if not isinstance(item, Observer)]:
        raise TypeError(
            "observers are mf.Recorder, mf.Series, mf.Events, mf.W2 and mf.StopOnNonFinite; "
            f"got {unknown[0]!r}. One of your own derives from mf.Observer."
        )
    for kind, message in ONE.items():
        if sum(isinstance(item, kind) for item in observers) > 1:
            raise ValueError(message)

    series = [item for item in observers if isinstance(item, Series)]
    names = [item.name for item in series]
    taken = {item.name for item in series if item.function is not None and item.name in MEASURES}
    taken |= {name for name in names if names.count(name) > 1}
    if taken:
        raise ValueError(
            "each series needs a name of its own, not that of another or of a built-in: "
            f"{', '.join(sorted(taken))}."
        )
    if clocks := [(name, other) for name in names if (other := series_of_clock(name, names))]:
        raise ValueError(
            "{!r} is a clock of the series {!r} in an xarray.Dataset: rename one of them.".format(
                *clocks[0]
            )
        )
    _check_written(observers, names)
    return sorted(observers, key=lambda item: item.rank)


def _check_written(observers: Sequence[Observer], names: list[str]) -> None:
    """Raise where two observers write one series, or have one name."""
    known = {name: "mf.Series" for name in names}
    for item in observers:
        if isinstance(item, (Series, Recorder, StopOnNonFinite)):
            continue
        who = f"mf.{type(item).__name__}" if item.own else f"the observer {item.name!r}"
        if both := sorted(set(known) & set(item.series)):
            raise ValueError(
                f"{who} writes series of these names itself: {', '.join(both)}. Give "
                "yours another name."
            )
        known |= {name: who for name in item.series}

    others = [item.name for item in observers if not item.own]
    if bad := [name for name in others if not name or others.count(name) > 1]:
        raise ValueError(
            f"each observer of your own needs a name that no other has; got {bad[0]!r}."
        )
    if measured := sorted(
        {name for item in observers if not item.own for name in item.series} & set(MEASURES)
    ):
        raise ValueError(
            f"{', '.join(measured)}: the Recorder writes a series of this name. Choose another."
        )


def key(observer: Observer) -> str:
    """Its place in a checkpoint."""
    if isinstance(observer, Series):
        return f"series {observer.name}"
    return observer.name if observer.own else f"own {observer.name}"


def to_dict(observers: Sequence[Observer]) -> dict[str, Any]:
    """What a file says of them."""
    recorders = [item for item in observers if isinstance(item, Recorder)]
    found: dict[str, Any] = {
        "recorder": schedules.to_dict(recorders[0].schedule) if recorders else None,
        "series": [
            {
                "name": item.name,
                "schedule": schedules.to_dict(item.schedule),
                "user": item.function is not None,
            }
            for item in observers
            if isinstance(item, Series)
        ],
        "stop_on_nonfinite": any(isinstance(item, StopOnNonFinite) for item in observers),
    }
    for kind in (Events, W2):
        found |= {item.name: item.to_dict() for item in observers if isinstance(item, kind)}
    if others := [item for item in observers if not item.own]:
        found["others"] = [of_own(item) for item in others]
    return found


def of_own(observer: Observer) -> dict[str, Any]:
    """What a file says of an observer of a user's class."""
    return {"name": observer.name, "class": type(observer).__name__, **observer.to_dict()}


def from_dict(
    data: dict[str, Any],
    functions: dict[str, Callable],
    others: Sequence[Observer],
    recorder: Callable[[Any], Recorder],
) -> list[Observer]:
    """The observers of a file; functions of its series and `others` are what no file holds."""
    found: list[Observer] = [recorder(schedules.from_dict(data["recorder"]))]
    for item in data["series"]:
        schedule = schedules.from_dict(item["schedule"])
        found.append(Series(item["name"], schedule, functions.get(item["name"])))
    if "events" in data:
        found.append(Events.from_dict(data["events"]))
    if "w2" in data:
        found.append(W2.from_dict(data["w2"]))
    if data["stop_on_nonfinite"]:
        found.append(StopOnNonFinite())
    wanted = {item["name"] for item in data.get("others", ())}
    return [*found, *(item for item in others if item.name in wanted)]
