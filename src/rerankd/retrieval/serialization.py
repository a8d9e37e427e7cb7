"""Search results and answers as JSON: the same over HTTP and on the command line."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rerankd._common.validation import plain_metadata
from rerankd.ranking.order import SCORE
from rerankd.retrieval.rag import Answer, Found, SearchResult, source_of

Json = dict[str, Any]


def passage(found: Found, *, explain: bool) -> Json:
    """A passage."""
    ranked = found.ranked
    about = plain_metadata({name: value for name, value in ranked.document.metadata.items() if name != SCORE})
    row: Json = {
        "number": found.number or None,
        "id": ranked.document.id,
        "text": ranked.document.text,
        "relevance_score": ranked.relevance_score,
        "source": source_of(ranked.document),
        "metadata": about,
    }
    if explain:
        row |= {
            "raw_score": ranked.raw_score,
            "score_before": ranked.document.metadata.get(SCORE),
            "rank_before": ranked.rank_before,
            "rank_after": ranked.rank_after,
            "rules": [asdict(rule) for rule in ranked.rules],
            "dropped": found.dropped or None,
            "duplicate_of": found.duplicate_of or None,
        }
    return row


def search_answer(found: SearchResult, *, explain: bool) -> Json:
    """What a search found."""
    row: Json = {
        "object": "search",
        "request_id": found.request_id,
        "query": found.query,
        "passages": [passage(one, explain=explain) for one in found.passages],
        "model": found.model,
        "version": found.version,
        "experiment": found.experiment,
        "timings": dict(found.timings),
    }
    if explain:
        row |= {"asked": found.asked, "rules": found.rules}
        row["dropped"] = [passage(one, explain=True) for one in found.dropped]
    return row


def ask_answer(answer: Answer, *, explain: bool) -> Json:
    """An answer with its passages."""
    error = answer.error
    return search_answer(answer.found, explain=explain) | {
        "object": "answer",
        "answer": answer.text,
        "citations": list(answer.cited),
        "invalid_citations": list(answer.invalid),
        "grounded": answer.grounded,
        "refusal": answer.refusal or None,
        "error": {"code": error.code, "message": str(error)} if error is not None else None,
    }
