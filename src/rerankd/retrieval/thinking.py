"""The thinking of a language model, kept out of its answer as it streams in: `<think>` blocks and their like."""

from __future__ import annotations

import re

from rerankd.retrieval.code_spans import CodeSplitter

_NAMES = "think|thinking|thought|thoughts|reasoning|reflection"
_OPENING = re.compile(rf"<(?:{_NAMES})>|◁think▷", re.IGNORECASE)
_CLOSING = re.compile(rf"</(?:{_NAMES})>|◁/think▷", re.IGNORECASE)
_TAG_START = re.compile(r"[<◁]/?[a-z]{0,10}$", re.IGNORECASE)


class ThinkingFilter:
    """Passes an answer through without the model's thinking; tags in code are left alone.

    Some models write the closing tag alone, because their prompt ended with the opening one. Then all text before it
    was thinking: it may have been shown, and does not belong to the answer.

    Attributes:
        hidden: True if there was any thinking.
        restarted: True if what the last `feed` and those before it returned was thinking; the next `feed` resets it.

    Example:
        >>> thinking = ThinkingFilter()
        >>> thinking.feed("<think>Bamboo?</think>Pandas eat bamboo.") + thinking.flush(), thinking.hidden
        ('Pandas eat bamboo.', True)
    """

    def __init__(self) -> None:
        self.hidden = self.restarted = False
        self._inside = False
        self._pending = ""  # text that may be the start of a tag
        self._code = CodeSplitter()

    def feed(self, text: str) -> str:
        """Take the next part of the text; return what can be shown, without the start of an unfinished tag."""
        self.restarted = False
        return self._answer(text, last=False)

    def flush(self) -> str:
        """Return the text that was held back; thinking that never ended is not shown."""
        self.restarted = False
        rest = self._answer("", last=True)
        pending, self._pending = self._pending, ""
        return rest + ("" if self._inside else pending)

    def _answer(self, text: str, *, last: bool) -> str:
        shown = ""
        while True:
            if self._inside:
                text = self._after_thinking(text)
                if self._inside:
                    return shown
            parts = self._code.feed(text) + (self._code.flush() if last else [])
            for number, (part, is_code) in enumerate(parts):
                part, self._pending = self._pending + part, ""
                tag = None if is_code else _first_tag(part)
                if tag is None:
                    shown += part if is_code else self._held_back(part)
                    continue
                text = part[tag.end() :] + "".join(rest for rest, _ in parts[number + 1 :]) + self._code.take_pending()
                shown = self._at_tag(tag, shown + part[: tag.start()])
                break
            else:
                return shown

    def _at_tag(self, tag: re.Match[str], shown: str) -> str:
        """Begin the thinking, or drop what was thinking without an opening tag; return what can be shown."""
        self.hidden, self._inside, self._code = True, tag.re is _OPENING, CodeSplitter()
        self.restarted = self.restarted or not self._inside
        return shown if self._inside else ""

    def _after_thinking(self, text: str) -> str:
        """Return the text behind the end of the thinking; empty if it goes on."""
        text, self._pending = self._pending + text, ""
        closing = _CLOSING.search(text)
        if closing is None:
            start = _TAG_START.search(text)
            self._pending = start[0] if start else ""
            return ""
        self._inside = False
        return text[closing.end() :]

    def _held_back(self, part: str) -> str:
        start = _TAG_START.search(part)
        self._pending = start[0] if start else ""
        return part[: start.start()] if start else part


def _first_tag(text: str) -> re.Match[str] | None:
    tags = [match for match in (_OPENING.search(text), _CLOSING.search(text)) if match is not None]
    return min(tags, key=lambda match: match.start(), default=None)
