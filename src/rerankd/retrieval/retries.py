"""Retry policy of calls to models behind HTTP: embeddings and chat."""

from __future__ import annotations

import time

import httpx

from rerankd._common.backoff import Backoff
from rerankd._common.retry_after import read_retry_after

BACKOFF = Backoff(attempts=3, first=1.0, longest=8.0)
RETRIED_STATUSES = frozenset({408, 409, 429, 500, 502, 503, 504})
MAX_RETRY_AFTER = 60.0


def retry_after_of(response: httpx.Response) -> float | None:
    """Return the seconds that a server asks to wait, at most `MAX_RETRY_AFTER`; None if it names none.

    Example:
        >>> retry_after_of(httpx.Response(429, headers={"retry-after": "7"}))
        7.0
    """
    return read_retry_after(response.headers, time.time(), MAX_RETRY_AFTER)
