"""Responses of a service, read and checked; whatever does not fit the request is an error, never a guess."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rerankd._common.timing import complete_timings
from rerankd.errors import ScoringError
from rerankd.ranking.activation import activate
from rerankd.types import Activation, Document, MatchedRule, RankedDocument, RerankResult, Span, Usage

MISMATCH_HINT = "The response does not fit the request: check proxies in between, and the service's version."


@dataclass(frozen=True, slots=True)
class JobStatus:
    """The state of a job.

    Attributes:
        id: id of the job.
        state: queued, running, succeeded, failed, cancelled or expired.
        total: number of requests; `done` of them have a result, `failed` an error.
        done: number of requests with a result.
        failed: number of requests with an error.
        error: reason of the failure, as one sentence; None if the job did not fail.
        results: one object for each request once the job has ended, with `results` (index, relevance_score, raw_score)
            or `error`; None before.
    """

    id: str
    state: str
    total: int
    done: int
    failed: int
    error: str | None
    results: list[dict[str, Any]] | None

    @property
    def ended(self) -> bool:
        """True if the state is final."""
        return self.state not in ("queued", "running")


def read_job(response: Mapping[str, Any]) -> JobStatus:
    """Read the state of a job.

    Args:
        response: object of the response's body.

    Raises:
        ScoringError: the response is not that of a job.
    """
    identity, state, results = response.get("id"), response.get("state"), response.get("results")
    if not isinstance(identity, str) or not isinstance(state, str) or not isinstance(results, list | None):
        raise ScoringError("The service's response is not a job.", hint=MISMATCH_HINT)
    error = response.get("error")
    return JobStatus(
        id=identity,
        state=state,
        total=int(number(response, "total")),
        done=int(number(response, "done")),
        failed=int(number(response, "failed")),
        error=None if error is None else str(error),
        results=results,
    )


def read_ranking(
    response: Mapping[str, Any],
    documents: Sequence[Document],
    top_n: int | None,
    activation: Activation,
    threshold: float | None = None,
) -> RerankResult:
    """Read a ranking.

    Args:
        response: object of the response's body.
        documents: the documents that were sent.
        top_n: number of documents to keep; None keeps all.
        activation: activation of the scores that are returned.
        threshold: lowest sigmoid score to keep; applied here for a softmax, which needs the scores of all documents.

    Raises:
        ScoringError: scores that cannot belong to the documents.
    """
    expected = len(documents) if top_n is None or activation == "softmax" else min(top_n, len(documents))
    service_cut = threshold is not None and activation != "softmax"
    rules = str(response.get("rules") or "")  # rules may filter documents out
    rows = read_rows(response, "results", len(documents), expected, allow_fewer=service_cut or bool(rules))
    scores = [number(row, "relevance_score") for _, row in rows]
    scores_are_raw = activation != "sigmoid"
    raw_scores = [
        number(row, "raw_score", score if scores_are_raw else math.nan)
        for (_, row), score in zip(rows, scores, strict=True)
    ]
    activated: list[float] = activate(scores, activation).tolist() if scores_are_raw else scores
    results = tuple(
        RankedDocument(
            index=index,
            document=documents[index],
            relevance_score=activated[position],
            raw_score=raw_scores[position],
            rank_before=index + 1,
            rank_after=position + 1,
            truncated=bool(row.get("truncated", False)),
            chunks=int(number(row, "chunks", 1)),
            rules=_matched_rules(row.get("rules")),
            spans=_spans(row.get("relevant_spans"), len(documents[index].text), activation),
        )
        for position, (index, row) in enumerate(rows[:top_n])
    )
    if threshold is not None and not service_cut:
        passed = activate(scores[: len(results)], "sigmoid") >= threshold
        pinned = [any(rule.action == "pin" for rule in ranked.rules) for ranked in results]
        results = tuple(ranked for ranked, good, pin in zip(results, passed, pinned, strict=True) if good or pin)
    usage = _mapping(response, "usage")
    return RerankResult(
        results=results,
        model=str(response.get("model") or ""),
        usage=Usage(
            pairs=int(number(usage, "pairs", len(documents))),
            tokens=int(number(usage, "total_tokens", 0)),
            truncated=int(number(usage, "truncated", sum(ranked.truncated for ranked in results))),
            sentences=int(number(usage, "sentences", 0)),
        ),
        timings=complete_timings(_mapping(response, "timings"), missing=math.nan),
        request_id=str(response.get("id") or ""),
        rules=rules,
        version=str(response.get("version") or ""),
        experiment=str(response.get("experiment") or ""),
        warnings=_warnings(response),
    )


def _warnings(response: Mapping[str, Any]) -> tuple[str, ...]:
    """Read the warnings of a response; anything but a list is none."""
    rows = _mapping(response, "meta").get("warnings")
    return tuple(map(str, rows)) if isinstance(rows, list) else ()


def _matched_rules(rows: Any) -> tuple[MatchedRule, ...]:
    """Read the rules that acted on a document; entries in an unknown form are skipped."""
    entries = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return tuple(
        MatchedRule(str(entry.get("rule", "")), str(entry.get("action", "")), number(entry, "weight", 0.0))
        for entry in entries
    )


def _spans(rows: Any, length: int, activation: Activation) -> tuple[Span, ...] | None:
    """Read the spans of a document; None if the service returns none.

    Raises:
        ScoringError: spans that are not within the text, or without a score.
    """
    if rows is None:
        return None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ScoringError("The service's answer has relevant_spans that are no list.", hint=MISMATCH_HINT)
    bounds = [(row.get("start"), row.get("end")) for row in rows]
    for start, end in bounds:
        if type(start) is not int or type(end) is not int or not 0 <= start < end <= length:
            raise ScoringError(f"The service's span {start!r} to {end!r} is not within its text.", hint=MISMATCH_HINT)
    scores = [number(row, "score") for row in rows]
    shown: list[float] = scores if activation == "sigmoid" else activate(scores, activation).tolist()
    return tuple(Span(start, end, score) for (start, end), score in zip(bounds, shown, strict=True))


def read_rows(
    response: Mapping[str, Any], name: str, size: int, expected: int, *, allow_fewer: bool = False
) -> list[tuple[int, Mapping[str, Any]]]:
    """Read the rows of a response with their indexes.

    Args:
        response: object of the response's body.
        name: field that holds the rows.
        size: number of items that were sent; indexes are below it.
        expected: number of rows.
        allow_fewer: True if there may be fewer rows.

    Raises:
        ScoringError: too many rows or too few, an index that is out of range, or one that occurs twice.
    """
    rows = response.get(name)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ScoringError(f"The service's answer has no list {name!r}.", hint="Is it a rerankd service?")
    indexes = [row.get("index") for row in rows]
    for index in indexes:
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < size:
            raise ScoringError(f"The service scored index {index!r} of {size}.", hint=MISMATCH_HINT)
    if len(set(indexes)) != len(rows):
        raise ScoringError("The service scored an index twice.", hint=MISMATCH_HINT)
    if len(rows) > expected or (len(rows) < expected and not allow_fewer):
        raise ScoringError(f"The service returned {len(rows)} scores instead of {expected}.", hint=MISMATCH_HINT)
    return list(zip(indexes, rows, strict=True))


def number(row: Mapping[str, Any], name: str, default: float | None = None) -> float:
    """Read a number.

    Args:
        row: object of a response.
        name: field of the number.
        default: value if the field is missing or null; None if it may not be.

    Raises:
        ScoringError: the field is not a number.

    Example:
        >>> number({"score": 2}, "score"), number({}, "chunks", 1)
        (2.0, 1)
    """
    value = row.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ScoringError(f"The service's answer has {value!r} as {name}, not a number.", hint=MISMATCH_HINT)
    return float(value)


def _mapping(response: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = response.get(name)
    return value if isinstance(value, dict) else {}
