"""Retry policy of calls to models behind HTTP: embeddings and chat."""

from __future__ import annotations

import httpx

from rerankd._common.backoff import Backoff

BACKOFF = Backoff(attempts=3, first=1.0, longest=8.0)
RETRIED_STATUSES = frozenset({408, 409, 429, 500, 502, 503, 504})
MAX_RETRY_AFTER = 60.0


def retry_after_of(response: httpx.Response) -> float | None:
    """Return the seconds of `Retry-After`, at most `MAX_RETRY_AFTER`; None without it, or if it is a date.

    Example:
        >>> retry_after_of(httpx.Response(429, headers={"retry-after": "7"}))
        7.0
    """
    try:
        seconds = float(response.headers.get("retry-after", ""))
    except ValueError:
        return None
    return min(MAX_RETRY_AFTER, seconds) if seconds >= 0 else None
