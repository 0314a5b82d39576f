"""Whether the first row of a table of text names the columns, and which columns number the rows.

A reader that guesses silently turns a header into a sample or a row number into an input. Here a
guess is made only where one reading is the likelier by far; where two are left, the user is asked
for header=True or False.
"""

from __future__ import annotations

import re
import warnings
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROW_NAMES = {
    "id", "index", "idx", "row", "row_id", "rowid", "row_number", "no", "no.", "nr", "nr.",
    "number", "obs", "case"
}  # fmt: skip
MISSING = {
    "na", "n/a", "#n/a", "nan", "<na>", "n.a.", "nat", "null", "none", "nil", "missing",
    "?", "-", "--", ".", "..", ""
}  # fmt: skip
TRUTHS = {"true", "false"}
_WHOLE = re.compile(r"\d+")
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?", re.IGNORECASE)
_NAME = re.compile(r"[^\W\d]|[\"'#(\[<%$]")  # how a name begins: not like a number that went wrong


class Row(NamedTuple):
    """One row that is not blank, and the number of its last line in the file."""

    line: int
    cells: list[str]


def has_header(path: Path, rows: list[Row], wanted: set[str]) -> bool:
    """Whether the first row holds names; ValueError where both readings are likely.

    It does where no cell of it is a number, where columns are asked for by names that stand in it,
    where a cell of it is a word over a column of numbers, or where it counts 0, 1, …, k-1 as pandas
    names the columns of an array.
    """
    first, others = [cell.strip() for cell in rows[0].cells], rows[1:]
    if wanted and wanted <= set(first):
        return True
    numbers = [cell for cell in first if is_number(cell)]
    if not numbers:
        like_numbers = [
            cell
            for cell in first
            if DECIMAL_COMMA.fullmatch(cell) or cell.lower() in MISSING | TRUTHS
        ]
        return len(like_numbers) < len(first) and all(
            _NAME.match(cell) for cell in first if cell and cell not in like_numbers
        )
    words = [
        j
        for j, cell in enumerate(first)
        if _NAME.match(cell) and cell.lower() not in MISSING | TRUTHS
    ]
    if any(others and all(is_number(cell) for cell in _column(others, j)) for j in words):
        return True
    nameless = not first[0]
    count = first[1:] if nameless else first
    if len(count) < 2 - nameless or len(others) == 0:
        return False
    if count == [str(j) for j in range(len(count))]:
        if nameless or not _also_a_sample(count, others):
            return True
        raise _ask(path, first)
    if len(count) >= 3 and all(_WHOLE.fullmatch(cell) for cell in count):
        steps = {int(right) - int(left) for left, right in pairwise(count)}
        if (
            len(steps) == 1
            and min(steps) > 0
            and any(_all_decimal(_column(others, j)) for j in range(len(first)))
        ):
            raise _ask(path, first)
    return False


def _all_decimal(cells: list[str]) -> bool:
    """Numbers of which each has a decimal point or an exponent."""
    return all(
        is_number(cell) and not _WHOLE.fullmatch(cell.strip().lstrip("+-")) for cell in cells
    )


def _also_a_sample(count: list[str], others: list[Row]) -> bool:
    """Whether 0, 1, …, k-1 may as well be the first of the samples below: they go on from it
    evenly, or are few and whole.
    """
    table = [[cell.strip() for cell in row.cells] for row in others]
    if len(count) == 2 and all(
        _WHOLE.fullmatch(cell.lstrip("+-")) for row in table for cell in row
    ):
        return True
    if len(table[0]) != len(count) or not all(is_number(cell) for row in table for cell in row):
        return False
    steps = {round(float(cell) - j, 9) for j, cell in enumerate(table[0])}
    if len(steps) == 1:
        return True  # the next row is this one, moved
    leading = np.array([0.0, *(float(row[0]) for row in table)])
    even = np.diff(leading)
    return len(even) > 1 and even[0] != 0 and bool(np.allclose(even, even[0], rtol=1e-6, atol=0.0))


def _ask(path: Path, first: list[str]) -> ValueError:
    shown = ", ".join(first[:4]) + (", …" if len(first) > 4 else "")
    return ValueError(
        f"{path.name}: the first line ({shown}) may be the names of the columns, as "
        "pandas writes them, or a sample. "
        "Say which by header=True or header=False."
    )


def without_row_numbers(
    path: Path, inputs: list[int], columns: list[str], rows: list[Row]
) -> list[int]:
    """The inputs without the columns that pandas and R put before a table; a word where a target or
    an input may be one.
    """
    leading = 0
    while leading < len(columns) and _is_row_number(columns[leading], leading, rows):
        leading += 1
    if leading and inputs and inputs[-1] < leading:
        raise ValueError(
            f"{path.name}: beside the target there is only a first column without a name, "
            "as pandas and R write row numbers. "
            "Take it as the input by x=0."
        )
    if any(j not in inputs for j in range(leading)):
        _say(f"{path.name}: the target is the first column, which has no name, as pandas and R write row numbers: the columns' "
             "numbers count it. Name the target you mean: y=\"…\".")  # fmt: skip
    elif leading:
        _say(f"{path.name}: the first column has no name, as pandas and R write row numbers; it is left out, but the columns' "
             "numbers count it. x=[0, …] takes it in, to_csv(path, index=False) does not write it.")  # fmt: skip
    elif (
        0 in inputs
        and columns[0].lower() in ROW_NAMES
        and len(inputs) > 1
        and _counts(_column(rows, 0))
    ):
        _say(f"{path.name}: the first column, {columns[0]!r}, counts the rows, and is taken as an input. If it is a row number, "
             "leave it out: x=[…] names the inputs.")  # fmt: skip
    return [j for j in inputs if j >= leading]


def _is_row_number(name: str, j: int, rows: list[Row]) -> bool:
    """Whether column j is what pandas and R put before a table: a first one without a name, or a
    row number that pandas named.
    """
    return (j == 0 and not name) or (name.startswith("Unnamed: ") and _counts(_column(rows, j)))


def _counts(cells: list[str]) -> bool:
    """0, 1, … or 1, 2, …"""
    return any(
        [cell.strip() for cell in cells] == [str(i + first) for i in range(len(cells))]
        for first in (0, 1)
    )


def _say(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=5)


def _column(rows: list[Row], j: int) -> list[str]:
    return [row.cells[j] if j < len(row.cells) else "" for row in rows]


def is_number(cell: str) -> bool:
    """Whether float() reads it; Python's own 1_000 is no number of a table."""
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell
