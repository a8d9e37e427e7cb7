"""Hidden text of Word documents, which no reader sees: runs formatted as hidden, and hidden rows of tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rerankd.retrieval.word_styles import inherited
from rerankd.retrieval.word_xml import attribute, child, name_of

_OFF = ("0", "false", "off")


class HiddenText:
    """Removes hidden text.

    Text is hidden by its own format, else by the styles of its characters or paragraph (ECMA-376 Part 1, 17.7.3: of
    two styles that both hide, one undoes the other).

    Args:
        styles: root elements of the part `styles`.
    """

    def __init__(self, styles: Iterable[Any]) -> None:
        own: dict[str, bool] = {}
        based_on: dict[str, str] = {}
        self._default = ""
        for style in (item for root in styles for item in root if name_of(item) == "style"):
            key = attribute(style, "styleId")
            state = _state(child(style, "rPr"))
            if state is not None:
                own[key] = state
            if base := _value(style, "basedOn"):
                based_on[key] = base
            if attribute(style, "type") == "paragraph" and attribute(style, "default") in ("1", "true"):
                self._default = key
        self._hiding = {key for key, state in inherited(own, based_on).items() if state}

    def remove(self, root: Any) -> bool:
        """Remove the hidden text below an element; return True if there was any."""
        found = False
        for row in [item for item in root.iter() if name_of(item) == "trPr" and _state(item, "hidden")]:
            found |= _has_text(row.getparent())
            _drop(row.getparent())
        for paragraph in [item for item in root.iter() if name_of(item) == "p"]:
            properties = child(paragraph, "pPr")
            by_style = (_value(properties, "pStyle") or self._default) in self._hiding
            hidden = [run for run in _runs(paragraph) if self._is_hidden(run, by_style=by_style)]
            had_text = any(map(_has_text, hidden))
            for run in hidden:
                _drop(run)
            mark = _state(child(properties, "rPr"))
            if had_text and not _has_text(paragraph) and (by_style if mark is None else mark):
                _drop(paragraph)  # it has no number either
            found |= had_text
        return found

    def _is_hidden(self, run: Any, *, by_style: bool) -> bool:
        formats = [item for item in run if name_of(item) == "rPr"]  # a run of a formula has two
        for properties in formats:
            if (state := _state(properties)) is not None:
                return state
        return by_style != any(_value(properties, "rStyle") in self._hiding for properties in formats)


def _runs(paragraph: Any) -> list[Any]:
    """Return the runs of a paragraph, without those of the paragraphs in its text boxes."""
    return [
        item
        for item in paragraph.iter()
        if name_of(item) == "r" and next(above for above in item.iterancestors() if name_of(above) == "p") is paragraph
    ]


def _state(properties: Any, name: str = "vanish") -> bool | None:
    """Return whether properties hide; None if they do not say it."""
    found = child(properties, name)
    return None if found is None else attribute(found, "val").lower() not in _OFF


def _value(element: Any, name: str) -> str:
    found = child(element, name)
    return attribute(found, "val") if found is not None else ""


def _has_text(element: Any) -> bool:
    return any(
        name_of(item) == "sym" or (name_of(item) == "t" and (item.text or "").strip()) for item in element.iter()
    )


def _drop(element: Any) -> None:
    parent = element.getparent()
    if parent is not None:
        parent.remove(element)
