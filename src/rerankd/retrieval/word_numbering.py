"""Automatic numbers of Word: "2.1", "(c)" or "Article 4", which stand in no text of the document.

Word counts while it shows the document (ECMA-376 Part 1, 17.9). What it would show is written into the paragraphs, so
that "see 4.2" can be answered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rerankd.retrieval.list_numbers import chinese, circled, letters, roman
from rerankd.retrieval.word_xml import attribute, child, name_of

_PLACE = re.compile(r"%([1-9])")
_FORMATS: dict[str, Callable[[int], str]] = {
    "decimalZero": lambda number: f"{number:02d}",
    "lowerLetter": lambda number: letters(number, repeated=True),
    "upperLetter": lambda number: letters(number, repeated=True).upper(),
    "lowerRoman": roman,
    "upperRoman": lambda number: roman(number).upper(),
    "decimalEnclosedCircle": circled,
    "decimalEnclosedCircleChinese": circled,
    **dict.fromkeys(
        ["chineseCounting", "chineseCountingThousand", "japaneseCounting", "taiwaneseCounting",
         "taiwaneseCountingThousand", "koreanCounting"],
        chinese,
    ),
}  # fmt: skip
_UNNUMBERED = frozenset(["bullet", "none"])


@dataclass(frozen=True, slots=True)
class _Level:
    start: int = 1
    format: str = "decimal"
    text: str = ""
    restart: int = -1  # level, from 1, after which it begins again; 0 for never, -1 for any above it
    is_legal: bool = False
    style: str = ""


@dataclass(slots=True)
class _List:
    """Levels of a list, and how far it has been counted; several numberings may count on in one list."""

    levels: dict[int, _Level] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)

    def next(self, level: int) -> str:
        """Count one more paragraph of a level and return its label."""
        self.counts[level] = self.counts.get(level, self._level(level).start - 1) + 1
        for deeper in [number for number in self.counts if number > level]:
            after = self._level(deeper).restart
            if after < 0 or level < after:
                del self.counts[deeper]
        return self._label(level)

    def _label(self, level: int) -> str:
        own = self._level(level)
        if own.format in _UNNUMBERED:
            return ""

        def number(match: re.Match[str]) -> str:
            above = self._level(int(match[1]) - 1)
            count = self.counts.setdefault(int(match[1]) - 1, above.start)
            return str(count) if own.is_legal else _FORMATS.get(above.format, str)(count)

        return _PLACE.sub(number, own.text).strip()

    def _level(self, level: int) -> _Level:
        return self.levels.get(level) or _Level()


class Numbering:
    """The numberings of a document, counted in the order of its paragraphs.

    Args:
        roots: root elements of the part `numbering`.
        styles: root elements of the part `styles`.
    """

    def __init__(self, roots: Iterable[Any], styles: Iterable[Any]) -> None:
        self._lists: dict[str, _List] = {}  # by the id of a numbering
        self._overrides: dict[str, dict[int, int]] = {}
        items = [item for root in roots for item in root]
        defined = {
            attribute(item, "abstractNumId"): (item, _List(_levels(item)))
            for item in items
            if name_of(item) == "abstractNum"
        }
        by_link = {_value(item, "styleLink"): levels for item, levels in defined.values()}
        for item in items:
            if name_of(item) != "num" or _value(item, "abstractNumId") not in defined:
                continue
            abstract, levels = defined[_value(item, "abstractNumId")]
            link = _value(abstract, "numStyleLink")
            self._add(item, by_link.get(link, levels) if link else levels)
        self._styles = {attribute(s, "styleId"): s for root in styles for s in root if name_of(s) == "style"}
        self._default = next(
            (key for key, style in self._styles.items()
             if attribute(style, "default") in ("1", "true") and attribute(style, "type") == "paragraph"), "",
        )  # fmt: skip

    def _add(self, item: Any, counted: _List) -> None:
        key = attribute(item, "numId")
        own: dict[int, _Level] = {}
        starts: dict[int, int] = {}
        for override in (child_ for child_ in item if name_of(child_) == "lvlOverride"):
            level = _integer(attribute(override, "ilvl"))
            own |= _levels(override)
            if (start := _value(override, "startOverride")) != "":
                starts[level] = _integer(start, 1)
        self._lists[key] = _List(counted.levels | own, counted.counts)
        self._overrides[key] = starts

    def write(self, root: Any) -> None:
        """Write the number of each numbered paragraph below an element into its text."""
        if not self._lists:
            return
        for paragraph in [item for item in root.iter() if name_of(item) == "p"]:
            if _is_read(paragraph) and (label := self._label(paragraph)) and _is_shown(paragraph):
                _insert(paragraph, f"{label} ")

    def _label(self, paragraph: Any) -> str:
        properties = child(paragraph, "pPr")
        style = _value(properties, "pStyle") or self._default
        key, level = self._numbering_of(properties, style)
        counted = self._lists.get(key)
        if counted is None:
            return ""
        for number, start in self._overrides[key].items():
            counted.counts[number] = start - 1
        self._overrides[key] = {}  # it begins again once
        return counted.next(level)

    def _numbering_of(self, properties: Any, style: str) -> tuple[str, int]:
        """Return the id of a paragraph's numbering and its level: its own, or that of its style."""
        own = child(properties, "numPr")
        key, level = _value(own, "numId"), _value(own, "ilvl")
        for name in self._based_on(style):
            inherited = child(child(self._styles[name], "pPr"), "numPr")
            key = key or _value(inherited, "numId")
            level = level or _value(inherited, "ilvl") or self._level_of_style(key, name)
            if key and level:
                break
        return key, _integer(level)

    def _based_on(self, style: str) -> list[str]:
        chain: list[str] = []
        while style in self._styles and style not in chain:
            chain.append(style)
            style = _value(self._styles[style], "basedOn")
        return chain

    def _level_of_style(self, key: str, style: str) -> str:
        levels: Mapping[int, _Level] = self._lists[key].levels if key in self._lists else {}
        return next((str(number) for number, level in levels.items() if level.style == style), "")


