"""Strict requests: what would be a warning is an error that names the field.

A warning begins with the name of its field and ends with what was done, `and was ignored`, which an error leaves out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rerankd.errors import UnsupportedFieldError

_DONE = re.compile(r"(?:; .*| and (?:was|were) .*)$")
_FIELD = re.compile(r"[\w.-]+")


def check_strict(warnings: Sequence[str]) -> None:
    """Check that a strict request gets all that it asks for.

    Args:
        warnings: warnings about fields of the request.

    Raises:
        UnsupportedFieldError: there is a warning; the error names the field.

    Example:
        >>> check_strict(["top_n is not supported here and was ignored"])
        Traceback (most recent call last):
            ...
        rerankd.errors.UnsupportedFieldError: top_n is not supported here. Leave it out, or send strict: false.
    """
    if not warnings:
        return
    field = _FIELD.match(warnings[0])
    reasons = "; ".join(_DONE.sub("", warning) for warning in warnings)
    raise UnsupportedFieldError(
        f"{reasons}.",
        hint=f"Leave {'it' if len(warnings) == 1 else 'them'} out, or send strict: false.",
        field=field.group() if field else "",
    )
