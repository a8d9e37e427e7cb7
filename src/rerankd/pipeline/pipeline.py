"""A request, spelled out from top to bottom: which model, how its pairs are cut, scores, order."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from collections.abc import Callable, Sequence

from rerankd.engine.engine import Engine, document_too_long
from rerankd.engine.pool import ModelPool, ServedModel
from rerankd.engine.request import QueryGroup, ScoreRequest, ScoreResult
from rerankd.errors import DeadlineExceededError, InvalidRequestError
from rerankd.experiments.traffic import Traffic
from rerankd.pipeline.experiment import VariantScorer
from rerankd.pipeline.scores import Charge, ModelScores, OneTimeCharge
from rerankd.ranking.interleave import merge
from rerankd.ranking.order import rank_request, usage_of
from rerankd.ranking.team_draft import seed_of
from rerankd.rules.rule_set import RuleSet
from rerankd.rules.watcher import rules_provider
from rerankd.scoring.encoder import TruncationOptions
from rerankd.types import (
    Adjustment,
    PairScore,
    RankedDocument,
    RankingRecord,
    Recorder,
    RerankRequest,
    RerankResult,
    TruncationOverrides,
)

__all__ = ["Charge", "ModelScores", "Pipeline", "apply_overrides"]


class Pipeline:
    """Runs requests on the models of a pool.

    Args:
        pool: the models.
        recorder: told of every ranking; None for nobody.
        rules: gives the rules that are in force when a request begins.
        traffic: says which arm of an experiment serves a request, and is told what came of it.

    Example:
        >>> result = await Pipeline(pool).run(RerankRequest("q", [Document("d")]))  # doctest: +SKIP
    """

    def __init__(
        self,
        pool: ModelPool,
        recorder: Recorder | None = None,
        rules: Callable[[], RuleSet] | None = None,
        traffic: Traffic | None = None,
    ) -> None:
        self._pool, self._recorder, self._rules = pool, recorder, rules or rules_provider(None)
        self._traffic = traffic or Traffic()

    @property
    def rules(self) -> RuleSet:
        """The rules in force."""
        return self._rules()

    async def run(self, request: RerankRequest, charge: Charge | None = None) -> RerankResult:
        """Rank a request's documents.

        Args:
            request: what to rank.
            charge: called with the estimated tokens before anything is queued; may refuse by raising.

        Raises:
            RerankdError: whatever is wrong with the request, the model or the moment.
        """
        rules = self.rules
        query = rules.expanded(request.query, request.tenant)
        groups = [(query, [document.text for document in request.documents])]
        found = await self._routed(groups, request, charge, listed=True)
        results = self.finish(request, [found], rules)
        usage, timings = usage_of(found.scored.scores[0]), found.scored.timings
        spent = math.nan if found.scored.cached else timings["total"]
        logits = [score.raw_score for score in found.scored.scores[0]]
        self._traffic.offer(request, found.model, groups, logits, spent)
        return RerankResult(
            results,
            found.model,
            usage,
            timings,
            computed_tokens=found.scored.computed_tokens,
            rules=rules.version,
            version=found.version,
            experiment=found.part_of,
        )

    def finish(
        self, request: RerankRequest, found: Sequence[ModelScores], rules: RuleSet
    ) -> tuple[RankedDocument, ...]:
        """Rank what was scored in one piece or one after the other, and tell the recorder.

        Args:
            request: what was asked.
            found: scores of its documents, in their order.
            rules: those in force when it began.
        """
        scores = [score for piece in found for score in piece.scored.scores[0]]
        adjustments: Sequence[Adjustment] = ()
        if rules.rules:
            adjustments = rules.adjustments(request.query, request.documents, request.tenant)
        teams = ""
        if found and (other := found[-1].other) is not None:  # of an interleaved list there is one piece
            seed = seed_of(found[-1].experiment, request.request_id)
            merged = merge(request, scores, other.scores[0], adjustments, seed)
            request, scores, adjustments, teams = merged.request, merged.scores, merged.adjustments, merged.teams
        if self._recorder is not None and found:
            timings: dict[str, float] = {}
            for step, spent in (one for piece in found for one in piece.scored.timings.items()):
                timings[step] = timings.get(step, 0.0) + spent
            last, cached = found[-1], sum(piece.scored.cached for piece in found)
            about = (last.model, last.version, last.truncation.max_length, timings, cached, time.time())
            part = (last.experiment, last.variant, teams)
            self._recorder.record(RankingRecord(request, scores, *about, adjustments, rules.version, *part))
        return rank_request(request, scores, adjustments)

    async def score(
        self, groups: Sequence[QueryGroup], request: RerankRequest, charge: Charge | None = None
    ) -> ModelScores:
        """Score groups of pairs with a request's model and truncation; its own query and documents are ignored."""
        return await self._routed(groups, request, charge, listed=False)

    async def score_on(self, name: str, groups: Sequence[QueryGroup], request: RerankRequest) -> ModelScores:
        """Score on a model of the pool by its name there, whatever experiments say; charges nobody."""
        return await self._scored(name, groups, request, OneTimeCharge(None), None)

    async def _routed(
        self, groups: Sequence[QueryGroup], request: RerankRequest, charge: Charge | None, *, listed: bool
    ) -> ModelScores:
        """Score on the model that the request names, or on what an experiment puts in its place."""
        deadline = time.monotonic() + request.timeout if request.timeout else None
        name, once = self._pool.resolve(request.model), OneTimeCharge(charge)

        async def score(model: str) -> ModelScores:
            return await self._scored(model, groups, request, once, deadline)

        route = self._traffic.route(name, request, is_ranking=listed)
        arm = None
        if route is not None:
            arm = VariantScorer(route, self._traffic, once, fallback=listed or request.source != "job")
        try:
            async with asyncio.timeout(request.timeout):
                return await (score(name) if arm is None else arm.scored(name, score))
        except TimeoutError:
            if arm is not None:
                arm.timed_out()
            raise _too_late() from None

    async def _scored(
        self, name: str, groups: Sequence[QueryGroup], request: RerankRequest, charge: Charge, deadline: float | None
    ) -> ModelScores:
        async with self._pool.lease(name) as model:
            truncation = apply_overrides(model, request.truncation)
            await charge(model.engine.estimate_tokens(groups, truncation))
            whole = not request.truncation.allow_truncation
            work = ScoreRequest(
                groups,
                truncation,
                tenant=request.fairness_key,
                retry_key=request.retry_key,
                deadline=deadline,
                cache=request.cache,
                allow_truncation=not whole,
                background=request.background,
            )
            scored = await _answer(model.engine, work)
            found = ModelScores(name, model.engine.version, truncation, scored)
        if whole:  # what came from the cache was not encoded
            _check_whole([score for group in scored.scores for score in group], truncation)
        return found


