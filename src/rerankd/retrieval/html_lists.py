"""Numbers of the items of HTML lists, which stand in no text of the page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from rerankd.retrieval.list_numbers import letters, roman

LISTS = frozenset(["ol", "ul", "menu"])
_TYPES: dict[str, Callable[[int], str]] = {
    "a": letters,
    "A": lambda number: letters(number).upper(),
    "i": roman,
    "I": lambda number: roman(number).upper(),
}
_UNNUMBERED = re.compile(r"list-style(?:-type)?\s*:[^;]*\b(?:none|disc|circle|square)\b", re.IGNORECASE)


def item_numbers(node: Any) -> Iterator[str]:
    """Yield the number of each item of a list, as a browser shows it; empty for lists without numbers.

    Args:
        node: an `ol`, with its attributes `start`, `reversed` and `type`, and `value` of its items; or another list.
    """
    attributes = node.attributes
    if node.tag != "ol" or _UNNUMBERED.search(attributes.get("style") or ""):
        return
    items = [item for item in node.iter() if item.tag == "li"]
    step = -1 if "reversed" in attributes else 1
    number = _integer(attributes.get("start"), len(items) if step < 0 else 1)
    shown = _TYPES.get(attributes.get("type") or "", str)
    for item in items:
        number = _integer(item.attributes.get("value"), number)
        yield f"{shown(number)}. "
        number += step


def _integer(text: str | None, default: int) -> int:
    match = re.match(r"\s*(-?\d{1,9})", text or "")
    return int(match[1]) if match else default
