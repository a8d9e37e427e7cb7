"""Spans: the sentences of the returned documents that answer the query, each scored as a document of its own. Pure.

    check_spans -> ranking as without spans -> SpanPlanner.plan -> scores of the sentences -> SpanPlan.apply

This is the one place that says what `relevant_spans` means, for the library, the service and jobs. A sentence that is
the whole document has the document's score and is not scored again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from rerankd._common.plural import counted
from rerankd._common.timing import TIMINGS, StepTimer
from rerankd._common.validation import check_positive, is_number
from rerankd.errors import InvalidRequestError
from rerankd.ranking.activation import activate
from rerankd.ranking.order import usage_of
from rerankd.ranking.sentence_bounds import Bounds, joined_bounds, sentence_bounds
from rerankd.types import (
    Activation,
    Document,
    PairScore,
    RankedDocument,
    RerankRequest,
    RerankResult,
    Span,
    SpanOptions,
)

MAX_SENTENCES = 200  # of one document
MAX_REQUEST_SENTENCES = 2000  # of all documents of a request; each document has one, however many there are
OTHER_MODEL = "relevant_spans were left out: the model was replaced while the request was answered"
"""Warning of an answer whose documents were scored by a model that was gone when its sentences were due."""


def check_spans(options: SpanOptions | None, activation: Activation) -> None:
    """Check a request for spans.

    Raises:
        InvalidRequestError: a threshold that is not from 0 to 1, `max_spans` below 1, or a softmax.
    """
    if options is None:
        return
    if not isinstance(options, SpanOptions):
        raise InvalidRequestError(
            f"spans is of type {type(options).__name__}.", hint="Pass rerankd.SpanOptions(threshold, max_spans)."
        )
    if not is_number(options.threshold) or not 0 <= options.threshold <= 1:
        raise InvalidRequestError(
            f"The threshold of spans is {options.threshold!r}.", hint="It must be a number from 0 to 1."
        )
    check_positive(max_spans=options.max_spans)
    if activation == "softmax":
        raise InvalidRequestError(
            "spans cannot be combined with a softmax, which is over documents.", hint="Use sigmoid or none."
        )


@dataclass(frozen=True, slots=True)
class SpanPlan:
    """The sentences of the returned documents, and what of them is to be scored.

    Attributes:
        bounds: sentences of each returned document, by the document's index.
        known: scores of the documents that are one sentence, by the document's index.
        texts: sentences to score, in the order of the result and of each text.
        warnings: what was joined.
    """

    bounds: Mapping[int, Sequence[Bounds]]
    known: Mapping[int, PairScore]
    texts: list[str]
    warnings: tuple[str, ...] = ()

    def apply(
        self,
        result: RerankResult,
        scores: Sequence[PairScore],
        request: RerankRequest,
        *,
        timings: Mapping[str, float],
        computed_tokens: int = 0,
    ) -> RerankResult:
        """Return the result with spans, and with what they cost; as it is if the request does not ask for spans.

        Args:
            result: the ranking that was planned for.
            scores: one score for each of `texts`.
            request: the request.
            timings: milliseconds by step that the sentences took.
            computed_tokens: tokens that were computed for them.
        """
        if request.spans is None:
            return result
        rows, scored = [], iter(scores)
        for ranked in result:
            known, bounds = self.known.get(ranked.index), self.bounds[ranked.index]
            logits = [next(scored).raw_score for _ in bounds] if known is None else [known.raw_score]
            rows.append(replace(ranked, spans=_best(bounds, logits, request.spans, request.activation)))
        cost, usage = usage_of(scores), result.usage
        return replace(
            result,
            results=tuple(rows),
            usage=replace(
                usage,
                tokens=usage.tokens + cost.tokens,
                truncated=usage.truncated + cost.truncated,
                sentences=cost.pairs,
            ),
            timings={step: result.timings[step] + timings.get(step, 0.0) for step in TIMINGS},
            computed_tokens=None if result.computed_tokens is None else result.computed_tokens + computed_tokens,
            warnings=(*result.warnings, *self.warnings),
        )


class SpanPlanner:
    """Plans the sentences of one request; each text is split once.

    Example:
        >>> SpanPlanner().largest([Document("One. Two."), Document("Three."), Document("Four.")], 2)
        ['One.', 'Two.', 'Three.']
    """

    def __init__(self) -> None:
        self._bounds: dict[str, list[Bounds]] = {}

    def largest(self, documents: Sequence[Document], top_n: int | None) -> list[str]:
        """Return the sentences of the longest documents, of which as many may be returned: the most that spans cost.

        Args:
            documents: the documents of the request.
            top_n: number of documents to return; None for all.
        """
        texts = sorted((document.text for document in documents), key=len, reverse=True)[:top_n]
        bounds, _ = self._limited(texts)
        return [text[start:end] for text, own in zip(texts, bounds, strict=True) for start, end in own]

    def plan(self, results: Sequence[RankedDocument], scores: Sequence[PairScore]) -> SpanPlan:
        """Return the sentences of the returned documents.

        Args:
            results: the returned documents.
            scores: the model's scores of the documents of the request, in request order.
        """
        bounds, joined = self._limited([ranked.document.text for ranked in results])
        known = {
            ranked.index: scores[ranked.index]
            for ranked, own in zip(results, bounds, strict=True)
            if own == [(0, len(ranked.document.text))]
        }
        texts = [
            ranked.document.text[start:end]
            for ranked, own in zip(results, bounds, strict=True)
            for start, end in own
            if ranked.index not in known
        ]
        by_index = {ranked.index: own for ranked, own in zip(results, bounds, strict=True)}
        return SpanPlan(by_index, known, texts, (_joined_warning(joined),) if joined else ())

    def _limited(self, texts: Sequence[str]) -> tuple[list[list[Bounds]], int]:
        """Return the sentences of each text, as many as may be scored, and the number of texts with joined ones."""
        own = [self._split(text) for text in texts]
        limit = _share([len(bounds) for bounds in own])
        return [joined_bounds(bounds, limit) for bounds in own], sum(len(bounds) > limit for bounds in own)

    def _split(self, text: str) -> list[Bounds]:
        if text not in self._bounds:
            self._bounds[text] = sentence_bounds(text)
        return self._bounds[text]


class ScoreGroups(Protocol):
    """A function that scores queries, each with its texts, and adds the time that it takes to a timer."""

    def __call__(self, groups: Sequence[tuple[str, Sequence[str]]], *, timer: StepTimer) -> list[list[PairScore]]:
        """Return one list of scores for each group."""
        ...


def add_spans(
    requests: Sequence[RerankRequest],
    queries: Sequence[str],
    results: Sequence[RerankResult],
    scores: Sequence[Sequence[PairScore]],
    score: ScoreGroups,
) -> list[RerankResult]:
    """Return results with the spans of their documents; the sentences of all are computed together.

    Args:
        requests: the requests.
        queries: query of each request, with the synonyms of the rules.
        results: ranking of each request.
        scores: scores of the documents of each request, in request order.
        score: function that scores the sentences.
    """
    plans = [SpanPlanner().plan(result.results, own) for result, own in zip(results, scores, strict=True)]
    timer = StepTimer()
    scored = score([(query, plan.texts) for query, plan in zip(queries, plans, strict=True)], timer=timer)
    return [
        plan.apply(result, own, request, timings=timer.with_total())
        for plan, result, own, request in zip(plans, results, scored, requests, strict=True)
    ]


def _share(counts: Sequence[int]) -> int:
    """Return the sentences that a document may have, so that those of all are few enough; shorter ones leave theirs."""
    room, waiting = MAX_REQUEST_SENTENCES, len(counts)
    for count in sorted(counts):
        if count * waiting > room:
            return max(1, min(room // waiting, MAX_SENTENCES))
        room, waiting = room - count, waiting - 1
    return MAX_SENTENCES


def _joined_warning(documents: int) -> str:
    return (
        f"relevant_spans of {counted(documents, 'document')} are several sentences long: at most {MAX_SENTENCES} parts "
        f"of a document and {MAX_REQUEST_SENTENCES} of a request are scored"
    )


def _best(
    bounds: Sequence[Bounds], logits: Sequence[float], options: SpanOptions, activation: Activation
) -> tuple[Span, ...]:
    """Return the sentences from the threshold on, the best ones if there are too many, in the order of the text."""
    passed = [i for i, score in enumerate(activate(logits, "sigmoid").tolist()) if score >= options.threshold]
    kept = sorted(passed, key=lambda i: (-logits[i], i))[: options.max_spans]
    shown = activate(logits, activation).tolist()
    return tuple(Span(*bounds[i], shown[i]) for i in sorted(kept))
