"""Tables: as aligned text, and as small HTML for notebooks and reports, with every text escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any


def text_table(rows: Iterable[Sequence[Any]], sides: str = "<") -> str:
    """Rows of cells as lines, columns two spaces apart. sides: "<" left, ">" right, for each
    column.

    The last side is that of all further columns: "<>" has the first one left, all others right.
    """
    lines = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    sides = sides.ljust(len(widths), sides[-1])

    def aligned(cell: str, width: int, side: str) -> str:
        return cell.ljust(width) if side == "<" else cell.rjust(width)

    return "\n".join("  ".join(map(aligned, line, widths, sides)).rstrip() for line in lines)


def html_table(rows: Iterable[Sequence[Any]], head: Sequence[Any] = (), caption: str = "") -> str:
    """A table; the first cell of a row is its heading. Cells are text, escaped here."""
    parts = ["<table>"]
    if caption:
        parts.append(f"<caption>{escaped(caption)}</caption>")
    if head:
        cells = "".join(f'<th scope="col">{escaped(cell)}</th>' for cell in head)
        parts.append(f"<thead><tr>{cells}</tr></thead>")
    parts.append("<tbody>")
    for first, *rest in rows:
        cells = "".join(f"<td>{escaped(cell)}</td>" for cell in rest)
        parts.append(f'<tr><th scope="row">{escaped(first)}</th>{cells}</tr>')
    return "".join([*parts, "</tbody></table>"])


def paragraph(content: Any) -> str:
    return f"<p>{escaped(content)}</p>"


def escaped(content: Any) -> str:
    """The content as text that no browser takes for markup."""
    return escape(str(content), quote=True)
