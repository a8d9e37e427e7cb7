"""Regular expressions of rules, matched in linear time by RE2, so that no query can stall the service.

RE2 has no lookaround and no backreferences, and its classes know ASCII only. `\\w`, `\\d`, `\\s` and `\\uXXXX` are
translated, so that they mean what they mean in Python's `re`; what cannot be translated is refused.
"""

from __future__ import annotations

import re
from typing import Any

from rerankd._common.optional import require

MAX_PROGRAM_BYTES = 8_000_000
_PART = re.compile(r"\\u[0-9a-fA-F]{4}|\\U[0-9a-fA-F]{8}|\\[pP]\{[^}]*\}|\\x\{[^}]*\}|\\Q.*?(?:\\E|$)|\\.|.", re.DOTALL)
_MEMBERS = {"\\w": r"\p{L}\p{N}_", "\\d": r"\p{Nd}", "\\s": r"\s\v\x1c-\x1f\x{85}\p{Z}"}
_OUTSIDE = {"\\W": _MEMBERS["\\w"], "\\D": _MEMBERS["\\d"], "\\S": _MEMBERS["\\s"]}
_ASCII_BOUNDARY = "uses \\b beside letters that are not ASCII, where it finds no word boundary. Use 'terms' instead."
_NEGATED_MEMBER = "has \\W within brackets, which cannot be matched in linear time. Write it outside of brackets."


class Pattern:
    r"""A regular expression that ignores case.

    Args:
        text: the expression, in the syntax of RE2.

    Raises:
        ValueError: it is not a regular expression, or it cannot be matched in linear time; the text says why.
        MissingDependencyError: google-re2 is not installed.

    Example:
        >>> Pattern(r"^(a+)+$").search("a" * 2000 + "!"), Pattern(r"最新|latest\s+\w+").search("Latest ÜBERSICHT")
        (False, True)
    """

    def __init__(self, text: str) -> None:
        re2 = require("re2", "rules", "Matching regular expressions")
        options = re2.Options()
        options.case_sensitive, options.log_errors, options.max_mem = False, False, MAX_PROGRAM_BYTES
        self.text = text
        translated = _translated(text)
        try:
            self._compiled: Any = re2.compile(translated, options)
        except re2.error as error:
            detail = error.args[0] if error.args else ""
            raise ValueError(_sentence(detail.decode() if isinstance(detail, bytes) else str(detail))) from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def search(self, text: str) -> bool:
        """Return True if the expression matches somewhere in the text."""
        # As in Python's re, $ also matches before a last line break.
        encodable = text.removesuffix("\n").encode("utf-8", "replace").decode()
        return self._compiled.search(encodable) is not None


def _sentence(detail: str) -> str:
    if detail.startswith(("invalid perl operator: (?", "invalid escape sequence")):
        return f"cannot be matched in linear time ({detail}). Write it without lookaround and backreferences."
    if detail.startswith(("invalid repetition size", "pattern too large")):
        return f"repeats too often to be matched quickly ({detail}). Repeat at most 1000 times."
    return f"is not a regular expression ({detail})."


def _translated(text: str) -> str:
    """Return a pattern of Python's `re` in RE2's syntax.

    Raises:
        ValueError: a part has no equivalent.
    """
    parts = _PART.findall(text)
    translated: list[str] = []
    is_inside, opened_at = False, 0
    for number, part in enumerate(parts):
        if is_inside:
            is_first = number - opened_at == 1 + (parts[opened_at + 1] == "^")
            is_inside = part != "]" or is_first
            if part == "\\W":
                raise ValueError(_NEGATED_MEMBER)
            translated.append(_MEMBERS.get(part) or _codepoint(part))
        elif part in _MEMBERS:
            translated.append(f"[{_MEMBERS[part]}]")
        elif part in _OUTSIDE:
            translated.append(f"[^{_OUTSIDE[part]}]")
        else:
            is_inside, opened_at = part == "[", number
            if part in ("\\b", "\\B"):
                _check_boundary(parts, number)
            translated.append("\\z" if part == "\\Z" else _codepoint(part))
    return "".join(translated)


def _codepoint(part: str) -> str:
    return f"\\x{{{part[2:]}}}" if part[:2] in ("\\u", "\\U") and len(part) > 2 else part


def _check_boundary(parts: list[str], number: int) -> None:
    r"""Refuse `\b` where the letters beside it may not be ASCII: RE2 knows the boundaries of ASCII words only."""
    beside = [*parts[max(0, number - 1) : number], *parts[number + 1 : number + 2]]
    if any(_is_wide(part) or part == "." for part in beside):
        raise ValueError(_ASCII_BOUNDARY)
    is_literal = any(len(part) == 1 and part.isascii() and part.isalnum() for part in beside)
    if not is_literal and any(_is_wide(part) for part in parts):
        raise ValueError(_ASCII_BOUNDARY)


def _is_wide(part: str) -> bool:
    return part == "\\w" or part[:2] in ("\\u", "\\U", "\\p", "\\x") or not part.isascii()
