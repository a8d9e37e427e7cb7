"""The form in which texts are compared: for keyword search, for the terms of rules, and to find near-duplicates."""

from __future__ import annotations

import re
import unicodedata

# Characters without a glyph of their own: Default_Ignorable_Code_Point of the Unicode Standard (zero-width spaces and
# joiners, soft hyphens, byte order marks, direction marks, variation selectors, fillers, tags), the marks of
# interlinear annotations, and control characters, except for those that are white space.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)

# Places at which NFKC would join what reads as two: a word and its trade mark or footnote, a number and its fraction or
# power, and numbers in circles: Kettle™, warranty¹, 5½, 10⁶, ①②.
_RAISED = "\u00b2\u00b3\u00b9\u2070\u2074-\u2079"
_CIRCLED = "\u2460-\u2473\u2776-\u2793\u24eb-\u24ff"
_JOINT = re.compile(
    "(?<=\\w)(?=[\u2120\u2122])|(?<=\\d)(?=[\u00bc-\u00be\u2150-\u215f\u2189])"
    f"|(?<=\\d)(?=[\u207a\u207b]?[{_RAISED}])|(?<=[^\\W\\d_]{{4}})(?=[{_RAISED}])"
    f"|(?<=[{_CIRCLED}])(?=\\w)|(?<=\\w)(?=[{_CIRCLED}])"
)

# Letters and marks of scripts that put no spaces between words, or, as Korean, join particles to them; the body of a
# character class: Thai, Lao, Burmese, Khmer, kana, bopomofo, hangul, Yi and Han.
UNSPACED = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u1000-\u103f\u1050-\u109f\u1780-\u17d3"
    "\u3005-\u3007\u3021-\u3029\u3041-\u309a\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u318e\u31a0-\u31bf"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\ua48c\ua960-\ua97c\uac00-\ud7fb\uf900-\ufaff\U00020000-\U0003fffd"
)
_UNSPACED_CHARACTER = re.compile(f"[{UNSPACED}]")


def normalized(text: str) -> str:
    """Return a text in the form in which texts are compared: NFKC, without invisible characters, case folded.

    This is NFKC_Casefold of the Unicode Standard (section 3.13), which also makes full-width letters and ligatures
    plain ones; control characters are left out as well, as BERT's tokenizer does. Normalizing twice changes nothing.

    Example:
        >>> normalized("ＡＩ Straße"), normalized("Kettle\\u200bWarmer"), normalized("hand\\u00adbook")
        ('ai strasse', 'kettlewarmer', 'handbook')
    """
    visible = _INVISIBLE.sub("", text)
    if visible.isascii():
        return visible.lower()
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", visible)).casefold()
    return _INVISIBLE.sub("", unicodedata.normalize("NFKC", folded))  # folding may leave what composes again


def separated(text: str) -> str:
    """Return a text with a space where its normalized form would join what reads as two.

    Example:
        >>> separated("Kettle™, 5½ cm, 10⁶ m²")
        'Kettle ™, 5 ½ cm, 10 ⁶ m²'
    """
    return text if text.isascii() else _JOINT.sub(" ", text)


def is_unspaced(char: str) -> bool:
    """Return True for a character of a script without spaces between words, such as Han, kana, hangul and Thai.

    Example:
        >>> is_unspaced("手"), is_unspaced("a")
        (True, False)
    """
    return _UNSPACED_CHARACTER.match(char) is not None


def visible_positions(text: str) -> list[int] | None:
    r"""Return the positions of the characters that are not invisible; None if all are visible.

    Example:
        >>> visible_positions("a\u200bb"), visible_positions("ab")
        ([0, 2], None)
    """
    if _INVISIBLE.search(text) is None:
        return None
    return [position for position, char in enumerate(text) if _INVISIBLE.match(char) is None]
