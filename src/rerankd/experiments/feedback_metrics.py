"""What people made of the rankings of an experiment, as numbers of its arms: from feedback joined with traces.

Each ranking counts once, however much is said of it. `thumbs_down`: 1 where somebody rejected, 0 where somebody only
praised or chose. `misplaced`: 1 - 1 / place of the best chosen document. Of interleaved lists: a win for the model
more of whose documents were chosen. Feedback of rankings that were not traced says nothing here.
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
from rerankd.experiments.sequential_tests import Sums
from rerankd.feedback.events import FeedbackEvent
from rerankd.feedback.judgements import Judgements
from rerankd.traces.packing import Candidates, unpack
from rerankd.traces.store import TraceStore

AT_ONCE = 5000
MAX_RANKINGS = 50_000
SETTLED_SECONDS = 120.0  # transactions that write feedback, and traces, are done by then
_ARMS = (CHAMPION, CHALLENGER, INTERLEAVED)


@dataclass(slots=True)
class _Ranking:
    arm: str
    teams: str
    ranks: Sequence[int]
    judgements: Judgements


class FeedbackAggregator:
    """Reads an experiment's feedback again and again, only what is new each time. Not thread-safe.

    Args:
        experiment: whose.
        clock: monotonic seconds.
    """

    def __init__(self, experiment: Experiment, clock: Callable[[], float] = time.monotonic) -> None:
        self._experiment, self._clock = experiment, clock
        self._settled: int | None = None
        self._first_seen: dict[int, float] = {}
        self._counted: set[int] = set()
        self._rankings: dict[int, _Ranking] = {}

    def poll(self, store: TraceStore) -> None:
        """Read what was said since the last look.

        Raises:
            UnavailableError: the database cannot be reached.
        """
        if self._settled is None:
            self._settled = self._before(store)
        while self._settled is not None and self._read(store, self._settled) == AT_ONCE:
            pass

    def _before(self, store: TraceStore) -> int | None:
        """The last feedback from before the experiment; None while there is none since."""
        given = tables.feedback.c
        since = select(func.min(given.id)).where(given.time >= self._experiment.created - SETTLED_SECONDS)
        with store.connect() as connection:
            first = connection.scalar(since)
        return None if first is None else int(first) - 1

    def _read(self, store: TraceStore, settled: int) -> int:
        given, own = tables.feedback.c, tables.trace.c
        joined = tables.feedback.outerjoin(
            tables.trace,
            and_(
                own.request_id == given.request_id,
                own.tenant == given.tenant,
                own.experiment == self._experiment.name,
                own.time >= self._experiment.created,
            ),
        )
        event = (given.kind, given.position, given.document, given.value, given.time)
        columns = (given.id, own.id, own.arm, own.teams, *event)
        newer = select(*columns).select_from(joined).where(given.id > settled)
        with store.connect() as connection:
            rows = connection.execute(newer.order_by(given.id).limit(AT_ONCE)).all()
            new = [row for row in rows if row[1] is not None and row[0] not in self._counted]
            self._know(connection, new)
        for row in new:
            self._count(row)
        self._settle([row[0] for row in rows], full=len(rows) == AT_ONCE)
        return len(rows)

    def _know(self, connection: Any, rows: Sequence[Any]) -> None:
        """Read where the documents of rankings stood."""
        missing = {row[1]: row for row in rows if row[1] not in self._rankings and row[2] in _ARMS}
        held = tables.candidates.c
        for some in batched(sorted(missing)):
            for trace, data in connection.execute(select(held.trace, held.data).where(held.trace.in_(some))):
                if len(self._rankings) >= MAX_RANKINGS:
                    return
                found: Candidates = unpack(bytes(data))
                arm, teams = missing[trace][2:4]
                judgements = Judgements(len(found), found.ids)
                self._rankings[trace] = _Ranking(arm, teams or "", found.ranks.tolist(), judgements)

    def _count(self, row: Any) -> None:
        self._counted.add(row[0])
        if (ranking := self._rankings.get(row[1])) is not None:
            kind, position, document, value, moment = row[4:]
            ranking.judgements.add(FeedbackEvent("", kind, position, document, value, moment))

    def _settle(self, numbers: Sequence[int], *, full: bool) -> None:
        """Go past what is old enough that nothing before it, and no trace of it, can still come."""
        now = self._clock()
        for number in numbers:
            if now - self._first_seen.setdefault(number, now) < SETTLED_SECONDS and not full:
                break
            self._settled = number
        for known in [number for number in self._first_seen if number <= (self._settled or 0)]:
            del self._first_seen[known]
            self._counted.discard(known)

    def sums(self) -> dict[str, dict[str, Sums]]:
        """Sums by arm and guardrail."""
        values: dict[str, dict[str, list[float]]] = {CHAMPION: {}, CHALLENGER: {}}
        for ranking in self._rankings.values():
            judgements = ranking.judgements
            if ranking.arm not in values or judgements.is_empty:
                continue
            own = values[ranking.arm]
            own.setdefault("thumbs_down", []).append(float(judgements.rejections > 0))
            if judgements.chosen:
                place = min(ranking.ranks[position] for position in judgements.chosen)
                own.setdefault("misplaced", []).append(1 - 1 / place)
        return {arm: {name: Sums.of(numbers) for name, numbers in own.items()} for arm, own in values.items()}

    def wins(self) -> tuple[int, int]:
        """Interleaved rankings that the challenger won, and those that it lost."""
        won = lost = 0
        for ranking in self._rankings.values():
            if ranking.arm == INTERLEAVED and ranking.teams:
                chosen = [position for position in ranking.judgements.chosen if position < len(ranking.teams)]
                liked = [ranking.teams[position] for position in chosen]
                balance = liked.count("1") - liked.count("0")
                won, lost = won + (balance > 0), lost + (balance < 0)
        return won, lost


def merged(counted: Mapping[str, Sums], said: Mapping[str, Sums]) -> dict[str, Sums]:
    """Sums of requests and of what was said of them, by guardrail."""
    return {name: counted.get(name, Sums()) + said.get(name, Sums()) for name in {*counted, *said}}
