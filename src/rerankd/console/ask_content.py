"""Content of the page of questions: stages, passages before and after, and the sentences of an answer."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rerankd.retrieval.answer import Answer, SearchResult
from rerankd.retrieval.citations import cited_parts
from rerankd.retrieval.serialization import passage_json

Json = dict[str, Any]
REASONS = ("threshold", "duplicate", "top_n", "budget")
MAX_LINES = 60
ROW = 14


def search_content(result: SearchResult, tokens: int, *, traced: bool) -> Json:
    """Return the passages of a question and the stages that they came through.

    Args:
        result: the search.
        tokens: tokens of the kept passages.
        traced: True if the ranking is stored under the request id.
    """
    dropped = Counter(str(passage.dropped) for passage in result.dropped)
    retrieved = len(result.passages) + len(result.dropped)
    added = result.expanded_query.removeprefix(result.query).strip(" ()")
    rows = [passage_json(passage, explain=True) for passage in (*result.passages, *result.dropped)]
    return {
        "request_id": result.request_id,
        "is_traced": traced and bool(rows),
        "query": result.query,
        "expanded_query": result.expanded_query,
        "synonyms": added,
        "model": result.model,
        "version": result.version,
        "experiment": result.experiment,
        "rules": result.rules,
        "warnings": list(result.warnings),
        "retrieved": retrieved,
        "kept": len(result.passages),
        "tokens": tokens,
        "dropped": {reason: dropped[reason] for reason in REASONS},
        "timings": dict(result.timings),
        "passages": rows[: len(result.passages)],
        "others": rows[len(result.passages) :],
        "lines": _lines(rows),
    }


def _lines(rows: list[Json]) -> Json:
    """Return a line for each candidate from its rank in the first stage to its rank after reranking."""
    shown = [row for row in rows if max(row["rank_before"], row["rank_after"]) <= MAX_LINES]
    height = ROW * (1 + max((max(row["rank_before"], row["rank_after"]) for row in shown), default=0))
    return {
        "height": height,
        "rows": [
            {
                "rank_before": row["rank_before"],
                "rank_after": row["rank_after"],
                "y_before": row["rank_before"] * ROW,
                "y_after": row["rank_after"] * ROW,
                "is_kept": bool(row["number"]),
            }
            for row in shown
        ],
    }


def answer_content(answer: Answer) -> Json:
    """Return an answer, its sentences split at their citations."""
    passages = len(answer.search.passages)
    return {
        "text": answer.text,
        "refusal": answer.refusal or None,
        "error": {"message": answer.error.message, "hint": answer.error.hint} if answer.error is not None else None,
        "is_grounded": answer.grounded,
        "citations": list(answer.citations),
        "attributed": list(answer.attributed),
        "invalid_citations": list(answer.invalid_citations),
        "unsupported": list(answer.unsupported),
        "timings": {
            name: answer.search.timings[name] for name in ("answer", "support") if name in answer.search.timings
        },
        "sentences": [
            {
                "parts": [{"text": text, "citations": list(cited)} for text, cited in cited_parts(each.text, passages)],
                "attributed": list(each.attributed),
                "score": each.score,
                "is_unsupported": each.unsupported,
            }
            for each in answer.sentences
        ],
    }
