"""Which styles of a Word document are headings, and of which level."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from rerankd.retrieval.word_xml import attribute, child, name_of

_T = TypeVar("_T")
_HEADING = re.compile(
    r"(?:heading|标题|標題|überschrift|titre|título|titolo|заголовок|見出し|제목) ?([1-9])", re.IGNORECASE
)


def heading_levels(roots: Iterable[Any]) -> dict[str, int]:
    """Return the level of each paragraph style that is a heading, by its id; 0 for the style of the title.

    A style is a heading by its name, by its outline level, or by the style that it is based on.

    Args:
        roots: root elements of the part with the styles.
    """
    own: dict[str, int] = {}
    based_on: dict[str, str] = {}
    for style in (item for root in roots for item in root if name_of(item) == "style"):
        key = attribute(style, "styleId")
        named, base = child(style, "name"), child(style, "basedOn")
        name = attribute(named, "val") if named is not None else ""
        heading = _HEADING.fullmatch(name)
        level = int(heading[1]) if heading else 0 if name.lower() == "title" else _outline_level(style)
        if level is not None:
            own[key] = level
        if base is not None:
            based_on[key] = attribute(base, "val")
    return {key: level for key, level in inherited(own, based_on).items() if level < 10}


def inherited(own: Mapping[str, _T], based_on: Mapping[str, str]) -> dict[str, _T]:
    """Return a property of each style that has it, of its own or from the style that it is based on.

    Args:
        own: the property by the id of a style that sets it.
        based_on: the id of the style that a style is based on.
    """
    result: dict[str, _T] = {}
    for key in {*own, *based_on}:
        origin, seen = key, {key}
        while origin not in own and based_on.get(origin, "") not in seen:
            origin = based_on.get(origin, "")
            seen.add(origin)
        if origin in own:
            result[key] = own[origin]
    return result


def _outline_level(style: Any) -> int | None:
    properties = child(style, "pPr")
    outline = child(properties, "outlineLvl") if properties is not None else None
    value = attribute(outline, "val") if outline is not None else ""
    return int(value) + 1 if value.isdigit() else None
