"""Fills the README's performance tables from the bench's JSON, which it copies beside this file: no number is typed by hand."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from .sections import markdown

SHOWN = ("steps", "kernels", "w2", "runs", "memory", "start")
BLOCK = re.compile(r"(<!-- bench:begin[^>]*-->\n).*?(<!-- bench:end -->)", re.S)
STORED = Path(__file__).with_name("measured.json")


def tables(report: dict[str, Any]) -> str:
    """Markdown: what was measured on, and a table for each section."""
    machine, results = report["machine"], report["results"]
    names = {"numpy": "NumPy", "numba": "numba", "torch": "torch", "jax": "JAX"}
    versions = ", ".join(f"{names[name]} {machine['versions'][name]}" for name in names if machine["versions"].get(name))
    dates = sorted({result["date"] for result in results})
    peaks = " and ".join(f"{value:.0f} ({dtype})" for dtype, value in sorted(report["gigaflops"].items()))
    peak = f"; multiply-adds measured on the spot, {peaks} GFLOP/s" if peaks else ""
    where = f"{machine['cpu'] or machine['architecture']}, {machine['cores']} cores, {machine['memory_gb']:.0f} GB{peak}"
    lines = [f"{where}; {versions}; {dates[0]}{f' … {dates[-1]}' if len(dates) > 1 else ''}."]
    for name in SHOWN:
        section = importlib.import_module(f".{name}", __package__)
        order = {case.name: place for place, case in enumerate(section.cases())}
        rows = sorted(
            (item for item in results if item["section"] == name and item["case"] in order), key=lambda item: order[item["case"]]
        )
        if rows:
            lines += ["", markdown(section, rows)]
    return "\n".join(lines)


def filled(text: str, report: dict[str, Any]) -> str:
    """The README with its block made anew; ValueError where it has none."""
    text, found = BLOCK.subn(lambda match: f"{match[1]}\n{tables(report)}\n\n{match[2]}", text)
    if not found:
        raise ValueError("the README has no <!-- bench:begin … --> … <!-- bench:end --> to fill.")
    return text


def fill(path: Path, root: Path) -> int:
    if not path.is_file():
        print(f"{path} is not there: run scripts/bench first.", file=sys.stderr)
        return 4
    readme = root / "README.md"
    readme.write_text(filled(readme.read_text(encoding="utf-8"), json.loads(path.read_text(encoding="utf-8"))), encoding="utf-8")
    if path.resolve() != STORED:
        shutil.copyfile(path, STORED)
    return 0
