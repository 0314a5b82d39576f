"""In which settings two stored runs differ, by the names that a user knows: temperature, dt, ridge."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

MOST_TEXT = 40
NOISE_SEED, SAMPLING_SEED = "noise seed", "sampling seed"
SEEDS = (NOISE_SEED, SAMPLING_SEED)
# a file has these only where they are not the default
DEFAULTS = {"jumps": False, "resample": 0.0, "jitter": 0.0}
# rows of their own in a comparison, or no settings of the flow
ELSEWHERE = "seed law m dim outputs t_end step_start observers time_unit".split()
FOLLOWS = ("scaling", "traits", "y_dtype")  # has rows of its own, or follows from other settings
WITHIN = ("flow", "functional", "risk", "network")  # left out of a name
NAMES = {
    "flow.seed": NOISE_SEED,
    "flow.functional.seed": SAMPLING_SEED,
    "flow.functional.size": "batch size",
    "flow.functional.kind": "functional",
    "integrator.name": "integrator",
}


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """name -> (value of a, value of b) for each setting of two configurations that differs, None
    where one has none. Apart from gamma, alpha, the law at the start and the sizes.
    """
    first, second = _flat(a), _flat(b)
    found = {
        name: (first.get(name), second.get(name))
        for name in dict.fromkeys([*first, *second])
        if first.get(name) != second.get(name)
    }
    same_samples = "data.sha256" in first and "data.sha256" not in found
    if same_samples:  # whatever the data set is called, and whether a file has its test part
        found = {name: pair for name, pair in found.items() if name.split(".")[0] != "data"}
    return {name.removesuffix(".sha256"): pair for name, pair in found.items()}


def text(value: Any) -> str:
    """A value in a sentence."""
    if isinstance(value, float):
        return f"{value:g}"
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return "-" if value is None else shown if len(shown) <= MOST_TEXT else f"{shown[:MOST_TEXT]}…"


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Every leaf under its shortest name: a network stands in two places, and the risk of
    mini-batches within another functional.
    """
    found: dict[str, Any] = dict(DEFAULTS) if config.get("flow") else {}

    def collect(settings: Mapping[str, Any], path: tuple[str, ...]) -> None:
        for key, value in settings.items():
            here = (*path, key)
            if key in FOLLOWS or here[-2:] == ("risk", "kind"):
                continue
            if isinstance(value, Mapping):
                collect(value, here)
                continue
            short = ".".join(part for part in here if part not in WITHIN)
            name = NAMES.get(".".join(here), short)
            if name:  # "network": None has none
                found[name] = f"hash {value:.8}" if key == "sha256" else value

    collect({key: value for key, value in config.items() if key not in ELSEWHERE}, ())
    return found
