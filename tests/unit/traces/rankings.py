"""Rankings to trace."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rerankd.types import Document, PairScore, RankingRecord, RerankRequest


def ranking(
    query: str = "what eats bamboo?",
    documents: Sequence[str | Document] = ("a car", "a panda", "a bear"),
    scores: Sequence[float] | None = None,
    *,
    at: float | None = None,
    top_n: int | None = 2,
    **named: Any,
) -> RankingRecord:
    """Return a ranking in which, unless `scores` say otherwise, a later document is a better one."""
    inputs = [one if isinstance(one, Document) else Document(one) for one in documents]
    logits = scores if scores is not None else [float(position) for position in range(len(inputs))]
    request = RerankRequest(
        query, inputs, top_n, **({"request_id": "r1", "tenant": "search", "source": "http"} | named)
    )
    timings = {"tokenization": 1.0, "queue": 2.0, "inference": 3.0, "total": 6.0}
    pairs = [PairScore(logit, 10, False) for logit in logits]
    return RankingRecord(request, pairs, "mini", "v1", 512, timings, 0, time.time() if at is None else at)
