"""JSON of files that people and other programs wrote."""

from __future__ import annotations

import json
from typing import Any


def parse_json(text: str | bytes) -> Any:
    """Parse JSON; whatever is wrong with it is a `ValueError`.

    Raises:
        ValueError: not JSON, not UTF-8, or nested too deeply, which Python reports in another way.

    Example:
        >>> parse_json("[" * 200_000)
        Traceback (most recent call last):
        ValueError: it is nested too deeply
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
