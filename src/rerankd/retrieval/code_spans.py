"""Code in Markdown as it streams in: fenced blocks and spans in backticks, apart from the text around them."""

from __future__ import annotations

import re

_FENCE = re.compile(r"(?:^|\n)[ \t>]*(?:(?:[-*+]|\d{1,3}[.)])[ \t]+)?(`{3,}|~{3,})")
_BACKTICKS = re.compile("`+")
_UNFINISHED = re.compile(r"(?:^|\n)[ \t>]*(?:(?:[-*+]|\d{1,3}[.)]?)[ \t]*)?[`~]*$|`+$")
MAX_SPAN = 2_000  # characters that are held back for the end of a span

Part = tuple[str, bool]
"""A part of the text, and True if it is code."""


class CodeSplitter:
    """Splits a text that arrives in pieces into code and other text.

    A span in backticks ends with as many backticks as it begins with, in the same paragraph; without an end it is text,
    as CommonMark says. Of the text only what may be code is held back.

    Example:
        >>> splitter = CodeSplitter()
        >>> splitter.feed("see `rows[0]` and ") + splitter.flush()
        [('see ', False), ('`rows[0]`', True), (' and ', False)]
    """

    def __init__(self) -> None:
        self._pending = ""
        self._fence = ""  # what the open block began with
        self._line_start = True

    def feed(self, text: str) -> list[Part]:
        """Take the next part of the text; return what can be told already."""
        self._pending += text
        return self._parts(last=False)

    def flush(self) -> list[Part]:
        """Return what was held back."""
        return self._parts(last=True)

    def take_pending(self) -> str:
        """Return what is held back, and hold it no longer."""
        pending, self._pending = self._pending, ""
        return pending

    def _parts(self, *, last: bool) -> list[Part]:
        parts: list[Part] = []
        while self._pending:
            length, is_code = self._next_code(last) if self._fence else self._next(last)
            if not length:
                break
            parts.append((self._pending[:length], is_code))
            self._line_start = self._pending[length - 1] == "\n"
            self._pending = self._pending[length:]
        return parts

    def _next_code(self, last: bool) -> tuple[int, bool]:
        """Return the length of the next part of an open block."""
        end = re.search(rf"\n[ \t>]*{re.escape(self._fence[0])}{{{len(self._fence)},}}[ \t]*(?=\n|$)", self._pending)
        if end is None or (end.end() == len(self._pending) and not last):
            # Whole lines are code for certain; the last one may be the end of the block.
            return (len(self._pending) if last else max(0, self._pending.rfind("\n"))), True
        self._fence = ""
        return end.end(), True

    def _next(self, last: bool) -> tuple[int, bool]:
        """Return the length of the next part outside of a block."""
        text = self._pending
        fence, ticks = self._fence_in(text), _BACKTICKS.search(text)
        if fence is not None and (ticks is None or fence.start(1) <= ticks.start()):
            begin = fence.start() + (text[fence.start()] == "\n")
            if begin:
                return begin, False
            line = text.partition("\n")
            if not (line[1] or last):
                return 0, False
            if fence[1][0] == "~" or "`" not in line[0][fence.end(1) :]:  # else it is a span of one line
                self._fence = fence[1]
                return fence.end(1), True
        if ticks is not None:
            return self._span(text, ticks, last)
        unfinished = None if last else self._unfinished(text)
        return (len(text) if unfinished is None else unfinished), False

    def _fence_in(self, text: str) -> re.Match[str] | None:
        for match in _FENCE.finditer(text):
            if match.start() or text.startswith("\n") or self._line_start:
                return match
        return None

    def _unfinished(self, text: str) -> int | None:
        """Return where a line begins that may become a fence; None if the text ends otherwise."""
        match = _UNFINISHED.search(text)
        if match is None or (match.start() == 0 and not text.startswith("\n") and not self._line_start):
            return None
        return match.start() + (text[match.start() : match.start() + 1] == "\n")

    def _span(self, text: str, ticks: re.Match[str], last: bool) -> tuple[int, bool]:
        """Return the length of the text before a span, or of the span."""
        if ticks.start():
            return ticks.start(), False
        if ticks.end() == len(text) and not last:
            return 0, False
        paragraph = text.find("\n\n")
        limit = min(MAX_SPAN, len(text) if paragraph < 0 else paragraph)
        for end in _BACKTICKS.finditer(text, ticks.end(), limit):
            if len(end[0]) == len(ticks[0]) and (last or end.end() < len(text)):
                return end.end(), True
        is_open = paragraph < 0 and not last and len(text) <= MAX_SPAN
        return (0 if is_open else ticks.end()), False
