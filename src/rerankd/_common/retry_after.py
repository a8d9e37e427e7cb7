"""The pause that a server asks for: the header `Retry-After` (RFC 9110, 10.2.3), and `retry-after-ms`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime


def read_retry_after(headers: Mapping[str, str], now: float, longest: float = math.inf) -> float | None:
    """Return the seconds that a response asks to wait, never negative; None if it names no time that can be read.

    Args:
        headers: headers of the response; their names in lower case, or a mapping that ignores case.
        now: current time in seconds since 1970, for a header that holds a date.
        longest: upper limit in seconds.

    Example:
        >>> read_retry_after({"retry-after": "7"}, now=0.0)
        7.0
        >>> read_retry_after({"retry-after": "Thu, 01 Jan 1970 00:01:00 GMT"}, now=50.0)
        10.0
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        seconds = _seconds(headers.get(name, ""), unit, now)
        if math.isfinite(seconds):
            return min(max(seconds, 0.0), longest)
    return None


def _seconds(value: str, unit: float, now: float) -> float:
    try:
        return float(value) * unit
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(value)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, OverflowError):
        return math.nan
