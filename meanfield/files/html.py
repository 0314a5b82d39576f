"""Tables for notebooks and reports: small HTML in which every text is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any


def table(rows: Iterable[Sequence[Any]], head: Sequence[Any] = (), caption: str = "") -> str:
    """A table; the first cell of a row is its heading. Cells are text, escaped here."""
    parts = ["<table>"]
    if caption:
        parts.append(f"<caption>{text(caption)}</caption>")
    if head:
        cells = "".join(f'<th scope="col">{text(cell)}</th>' for cell in head)
        parts.append(f"<thead><tr>{cells}</tr></thead>")
    parts.append("<tbody>")
    for first, *rest in rows:
        cells = "".join(f"<td>{text(cell)}</td>" for cell in rest)
        parts.append(f'<tr><th scope="row">{text(first)}</th>{cells}</tr>')
    return "".join([*parts, "</tbody></table>"])


def paragraph(content: Any) -> str:
    return f"<p>{text(content)}</p>"


def text(content: Any) -> str:
    """The content as text that no browser takes for markup."""
    return escape(str(content), quote=True)
