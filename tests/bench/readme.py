"""Fills tests/bench/README.md from the bench's JSON, which it keeps next to this file: no number is
typed by hand.

A table is of one machine. measured.json is the report of the machine that was measured last; what
only others have measured lies in it under "elsewhere", as reports.
"""

from __future__ import annotations

import importlib
import json
import re
import string
import sys
from pathlib import Path
from typing import Any

from .report import read
from .sections import markdown

BLOCK = re.compile(r"(<!-- bench (\w+): [^>]*-->\n).*?(<!-- bench end -->)", re.S)
STORED = Path(__file__).with_name("measured.json")
PAGE = Path(__file__).with_name("README.md")
LETTERS = string.ascii_uppercase
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
    vectors = f"{machine['vectors']}, " if machine.get("vectors") else ""
    where = (
        f"{machine['cpu'] or machine['architecture']}, {vectors}{machine['cores']} cores, "
        f"{machine['memory_gb']:.0f} GB{peak}"
    )
    return f"{where}; {versions}; {when}."


def merged(report: dict[str, Any], stored: dict[str, Any]) -> dict[str, Any]:
    """This report with what is stored: the cases that it lacks if they are of its machine, and of
    other machines the sections that it lacks.
    """
    cases = {(result["section"], result["case"]) for result in report["results"]}
    sections = {name for name, _ in cases}
    whole, elsewhere = {**report, "results": [*report["results"]]}, []
    for other in reports(stored):
        same = other["machine"] == report["machine"]
        kept = [
            result
            for result in other["results"]
            if (result["section"], result["case"]) not in cases
            and (same or result["section"] not in sections)
        ]
        if same:
            whole["results"] += kept
            whole["gigaflops"] = {**other["gigaflops"], **report["gigaflops"]}
            sections |= {result["section"] for result in kept}
        elif kept:
            elsewhere.append({**other, "results": kept, "elsewhere": []})
    return {**whole, "elsewhere": elsewhere}


def reports(stored: dict[str, Any]) -> list[dict[str, Any]]:
    """One of each machine."""
    return [stored, *stored.get("elsewhere", [])]


def machines(stored: dict[str, Any]) -> str:
    """What was measured on, each with a letter if there are several."""
    found = [conditions(report) for report in reports(stored)]
    if len(found) == 1:
        return found[0]
    return "\n".join(f"- {letter}: {text}" for letter, text in zip(LETTERS, found, strict=False))


def tables(stored: dict[str, Any], name: str) -> str:
    """The section as the first machine has it that has measured it."""
    found = reports(stored)
    for letter, report in zip(LETTERS, found, strict=False):
        if any(result["section"] == name for result in report["results"]):
            where = f"Machine {letter}.\n\n" if len(found) > 1 else ""
            return where + table(report, name)
    return table(stored, name)


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
        text = machines(report) if name == "machine" else tables(report, name)
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
        stored = read(STORED)
        if path.resolve() != STORED:
            stored = merged(read(path), stored)
        page = filled(PAGE.read_text(encoding="utf-8"), stored)
        PAGE.write_text(page, encoding="utf-8")
        STORED.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    except (OSError, ValueError) as error:
        print(f"scripts/bench --readme: {error}", file=sys.stderr)
        return 2
    return 0
