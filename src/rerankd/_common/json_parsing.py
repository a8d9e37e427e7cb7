"""Parsing of JSON that users give, whatever it holds."""

from __future__ import annotations

import json
from typing import Any


def parse_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is not JSON, or nested too deep for Python.

    Example:
        >>> parse_json("[1, null]")
        [1, None]
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
