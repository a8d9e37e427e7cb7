"""Formulas of Word (Office Math, ECMA-376 Part 1, 22.1) on one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rerankd.retrieval.formulas import fraction, indexed, power, root
from rerankd.retrieval.word_xml import attribute, child, name_of

FORMULAS = frozenset(["f", "sSup", "sSub", "sSubSup", "sPre", "rad", "nary", "d", "m"])


def is_formula(element: Any) -> bool:
    """Return True for a part of a formula whose pieces do not just follow each other."""
    return name_of(element) in FORMULAS and "/math" in element.tag


def formula_text(element: Any, text: Callable[[Any], str]) -> str:
    """Return a part of a formula on one line.

    Args:
        element: an element for which `is_formula` is True.
        text: returns the text of an element.
    """

    def part(name: str) -> str:
        found = child(element, name)
        return "" if found is None else text(found).strip()

    kind = name_of(element)
    if kind == "f":
        return fraction(part("num"), part("den"))
    if kind in ("sSup", "sSub", "sSubSup"):
        return power(indexed(part("e"), part("sub")), part("sup"))
    if kind == "sPre":
        return indexed("", part("sub")) + power("", part("sup")) + part("e")
    if kind == "rad":
        return root(part("e"), part("deg"))
    if kind == "nary":
        sign = _property(element, "naryPr", "chr", "∫")
        return f"{sign}{indexed('', part('sub'))}{power('', part('sup'))} {part('e')}"
    if kind == "d":
        separator = _property(element, "dPr", "sepChr", "|")
        inner = separator.join(text(item).strip() for item in element if name_of(item) == "e")
        return _property(element, "dPr", "begChr", "(") + inner + _property(element, "dPr", "endChr", ")")
    rows = ([text(cell).strip() for cell in row] for row in element if name_of(row) == "mr")
    return "; ".join(", ".join(row) for row in rows)


def _property(element: Any, group: str, name: str, default: str) -> str:
    found = child(child(element, group), name)
    return default if found is None else attribute(found, "val")
