"""Fills tests/bench/README.md from the bench's JSON, which it copies next to this file: no number
is typed by hand.
"""

from __future__ import annotations

import importlib
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from .report import read
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
    rows.sort(key=lambda result: order[result["case"]])
    if not rows:
        return "Not yet measured."
    lacking = len(order) - len(rows)
    rest = f"\n\nNot yet measured: {lacking} of {len(order)} cases." if lacking else ""
    return markdown(section, rows) + rest


def filled(text: str, report: dict[str, Any]) -> str:
    """The page with its blocks made again. ValueError without any."""

    def block(match: re.Match[str]) -> str:
        begin, name, end = match.groups()
        text = conditions(report) if name == "machine" else table(report, name)
        return f"{begin}\n{text}\n\n{end}"

    text, found = BLOCK.subn(block, text)
    if not found:
        raise ValueError("the page has no <!-- bench SECTION: … --> … <!-- bench end --> to fill.")
    return text


def fill(path: Path) -> int:
    if not path.is_file():
        print(f"{path} is not there: run scripts/bench first.", file=sys.stderr)
        return 4
    try:
        page = filled(PAGE.read_text(encoding="utf-8"), read(path))
        PAGE.write_text(page, encoding="utf-8")
        if path.resolve() != STORED:
            shutil.copyfile(path, STORED)
    except (OSError, ValueError) as error:
        print(f"scripts/bench --readme: {error}", file=sys.stderr)
        return 2
    return 0
