"""Redaction of personal data before a text is stored: the kinds in `traces_redact`, and a function of the user's.

Patterns match the form of an address or a number. They do not prove that no personal data is left.

A match costs a bounded number of steps wherever it is tried, so the time grows in proportion to the text. `re` keeps
the interpreter's lock while it searches; long texts are therefore searched in slices, between which other threads run.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable

from rerankd.errors import InvalidRequestError

Redact = Callable[[str], str]

# Lookarounds by digit instead of \b: Chinese characters are word characters, and numbers follow them without a space.
# Repetitions are bounded, and each of their steps begins with a character that the step before cannot take: there is
# one way to match a text, and nothing to try again in another one.
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}+@(?:[\w-]{1,63}+\.){1,8}[A-Za-z]{2,24}", re.ASCII)
_CN_MOBILE = r"(?:(?:\+|00)86[- ]?)?1[3-9]\d[- ]?\d{4}[- ]?\d{4}"
_CN_LANDLINE = r"\(?0\d{2,3}\)?[- ]\d{7,8}"
_INTERNATIONAL = r"\+\d(?:[- .]?\(?\d\)?){2,22}"
_AMERICAN = r"(?:\(\d{3}\)[ ]?|\d{3}[-. ])\d{3}[-. ]\d{4}"
_PHONE = re.compile(rf"(?<![\d.])(?:{_CN_MOBILE}|{_CN_LANDLINE}|{_INTERNATIONAL}|{_AMERICAN})(?!\d)", re.ASCII)
_CN_ID = re.compile(r"(?<!\d)\d{17}[\dXx](?![\dXx])", re.ASCII)
SLICE = 16_384  # characters that are searched at once
LONGEST_MATCH = 1024  # an address takes at most 601 characters
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def valid_cn_id(number: str) -> bool:
    """Return True if the check digit of a Chinese identity number is right (GB 11643, ISO 7064 MOD 11-2).

    Args:
        number: 17 digits and the check digit, which may be X.

    Example:
        >>> valid_cn_id("11010519491231002X"), valid_cn_id("110105194912310021")
        (True, False)
    """
    total = sum(int(digit) * weight for digit, weight in zip(number[:17], _WEIGHTS, strict=True))
    return "10X98765432"[total % 11] == number[17].upper()


def _emails(text: str) -> str:
    return _substitute(_EMAIL, lambda _: "[email]", text) if "@" in text else text


def _phones(text: str) -> str:
    return _substitute(_PHONE, lambda _: "[phone]", text)


def _cn_ids(text: str) -> str:
    return _substitute(_CN_ID, lambda match: "[cn_id]" if valid_cn_id(match[0]) else match[0], text)


def _substitute(pattern: re.Pattern[str], replacement: Callable[[re.Match[str]], str], text: str) -> str:
    """Return what `pattern.sub` returns; it searches slices that overlap by the longest match."""
    parts: list[str] = []
    copied = 0  # characters of the text that `parts` covers
    for start in range(0, len(text), SLICE):
        end, position = start + SLICE, max(start, copied)
        while match := pattern.search(text, position, end + LONGEST_MATCH):
            if match.start() >= end:
                break  # the next slice finds it, with all the text that follows it
            parts += (text[copied : match.start()], replacement(match))
            copied = position = match.end()
    return "".join([*parts, text[copied:]])


# Identity numbers come first: part of one can look like a telephone number.
KINDS: dict[str, Redact] = {"cn_id": _cn_ids, "email": _emails, "phone": _phones}


def build_redactor(kinds: Iterable[str], custom: str | None = None) -> Redact | None:
    """Return a function that redacts the named kinds of personal data; None if there is nothing to redact.

    Args:
        kinds: kinds to redact: `email`, `phone`, `cn_id`.
        custom: `package.module:function` that is called last, with a text, and returns what may be stored of it.

    Raises:
        InvalidRequestError: a kind is unknown, or the function cannot be imported.

    Example:
        >>> build_redactor(["email", "phone"])("Ask ann@example.com or 13812345678")
        'Ask [email] or [phone]'
    """
    names = set(kinds)
    if unknown := names - KINDS.keys():
        raise InvalidRequestError(
            f"traces_redact contains an unknown kind, {min(unknown)!r}.", hint=f"Use any of: {', '.join(KINDS)}."
        )
    steps = [step for name, step in KINDS.items() if name in names]
    if custom:
        steps.append(_import_function(custom))
    if not steps:
        return None

    def redact(text: str) -> str:
        for step in steps:
            text = step(text)
        return text

    return redact


def _import_function(name: str) -> Redact:
    module, _, attribute = name.partition(":")
    try:
        function = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidRequestError(
            f"traces_redactor {name!r} cannot be imported ({error}).", hint="Write it as package.module:function."
        ) from error
    if not callable(function):
        raise InvalidRequestError(f"traces_redactor {name!r} is not a function.", hint="Name one that takes a text.")
    redact: Redact = function
    return redact
