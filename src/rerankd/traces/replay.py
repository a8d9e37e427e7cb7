"""What another model would have made of traces."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from rerankd._common.rank_correlation import kendall_tau_of_ranks
from rerankd.ranking.order import SCORE, checked_fusion, order_of
from rerankd.rules.rule_set import RuleSet
from rerankd.traces.store import FullTrace
from rerankd.traces.trace import Trace
from rerankd.types import Document, PairScore

ERASED = "a text of it was erased"
Score = Callable[[str, Sequence[str]], Sequence[float]]


@dataclass(frozen=True, slots=True)
class Move:
    """A document that another model puts elsewhere; places count from 1.

    Attributes:
        index: its place in the request, from 0.
        id: the caller's name for it.
        first: where the first stage had it.
        then: where the traced ranking had it.
        now: where the other model has it.
    """

    index: int
    id: str | None
    first: int
    then: int
    now: int


@dataclass(frozen=True, slots=True)
class Replay:
    """A ranking, made again.

    Attributes:
        trace: as it was.
        top_changed: whether another document is first.
        tau: Kendall's tau between both orders; None for a single document.
        entered: documents of the first `kept` that were not among them.
        moves: documents that are elsewhere, the furthest first.
        skipped: why it could not be replayed; empty if it was.
    """

    trace: Trace
    top_changed: bool = False
    tau: float | None = None
    entered: int = 0
    moves: tuple[Move, ...] = ()
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """Many replays in short.

    Attributes:
        replayed: traces.
        skipped: traces of which a text was erased, or which were traced while the model could not be reached.
        top_changed: share with another document first.
        tau: mean of Kendall's tau.
        entered: mean of documents that came among those kept.
        moved: mean of documents that are elsewhere.
    """

    replayed: int
    skipped: int
    top_changed: float
    tau: float
    entered: float
    moved: float


def replay(traces: Iterable[FullTrace], score: Score) -> Iterator[Replay]:
    """Rank traces again.

    Args:
        traces: what to rank.
        score: logits of a query with texts, of another model or of the same as it is now.

    Example:
        >>> list(replay([], lambda query, texts: [0.0 for _ in texts]))
        []
    """
    for found in traces:
        texts = [text for text in found.texts if text is not None]
        if found.query is None or len(texts) < len(found.texts):
            yield Replay(found.trace, skipped=ERASED)
            continue
        yield _compared(found, order_of((), [PairScore(logit, 0, False) for logit in score(found.query, texts)]))


def preview(traces: Iterable[FullTrace], rules: RuleSet, score: Score) -> Iterator[Replay]:
    """What rules would make of traces: the same scores, ordered by other rules than were in force.

    Args:
        traces: what to order.
        rules: those to try.
        score: as of `replay`; asked only where the rules add synonyms to a query.

    Example:
        >>> list(preview([], RuleSet(()), lambda query, texts: [0.0 for _ in texts]))
        []
    """
    for found in traces:
        held = found.candidates
        texts = [text for text in found.texts if text is not None]
        if found.query is None or len(texts) < len(found.texts):
            yield Replay(found.trace, skipped=ERASED)
            continue
        query = rules.expand_query(found.query, found.trace.tenant)
        logits = held.raw_scores.tolist() if query == found.query else score(query, texts)
        documents = _documents(found)
        adjustments = rules.adjustments(found.query, documents, found.trace.tenant, found.trace.time)
        said = found.parameters
        fusion = checked_fusion(said.get("fusion"), said.get("fusion_weight"))
        order = order_of(documents, [PairScore(logit, 0, False) for logit in logits], adjustments, fusion)
        yield _compared(found, order)


def _documents(found: FullTrace) -> list[Document]:
    held = found.candidates
    before = held.scores_before.tolist() if len(held.scores_before) else [math.nan] * len(held)
    about: Sequence[Mapping[str, Any]] = held.metadata or [{}] * len(held)
    ids = held.ids or [None] * len(held)
    first = [{} if math.isnan(score) else {SCORE: score} for score in before]
    together = zip(found.texts, ids, about, first, strict=True)
    return [Document(text or "", name, {**own, **score}) for text, name, own, score in together]


def _compared(found: FullTrace, order: list[int]) -> Replay:
    """Places then and now; what rules leave out stands behind everything else."""
    then = found.candidates.ranks
    shown = set(order)
    order = [*order, *(place for place in range(len(then)) if place not in shown)]
    now = np.empty(len(then), np.int64)
    now[order] = np.arange(1, len(then) + 1)
    kept = found.trace.kept
    ids = found.candidates.ids or (None,) * len(then)
    moves = [
        Move(place, ids[place], place + 1, int(then[place]), int(now[place]))
        for place in range(len(then))
        if then[place] != now[place]
    ]
    by_old_order = now[np.argsort(then)].tolist()
    return Replay(
        found.trace,
        bool(then[order[0]] != 1) if order else False,
        kendall_tau_of_ranks(by_old_order),
        int(((now <= kept) & (then > kept)).sum()),
        tuple(sorted(moves, key=lambda move: (-abs(move.now - move.then), move.now))),
    )


def summary(replays: Sequence[Replay]) -> Summary:
    """Replays in short; shares and means are of those that were replayed, 0 where there is none."""
    done = [one for one in replays if not one.skipped]
    taus = [one.tau for one in done if one.tau is not None]

    def mean(values: Sequence[float]) -> float:
        return fmean(values) if values else 0.0

    return Summary(
        len(done),
        len(replays) - len(done),
        mean([one.top_changed for one in done]),
        mean(taus),
        mean([one.entered for one in done]),
        mean([len(one.moves) for one in done]),
    )
