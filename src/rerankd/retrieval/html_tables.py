"""Tables of HTML: those that hold data, and those that arrange a page."""

from __future__ import annotations

from typing import Any

from rerankd.retrieval.html_content import inline_text, is_hidden, is_invisible, is_left_out

_MAX_CELL = 1000  # letters; a table with a longer cell arranges a page
_MAX_SPAN = 100  # columns or rows; a browser takes a thousand columns


def is_data(table: Any) -> bool:
    """Return True for a table whose cells are values; with headers, they may be lists too."""
    if table.css_first("table table, pre, h1, h2, h3, ol") is not None:
        return False
    if table.css_first("ul") is not None and table.css_first("th") is None:
        return False
    return all(len(cell.text()) <= _MAX_CELL for cell in table.css("td"))


def data_rows(table: Any, breaks: frozenset[str]) -> tuple[list[str], int]:
    """Return the rows of a table, and how many of the first are headers.

    A merged cell stands once, and the columns and rows that it covers are blank.

    Args:
        table: the table.
        breaks: tags at which words end.
    """
    rows: list[str] = []
    header_lines = 0
    covered: dict[int, int] = {}  # number of further rows that a cell above covers, by column
    for row in table.css("tr"):
        if is_hidden(row) or is_hidden(row.parent):
            continue
        cells = [cell for cell in row.iter() if cell.tag in ("td", "th")]
        texts = _cells(cells, covered, breaks)
        if not any(texts):
            continue
        is_header = row.parent.tag == "thead" or all(cell.tag == "th" for cell in cells)
        header_lines += is_header and header_lines == len(rows)
        rows.append(" | ".join(texts))
    return rows, header_lines


def _cells(cells: list[Any], covered: dict[int, int], breaks: frozenset[str]) -> list[str]:
    """Return the texts of a row's cells by column; `covered` is updated for the rows below."""
    texts: list[str] = []

    def skip_covered() -> None:
        while covered.get(len(texts), 0) > 0:
            covered[len(texts)] -= 1
            texts.append("")

    for cell in cells:
        if is_left_out(cell, within_content=True) and not is_invisible(cell):
            continue
        skip_covered()
        first = len(texts)
        texts += [inline_text(cell, breaks), *[""] * (_span(cell, "colspan") - 1)]
        covered.update(dict.fromkeys(range(first, len(texts)), _span(cell, "rowspan") - 1))
    skip_covered()
    while texts and not texts[-1]:
        texts.pop()
    return texts


def _span(cell: Any, name: str) -> int:
    value = (cell.attributes.get(name) or "").strip()
    return max(1, min(int(value), _MAX_SPAN)) if value.isdecimal() and len(value) < 7 else 1
