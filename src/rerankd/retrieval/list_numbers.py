"""Numbers of list items and headings that programs count themselves, as a reader sees them."""

from __future__ import annotations

_ROMAN = (
    (1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"), (10, "x"),
    (9, "ix"), (5, "v"), (4, "iv"), (1, "i"),
)  # fmt: skip
_DIGITS = "零一二三四五六七八九"
_UNITS = ("", "十", "百", "千")
_CIRCLED = 0x2460  # ① to ⑳


def letters(number: int, *, repeated: bool = False) -> str:
    """Return a number in letters.

    Args:
        number: from 1; others stay digits.
        repeated: True to go on with aa, bb, cc after z, as Word does, instead of aa, ab, ac.

    Example:
        >>> letters(2), letters(28), letters(28, repeated=True)
        ('b', 'ab', 'bb')
    """
    if number < 1:
        return str(number)
    if repeated:
        return chr(ord("a") + (number - 1) % 26) * min((number - 1) // 26 + 1, 50)
    result = ""
    while number:
        number, letter = divmod(number - 1, 26)
        result = chr(ord("a") + letter) + result
    return result


def roman(number: int) -> str:
    """Return a number in Roman numerals, from 1 to 3999; others stay digits.

    Example:
        >>> roman(4), roman(1999)
        ('iv', 'mcmxcix')
    """
    if not 0 < number < 4000:
        return str(number)
    result = ""
    for value, numeral in _ROMAN:
        count, number = divmod(number, value)
        result += numeral * count
    return result


def chinese(number: int) -> str:
    """Return a number as Chinese and Japanese count, from 0 to 9999; others stay digits.

    Example:
        >>> chinese(12), chinese(20), chinese(305)
        ('十二', '二十', '三百零五')
    """
    if not 0 < number < 10_000:
        return _DIGITS[0] if number == 0 else str(number)
    result = ""
    for power in range(3, -1, -1):
        digit = number // 10**power % 10
        if digit:
            result += ("" if digit == 1 and power == 1 and not result else _DIGITS[digit]) + _UNITS[power]
        elif result and not result.endswith(_DIGITS[0]) and number % 10**power:
            result += _DIGITS[0]
    return result


def circled(number: int) -> str:
    """Return a number in a circle, from 1 to 20; others stay digits.

    Example:
        >>> circled(3), circled(21)
        ('③', '21')
    """
    return chr(_CIRCLED + number - 1) if 0 < number <= 20 else str(number)
