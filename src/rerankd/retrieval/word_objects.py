"""Text of what stands in a Word document as an object: form fields, WordArt, descriptions of pictures, charts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from rerankd.retrieval.outline import spaced
from rerankd.retrieval.word_xml import attribute, child, name_of

OBJECTS = frozenset(["fldChar", "textpath", "docPr"])
_FILE_NAME = re.compile(r"\S+\.(?:png|jpe?g|gif|bmp|emf|wmf|svg|tiff?)$", re.IGNORECASE)


def object_text(element: Any) -> str:
    """Return the text of an element of `OBJECTS`; empty if it has none."""
    kind = name_of(element)
    if kind == "fldChar":
        return _form_value(child(element, "ffData"))
    if kind == "textpath":
        return attribute(element, "string")
    description = spaced(attribute(element, "descr"))
    return f"[{description}]" if description and not _FILE_NAME.fullmatch(description) else ""


def chart_lines(root: Any) -> Iterator[str]:
    """Yield the title of a chart and its series, each with the values that it was drawn from."""
    title = spaced(" ".join(item.text or "" for item in root.iter() if name_of(item) == "t"))
    if title:
        yield title
    for series in (item for item in root.iter() if name_of(item) == "ser"):
        names, labels, values = (_points(child(series, name)) for name in ("tx", "cat", "val"))
        labels = labels or _points(child(series, "xVal"))
        values = values or _points(child(series, "yVal"))
        pairs = (f"{label} {value}".strip() for label, value in zip(_padded(labels, len(values)), values, strict=False))
        yield ": ".join(part for part in (" ".join(names), ", ".join(pairs)) if part)


def _padded(labels: list[str], count: int) -> list[str]:
    return [*labels, *[""] * (count - len(labels))]


def _points(element: Any) -> list[str]:
    texts = (item.text or "" for item in element.iter() if name_of(item) == "v") if element is not None else ()
    return [_number(spaced(text)) for text in texts]


def _number(text: str) -> str:
    """Return a value as it was typed in: spreadsheets store 4.3 as 4.2999999999999998."""
    with suppress(ValueError):
        return f"{float(text):.12g}" if re.fullmatch(r"-?\d+\.\d{13,}", text) else text
    return text


def _form_value(data: Any) -> str:
    """Return the value of a legacy form field whose value is no text of the document."""
    entries = child(data, "ddList")
    if entries is not None:
        texts = [attribute(item, "val") for item in entries if name_of(item) == "listEntry"]
        chosen = _value(entries, "result") or _value(entries, "default") or "0"
        return texts[int(chosen)] if chosen.isdecimal() and int(chosen) < len(texts) else ""
    box = child(data, "checkBox")
    if box is None:
        return ""
    state = child(box, "checked")
    state = child(box, "default") if state is None else state
    return "☒" if state is not None and attribute(state, "val") not in ("0", "false") else "☐"


def _value(element: Any, name: str) -> str:
    found = child(element, name)
    return "" if found is None else attribute(found, "val")
