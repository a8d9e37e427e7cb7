"""Replay of traces: rankings repeated with another model, or with other rules."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Protocol

import numpy as np

from rerankd._common.rank_correlation import kendall_tau_of_ranks
from rerankd.ranking.order import SCORE, checked_fusion, order_of
from rerankd.rules.rule_set import RuleSet
from rerankd.traces.store import FullTrace
from rerankd.traces.trace import Trace
from rerankd.types import Adjustment, Document, Fusion, PairScore

ERASED = "one of its texts was erased"


class Score(Protocol):
    """A function that returns the logits of a query with texts, shape (texts,)."""

    def __call__(self, query: str, texts: Sequence[str], instruction: str | None, /) -> Sequence[float]:
        """Score pairs with the instruction that the trace was ranked with; None for the model's own."""
        ...


@dataclass(frozen=True, slots=True)
class MovedDocument:
    """A document whose rank changes in a replay; ranks count from 1.

    Attributes:
        index: position in the request, from 0.
        id: id that the request gave it.
        first: rank of the first stage.
        then: rank in the trace.
        now: rank in the replay.
    """

    index: int
    id: str | None
    first: int
    then: int
    now: int


@dataclass(frozen=True, slots=True)
class Replay:
    """A repeated ranking, compared with its trace.

    Attributes:
        trace: the trace.
        top_changed: True if another document is at rank 1.
        tau: Kendall's tau between both orders; None for fewer than two documents.
        entered: number of documents that are returned now and were not then.
        moves: documents whose rank changed, the largest change first.
        skipped: reason why the trace could not be replayed; empty if it was.
    """

    trace: Trace
    top_changed: bool = False
    tau: float | None = None
    entered: int = 0
    moves: tuple[MovedDocument, ...] = ()
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class ReplaySummary:
    """Statistics of many replays.

    Attributes:
        replayed: number of replayed traces.
        skipped: number of traces that could not be replayed.
        top_changed: share of replays with another document at rank 1.
        tau: Kendall's tau, mean.
        entered: number of documents that are returned now and were not then, mean.
        moved: number of documents whose rank changed, mean.
    """

    replayed: int
    skipped: int
    top_changed: float
    tau: float
    entered: float
    moved: float


def replay_traces(traces: Iterable[FullTrace], score: Score) -> Iterator[Replay]:
    """Rank traces again with another model; rules and fusion act as they did, so that the model alone is compared.

    Args:
        traces: traces to rank.
        score: function that returns the logits of a query with texts.

    Yields:
        One replay for each trace.

    Example:
        >>> list(replay_traces([], lambda query, texts, instruction: [0.0 for _ in texts]))
        []
    """
    for full in traces:
        texts = [text for text in full.texts if text is not None]
        if full.query is None or len(texts) < len(full.texts):
            yield Replay(full.trace, skipped=ERASED)
            continue
        scores = [PairScore(logit, 0, False) for logit in score(full.query, texts, trace_instruction(full))]
        order = order_of(trace_documents(full), scores, trace_adjustments(full), trace_fusion(full))
        yield _compare(full, order)


def replay_with_rules(traces: Iterable[FullTrace], rules: RuleSet, score: Score) -> Iterator[Replay]:
    """Order traces again by other rules than were in force, with the same scores.

    Args:
        traces: traces to order.
        rules: rules to try.
        score: function that returns the logits of a query with texts; called only where the rules add synonyms.

    Yields:
        One replay for each trace.

    Example:
        >>> list(replay_with_rules([], RuleSet(()), lambda query, texts, instruction: [0.0 for _ in texts]))
        []
    """
    for full in traces:
        trace = full.trace
        texts = [text for text in full.texts if text is not None]
        if full.query is None or len(texts) < len(full.texts):
            yield Replay(trace, skipped=ERASED)
            continue
        query = rules.expand_query(full.query, trace.tenant)
        logits = (
            full.candidates.raw_scores.tolist() if query == full.query else score(query, texts, trace_instruction(full))
        )
        documents = trace_documents(full)
        adjustments = rules.adjustments(full.query, documents, trace.tenant, trace.time)
        scores = [PairScore(logit, 0, False) for logit in logits]
        yield _compare(full, order_of(documents, scores, adjustments, trace_fusion(full)))


def summarize(replays: Sequence[Replay]) -> ReplaySummary:
    """Return statistics of replays; shares and means are of those that were replayed, 0 if there is none."""
    replayed = [result for result in replays if not result.skipped]

    def mean(values: Sequence[float]) -> float:
        return fmean(values) if values else 0.0

    return ReplaySummary(
        replayed=len(replayed),
        skipped=len(replays) - len(replayed),
        top_changed=mean([result.top_changed for result in replayed]),
        tau=mean([result.tau for result in replayed if result.tau is not None]),
        entered=mean([result.entered for result in replayed]),
        moved=mean([len(result.moves) for result in replayed]),
    )


def trace_fusion(full: FullTrace) -> Fusion | None:
    """Return the fusion with which a trace was ranked; None for none."""
    return checked_fusion(full.parameters.get("fusion"), full.parameters.get("fusion_weight"))


def trace_instruction(full: FullTrace) -> str | None:
    """Return the instruction of a trace; None if it had none, and in traces of older versions."""
    instruction = full.parameters.get("instruction")
    return str(instruction) if instruction else None


def trace_adjustments(full: FullTrace) -> list[Adjustment]:
    """Return what the rules did to each document of a trace; an empty list if they did nothing."""
    applied = full.candidates.adjustments
    return [applied.get(position, Adjustment()) for position in range(len(full.candidates))] if applied else []


def trace_documents(full: FullTrace) -> list[Document]:
    """Return the documents of a trace, in the order of the request; the text of an erased one is empty."""
    candidates = full.candidates
    count = len(candidates)
    scores = candidates.scores_before.tolist() if len(candidates.scores_before) else [math.nan] * count
    metadata: Sequence[Mapping[str, Any]] = candidates.metadata or [{}] * count
    ids = candidates.ids or [None] * count
    return [
        Document(text or "", name, {**original, **({} if math.isnan(score) else {SCORE: score})})
        for text, name, original, score in zip(full.texts, ids, metadata, scores, strict=True)
    ]


def _compare(full: FullTrace, order: list[int]) -> Replay:
    """Compare an order of positions with the trace; documents that rules filter out rank last."""
    then = full.candidates.ranks
    count = len(then)
    returned = set(order)
    order = [*order, *(position for position in range(count) if position not in returned)]
    now = np.empty(count, np.int64)
    now[order] = np.arange(1, count + 1)
    kept = full.trace.kept
    ids = full.candidates.ids or (None,) * count
    moves = [
        MovedDocument(position, ids[position], position + 1, int(then[position]), int(now[position]))
        for position in range(count)
        if then[position] != now[position]
    ]
    return Replay(
        trace=full.trace,
        top_changed=bool(then[order[0]] != 1) if order else False,
        tau=kendall_tau_of_ranks(now[np.argsort(then)].tolist()),
        entered=int(((now <= kept) & (then > kept)).sum()),
        moves=tuple(sorted(moves, key=lambda moved: (-abs(moved.now - moved.then), moved.now))),
    )
