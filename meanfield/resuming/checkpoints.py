"""Checkpoints of earlier versions, as this one reads them."""

from __future__ import annotations

from typing import Any

VERSION = 2
OF_CLOCK = ("dt", "t_end", "dt_start", "leg_step", "leg_t", "leg_count", "energy_least")
OF_MARCH = ("path", "dissipated", "energy_start", "motion")


def current(memory: dict[str, Any]) -> dict[str, Any]:
    """The memory of a checkpoint in the layout of this version; ValueError for one of a later
    version.
    """
    version = memory.get("version", 1)
    if version > VERSION:
        raise ValueError(
            f"the checkpoint has layout {version}, and this version of meanfield knows "
            f"layouts up to {VERSION}: "
            "resume the run with a newer one."
        )
    return memory if version == VERSION else _from_1(memory)


def _from_1(memory: dict[str, Any]) -> dict[str, Any]:
    """Layout 1 had one flat group for the march, and the positions of schedules by short keys."""
    old = memory["march"]
    clock = {name: old[name] for name in OF_CLOCK if name in old}
    march = {
        "particles": {name: old[name] for name in ("theta", "step", "t")},
        "method": {},
        "clock": {**clock, "halvings": old["halvings"]},
        **{name: old[name] for name in OF_MARCH if name in old},
    }

    observers: dict[str, Any] = {}
    for name, position in memory["positions"].items():
        key, kept = f"series {name}", {}
        if name == "":
            key, kept = "recorder", {"last": memory["last_frame"]}
        elif name in ("/events", "/w2"):
            key, kept = name[1:], memory[name[1:]]
        observers[key] = {"position": position, "memory": kept}

    return {
        "version": VERSION,
        "march": march,
        "observers": observers,
        "span": memory["span"],
        "mended": memory.get("mended", []),
        "observe": list(observers) if memory.get("observe") else [],
    }
