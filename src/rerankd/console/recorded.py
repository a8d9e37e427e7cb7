"""Sentences that were written in English into the database, in the language of a page.

Detectors note why a ranking is a bad case, datasets what does not fit together, gates what they measured. Their texts
are stored; the messages `recorded.*` know them by their English form. What people wrote is left as it is.
"""

from __future__ import annotations

import re
from functools import cache

from rerankd.console.language import Language
from rerankd.console.messages import message, messages

PREFIX = "recorded."
MAX_CHARACTERS = 2_000  # of a sentence; what is longer was written by people


def recorded(text: str, language: Language) -> str:
    """Return a stored sentence in a language, and any other text unchanged.

    Example:
        >>> recorded("first and second are 0.0123 apart", "zh"), recorded("A customer called.", "zh")
        ('第一名与第二名的分数只相差 0.0123', 'A customer called.')
    """
    if language == "en" or len(text) > MAX_CHARACTERS:
        return text
    for name, pattern in _patterns():
        if match := pattern.fullmatch(text):
            return message(name, language, **match.groupdict())
    return text


@cache
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    """Return the English forms of the messages, with a group for each value."""
    forms = [
        (name, entry[form])
        for name, entry in messages().items()
        if name.startswith(PREFIX)
        for form in ("one", "en")
        if form in entry
    ]
    return [
        (name, re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+?)", re.escape(text)), re.DOTALL)) for name, text in forms
    ]
