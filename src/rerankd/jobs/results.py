"""Rows of a job, one for each of its requests, from the stored results of its parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from rerankd.jobs.store import PartResult


def result_rows(parts: Iterable[PartResult]) -> Iterator[dict[str, Any] | None]:
    """Yield one row per request, in order: `{"model", "results" | "scores", "usage"}`, `{"error"}`, or None if missing.

    Example:
        >>> list(result_rows([PartResult(1, b'[{"scores": []}]'), PartResult(2, None)]))
        [{'scores': []}, None, None]
    """
    for part in parts:
        if part.content is None:
            yield from [None] * part.requests
            continue
        content = orjson.loads(part.content)
        # A dead-lettered part holds one error for all of its requests.
        yield from content if isinstance(content, list) else [content] * part.requests
