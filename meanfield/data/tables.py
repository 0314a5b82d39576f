"""Tables of text (.csv, .tsv): which rows and columns are numbers, which are names, and what is
wrong where.

A reader that guesses silently turns a header into a sample or a row number into an input. Here a
guess is made only where one reading is the likelier by far; where two are left, the user is asked
for header=True or False.
"""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..checks import is_integer

Columns = str | int | Sequence[str | int]
DELIMITERS = {".csv": ",", ".tsv": "\t"}  # by the file's extension
ROW_NAMES = {
    "id",
    "index",
    "idx",
    "row",
    "row_id",
    "rowid",
    "row_number",
    "no",
    "no.",
    "nr",
    "nr.",
    "number",
    "obs",
    "case",
}
# between cells; a blank is asked about where there is one column only
MARKS = (
    ";",
    "\t",
    "|",
    ",",
    " ",
)
MISSING = {
    "na",
    "n/a",
    "#n/a",
    "nan",
    "<na>",
    "n.a.",
    "nat",
    "null",
    "none",
    "nil",
    "missing",
    "?",
    "-",
    "--",
    ".",
    "..",
    "",
}
TRUTHS = {"true", "false"}
_WHOLE = re.compile(r"\d+")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?", re.IGNORECASE)
_NAME = re.compile(r"[^\W\d]|[\"'#(\[<%$]")  # how a name begins: not like a number that went wrong


class Row(NamedTuple):
    """One row that is not blank, and the number of its last line in the file."""

    line: int
    cells: list[str]


def read(
    path: Path, x: Columns | None, y: Columns | None, header: bool | None, delimiter: str
) -> tuple[dict[str, np.ndarray], list[str]]:
    """({"x": (n, d), "y": (n,) or (n, K)}, names of the input columns). Rows are named by their
    line in the file.

    header None: as `mf.data.load` says. Warns where a column without a name is left out.
    """
    rows = _without_trailing_cells(_rows(path, delimiter))
    if not rows:
        raise ValueError(f"{path.name} is empty.")
    width = len(rows[0].cells)
    told = header is not None
    if header is None:
        header = _has_header(
            path, rows, {name for name in (*_listed(x), *_listed(y)) if isinstance(name, str)}
        )
    columns = (
        [cell.strip() for cell in rows.pop(0).cells] if header else [str(j) for j in range(width)]
    )
    if not rows:
        raise ValueError(f"{path.name} has a header but no rows.")
    if width < 2:
        raise ValueError(
            f"{path.name} has one column; inputs and a target need two. Is the delimiter "
            f"not {delimiter!r}? "
            f"Use delimiter=….{_other_delimiter(columns + rows[0].cells, delimiter, MARKS)}"
            f"{_comment(columns)}"
        )
    if header and all(len(row.cells) == width + 1 for row in rows):
        raise ValueError(
            f"{path.name} names {width} columns and each row has {width + 1}: row names "
            "without a name of their own, as R's "
            "write.table leaves them. Write the table without them (row.names=FALSE), or "
            "give their column a name."
        )
    targets = _positions(path, "y", -1 if y is None else y, columns, width, header)
    if x is None:
        inputs = [j for j in range(width) if j not in targets]
        if header:
            inputs = _without_row_numbers(path, inputs, columns, rows)
    else:
        inputs = _positions(path, "x", x, columns, width, header)
    if both := set(inputs) & set(targets):
        raise ValueError(
            f"{path.name}: column {columns[min(both)]!r} is both an input and a target."
        )
    table = _numbers(
        path, rows, columns, sorted({*inputs, *targets}), delimiter, guessed=not (header or told)
    )
    y_values = table[:, targets] if isinstance(y, (list, tuple)) else table[:, targets[0]]
    return {"x": table[:, inputs], "y": y_values}, [columns[j] for j in inputs]


def _rows(path: Path, delimiter: str) -> list[Row]:
    """The rows that are not blank."""
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '\r\n"':
        raise ValueError(
            f"delimiter must be one character, such as ',' or ';' or '\\t'; got {delimiter!r}."
        )
    try:
        # -sig: spreadsheets write a byte order mark
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
            return [
                Row(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)
            ]
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path.name} is not a text file of comma-separated values: {error}. "
            "A table in another encoding (UTF-16, Latin-1) has to be saved as UTF-8."
        ) from None
    except csv.Error as error:
        raise ValueError(
            f"{path.name} is not a text file of comma-separated values: {error}."
        ) from None


def _without_trailing_cells(rows: list[Row]) -> list[Row]:
    """Where a delimiter ends every row, it ends the row: there is no cell after it. The header may
    lack it, or alone have it.
    """
    if len(rows) < 2 or len(rows[0].cells) < 2:
        return rows
    first, others = rows[0].cells, rows[1:]
    open_ended = [not row.cells[-1].strip() for row in others]
    if all(open_ended) and (
        not first[-1].strip() or all(len(row.cells) == len(first) + 1 for row in others)
    ):
        others = [Row(row.line, row.cells[:-1]) for row in others]
        return [Row(rows[0].line, first if first[-1].strip() else first[:-1]), *others]
    if not first[-1].strip() and all(len(row.cells) == len(first) - 1 for row in others):
        return [Row(rows[0].line, first[:-1]), *others]
    return rows


