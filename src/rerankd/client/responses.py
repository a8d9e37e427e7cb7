"""What the service's answers mean; whatever does not fit the question is an error, never a guess."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rerankd.errors import ScoringError
from rerankd.ranking.activation import activate
from rerankd.types import Activation, Document, MatchedRule, RankedDocument, RerankResult, Usage

NOT_OURS = "Its answers do not fit the question: check what stands between, and the service's version."


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job as it stands.

    Attributes:
        id: its name.
        state: queued, running, succeeded, failed, cancelled or expired.
        total: requests; `done` of them have a result, `failed` an error.
        error: why it failed, as one sentence; None if it did not.
        results: one object for each request once it has ended, with `results` (index, relevance_score, raw_score) or
            `error`; None before.
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
        """Whether nothing of it will change by itself."""
        return self.state not in ("queued", "running")


def read_job(answer: Mapping[str, Any]) -> JobStatus:
    """Read a job.

    Raises:
        ScoringError: it is none.
    """
    identity, state, results = answer.get("id"), answer.get("state"), answer.get("results")
    if not isinstance(identity, str) or not isinstance(state, str) or not isinstance(results, list | None):
        raise ScoringError("The service's answer is no job.", hint=NOT_OURS)
    total, done, failed = (int(number(answer, name)) for name in ("total", "done", "failed"))
    error = answer.get("error")
    return JobStatus(identity, state, total, done, failed, None if error is None else str(error), results)


def read_ranking(
    answer: Mapping[str, Any],
    given: Sequence[Document],
    top_n: int | None,
    activation: Activation,
    threshold: float | None = None,
) -> RerankResult:
    """A ranking of these documents, of those that passed the threshold.

    Raises:
        ScoringError: scores that cannot belong to them.
    """
    expected = len(given) if top_n is None or activation == "softmax" else min(top_n, len(given))
    all_asked = threshold is None or activation == "softmax"
    rules = str(answer.get("rules") or "")  # with rules, documents may be left out
    rows = read_rows(answer, "results", len(given), expected, fewer=not all_asked or bool(rules))
    scores = [number(row, "relevance_score") for _, row in rows]
    asked_raw = activation != "sigmoid"
    raw = [
        number(row, "raw_score", score if asked_raw else math.nan) for (_, row), score in zip(rows, scores, strict=True)
    ]
    activated: list[float] = activate(scores, activation).tolist() if asked_raw else scores
    results = tuple(
        RankedDocument(
            index=index,
            document=given[index],
            relevance_score=activated[place],
            raw_score=raw[place],
            rank_before=index + 1,
            rank_after=place + 1,
            truncated=bool(row.get("truncated", False)),
            chunks=int(number(row, "chunks", 1)),
            rules=_fired(row.get("rules")),
        )
        for place, (index, row) in enumerate(rows[:top_n])
    )
    if threshold is not None and all_asked:
        passed = activate(scores[: len(results)], "sigmoid") >= threshold
        pinned = [any(rule.action == "pin" for rule in ranked.rules) for ranked in results]
        results = tuple(ranked for ranked, good, pin in zip(results, passed, pinned, strict=True) if good or pin)
    usage = _mapping(answer, "usage")
    return RerankResult(
        results,
        str(answer.get("model") or ""),
        Usage(
            pairs=int(number(usage, "pairs", len(given))),
            tokens=int(number(usage, "total_tokens", 0)),
            truncated=int(number(usage, "truncated", sum(ranked.truncated for ranked in results))),
        ),
        {step: float(spent) for step, spent in _mapping(answer, "timings").items() if isinstance(spent, int | float)},
        str(answer.get("id") or ""),
        rules=rules,
        version=str(answer.get("version") or ""),
        experiment=str(answer.get("experiment") or ""),
    )


def _fired(given: Any) -> tuple[MatchedRule, ...]:
    """Rules that acted on a document; what is none is passed over."""
    rows = [row for row in given if isinstance(row, dict)] if isinstance(given, list) else []
    return tuple(
        MatchedRule(str(row.get("rule", "")), str(row.get("action", "")), number(row, "weight", 0.0)) for row in rows
    )


def read_rows(
    answer: Mapping[str, Any], name: str, size: int, expected: int, *, fewer: bool = False
) -> list[tuple[int, Mapping[str, Any]]]:
    """The rows of an answer with their indexes: as many as expected or, where told, fewer; none twice."""
    rows = answer.get(name)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ScoringError(f"The service's answer has no list {name!r}.", hint="Is it a rerankd service?")
    indexes = [row.get("index") for row in rows]
    for index in indexes:
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < size:
            raise ScoringError(f"The service scored index {index!r} of {size}.", hint=NOT_OURS)
    if len(set(indexes)) != len(rows):
        raise ScoringError("The service scored an index twice.", hint=NOT_OURS)
    if len(rows) > expected or (len(rows) < expected and not fewer):
        raise ScoringError(f"The service gave {len(rows)} scores where {expected} were asked for.", hint=NOT_OURS)
    return list(zip(indexes, rows, strict=True))


def number(row: Mapping[str, Any], name: str, missing: float | None = None) -> float:
    """A number of an answer; one that is missing where it may be is `missing`."""
    value = row.get(name)
    if value is None and missing is not None:
        return missing
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ScoringError(f"The service's answer has {value!r} as {name}, not a number.", hint=NOT_OURS)
    return float(value)


def _mapping(answer: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = answer.get(name)
    return value if isinstance(value, dict) else {}
