"""Where sentences end, in scripts with and without spaces, and which line breaks end one."""

from __future__ import annotations

import re

# A sentence ends after a full stop with its closing quotes, or at a line break; the break after a full stop is its own.
_END = re.compile(
    r"""((?:[。｡！？；…।॥؟۔።။។]+[”’」』）》"']*)|(?:(?<![.!?])[.!?]++["'”’)\]]*+(?=\s)))(?:[^\S\n]*\n)*|\n(?:[^\S\n]*\n)*"""
)
_SHORT = re.compile(
    r"(?:\b(?:mr|mrs|ms|dr|prof|st|vs|no|fig|eq|sec|ch|vol|pp|al|etc|inc|ltd|co|corp|approx|e\.g|i\.e|cf|[a-z])"
    r"|(?<![\d.,])\d{1,2})\.$",
    re.IGNORECASE,
)
_QUOTE = re.compile(r"[^\S\n]*(?:>[^\S\n]*)*")
# Lines that begin something of their own: list items, headings, rows of tables, fences, and empty lines.
_LINE_START = re.compile(
    r"[^\S\n]*(?:[-*+•·‣▪]\s|\d+[.)]\s|[（(]?[\d一二三四五六七八九十]+[)）、]|#|\||```|~~~|$)", re.MULTILINE
)
# Lines that the next one cannot continue: rows of tables, headings, fences, and lines with a hard break of Markdown.
_LINE_WHOLE = re.compile(r"\s*(?:\||#|```|~~~).*|.*(?:\t| \| ).*|.*(?: {2}|\\)")


def sentences(text: str) -> list[str]:
    """Split a text after each sentence; joined, the sentences give the text again.

    A line break within a paragraph ends no sentence, unless the next line is a list item or the like: most texts are
    wrapped somewhere.

    Example:
        >>> sentences("天气好。Dr. Li left\\nat once. 走吧！")
        ['天气好。', 'Dr. Li left\\nat once.', ' 走吧！']
    """
    parts, start = [], 0
    for match in _END.finditer(text):
        end = match.end()
        stop = match.end(1) if match[1] else match.start()
        is_stop = bool(match[1]) and not (match[1][0] == "." and _SHORT.search(text[max(start, stop - 8) : stop]))
        if is_stop or (end > stop and _ends_paragraph(text, stop, end)):
            parts.append(text[start:end])
            start = end
    if start < len(text):
        parts.append(text[start:])
    return parts


def _ends_paragraph(text: str, stop: int, end: int) -> bool:
    """Return True if what stands before a line break at `stop` cannot go on in the line that begins at `end`."""
    if text.count("\n", stop, end) > 1:
        return True
    line = text[text.rfind("\n", 0, stop) + 1 : text.index("\n", stop)]
    quoted, quoted_next = _QUOTE.match(line), _QUOTE.match(text, end)
    if quoted is None or quoted_next is None or quoted[0].count(">") != quoted_next[0].count(">"):
        return True
    return bool(_LINE_START.match(text, quoted_next.end()) or _LINE_WHOLE.fullmatch(line, quoted.end()))
