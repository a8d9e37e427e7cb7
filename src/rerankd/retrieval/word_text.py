"""Text of paragraphs and cells of a Word document, wherever Word puts it, and rows of its tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rerankd.retrieval.formulas import superscript_mark
from rerankd.retrieval.outline import spaced
from rerankd.retrieval.word_formulas import formula_text, is_formula
from rerankd.retrieval.word_objects import OBJECTS, object_text
from rerankd.retrieval.word_symbols import plain_text, symbol
from rerankd.retrieval.word_xml import attribute, child, name_of

LEFT_OUT = frozenset(
    ["del", "moveFrom", "delText", "instrText", "delInstrText", "rPr", "pPr", "rt", "sectPr", "sdtPr", "txbxContent",
     "softHyphen", "tblPr", "tblGrid", "trPr", "tcPr"]
)  # fmt: skip
_CHARACTERS = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}
_RAISED = "\x11"  # begins a superscript; XML cannot have it
_MAX_COLUMNS = 64  # of Word


def text_of(element: Any) -> str:
    """Return the text of a paragraph or cell."""
    first, *raised = "".join(_pieces(element)).split(_RAISED)
    for text in raised:
        first += superscript_mark(first, text) + text
    return first


def _pieces(element: Any) -> Iterator[str]:
    """Yield the pieces of text of a paragraph or cell."""
    for item in element:
        name = name_of(item)
        if name == "t":
            yield plain_text(item)
        elif name in _CHARACTERS:
            yield _CHARACTERS[name]
        elif name == "sym":
            yield symbol(item)
        elif name in OBJECTS:
            yield object_text(item)
        elif is_formula(item):
            yield formula_text(item, text_of)
        elif name == "AlternateContent":
            for chosen in item[:1]:
                yield from _pieces(chosen)
        elif name == "tbl":
            yield "; ".join(row.replace(" | ", ", ") for row in rows_of(item)) + " "
        elif name not in LEFT_OUT and not is_placeholder(item):
            if name == "r" and _is_raised(item):
                yield _RAISED
            yield from _pieces(item)
            if name == "p":
                yield "\n"


def rows_of(table: Any) -> Iterator[str]:
    """Yield the rows of a table; a merged cell stands once, and the cells that it covers are blank."""
    for row in _inside(table, "tr"):
        properties = child(row, "trPr")
        if properties is not None and child(properties, "del") is not None:
            continue
        cells = [""] * _count(properties, "gridBefore")
        for cell in _inside(row, "tc"):
            properties = child(cell, "tcPr")
            if child(properties, "cellDel") is not None:
                continue
            cells.append(spaced(text_of(cell)))
            cells += [""] * (_count(properties, "gridSpan") - 1)
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            yield " | ".join(cells)


def _count(properties: Any, name: str) -> int:
    """Return a number of columns; 0 if it is not given."""
    found = child(properties, name)
    value = attribute(found, "val") if found is not None else ""
    return min(int(value), _MAX_COLUMNS) if value.isdecimal() and len(value) < 7 else 0


def _inside(container: Any, wanted: str) -> Iterator[Any]:
    """Yield rows of a table or cells of a row, also those within content controls and insertions."""
    for element in container:
        name = name_of(element)
        if name == wanted:
            yield element
        elif name not in LEFT_OUT and name not in ("tbl", "p", "tc"):
            yield from _inside(element, wanted)


def header_rows(table: Any) -> int:
    """Return the number of the first rows that Word repeats on each page, or that its table style sets apart."""
    count = 0
    for row in _inside(table, "tr"):
        properties = child(row, "trPr")
        if properties is None or child(properties, "tblHeader") is None:
            break
        count += 1
    style = child(table, "tblPr")
    look = child(style, "tblLook") if style is not None else None
    return count or int(look is not None and attribute(look, "firstRow") in ("1", "true"))


def _is_raised(run: Any) -> bool:
    alignment = child(child(run, "rPr"), "vertAlign")
    return alignment is not None and attribute(alignment, "val") == "superscript"


def is_placeholder(element: Any) -> bool:
    """Return True for a content control that nobody has filled in."""
    properties = child(element, "sdtPr") if name_of(element) == "sdt" else None
    return properties is not None and child(properties, "showingPlcHdr") is not None
