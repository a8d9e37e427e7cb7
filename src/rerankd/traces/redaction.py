"""What is blacked out before a text is kept: the kinds that `traces_redact` names, and a function of one's own.

Patterns find what has the form of an address or a number. They are no proof that nothing personal is left.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable

from rerankd.errors import InvalidRequestError

Redact = Callable[[str], str]

# Lookarounds by digit, not \b: Chinese characters are word characters, and stand right beside numbers.
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24}", re.ASCII)
_CN_MOBILE = r"(?:(?:\+|00)86[- ]?)?1[3-9]\d[- ]?\d{4}[- ]?\d{4}"
_CN_LANDLINE = r"\(?0\d{2,3}\)?[- ]\d{7,8}"
_INTERNATIONAL = r"\+\d{1,3}(?:[- .]?\(?\d{1,4}\)?){2,5}"
_AMERICAN = r"(?:\(\d{3}\)[ ]?|\d{3}[-. ])\d{3}[-. ]\d{4}"
_PHONE = re.compile(rf"(?<![\d.])(?:{_CN_MOBILE}|{_CN_LANDLINE}|{_INTERNATIONAL}|{_AMERICAN})(?!\d)", re.ASCII)
_CN_ID = re.compile(r"(?<!\d)\d{17}[\dXx](?![\dXx])", re.ASCII)
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def valid_cn_id(number: str) -> bool:
    """Whether the last of the 18 characters is what GB 11643 computes from the others (ISO 7064, MOD 11-2).

    Example:
        >>> valid_cn_id("11010519491231002X"), valid_cn_id("110105194912310021")
        (True, False)
    """
    total = sum(int(digit) * weight for digit, weight in zip(number[:17], _WEIGHTS, strict=True))
    return "10X98765432"[total % 11] == number[17].upper()


def _emails(text: str) -> str:
    return _EMAIL.sub("[email]", text) if "@" in text else text


def _phones(text: str) -> str:
    return _PHONE.sub("[phone]", text)


def _cn_ids(text: str) -> str:
    return _CN_ID.sub(lambda found: "[cn_id]" if valid_cn_id(found[0]) else found[0], text)


# Identity numbers go first: inside of one a telephone number can be seen.
KINDS: dict[str, Redact] = {"cn_id": _cn_ids, "email": _emails, "phone": _phones}


def redactor(kinds: Iterable[str], own: str | None = None) -> Redact | None:
    """What blacks out the named kinds, and then calls a function of one's own; None if there is nothing to do.

    Args:
        kinds: of `email`, `phone` and `cn_id`.
        own: `package.module:function` that takes a text and returns what may be kept of it.

    Raises:
        InvalidRequestError: a kind that is not known, or a function that cannot be found.

    Example:
        >>> redactor(["email", "phone"])("Ask ann@example.com or 13812345678")
        'Ask [email] or [phone]'
    """
    wanted = set(kinds)
    if unknown := wanted - KINDS.keys():
        raise InvalidRequestError(
            f"traces_redact names {min(unknown)!r}, which is not known.", hint=f"Use of: {', '.join(KINDS)}."
        )
    steps = [step for name, step in KINDS.items() if name in wanted]
    if own:
        steps.append(_function(own))
    if not steps:
        return None

    def redact(text: str) -> str:
        for step in steps:
            text = step(text)
        return text

    return redact


def _function(name: str) -> Redact:
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidRequestError(
            f"traces_redactor {name!r} cannot be found ({error}).", hint="Write it as package.module:function."
        ) from error
    if not callable(found):
        raise InvalidRequestError(f"traces_redactor {name!r} is no function.", hint="Name one that takes a text.")
    redact: Redact = found
    return redact
