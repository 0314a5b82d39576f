"""Fills tests/bench/README.md from the bench's JSON, which it copies next to this file: no number
is typed by hand.
"""

from __future__ import annotations

import importlib
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from .sections import markdown

BLOCK = re.compile(r"(<!-- bench (\w+): [^>]*-->\n).*?(<!-- bench end -->)", re.S)
STORED = Path(__file__).with_name("measured.json")
PAGE = Path(__file__).with_name("README.md")
NAMES = {"numpy": "NumPy", "numba": "numba", "torch": "torch", "jax": "JAX"}


def conditions(report: dict[str, Any]) -> str:
    """One sentence: what was measured on."""
    machine = report["machine"]
    versions = ", ".join(
        f"{name} {machine['versions'][key]}"
        for key, name in NAMES.items()
        if machine["versions"].get(key)
    )
    peaks = " and ".join(
        f"{value:.0f} ({dtype})" for dtype, value in sorted(report["gigaflops"].items())
    )
    peak = f", {peaks} GFLOP/s of multiply-adds" if peaks else ""
    dates = sorted({result["date"] for result in report["results"]})
    when = f"{dates[0]}{f' to {dates[-1]}' if len(dates) > 1 else ''}"
    where = (
        f"{machine['cpu'] or machine['architecture']}, {machine['cores']} cores, "
        f"{machine['memory_gb']:.0f} GB{peak}"
    )
    return f"{where}; {versions}; {when}."


def table(report: dict[str, Any], name: str) -> str:
    """Markdown of one section, in the order of its cases."""
    section = importlib.import_module(f".{name}", __package__)
    order = {case.name: place for place, case in enumerate(section.cases())}
    rows = [
        result
        for result in report["results"]
        if result["section"] == name and result["case"] in order
    ]
    return markdown(section, sorted(rows, key=lambda result: order[result["case"]]))


def filled(text: str, report: dict[str, Any]) -> str:
    """The page with its blocks made again; that of a section which was not measured stays as it is.
    ValueError without any.
    """
    measured = {result["section"] for result in report["results"]}

    def block(match: re.Match[str]) -> str:
        begin, name, end = match.groups()
        if name == "machine":
            return f"{begin}\n{conditions(report)}\n\n{end}"
        return f"{begin}\n{table(report, name)}\n\n{end}" if name in measured else match[0]

    text, found = BLOCK.subn(block, text)
    if not found:
        raise ValueError("the page has no <!-- bench SECTION: … --> … <!-- bench end --> to fill.")
    return text


def fill(path: Path) -> int:
    if not path.is_file():
        print(f"{path} is not there: run scripts/bench first.", file=sys.stderr)
        return 4
    report = json.loads(path.read_text(encoding="utf-8"))
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), report), encoding="utf-8")
    if path.resolve() != STORED:
        shutil.copyfile(path, STORED)
    return 0