async def _answer(engine: Engine, work: ScoreRequest) -> ScoreResult:
    """Wait for a job; one whose caller goes away or whose time is up is dropped."""
    job = engine.submit(work)
    try:
        return await asyncio.wrap_future(job.future)
    except asyncio.CancelledError:
        late = work.deadline is not None and time.monotonic() >= work.deadline
        engine.cancel(job, _too_late() if late else None, "deadline" if late else "cancelled")
        raise


def _too_late() -> DeadlineExceededError:
    return DeadlineExceededError("The request's time was up.", hint="Give it more time, or send fewer documents.")


def apply_overrides(model: ServedModel, change: TruncationOverrides) -> TruncationOptions:
    """The model's truncation with what a request changes.

    Raises:
        InvalidRequestError: a value that the model does not allow.
    """
    limit = model.files.manifest.architecture.max_length
    if change.max_length is not None and change.max_length > limit:
        raise InvalidRequestError(
            f"max_length is {change.max_length}; {model.name} reads at most {limit} tokens.",
            hint="Use a smaller max_length, or long_documents='chunk'.",
        )
    values = {name: getattr(change, name) for name in _OVERRIDES}
    given = {name: value for name, value in values.items() if value is not None}
    return dataclasses.replace(model.truncation, **given) if given else model.truncation


_OVERRIDES = tuple(field.name for field in dataclasses.fields(TruncationOverrides) if field.name != "allow_truncation")


def _check_whole(scores: Sequence[PairScore], truncation: TruncationOptions) -> None:
    cut = [place for place, score in enumerate(scores) if score.truncated]
    if cut:
        raise document_too_long(cut[0], truncation)
