"""Tables of text (.csv, .tsv): which columns are inputs and targets, their numbers, and what is wrong
where. What names the columns and numbers the rows: headers.py.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import is_integer
from .headers import DECIMAL_COMMA, MISSING, TRUTHS, Row, has_header, is_number, without_row_numbers

Columns = str | int | Sequence[str | int]
DELIMITERS = {".csv": ",", ".tsv": "\t"}  # by the file's extension
COUNTED = "Lines count from 1, as in an editor, and columns from 0, as in x= and y=."
# between cells; a blank is asked about where there is one column only
MARKS = (";", "\t", "|", ",", " ")


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
        header = has_header(
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
            inputs = without_row_numbers(path, inputs, columns, rows)
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
            if not is_number(row[j]):
                advice = _what_it_is(row[j].strip(), delimiter)
                maybe = (
                    " If this line holds the names of the columns, say header=True."
                    if guessed and i == 0
                    else ""
                )
                raise ValueError(f"{where}: {advice}.{maybe} {COUNTED}")
            table[i, j] = float(row[j])
            if not np.isfinite(table[i, j]):
                raise ValueError(
                    f"{where}: {row[j]!r} is NaN or infinite. Remove such rows or fill "
                    f"them before: a risk needs every value. {COUNTED}"
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
    if DECIMAL_COMMA.fullmatch(cell):
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
