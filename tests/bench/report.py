"""The JSON of the bench: {"machine": …, "gigaflops": …, "results": […], "failed": {case: why}}."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any


class Report:
    """One file, written again after every case. Results of other cases of the same machine and
    versions stay. ValueError, before any work, where the file is none of ours or cannot be written.
    """

    def __init__(self, path: Path, **of_machine: str) -> None:
        from .machine import machine

        self.path = path
        self.content: dict[str, Any] = {
            "machine": {**machine(), **of_machine},
            "gigaflops": {},
            "results": [],
        }
        try:
            path.parent.mkdir(exist_ok=True)
            before = read(path) if path.exists() else self.content
            self._beside.write_text("", encoding="utf-8")
            self._beside.unlink()
        except OSError as error:
            raise ValueError(
                f"--json {path}: cannot be written ({error.strerror}); nothing was measured. Name "
                "another file."
            ) from None
        if before["machine"] == self.content["machine"]:
            self.content = before
        else:
            names = itertools.chain(
                [".other.json"], map(".other-{}.json".format, itertools.count(2))
            )
            kept = next(other for name in names if not (other := path.with_suffix(name)).exists())
            path.replace(kept)
            print(
                f"{path} is of another machine or of other versions: kept as {kept.name}",
                file=sys.stderr,
            )

    def add(self, result: dict[str, Any], gigaflops: dict[str, float]) -> None:
        key = result["section"], result["case"]
        others = [
            item for item in self.content["results"] if (item["section"], item["case"]) != key
        ]
        self.content["results"] = [*others, result]
        self.content["gigaflops"] = {**self.content["gigaflops"], **gigaflops}
        self.content.get("failed", {}).pop(result["case"], None)
        self._write()

    def failed(self, case: str, why: str) -> None:
        self.content.setdefault("failed", {})[case] = why
        self._write()

    def tests(self, found: dict[str, Any]) -> None:
        self.content["tests"] = found
        self._write()

    @property
    def _beside(self) -> Path:
        return self.path.with_name(f".{self.path.name}.new")

    def _write(self) -> None:
        self._beside.write_text(json.dumps(self.content, indent=1) + "\n", encoding="utf-8")
        self._beside.replace(self.path)


def read(path: Path) -> dict[str, Any]:
    """The content of a report. ValueError where it is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content["machine"], content["gigaflops"], content["results"]
    except (UnicodeDecodeError, ValueError, KeyError, TypeError):
        raise ValueError(
            f"{path} is no report of scripts/bench. Move it away, or name another file: --json FILE."
        ) from None
    return content


def goals(results: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """(reached, missed), a line each."""
    lines: tuple[list[str], list[str]] = [], []
    for result in results:
        for goal in result["goals"]:
            lines[not goal["reached"]].append(f"{result['case']}: {goal['text']}")
    return lines
