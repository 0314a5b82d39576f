"""Fills the table of displacement and W2 in sims/README.md from that of the demo.

python -m sims.commands.readme RESULTS.csv PAGE
"""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path

import numpy as np

BLOCK = re.compile(r"(<!-- table:begin[^>]*-->\n).*?(<!-- table:end -->)", re.S)
TITLES = {
    "digits": "handwritten digits, odd against even",
    "teacher_student": "a teacher of three neurons",
}


def table(rows: list[dict[str, str]]) -> str:
    """Markdown: for each task and γ the mean over seeds of RMS displacement and W2(μ_0, μ_T),
    against m, and the slope.
    """
    widths = sorted({int(row["m"]) for row in rows})
    lines = []
    for task in dict.fromkeys(row["task"] for row in rows):
        title = TITLES.get(task, task)
        lines += [
            f"| {title} | " + " | ".join(f"m = {m}" for m in widths) + " | slope | theory γ - 1 |",
            "|---" * (len(widths) + 3) + "|",
        ]
        for gamma in sorted({float(row["gamma"]) for row in rows}):
            cells, moved = [], []
            for m in widths:
                chosen = [
                    row
                    for row in rows
                    if (row["task"], float(row["gamma"]), int(row["m"])) == (task, gamma, m)
                ]
                moved.append(np.mean([float(row["displacement"]) for row in chosen]))
                cells.append(
                    f"{moved[-1]:.3g}, W2 {np.mean([float(row['w2_upper']) for row in chosen]):.3g}"
                )
            slope = round(np.polyfit(np.log(widths), np.log(moved), 1)[0], 2) + 0.0  # no minus zero
            lines.append(
                f"| RMS displacement at γ = {gamma:g} | "
                + " | ".join(cells)
                + f" | {slope:.2f} | {gamma - 1:g} |"
            )
        lines.append("")
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    if len(argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    with open(argv[0], newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    readme = Path(argv[1])
    text, found = BLOCK.subn(
        lambda match: f"{match[1]}\n{table(rows)}\n{match[2]}", readme.read_text(encoding="utf-8")
    )
    if not found:
        print(
            f"{readme} has no <!-- table:begin … --> … <!-- table:end --> to fill.", file=sys.stderr
        )
        return 4
    readme.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
