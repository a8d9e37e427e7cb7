"""Numbers in texts, as values: digits, English number words and Chinese numerals mean the same.

A reranker scores a sentence with a wrong number nearly as high as one with the right number, so numbers are compared
apart. The number one is left out, since `one` and 一 count nothing in most sentences.
"""

from __future__ import annotations

import re
import unicodedata

_SMALL = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen
"""
_UNITS = {word: value for value, word in enumerate(re.findall(r"\w+", _SMALL))}
_TENS = {
    word: 10 * value
    for value, word in enumerate(re.findall(r"\w+", "twenty thirty forty fifty sixty seventy eighty ninety"), 2)
}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 1_000_000}
_WORDS = _UNITS | _TENS | _SCALES
_ENGLISH = re.compile(rf"\b(?:{'|'.join(_WORDS)})(?:[\s-]+(?:and\s+)?(?:{'|'.join(_WORDS)}))*\b")
_DIGITS = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
_HAN_DIGITS = {char: value for value, char in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2, "兩": 2}
_HAN_SCALES = {"十": 10, "百": 100, "千": 1000}
_HAN = re.compile(r"[零〇一二三四五六七八九两兩十百千万]+")


def figures(text: str) -> frozenset[float]:
    """Return the numbers of a text without the number one.

    Example:
        >>> sorted(figures("Two to 3 days, twenty-four hours; 一百六十元, 1,500"))
        [2.0, 3.0, 24.0, 160.0, 1500.0]
    """
    folded = unicodedata.normalize("NFKC", text).lower()
    values = {float(match[0].replace(",", "")) for match in _DIGITS.finditer(folded)}
    values |= {_english(match[0]) for match in _ENGLISH.finditer(folded)}
    values |= {_han(match[0]) for match in _HAN.finditer(folded) if set(match[0]) & _HAN_DIGITS.keys()}
    return frozenset(values - {1.0})


def _english(words: str) -> float:
    total = group = 0
    for word in re.findall(r"[a-z]+", words):
        if word in _SCALES:
            group = max(group, 1) * _SCALES[word]
            if word != "hundred":
                total, group = total + group, 0
        else:
            group += _WORDS.get(word, 0)  # "and" counts nothing
    return float(total + group)


def _han(numeral: str) -> float:
    if not set(numeral) & {*_HAN_SCALES, "万"}:  # digit by digit, as in 二〇二六
        return float("".join(str(_HAN_DIGITS[char]) for char in numeral))
    total = group = digit = 0
    for char in numeral:
        if char == "万":
            total, group, digit = total + (group + digit) * 10_000, 0, 0
        elif char in _HAN_SCALES:
            group, digit = group + (digit or 1) * _HAN_SCALES[char], 0
        else:
            digit = _HAN_DIGITS[char]
    return float(total + group + digit)
