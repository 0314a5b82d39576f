"""Values kept beside a run, in run.h5.diagnostics/: one JSON file for each diagnostic, {key: value}, replaced atomically.

A key is the digest of all that a value depends on, so nothing here can be out of date; the folder may be deleted at any time.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from ..files.durable import canonical_json, replacing
from .registry import Diagnostic


def folder_of(path: Path) -> Path:
    """run.h5.diagnostics, for run.h5 and for run.h5.parts."""
    return path.with_name(path.name.removesuffix(".parts") + ".diagnostics")


class Cache:
    """The values of one run. A folder that cannot be written is said once, in a warning; the values are then not kept."""

    def __init__(self, path: Path) -> None:
        self.folder, self.writable = folder_of(path), True

    def read(self, name: str) -> dict[str, Any]:
        """All stored values of a diagnostic; none where the file is missing or unreadable, for they can be computed again."""
        try:
            content = json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        values = content.get("values") if isinstance(content, dict) else None
        return values if isinstance(values, dict) else {}

    def write(self, diagnostic: Diagnostic, values: dict[str, Any]) -> None:
        """Add values to what is stored by now."""
        if not values or not self.writable:
            return
        about = {
            "name": diagnostic.name,
            "unit": diagnostic.unit,
            "version": diagnostic.version,
            "meaning": diagnostic.meaning,
        }
        target = self.folder / f"{diagnostic.name}.json"
        try:
            self.folder.mkdir(exist_ok=True)
            text = canonical_json({**about, "values": {**self.read(diagnostic.name), **values}})
            with replacing(target) as new:
                new.write_text(text, encoding="utf-8")
        except OSError as error:
            self.writable = False
            warnings.warn(
                f"diagnostics are computed but not kept: {self.folder} cannot be written ({error.strerror}).",
                stacklevel=5,
            )
