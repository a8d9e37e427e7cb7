"""Feedback on the rankings of an experiment, as metrics of its variants.

Each ranking counts once, whatever the number of its feedback events. `thumbs_down` (negative feedback rate): 1 if a
document or the ranking is rejected, 0 if not. `misplaced` (reciprocal rank loss): 1 - 1 / rank of the best chosen
document. An interleaved ranking is won by the model more of whose documents were chosen.
Feedback on rankings that were not traced does not count. `rerankd.feedback.judgements` decides what is chosen and what
is rejected.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, func, select

from rerankd.database import tables
from rerankd.database.connection import batched
from rerankd.experiments.experiment import CHALLENGER, CHAMPION, INTERLEAVED, Experiment
from rerankd.experiments.guardrails import NEGATIVE_FEEDBACK_RATE, RECIPROCAL_RANK_LOSS
from rerankd.experiments.sequential_tests import Sums
from rerankd.feedback.events import FeedbackEvent
from rerankd.feedback.judgements import Judgements
from rerankd.traces.packing import Candidates, unpack
from rerankd.traces.store import TraceStore

BATCH_SIZE = 5000
MAX_RANKINGS = 50_000
SETTLED_SECONDS = 120.0  # transactions that write feedback, and traces, have committed by then
_VARIANTS = (CHAMPION, CHALLENGER, INTERLEAVED)


@dataclass(slots=True)
class _Ranking:
    variant: str
    teams: str
    ranks: Sequence[int]
    judgements: Judgements


class FeedbackAggregator:
    """Metrics of an experiment's feedback, read incrementally: a watermark marks what is settled. Not thread-safe.

    Args:
        experiment: experiment whose feedback is read.
        clock: monotonic seconds.
    """

    def __init__(self, experiment: Experiment, clock: Callable[[], float] = time.monotonic) -> None:
        self._experiment, self._clock = experiment, clock
        self._watermark: int | None = None
        self._first_seen: dict[int, float] = {}
        self._counted: set[int] = set()
        self._rankings: dict[int, _Ranking] = {}

    def poll(self, store: TraceStore) -> None:
        """Read the feedback that is new since the last call.

        Raises:
            UnavailableError: the database cannot be reached.
        """
        if self._watermark is None:
            self._watermark = self._initial_watermark(store)
        while self._watermark is not None and self._read(store, self._watermark) == BATCH_SIZE:
            pass

    def _initial_watermark(self, store: TraceStore) -> int | None:
        """Return the id of the last feedback before the experiment; None while there is no feedback since."""
        columns = tables.feedback.c
        since = select(func.min(columns.id)).where(columns.time >= self._experiment.created - SETTLED_SECONDS)
        with store.connect() as connection:
            first = connection.scalar(since)
        return None if first is None else int(first) - 1

    def _read(self, store: TraceStore, watermark: int) -> int:
        feedback, trace = tables.feedback.c, tables.trace.c
        joined = tables.feedback.outerjoin(
            tables.trace,
            and_(
                trace.request_id == feedback.request_id,
                trace.tenant == feedback.tenant,
                trace.experiment == self._experiment.name,
                trace.time >= self._experiment.created,
            ),
        )
        event = (feedback.kind, feedback.position, feedback.document, feedback.value, feedback.time)
        columns = (feedback.id, trace.id.label("trace"), trace.arm, trace.teams, *event)
        newer = select(*columns).select_from(joined).where(feedback.id > watermark)
        with store.connect() as connection:
            rows = connection.execute(newer.order_by(feedback.id).limit(BATCH_SIZE)).all()
            new = [row for row in rows if row.trace is not None and row.id not in self._counted]
            self._load_rankings(connection, new)
        for row in new:
            self._count(row)
        self._advance_watermark([row.id for row in rows], is_full=len(rows) == BATCH_SIZE)
        return len(rows)

    def _load_rankings(self, connection: Any, rows: Sequence[Any]) -> None:
        """Load the ranks of the documents of rankings that are not known yet."""
        missing = {row.trace: row for row in rows if row.trace not in self._rankings and row.arm in _VARIANTS}
        columns = tables.candidates.c
        for batch in batched(sorted(missing)):
            query = select(columns.trace, columns.data).where(columns.trace.in_(batch))
            for trace, data in connection.execute(query):
                if len(self._rankings) >= MAX_RANKINGS:
                    return
                candidates: Candidates = unpack(bytes(data))
                row = missing[trace]
                hidden = (~candidates.shown).nonzero()[0].tolist()
                judgements = Judgements(len(candidates), candidates.ids, hidden)
                self._rankings[trace] = _Ranking(row.arm, row.teams or "", candidates.ranks.tolist(), judgements)

    def _count(self, row: Any) -> None:
        self._counted.add(row.id)
        ranking = self._rankings.get(row.trace)
        if ranking is not None:
            event = FeedbackEvent("", row.kind, row.position, row.document, row.value, row.time)
            ranking.judgements.add(event)

    def _advance_watermark(self, ids: Sequence[int], *, is_full: bool) -> None:
        """Pass feedback that is so old that neither earlier feedback nor its trace can still be written."""
        now = self._clock()
        for feedback_id in ids:
            if now - self._first_seen.setdefault(feedback_id, now) < SETTLED_SECONDS and not is_full:
                break
            self._watermark = feedback_id
        for passed in [feedback_id for feedback_id in self._first_seen if feedback_id <= (self._watermark or 0)]:
            del self._first_seen[passed]
            self._counted.discard(passed)

    def sums(self) -> dict[str, dict[str, Sums]]:
        """Return the sums of each metric, by variant."""
        values: dict[str, dict[str, list[float]]] = {CHAMPION: {}, CHALLENGER: {}}
        for ranking in self._rankings.values():
            judgements = ranking.judgements
            if ranking.variant not in values or judgements.is_empty:
                continue
            metrics = values[ranking.variant]
            metrics.setdefault(NEGATIVE_FEEDBACK_RATE, []).append(float(judgements.rejections > 0))
            if judgements.chosen:
                best_rank = min(ranking.ranks[position] for position in judgements.chosen)
                metrics.setdefault(RECIPROCAL_RANK_LOSS, []).append(1 - 1 / best_rank)
        return {
            variant: {name: Sums.of(numbers) for name, numbers in metrics.items()}
            for variant, metrics in values.items()
        }

    def wins(self) -> tuple[int, int]:
        """Return the interleaved rankings that the challenger won, and those that it lost."""
        won = lost = 0
        for ranking in self._rankings.values():
            if ranking.variant == INTERLEAVED and ranking.teams:
                positions = [position for position in ranking.judgements.chosen if position < len(ranking.teams)]
                chosen = [ranking.teams[position] for position in positions]
                balance = chosen.count("1") - chosen.count("0")
                won, lost = won + (balance > 0), lost + (balance < 0)
        return won, lost


def merge_sums(requests: Mapping[str, Sums], feedback: Mapping[str, Sums]) -> dict[str, Sums]:
    """Return the sums of both, by metric."""
    return {name: requests.get(name, Sums()) + feedback.get(name, Sums()) for name in {*requests, *feedback}}
