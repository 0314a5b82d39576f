"""In which settings two configurations differ, in words."""

from __future__ import annotations

import json
from typing import Any

from ..features import protocol as features

MOST_TEXT = 60


def settings_that_differ(ours: Any, theirs: Any) -> list[str]:
    """`gamma 0.5, in the file 1 (network.scaling.gamma)` for each setting that differs."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for path, here, there in _differences(_of_today(ours), _of_today(theirs), ()):
        name = path[-1] if "network" in path else ".".join(path)  # a network stands in two places
        shown = (_text(here), _text(there))
        if path[-1] == "sha256":
            name = f"the {path[-2] if len(path) > 1 else 'data'}"
            shown = (f"of hash {here!s:.8}", f"of hash {there!s:.8}")
        found.setdefault((name, *shown), []).append(".".join(path))
    return [
        f"{name} {here}, in the file {there}"
        + (f" ({', '.join(paths)})" if paths != [name] else "")
        for (name, here, there), paths in found.items()
    ]


def _of_today(settings: Any) -> Any:
    """Settings in which features have the names of today."""
    if not isinstance(settings, dict):
        return settings
    found = {name: _of_today(value) for name, value in settings.items()}
    if isinstance(found.get("feature"), dict):
        found["feature"] = features.of_today(found["feature"])
        found["activation"] = found["feature"]["name"]
    return found


def _differences(
    ours: Any, theirs: Any, path: tuple[str, ...]
) -> list[tuple[tuple[str, ...], Any, Any]]:
    """(names on the way, our value, theirs) of each leaf that differs; None stands for what one of
    them lacks.
    """
    if isinstance(ours, list) and isinstance(theirs, list):
        ours, theirs = _by_name(ours, theirs), _by_name(theirs, ours)
    if not (isinstance(ours, dict) and isinstance(theirs, dict)):
        return [] if ours == theirs else [(path or ("the configuration",), ours, theirs)]
    keys = sorted(ours.keys() | theirs.keys())
    return [
        found
        for key in keys
        for found in _differences(ours.get(key), theirs.get(key), (*path, str(key)))
    ]


def _by_name(value: list[Any], other: list[Any]) -> Any:
    """A list of settings with names, as a dictionary by these: an observer more does not shift the
    others.
    """
    named = all(isinstance(item, dict) and "name" in item for item in (*value, *other))
    return {item["name"]: item for item in value} if named else value


def _text(value: Any) -> str:
    if value is None:
        return "absent"
    if isinstance(value, float):
        return f"{value:.12g}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= MOST_TEXT else f"{text[:MOST_TEXT]}…"