def _levels(item: Any) -> dict[int, _Level]:
    return {
        _integer(attribute(level, "ilvl")): _Level(
            start=_integer(_value(level, "start"), 1),
            format=_value(level, "numFmt") or "decimal",
            text=_value(level, "lvlText"),
            restart=_integer(_value(level, "lvlRestart"), -1),
            is_legal=child(level, "isLgl") is not None and _value(level, "isLgl") not in ("0", "false"),
            style=_value(level, "pStyle"),
        )
        for level in item
        if name_of(level) == "lvl"
    }


def _value(element: Any, name: str) -> str:
    """Return the value of a property; empty if it is not there."""
    found = child(element, name)
    return attribute(found, "val") if found is not None else ""


def _integer(text: str, default: int = 0) -> int:
    return int(text) if text.isdecimal() and len(text) < 7 else default


def _is_read(paragraph: Any) -> bool:
    """Return False for a paragraph that was deleted, and for the second form of a text box."""
    mark = child(child(paragraph, "pPr"), "rPr")
    if child(mark, "del") is not None and not _has_text(paragraph):
        return False
    return not any(name_of(item) in ("Fallback", "del", "moveFrom") for item in paragraph.iterancestors())


def _is_shown(paragraph: Any) -> bool:
    """Return True if a number is worth reading: beside a text, or alone in a cell, as in a column of numbers."""
    parent = paragraph.getparent()
    return _has_text(paragraph) or (parent is not None and name_of(parent) == "tc")


def _has_text(paragraph: Any) -> bool:
    return any(name_of(item) in ("t", "sym") and (item.text or name_of(item) == "sym") for item in paragraph.iter())


def _insert(paragraph: Any, text: str) -> None:
    run = paragraph.makeelement(f"{paragraph.tag[:-1]}r")
    written = paragraph.makeelement(f"{paragraph.tag[:-1]}t")
    written.text = text
    run.append(written)
    paragraph.insert(1 if child(paragraph, "pPr") is not None else 0, run)
