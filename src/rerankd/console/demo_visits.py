"""Visits of the demo's customers: what they asked, who ranked it, and what they clicked."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable

from rerankd.console.demo_models import MODEL, DemoModel, RankedQuestion
from rerankd.feedback.events import FeedbackEvent, Kind
from rerankd.feedback.store import add_feedback
from rerankd.ranking.finish import RequestScores, finish
from rerankd.ranking.requests import build_request
from rerankd.rules.rule_set import RuleSet
from rerankd.traces.store import TraceStore
from rerankd.traces.trace import build_trace
from rerankd.types import RankingRecord, RerankRequest, RerankResult

DAY = 86_400.0
TENANTS = ("shop", "support", "web")
USERS = 90
MILLISECONDS_PER_TOKEN = 0.022
_SHARES = (0.5, 0.3, 0.2)

Route = Callable[[RerankRequest], tuple[DemoModel, str, str]]
"""A function from a request to the model that ranks it, the experiment and the variant."""


def always(model: DemoModel) -> Route:
    """Return the route of all requests to one model, outside of experiments."""
    return lambda request: (model, "", "")


class Visits:
    """Writes the visits of a time to a store.

    Args:
        store: destination.
        draw: source of chance.
        rules: rules in force.
    """

    def __init__(self, store: TraceStore, draw: random.Random, rules: RuleSet) -> None:
        self.store, self.draw = store, draw
        self._rules, self._count = rules, 0

    def between(self, start: float, end: float, rate: float, route: Route) -> None:
        """Write the visits of a time.

        Args:
            start: beginning, in seconds since 1970.
            end: end.
            rate: rankings in a second, on average.
            route: chooses the model of a request.
        """
        records: list[RankingRecord] = []
        events: list[FeedbackEvent] = []
        for time in sorted(self._times(start, end, rate)):
            record, result, question = self._rank(time, route)
            records.append(record)
            events += self._reactions(record, result, question)
        if records:
            self.store.write([build_trace(record) for record in records])
        add_feedback(self.store, events)

    def _times(self, start: float, end: float, rate: float) -> list[float]:
        """Return times of visits: most are in the daytime, and no day is like the other."""
        times: list[float] = []
        while len(times) < round((end - start) * rate):
            time = self.draw.uniform(start, end)
            hour, day = time % DAY / 3600, int(time // DAY)
            weight = 0.55 + 0.35 * math.sin((hour - 8) / 24 * 2 * math.pi) + 0.1 * math.sin(day * 2.4)
            if self.draw.random() < weight:
                times.append(time)
        return times

    def _rank(self, time: float, route: Route) -> tuple[RankingRecord, RerankResult, RankedQuestion]:
        self._count += 1
        draw = self.draw
        tenant = draw.choices(TENANTS, _SHARES)[0]
        request = build_request(
            query="",
            documents=(),
            top_n=draw.choice((5, 5, 5, 10, None)),
            model=MODEL,
            request_id=f"demo-{self._count:04}",
            tenant=tenant,
            source="job" if draw.random() < 0.04 else "http",
            user=f"user-{draw.randrange(USERS)}",
        )
        model, experiment, variant = route(request)
        fitting = [question for question in model.questions if question.is_about_shop is (tenant != TENANTS[2])]
        question = draw.choices(fitting, [1 / (2 + position % 7) for position in range(len(fitting))])[0]
        ranked = question.record
        filled = dataclasses.replace(request, query=question.query, documents=ranked.request.documents)
        scored = RequestScores(
            ranked.scores,
            MODEL,
            ranked.version,
            ranked.max_length,
            self._timings(sum(score.tokens for score in ranked.scores)),
            cached=len(ranked.scores) if draw.random() < 0.1 else 0,
            experiment=experiment,
            variant=variant,
        )
        adjustments = self._rules.adjustments(filled.query, filled.documents, tenant, time) if self._rules.rules else ()
        result, record = finish(filled, scored, adjustments, rules=self._rules.version, now=time)
        return record, result, question

    def _timings(self, tokens: int) -> dict[str, float]:
        draw = self.draw
        steps = {
            "tokenization": 0.4 + tokens * 0.0004 * draw.uniform(0.8, 1.3),
            "queue": draw.lognormvariate(0.4, 0.9),
            "inference": tokens * MILLISECONDS_PER_TOKEN * draw.lognormvariate(0, 0.18),
        }
        return steps | {"total": sum(steps.values()) + draw.uniform(0.1, 0.6)}

    def _reactions(self, record: RankingRecord, result: RerankResult, question: RankedQuestion) -> list[FeedbackEvent]:
        """Return what a customer did: most look at the first results, some scroll, some complain."""
        draw = self.draw
        ranks = {document.document.id: document for document in result}
        answer = ranks.get(question.answer)
        if draw.random() > 0.5:
            return []
        moment = record.time + draw.uniform(4, 90)
        actions: list[tuple[Kind, int, float]] = []
        if answer is not None and draw.random() < {1: 0.9, 2: 0.7, 3: 0.5}.get(answer.rank_after, 0.35):
            actions.append(("click", answer.index, 1))
            if draw.random() < 0.2:
                actions.append(("thumb", answer.index, 1))
            if draw.random() < 0.15:
                actions.append(("citation", answer.index, 1))
        elif result.results and draw.random() < 0.35:
            actions.append(("thumb", result[0].index, -1))
        elif result.results and draw.random() < 0.3:
            actions.append(("click", result[0].index, 1))
        if answer is not None and draw.random() < 0.06:
            actions += [("grade", row.index, 3 if row is answer else 0) for row in result.results[:3]]
        return [
            FeedbackEvent(record.request.request_id, kind, index, None, value, moment, record.request.tenant)
            for kind, index, value in actions
        ]
