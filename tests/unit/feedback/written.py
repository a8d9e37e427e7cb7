"""Traces that tests of feedback share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rerankd.traces.store import TraceStore
from rerankd.traces.trace import build_trace
from rerankd.types import Adjustment, Document, Fusion, MatchedRule
from tests.unit.traces.rankings import ranking


def write(
    store: TraceStore,
    request_id: str,
    *scores: float,
    tenant: str = "search",
    query: str = "q",
    at: float | None = None,
    rules: Mapping[int, str] | None = None,
    first_scores: Sequence[float] = (),
    fusion: Fusion | None = None,
) -> None:
    """Write the trace of a request with documents `d0`, `d1`, ... and these scores.

    `rules` has by position `filter`, `pin N` or `boost N`; `first_scores` those of the first stage.
    """
    documents = [
        Document(f"{request_id} text {index}", f"d{index}", {"score": first_scores[index]} if first_scores else {})
        for index in range(len(scores))
    ]
    record = ranking(query, documents, scores, request_id=request_id, tenant=tenant, at=at, fusion=fusion)
    if rules:
        record = replace(record, adjustments=[adjustment(rules.get(index, "")) for index in range(len(scores))])
    store.write([build_trace(record)])


def adjustment(rule: str) -> Adjustment:
    """Return what a rule does: `filter`, `pin N`, `boost N`, or the empty string for none."""
    action, _, number = rule.partition(" ")
    weight = float(number or 0)
    matched = (MatchedRule("the rule", action, weight),) if action else ()
    return Adjustment(
        weight if action == "boost" else 0.0, int(weight) if action == "pin" else 0, action == "filter", matched
    )
