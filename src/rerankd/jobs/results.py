"""From what is kept of a job to one row for each of its requests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from rerankd.jobs.store import PartResult


def result_rows(parts: Iterable[PartResult]) -> Iterator[dict[str, Any] | None]:
    """One row for each request, in order: `{"model", "results" | "scores", "usage"}`, `{"error"}`, or None for nothing.

    Example:
        >>> list(result_rows([PartResult(1, b'[{"scores": []}]'), PartResult(2, None)]))
        [{'scores': []}, None, None]
    """
    for part in parts:
        if part.content is None:
            yield from [None] * part.requests
            continue
        found = orjson.loads(part.content)
        # One error for the whole part: it was set aside without a word from its workers.
        yield from found if isinstance(found, list) else [found] * part.requests
