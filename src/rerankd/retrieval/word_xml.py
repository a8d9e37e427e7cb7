"""Access to WordprocessingML by local names, which the transitional and the strict form of the format share."""

from __future__ import annotations

from typing import Any


def name_of(element: Any) -> str:
    """Return the local name of an element."""
    tag = element.tag
    return tag.rsplit("}", 1)[-1] if isinstance(tag, str) else ""


def attribute(element: Any, name: str) -> str:
    """Return an attribute by its local name; empty if it is not there."""
    return next((str(value) for key, value in element.attrib.items() if key.rsplit("}", 1)[-1] == name), "")


def child(element: Any, name: str) -> Any:
    """Return the first child with a local name; None if there is none, or no element."""
    return next((item for item in element if name_of(item) == name), None) if element is not None else None
