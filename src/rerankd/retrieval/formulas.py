"""Superscripts and formulas on one line, so that 10 to the power of 6 does not become 106, nor a half 12."""

from __future__ import annotations

import re

_WORD = re.compile(r"[^\W\d_]{4}$")  # a footnote follows it; m2 and x2 are shorter
_RAISED = re.compile(r"[+\-−–]?\w+|[+\-−–]$")
_ORDINAL = re.compile(r"st|nd|rd|th|er|re|ers|res|e|es|o|a|os|as|º|ª|ème|eme|de|ste", re.IGNORECASE)


def superscript_mark(before: str, raised: str) -> str:
    """Return what stands between a text and the superscript after it: `^` where they would read as one, else nothing.

    Example:
        >>> superscript_mark("10", "6"), superscript_mark("warranty", "1"), superscript_mark("m", "2")
        ('^', '^', '')
        >>> superscript_mark("on May 1", "st")
        ''
    """
    match = _RAISED.match(raised.lstrip())
    if match is None or not before:
        return ""
    if before[-1].isdigit():
        return "" if _ORDINAL.fullmatch(match[0]) else "^"
    return "^" if before[-1] in ")]" or _WORD.search(before) else ""


def fraction(numerator: str, denominator: str) -> str:
    """Return a fraction on one line.

    Example:
        >>> fraction("1", "2"), fraction("a+b", "2")
        ('1/2', '(a+b)/2')
    """
    return f"{_grouped(numerator)}/{_grouped(denominator)}"


def power(base: str, exponent: str) -> str:
    """Return a power on one line.

    Example:
        >>> power("10", "-6"), power("a+b", "n+1")
        ('10^-6', '(a+b)^(n+1)')
    """
    return f"{_grouped(base)}^{_grouped(exponent)}" if exponent else base


def indexed(base: str, index: str) -> str:
    """Return a letter with its index on one line.

    Example:
        >>> indexed("x", "1"), indexed("x", "i+1")
        ('x_1', 'x_(i+1)')
    """
    return f"{base}_{_grouped(index)}" if index else base


def root(radicand: str, degree: str = "") -> str:
    """Return a root on one line.

    Example:
        >>> root("2"), root("x", "3")
        ('√2', '3√x')
    """
    return f"{degree}√{_grouped(radicand)}"


def _grouped(text: str) -> str:
    text = text.strip()
    return text if re.fullmatch(r"[+\-−]?[\w.,]*", text) or re.fullmatch(r"\([^()]*\)", text) else f"({text})"