def _has_header(path: Path, rows: list[Row], wanted: set[str]) -> bool:
    """Whether the first row holds names; ValueError where both readings are likely.

    It does where no cell of it is a number, where columns are asked for by names that stand in it,
    where a cell of it is a word over a column of numbers, or where it counts 0, 1, …, k-1 as pandas
    names the columns of an array.
    """
    first, others = [cell.strip() for cell in rows[0].cells], rows[1:]
    if wanted and wanted <= set(first):
        return True
    numbers = [cell for cell in first if _is_number(cell)]
    if not numbers:
        like_numbers = [
            cell
            for cell in first
            if _DECIMAL_COMMA.fullmatch(cell) or cell.lower() in MISSING | TRUTHS
        ]
        return len(like_numbers) < len(first) and all(
            _NAME.match(cell) for cell in first if cell and cell not in like_numbers
        )
    words = [
        j
        for j, cell in enumerate(first)
        if _NAME.match(cell) and cell.lower() not in MISSING | TRUTHS
    ]
    if any(others and all(_is_number(cell) for cell in _column(others, j)) for j in words):
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
        _is_number(cell) and not _WHOLE.fullmatch(cell.strip().lstrip("+-")) for cell in cells
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
    if len(table[0]) != len(count) or not all(_is_number(cell) for row in table for cell in row):
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


def _without_row_numbers(
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


def _numbers(
    path: Path, rows: list[Row], columns: list[str], used: list[int], delimiter: str, guessed: bool
) -> np.ndarray:
    """(n, width): the used columns as numbers; the others are not read."""
    table = np.empty((len(rows), len(columns)))
    for i, (line, row) in enumerate(rows):
        if len(row) != len(columns):
            raise ValueError(
                f"{path.name}, line {line}: {len(row)} cells, where the first line has "
                f"{len(columns)}."
                f"{_comment([*columns, *row])}"
            )
        for j in used:
            where = f"{path.name}, line {line}, column {j} ({columns[j]})"
            if not _is_number(row[j]):
                advice = _what_it_is(row[j].strip(), delimiter)
                maybe = (
                    " If this line holds the names of the columns, say header=True."
                    if guessed and i == 0
                    else ""
                )
                raise ValueError(f"{where}: {advice}.{maybe}")
            table[i, j] = float(row[j])
            if not np.isfinite(table[i, j]):
                raise ValueError(
                    f"{where}: {row[j]!r} is NaN or infinite. Remove such rows or fill "
                    "them before: a risk needs every value."
                )
    return table


def _what_it_is(cell: str, delimiter: str) -> str:
    """What a cell that is not a number seems to be, and what to do."""
    if not cell:
        return "the cell is empty: a missing value. Remove such rows or fill them before"
    if cell.lower() in MISSING:
        return (
            f"{cell!r} is a missing value. Remove such rows or fill them before: a risk "
            "needs every value"
        )
    if cell.lower() in TRUTHS:
        return (
            f"{cell!r} is no number: write 1 and 0 (squared loss) or 1 and -1 (logistic, "
            "hinge) for True and False"
        )
    if re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", cell):
        return (
            f"{cell!r} has a comma: write {cell.replace(',', '.')} or "
            f"{cell.replace(',', '')}, whichever is meant"
        )
    if _DECIMAL_COMMA.fullmatch(cell):
        point = cell.replace(",", ".")
        return (
            f"{cell!r} has a decimal comma: write {point}, in pandas read_csv(path, "
            f"sep={delimiter!r}, decimal=',').to_csv(…)"
        )
    if other := _other_delimiter([cell], delimiter):
        return f"{cell!r} is not a number.{other}".rstrip(".")
    if re.fullmatch(r"[+-]?\d{1,3}([,' \u00a0\u202f]\d{3})+(\.\d+)?", cell):
        return f"{cell!r} is not a number: write it without the marks between its thousands"
    if re.search(r"\d", cell) and not cell[0].isalpha():
        return f"{cell!r} is not a number: write it without units, marks and dates"
    return f"{cell!r} is not a number (text classes: number them first)"


def _comment(cells: list[str]) -> str:
    """A hint where a line may be a comment."""
    hint = " Comments, lines that begin with '#', are not read: delete them."
    return hint if any(cell.startswith("#") for cell in cells) else ""


def _other_delimiter(
    cells: list[str], delimiter: str, others: tuple[str, ...] = (";", "\t", "|", ",")
) -> str:
    """A hint where another delimiter stands in the cells."""
    for other in others:
        if other != delimiter and any(other in cell for cell in cells):
            return f" It holds {other!r}: is that the delimiter? delimiter={other!r}."
    return ""


def _positions(
    path: Path, argument: str, wanted: Any, columns: list[str], width: int, header: bool
) -> list[int]:
    """Columns given by name or number -> their numbers."""
    found = []
    for column in _listed(wanted):
        if isinstance(column, str) and header and columns.count(column) == 1:
            found.append(columns.index(column))
        elif is_integer(column) and -width <= column < width:
            found.append(int(column) % width)
        else:
            same = [str(j) for j, name in enumerate(columns) if name == column] if header else []
            listed = (
                f"the columns {', '.join(columns)}"
                if header
                else f"no header, and columns 0 … {width - 1}"
            )
            twice = (
                f" Columns {' and '.join(same)} have that name: take one by its number."
                if len(same) > 1
                else ""
            )
            raise ValueError(
                f"{path.name} has no single column {column!r} for {argument}; it has "
                f"{listed}.{twice}"
            )
    if not found or len(set(found)) != len(found):
        raise ValueError(
            f"{path.name}: {argument} must name at least one column, none twice; got {wanted!r}."
        )
    return found


def _listed(wanted: Any) -> list[Any]:
    """The columns asked for; none for None."""
    if wanted is None:
        return []
    return list(wanted) if isinstance(wanted, (list, tuple)) else [wanted]


def _column(rows: list[Row], j: int) -> list[str]:
    return [row.cells[j] if j < len(row.cells) else "" for row in rows]


def _is_number(cell: str) -> bool:
    """Whether float() reads it; Python's own 1_000 is no number of a table."""
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell
