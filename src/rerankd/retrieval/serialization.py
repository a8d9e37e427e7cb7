"""Search results and answers as JSON: the same over HTTP and on the command line."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rerankd._common.validation import plain_metadata
from rerankd.ranking.order import SCORE
from rerankd.retrieval.answer import Answer, Passage, SearchResult, source_label

Json = dict[str, Any]


def passage_json(passage: Passage, *, explain: bool) -> Json:
    """Return a passage as JSON.

    Args:
        passage: the passage.
        explain: add raw score, ranks before and after, matched rules and the reason why it was dropped.
    """
    ranked = passage.ranked
    metadata = {name: value for name, value in ranked.document.metadata.items() if name != SCORE}
    row: Json = {
        "number": passage.number or None,
        "id": ranked.document.id,
        "text": ranked.document.text,
        "relevance_score": ranked.relevance_score,
        "source": source_label(ranked.document),
        "metadata": plain_metadata(metadata),
    }
    if explain:
        row |= {
            "raw_score": ranked.raw_score,
            "score_before": ranked.document.metadata.get(SCORE),
            "rank_before": ranked.rank_before,
            "rank_after": ranked.rank_after,
            "rules": [asdict(rule) for rule in ranked.rules],
            "dropped": passage.dropped or None,
            "duplicate_of": passage.duplicate_of or None,
        }
    return row


def search_response(result: SearchResult, *, explain: bool) -> Json:
    """Return the response of a search; `explain` adds the expanded query, the rules and the dropped passages."""
    response: Json = {
        "object": "search",
        "request_id": result.request_id,
        "query": result.query,
        "passages": [passage_json(passage, explain=explain) for passage in result.passages],
        "model": result.model,
        "version": result.version,
        "experiment": result.experiment,
        "timings": dict(result.timings),
    }
    if result.warnings:
        response["meta"] = {"warnings": list(result.warnings)}
    if explain:
        response |= {"asked": result.expanded_query, "rules": result.rules}
        response["dropped"] = [passage_json(passage, explain=True) for passage in result.dropped]
    return response


def ask_response(answer: Answer, *, explain: bool) -> Json:
    """Return the response of a question: the answer, its citations and the passages."""
    error = answer.error
    return search_response(answer.search, explain=explain) | {
        "object": "answer",
        "answer": answer.text,
        "citations": list(answer.citations),
        "invalid_citations": list(answer.invalid_citations),
        "attributed": list(answer.attributed),
        "unsupported": list(answer.unsupported),
        "sentences": [asdict(sentence) for sentence in answer.sentences],
        "grounded": answer.grounded,
        "refusal": answer.refusal or None,
        "error": {"code": error.code, "message": str(error)} if error is not None else None,
    }
