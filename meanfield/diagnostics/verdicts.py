"""What is said of two runs side by side: which is lazier and by how much, and what else differs."""

from __future__ import annotations

from typing import Any

import numpy as np

from .settings import text

KNOWN = 1e3  # factors between two seeds above it mean that they are not known
# kernel drifts up to the first are called lazy, from the second on far from it
LAZY, RICH = 0.1, 0.5


def verdict(
    names: tuple[str, str],
    rows: dict[str, tuple[Any, Any]],
    reaches: dict[str, float] | None = None,
    seeds_alone: bool = False,
    settings: dict[str, tuple[Any, Any]] | None = None,
    beneath_table: bool = False,
) -> str:
    """Lazier is the run whose kernel drifted less; where there is no drift, the one whose neurons
    moved less. Particles that are no neurons have moved more or less, no more is said of them.
    reaches: the factors by which two seeds of one setting differ, empty for two runs from one
    start; seeds_alone: the two runs are two such seeds; settings: those that differ besides;
    beneath_table: of the rows, whose order what differs keeps: said where the lazier run, which is
    named first, is the second.
    """
    differences = _differences(rows, settings or {})
    measured = [
        (what, rows[what])
        for what in ("kernel drift", "RMS displacement")
        if None not in rows[what]
    ]
    if not measured:
        return (
            "Which run is lazier cannot be said: neither drift nor displacement is known for both."
        )
    if seeds_alone:
        found = ", ".join(f"{what} {pair[0]:.3g} and {pair[1]:.3g}" for what, pair in measured)
        return (
            f"Two seeds of one setting: {found}. So much do seeds differ; of laziness "
            "this says nothing."
        )
    reaches = reaches or {}
    what, pair = measured[0]
    less, more = sorted(pair)
    if more <= 1.1 * less:
        alike = _alike(what, more) if _of_networks(rows) else "Neither moved more"
        return f"{alike}: {what} {pair[0]:.3g} and {pair[1]:.3g}, within 10 %.{differences}"
    beyond = [
        (kind, values)
        for kind, values in measured
        if max(values) > reaches.get(kind, 1.1) * min(values)
    ]
    if not beyond:
        found = ", ".join(
            f"{kind} {values[0]:.3g} and {values[1]:.3g} ({_scatter(reaches[kind])})"
            for kind, values in measured
        )
        return f"No difference beyond what two seeds differ by: {found}.{differences}"
    measured, (what, pair) = beyond, beyond[0]
    less = min(pair)
    first = 0 if pair[0] < pair[1] else 1
    numbers = [
        f"{kind} {values[first]:.3g} against {values[1 - first]:.3g} "
        f"({_factor(values[first], values[1 - first])})"
        for kind, values in measured
    ]
    far = " Both are far from lazy." if what == "kernel drift" and less >= RICH else ""
    if beneath_table and first == 1 and " against " in differences:
        differences = f" What follows is {names[0]} against {names[1]}.{differences}"
    lazier = "is lazier" if _of_networks(rows) else "moved less"
    return (
        f"{names[first]} {lazier} than {names[1 - first]}: {', '.join(numbers)}.{far}{differences}"
    )


def _scatter(factor: float) -> str:
    """How far two seeds of one setting are apart, in words."""
    if factor > KNOWN:
        return "how far two seeds of one setting differ is not known"
    return f"two seeds of one setting: up to a factor {factor:.3g}"


def _of_networks(rows: dict[str, tuple[Any, Any]]) -> bool:
    return None not in rows.get("gamma", ())


def _alike(what: str, value: float) -> str:
    """What two runs of about the same drift are; a displacement alone, in the units of θ, does not
    say it.
    """
    if value == 0:
        return "Equally lazy"
    if what != "kernel drift" or LAZY < value < RICH:
        return "Neither is lazier"
    return "Equally lazy" if value <= LAZY else "Equally far from lazy"


def unlike(rows: dict[str, tuple[Any, Any]]) -> dict[str, str]:
    """What besides the settings differs between the runs: name -> how."""
    found = {
        what: f"{what} ({pair[0]} against {pair[1]})"
        for what in ("m", "d", "K")
        if (pair := rows[what])[0] != pair[1]
    }
    if rows["initial law"][0] != rows["initial law"][1]:
        found["initial law"] = "initial law"
    if not np.isclose(*(times := rows["flow time"])):
        found["flow time"] = f"flow time ({times[0]:g} against {times[1]:g})"
    return found


def _differences(rows: dict[str, tuple[Any, Any]], settings: dict[str, tuple[Any, Any]]) -> str:
    """What else differs between the runs, for a verdict to be taken with it."""
    found = list(unlike(rows).values())
    found += [f"{name} ({how})" for name, how in _with_data_once(settings).items()]
    return f" They differ in {', '.join(found)}, too." if found else ""


def _with_data_once(settings: dict[str, tuple[Any, Any]]) -> dict[str, str]:
    """Setting -> how it differs. Data are one item, by their names, else that they were made with
    other arguments, else by their hashes; the table has the rest.
    """
    how = {name: f"{text(a)} against {text(b)}" for name, (a, b) in settings.items()}
    data = {name: said for name, said in how.items() if name.split(".")[0] == "data"}
    names = data.get("data.name") or data.get("data.origin.maker")
    made = any(name.startswith("data.origin.arguments.") for name in data)
    said = names or ("other arguments" if made else data.get("data"))
    if said is None:
        return how
    return {"data": said} | {name: how[name] for name in how if name not in data}


def _factor(own: float, other: float) -> str:
    if own == 0 or other == 0:
        return "one of them did not move"
    return f"{other / own:.3g} times less" if own <= other else f"{own / other:.3g} times more"
