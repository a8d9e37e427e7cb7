"""Ranked lists of a comparison, built from scores and from traces. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rerankd.console.comparison import ComparedDocument, Controls, Marks, RankedList
from rerankd.ranking.activation import activate
from rerankd.ranking.blanks import lower_blanks
from rerankd.ranking.order import SCORE, first_score, order_of, rank_documents
from rerankd.traces.replay import trace_adjustments, trace_documents, trace_fusion
from rerankd.traces.store import FullTrace
from rerankd.traces.trace import rule_label
from rerankd.types import Adjustment, Document, PairScore

_UNTOUCHED = Adjustment()


def compared_documents(documents: Sequence[Document]) -> list[ComparedDocument]:
    """Return the documents of a request as a comparison shows them."""
    return [
        ComparedDocument(
            document.text,
            None if document.id is None else str(document.id),
            _number(document),
            title=title if isinstance(title := (document.metadata or {}).get("title"), str) else None,
        )
        for document in documents
    ]


def first_stage_list(name: str, documents: Sequence[Document], top_n: int | None) -> RankedList:
    """Return the list before reranking: the order of the request, with the scores of the first stage.

    Args:
        name: name of the list.
        documents: the documents of the request.
        top_n: number of documents that count as returned; None for all.

    Example:
        >>> first_stage_list("before", [Document("a"), Document("b")], 1).returned
        [True, False]
    """
    ranks = range(1, len(documents) + 1)
    return RankedList(
        name=name,
        ranks=list(ranks),
        raw_scores=[_number(document) for document in documents],
        returned=[top_n is None or rank <= top_n for rank in ranks],
    )


def model_list(
    name: str,
    documents: Sequence[Document],
    scores: Sequence[PairScore],
    adjustments: Sequence[Adjustment],
    controls: Controls,
    note: str = "",
    labels: Mapping[int, Sequence[str]] | None = None,
) -> RankedList:
    """Return the list that a model's scores give, with all documents in it.

    Args:
        name: name of the list.
        documents: the documents of the request.
        scores: one score for each document.
        adjustments: effect of the rules on each document; empty without rules.
        controls: threshold, cut and fusion.
        note: what else to say of the list.
        labels: labels of the rules that acted, by position; None to read them from the adjustments.

    Example:
        >>> scores = [PairScore(-1.0, 5, False), PairScore(2.0, 5, False)]
        >>> ranked = model_list("mini", [Document("a"), Document("b")], scores, (), Controls(threshold=0.5))
        >>> ranked.ranks, ranked.returned
        ([2, 1], [False, True])
    """
    scores = lower_blanks(documents, scores)
    order = order_of(documents, scores, adjustments, controls.fusion)
    kept = rank_documents(
        documents, scores, controls.top_n, "sigmoid", controls.threshold, adjustments, controls.fusion
    )
    rules = adjustments or [_UNTOUCHED] * len(scores)
    if labels is None:
        labels = {position: [*map(rule_label, rule.matched_rules)] for position, rule in enumerate(rules)}
    return RankedList(
        name=name,
        ranks=_ranks(order, len(documents)),
        scores=_sigmoid(scores, adjustments),
        raw_scores=[score.raw_score for score in scores],
        marks=_marks(scores, rules, labels),
        returned=_members([ranked.index for ranked in kept], len(documents)),
        note=note,
        sortable=True,
    )


def trace_controls(full: FullTrace) -> Controls:
    """Return threshold, cut and fusion of a trace."""
    parameters = full.parameters
    return Controls(parameters.get("threshold"), parameters.get("top_n"), trace_fusion(full))


def trace_list(name: str, full: FullTrace) -> RankedList:
    """Return the list that a trace recorded.

    It can be sorted anew if its order follows from what the trace holds, unlike that of two interleaved rankings.

    Args:
        name: name of the list.
        full: the trace.
    """
    candidates, count = full.candidates, len(full.candidates)
    documents, adjustments = trace_documents(full), trace_adjustments(full)
    chunks = candidates.chunks.tolist() or [1] * count
    truncated = candidates.truncated.tolist() or [False] * count
    scores = [
        PairScore(raw_score, 0, cut, pieces)
        for raw_score, cut, pieces in zip(candidates.raw_scores.tolist(), truncated, chunks, strict=True)
    ]
    shown = candidates.shown.tolist()
    ranks = [rank if is_shown else None for rank, is_shown in zip(candidates.ranks.tolist(), shown, strict=True)]
    controls = trace_controls(full)
    again = model_list(name, documents, scores, adjustments, controls)
    is_same = again.ranks == ranks
    rules = adjustments or [_UNTOUCHED] * count
    return RankedList(
        name=name,
        ranks=ranks,
        scores=_sigmoid(scores, adjustments),
        raw_scores=[score.raw_score for score in scores],
        marks=_marks(scores, rules, candidates.rules),
        returned=again.returned if is_same else [rank is not None and rank <= full.trace.kept for rank in ranks],
        note=full.trace.version[:8],
        sortable=is_same,
    )


def foremost(
    documents: Sequence[ComparedDocument], left: RankedList, right: RankedList, count: int
) -> tuple[list[ComparedDocument], RankedList, RankedList]:
    """Return the documents that rank best in either list, and the lists with these alone; none can be sorted anew.

    Args:
        documents: the documents.
        left: a list of them.
        right: another list of them.
        count: number of documents to return.

    Example:
        >>> documents = [ComparedDocument(text) for text in "abc"]
        >>> kept, _, right = foremost(documents, RankedList("a", [1, 2, 3]), RankedList("b", [2, 3, 1]), 2)
        >>> [document.text for document in kept], right.ranks
        (['a', 'c'], [2, 1])
    """
    last = len(documents) + 1
    best = [min(rank or last for rank in ranks) for ranks in zip(left.ranks, right.ranks, strict=True)]
    kept = sorted(sorted(range(len(documents)), key=lambda position: best[position])[:count])

    def part(ranked: RankedList) -> RankedList:
        return replace(
            ranked,
            ranks=[ranked.ranks[position] for position in kept],
            scores=[ranked.scores[position] for position in kept] if ranked.scores else (),
            raw_scores=[ranked.raw_scores[position] for position in kept] if ranked.raw_scores else (),
            marks=[ranked.marks[position] for position in kept] if ranked.marks else (),
            returned=[ranked.returned[position] for position in kept] if ranked.returned else (),
            sortable=False,
        )

    return [documents[position] for position in kept], part(left), part(right)


def request_body(query: str, documents: Sequence[Document], model: str | None, controls: Controls) -> dict[str, Any]:
    """Return the body of `POST /v1/rerank` that ranks the documents so.

    Args:
        query: the query.
        documents: the documents.
        model: name of the model; None for the default.
        controls: threshold, cut and fusion.

    Example:
        >>> request_body("q", [Document("a"), Document("b", "x")], None, Controls(top_n=1))["documents"]
        ['a', {'text': 'b', 'id': 'x'}]
    """
    body: dict[str, Any] = {
        "model": model,
        "query": query,
        "documents": [_document_body(document) for document in documents],
        "top_n": controls.top_n,
        "threshold": controls.threshold,
        "fusion": controls.fusion.method if controls.fusion else "none",
        "fusion_weight": controls.fusion.weight if controls.fusion else None,
    }
    return {name: value for name, value in body.items() if value is not None}


def _document_body(document: Document) -> str | dict[str, Any]:
    metadata = {name: value for name, value in (document.metadata or {}).items() if name != SCORE}
    fields = {"id": document.id, "score": _number(document), "metadata": metadata or None}
    given = {name: value for name, value in fields.items() if value is not None}
    return {"text": document.text, **given} if given else document.text


def _number(document: Document) -> float | None:
    score = first_score(document)
    return None if math.isnan(score) else score


def _ranks(order: Sequence[int], count: int) -> list[int | None]:
    ranks: list[int | None] = [None] * count
    for rank, position in enumerate(order, start=1):
        ranks[position] = rank
    return ranks


def _members(positions: Sequence[int], count: int) -> list[bool]:
    members = set(positions)
    return [position in members for position in range(count)]


def _sigmoid(scores: Sequence[PairScore], adjustments: Sequence[Adjustment]) -> list[float | None]:
    """Return the scores from 0 to 1, boosts of rules included: what the threshold is compared with."""
    boosts = [adjustment.boost for adjustment in adjustments] or [0.0] * len(scores)
    logits = [score.raw_score + boost for score, boost in zip(scores, boosts, strict=True)]
    return list(activate(logits, "sigmoid").tolist())


def _marks(
    scores: Sequence[PairScore], rules: Sequence[Adjustment], labels: Mapping[int, Sequence[str]]
) -> list[Marks]:
    return [
        Marks(
            score.truncated,
            score.chunks,
            tuple(labels.get(position, ())),
            rule.boost,
            rule.pin_to,
            rule.filtered,
        )
        for position, (score, rule) in enumerate(zip(scores, rules, strict=True))
    ]
