"""Response and error bodies, in the dialect of every client.

The union of Cohere, Jina, vLLM, Xinference and llama.cpp is one body that each of them reads; TEI, Infinity and Voyage
have shapes that no union holds: TEI is recognized by its body, the others by their path.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Literal

from rerankd.errors import InvalidRequestError, RerankdError, ScoringError, UnsupportedFieldError
from rerankd.types import RankedDocument, RerankResult, Usage

Dialect = Literal["union", "tei", "infinity", "voyage"]
Json = dict[str, Any]


Returned = Callable[[int], Json]
"""Returns the document at a position of the request, as it is to be returned."""


def _results(result: RerankResult, returned: Callable[[int], Any] | None, *, explain: bool = False) -> list[Json]:
    rows = []
    for ranked in result.results:
        row: Json = {"index": ranked.index, "relevance_score": ranked.relevance_score}
        if returned is not None:
            row["document"] = returned(ranked.index)
        if ranked.spans is not None:
            row["relevant_spans"] = [asdict(span) for span in ranked.spans]
        if explain:
            row |= {"raw_score": ranked.raw_score, "truncated": ranked.truncated, "chunks": ranked.chunks}
            row["rules"] = [asdict(rule) for rule in ranked.rules]
        rows.append(row)
    return rows


def _texts(result: RerankResult, returned: Returned | None) -> Callable[[int], str] | None:
    """Return a function for documents as plain strings; None for none."""
    if returned is None:
        return None
    texts = {ranked.index: ranked.document.text for ranked in result.results}
    return lambda index: str(returned(index).get("text", texts[index]))


def _usage(usage: Usage) -> Json:
    return {"prompt_tokens": usage.tokens, "total_tokens": usage.tokens}


def union_response(
    result: RerankResult,
    *,
    returned: Returned | None,
    version: str,
    warnings: Sequence[str] = (),
    explain: bool = False,
) -> Json:
    """Return the response that clients of Cohere, Jina, vLLM, Xinference and llama.cpp all read.

    `object` is left out, because Infinity's client and Jina's want different words there.

    Args:
        result: the ranking.
        returned: returns the document at a position, as it is to be returned; None for no documents.
        version: version of Cohere's API.
        warnings: warnings about the request and about texts that were cut.
        explain: True to add raw scores, rules and timings.
    """
    meta: Json = {
        "api_version": {"version": version},
        "billed_units": {"search_units": max(1, -(-result.usage.pairs // 100))},
        "tokens": {"input_tokens": result.usage.tokens, "output_tokens": 0},
    }
    if warnings:
        meta["warnings"] = list(warnings)
    content: Json = {
        "id": result.request_id,
        "model": result.model,
        "results": _results(result, returned, explain=explain),
        "usage": _usage(result.usage),
        "meta": meta,
    }
    if explain:
        counts = result.usage.to_dict()
        content["usage"] |= {name: count for name, count in counts.items() if name != "tokens"}
        content["timings"] = dict(result.timings)
        content["rules"] = result.rules
        content |= {"version": result.version, "experiment": result.experiment}
    return content


def infinity_response(result: RerankResult, *, returned: Returned | None) -> Json:
    """Return Infinity's response: documents are plain strings."""
    return {
        "object": "rerank",
        "id": f"infinity-{result.request_id}",
        "model": result.model,
        "created": int(time.time()),
        "results": _results(result, _texts(result, returned)),
        "usage": _usage(result.usage),
    }


def voyage_response(result: RerankResult, *, returned: Returned | None) -> Json:
    """Return Voyage's response: `data`, and documents are plain strings."""
    return {
        "object": "list",
        "data": _results(result, _texts(result, returned)),
        "model": result.model,
        "usage": {"total_tokens": result.usage.tokens},
    }


def tei_response(result: RerankResult, *, texts: bool) -> list[Json]:
    """Return TEI's response: a bare array, best first."""

    def to_row(ranked: RankedDocument) -> Json:
        row: Json = {"index": ranked.index, "score": ranked.relevance_score}
        return row | {"text": ranked.document.text} if texts else row

    return [to_row(ranked) for ranked in result.results]


def score_response(
    scores: Sequence[float], model: str, tokens: int, request_id: str, warnings: Sequence[str] = ()
) -> Json:
    """Return vLLM's response to `/score`, in the order of the input."""
    content: Json = {
        "id": f"score-{request_id}",
        "object": "list",
        "created": int(time.time()),
        "model": model,
        "data": [{"index": position, "object": "score", "score": score} for position, score in enumerate(scores)],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0},
    }
    return content | {"meta": {"warnings": list(warnings)}} if warnings else content


def truncation_warnings(truncated: int, pairs: int) -> list[str]:
    """Return a warning if texts were cut before the model read them.

    Args:
        truncated: number of pairs of which some text was not read.
        pairs: number of pairs that were scored.

    Example:
        >>> truncation_warnings(2, 5)
        ['2 of 5 pairs of query and document were cut: they are longer than the limit in tokens']
    """
    sentence = f"{truncated} of {pairs} pairs of query and document were cut: they are longer than the limit in tokens"
    return [sentence] if truncated else []


def error_body(error: RerankdError, dialect: Dialect, request_id: str) -> tuple[int, Json]:
    """Return status and body of an error, in a dialect."""
    text = str(error)
    if dialect == "tei":
        status, kind = _tei_kind(error)
        return status, {"error": text, "error_type": kind}
    if dialect == "voyage":  # its SDK before 0.5 takes `error` for a text, and fails on an object
        return error.status, {"detail": text}
    field = error.field or None if isinstance(error, UnsupportedFieldError) else None
    return error.status, {
        "error": {"message": text, "type": error.code, "param": field, "code": error.code},
        "detail": text,
        "message": text,
        "id": request_id,
    }


def _tei_kind(error: RerankdError) -> tuple[int, str]:
    if isinstance(error, EmptyDocumentsError):
        return 400, "Empty"
    if isinstance(error, InvalidRequestError):
        return 422, "Validation"
    if isinstance(error, ScoringError):
        return 424, "Backend"
    if error.status == 429:
        return 429, "Overloaded"
    if error.status == 503:
        return 503, "Unhealthy"
    return error.status, "Validation" if error.status < 500 else "Backend"


class EmptyDocumentsError(InvalidRequestError):
    """Request without documents."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is empty.", hint="Send at least one document.")
