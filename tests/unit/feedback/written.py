"""Traces that tests of feedback share."""

from __future__ import annotations

from rerankd.traces.store import TraceStore
from rerankd.traces.trace import build_trace
from rerankd.types import Document
from tests.unit.traces.rankings import ranking


def write(
    store: TraceStore,
    request_id: str,
    *scores: float,
    tenant: str = "search",
    query: str = "q",
    at: float | None = None,
) -> None:
    """Write the trace of a request with documents `d0`, `d1`, ... and these scores."""
    documents = [Document(f"{request_id} text {index}", f"d{index}") for index in range(len(scores))]
    record = ranking(query, documents, scores, request_id=request_id, tenant=tenant, at=at)
    store.write([build_trace(record)])
