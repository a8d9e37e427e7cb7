"""Spans of a request in the pipeline: scored after the ranking, by the model that ranked, within the same admission."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TypeVar

from rerankd._common.strict import check_strict
from rerankd.engine.batch_admission import BatchAdmission
from rerankd.engine.pool import ServedModel
from rerankd.engine.request import QueryGroup, ScoreRequest
from rerankd.pipeline.applied_rules import INLINE_CHARACTERS, AppliedRules
from rerankd.pipeline.scores import Charge, ModelScores, deadline_error, join_pieces, wait_for_scores
from rerankd.ranking.spans import OTHER_MODEL, SpanPlanner
from rerankd.types import PairScore, RerankRequest, RerankResult

ScoreSentences = Callable[[Sequence[str]], Awaitable[Sequence[ModelScores]]]
"""A function that scores sentences with the query, in order, in one piece or more."""
T = TypeVar("T")


@dataclass(eq=False, slots=True)
class FollowUp:
    """Sentences that are scored once it is known which documents are returned. Exit it when they are.

    Attributes:
        query: query of the ranking, with the synonyms of the rules.
        sentences: sentences of the longest documents, of which as many may be returned: the most that there can be.
        planner: planner that has split these documents already.
        scoring: models that score the request with their admissions, by the fingerprint of the model.
        held: keeps these models loaded, and gives back what is left of the admissions.
    """

    query: str
    sentences: Sequence[str]
    planner: SpanPlanner
    scoring: dict[str, tuple[ServedModel, ScoreRequest, BatchAdmission]] = field(default_factory=dict)
    held: ExitStack = field(default_factory=ExitStack)

    @property
    def groups(self) -> list[QueryGroup]:
        """The sentences as pairs."""
        return [(self.query, self.sentences)]

    async def admit(
        self, model: ServedModel, request: ScoreRequest, admission: BatchAdmission | None, charge: Charge
    ) -> BatchAdmission:
        """Admit and charge the pairs of a ranking and of the sentences together.

        Args:
            model: model that ranks, which stays loaded until the exit.
            request: pairs of the ranking.
            admission: admission that the request is part of; None for one of its own.
            charge: called with the estimated tokens of all pairs.

        Raises:
            RerankdError: the request is refused.
        """
        self.held.enter_context(model.in_use())
        request = replace(request, follow_up=self.groups)
        await charge(model.engine.estimate_tokens(request.all_groups, request.truncation))
        if admission is None:
            admission = model.engine.admit([request])
            self.held.callback(model.engine.release, admission)
        self.scoring[model.engine.version] = model, request, admission
        return admission

    async def score(self, ranked: ModelScores, sentences: Sequence[str]) -> list[ModelScores]:
        """Score sentences on the model that ranked, in one piece.

        Args:
            ranked: scores of the ranking.
            sentences: the sentences.

        Raises:
            RerankdError: the time is up, or the model gives no usable score.
        """
        model, request, admission = self.scoring[ranked.version]
        # A text that may not be cut was read whole, and so is each part of it.
        wanted = replace(request, groups=[(self.query, sentences)], follow_up=(), allow_truncation=True)
        try:
            async with asyncio.timeout(None if request.deadline is None else request.deadline - time.monotonic()):
                engine_request = model.engine.submit(wanted, admission=admission)
                result = await wait_for_scores(model.engine, engine_request)
        except TimeoutError:
            raise deadline_error() from None
        return [replace(ranked, result=result, challenger=None)]


async def plan_follow_up(request: RerankRequest, rules: AppliedRules) -> FollowUp:
    """Return the sentences that a request may ask for.

    Args:
        request: the request.
        rules: effect of the rules on it.
    """
    planner = SpanPlanner()
    sentences = await _split(request, lambda: planner.largest(request.documents, request.top_n))
    return FollowUp(rules.query, sentences, planner)


async def add_spans(
    request: RerankRequest,
    result: RerankResult,
    scores: Sequence[PairScore],
    score: ScoreSentences,
    planner: SpanPlanner,
) -> RerankResult:
    """Return a result with the spans of its documents.

    Args:
        request: the request.
        result: its ranking.
        scores: the model's scores of its documents, in request order.
        score: scores sentences; where another model did that than ranked, the spans are left out.
        planner: planner of the request.

    Raises:
        UnsupportedFieldError: the request is strict, and has more sentences than are scored.
    """
    plan = await _split(request, lambda: planner.plan(result.results, scores))
    if request.strict:
        check_strict(plan.warnings)
    pieces = await score(plan.texts) if plan.texts else ()
    joined = join_pieces(pieces)
    computed = joined.computed_tokens or 0
    if any(piece.version != result.version for piece in pieces):
        total = (result.computed_tokens or 0) + computed
        return replace(result, computed_tokens=total, warnings=(*result.warnings, OTHER_MODEL))
    return plan.apply(result, joined.scores, request, timings=joined.timings, computed_tokens=computed)


async def _split(request: RerankRequest, split: Callable[[], T]) -> T:
    """Split the texts of a request; long ones in a thread, so that other requests go on."""
    length = sum(len(document.text) for document in request.documents)
    return split() if length <= INLINE_CHARACTERS else await asyncio.to_thread(split)
