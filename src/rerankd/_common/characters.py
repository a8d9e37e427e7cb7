"""Characters that show nothing, and characters that a terminal would obey."""

from __future__ import annotations

import re
import unicodedata

_INVISIBLE_CATEGORIES = ("Cc", "Cf", "Zs", "Zl", "Zp")
# Unicode's Default_Ignorable_Code_Point outside of these categories, fillers and variation selectors; blank Braille.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
# C0 and C1 controls except for tab and line feed, line and paragraph separators, controls of direction, surrogates.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def is_blank(text: str) -> bool:
    r"""Return True for a text without a visible character: spaces, controls, zero-width and other invisible ones.

    Example:
        >>> is_blank(" \u200b\ufeff"), is_blank("a")
        (True, False)
    """
    return all(
        unicodedata.category(char) in _INVISIBLE_CATEGORIES or _INVISIBLE.match(char) is not None for char in text
    )


def escape_controls(text: str) -> str:
    r"""Return a text whose control characters are shown as escape sequences, so that no terminal obeys them.

    Tabs and line feeds stay.

    Example:
        >>> escape_controls("a\x1b[2Jb")
        'a\\x1b[2Jb'
    """
    return _CONTROL.sub(lambda match: _escaped(match[0]), text.replace("\r\n", "\n"))


def escape_json_controls(text: str) -> str:
    r"""Return JSON that decodes to the same values and has no control characters in it.

    JSON escapes U+0000 to U+001F itself; terminals obey U+009B and controls of direction too.

    Args:
        text: JSON on one line.

    Example:
        >>> escape_json_controls('"a\x9bb"')
        '"a\\u009bb"'
    """
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _escaped(char: str) -> str:
    return f"\\x{ord(char):02x}" if ord(char) < 0x100 else f"\\u{ord(char):04x}"
