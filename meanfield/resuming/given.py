"""What is given to go on with a run, held against what its file keeps: the flow, user-written
functions and observers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..files.durable import canonical_json
from ..files.opening import last_memory
from ..files.trajectory import Trajectory
from ..flow import GradientFlow
from ..observers import settings
from ..observers.protocol import Observer
from . import identity
from .settings import settings_that_differ


def flow_of(
    run: Trajectory,
    path: Path,
    flow: GradientFlow | None,
    functions: dict[str, Callable],
    observers: Sequence[Observer],
    compare: bool,
) -> GradientFlow:
    """The flow of a file's run: the one given, else made again from the file; ValueError for what
    no file holds. compare: hold what is user-written against what the file keeps of it.
    """
    config = run.config
    if flow is None:
        flow = run.flow(config["flow"]["backend"])  # its own: another device has other bits
    elif differing := settings_that_differ(
        json.loads(canonical_json(flow.to_dict())), config["flow"]
    ):
        raise ValueError(
            f"flow= is not the flow of {path}; different here: {'; '.join(differing)}."
        )
    user = [item["name"] for item in config["observers"]["series"] if item["user"]]
    if missing := [name for name in user if name not in functions]:
        needed = ", ".join(f"{name!r}: …" for name in missing)
        raise ValueError(f"{path} has user-written series: pass functions={{{needed}}}.")
    _check_observers(config["observers"].get("others", ()), path, observers)
    series = {
        item["name"]: functions[item["name"]] if item["user"] else None
        for item in config["observers"]["series"]
    }
    if compare and (differing := written_differently(run, path, flow, series)):
        raise ValueError(
            f"flow= or functions= are not those of {path}; different here: "
            f"{'; '.join(differing)}. Pass what the run began with; "
            "to change it, start a run of another name."
        )
    return flow


def _check_observers(
    kept: Sequence[dict[str, Any]], path: Path, observers: Sequence[Observer]
) -> None:
    """Raise unless the observers of the user's own are those that the file keeps."""
    given, theirs = {item.name for item in observers}, {item["name"]: item for item in kept}
    if missing := [name for name in theirs if name not in given]:
        raise ValueError(
            f"{path} has observers of your own: pass observers=[…] with one named {missing[0]!r}."
        )
    mended = last_memory(path).get("mended", ()) if observers else ()
    for found in observers:
        if found.name not in theirs:
            raise ValueError(
                f"{path} has no observer {found.name!r}: its series and its own observers are in the file."
            )
        ours = json.loads(canonical_json(settings.of_own(found)))
        if found.name in mended:  # it raised: another class may stand in
            ours["class"] = theirs[found.name]["class"]
        if differing := settings_that_differ(ours, theirs[found.name]):
            raise ValueError(
                f"the observer {found.name!r} is not that of {path}; different here: {'; '.join(differing)}."
            )


def written_differently(
    stored: Trajectory, path: Path, flow: GradientFlow, functions: dict[str, Callable | None]
) -> list[str]:
    """Of user-written formulas and series, given as series -> function: what differs from those of
    the file.
    """
    if not stored.identity:
        return []
    mended = last_memory(path).get("mended", ())  # series whose functions have raised
    return identity.differing(
        identity.of(flow, functions, stored.start), stored, flow, functions, mended
    )
