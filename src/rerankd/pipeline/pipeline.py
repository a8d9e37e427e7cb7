"""The way of a request through one process: experiment, model, quota, engine, and the finished result.

    Pipeline.run -> Pipeline._score -> Pipeline._score_on -> Engine.submit

Without an experiment that is the whole path; with one, `VariantScorer` stands between the second step and the third
(with its method `score` and one more).
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from rerankd._common.instruction import IGNORED
from rerankd._common.logging import logger
from rerankd._common.strict import check_strict
from rerankd._common.validation import check_max_length
from rerankd.engine.batch_admission import BatchAdmission
from rerankd.engine.encoding import document_too_long
from rerankd.engine.pool import ModelPool, ServedModel
from rerankd.engine.request import QueryGroup, ScoreRequest
from rerankd.experiments.traffic import Traffic
from rerankd.pipeline.applied_rules import AppliedRules, apply_rules
from rerankd.pipeline.experiment import VariantScorer
from rerankd.pipeline.scores import (
    Charge,
    ModelScores,
    OneTimeCharge,
    deadline_error,
    join_pieces,
    wait_for_scores,
)
from rerankd.pipeline.spans import FollowUp, ScoreSentences, add_spans, plan_follow_up
from rerankd.pipeline.unhonoured import unhonoured, unknown_model_warnings
from rerankd.ranking.finish import finish
from rerankd.ranking.priority import priority_warnings, served_priority
from rerankd.ranking.spans import SpanPlanner
from rerankd.rules.rule_set import RuleSet
from rerankd.rules.watcher import rules_provider
from rerankd.scoring.encoder import TruncationOptions
from rerankd.types import Recorder, RerankRequest, RerankResult, TruncationOverrides

_log = logger(__name__)
_NO_ADMISSIONS: Mapping[str, BatchAdmission] = {}
_OVERRIDES = tuple(field.name for field in dataclasses.fields(TruncationOverrides) if field.name != "allow_truncation")


class Pipeline:
    """Runs requests on the models of a pool.

    Args:
        pool: the models.
        recorder: receives every finished ranking; None for no traces.
        rules: returns the rules in force; a request keeps those with which it began.
        traffic: the experiments in force and their counters.

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
        self._named: set[tuple[str, str]] = set()  # models, with their version, that the log says read no instruction

    @property
    def rules(self) -> RuleSet:
        """The rules in force."""
        return self._rules()

    async def run(
        self,
        request: RerankRequest,
        charge: Charge | None = None,
        *,
        rules: AppliedRules | None = None,
        admissions: Mapping[str, BatchAdmission] = _NO_ADMISSIONS,
        follow_up: FollowUp | None = None,
    ) -> RerankResult:
        """Rank the documents of a request.

        Args:
            request: the request.
            charge: called with the estimated tokens before anything is queued; raises to refuse the request.
            rules: effect of the rules on the request; None to apply those in force.
            admissions: admissions that the request is part of, by the name of the model.
            follow_up: sentences of a request for spans, if they are part of these admissions.

        Returns:
            The result; its `request_id` is that of the request.

        Raises:
            RerankdError: the request cannot be used, a quota is used up, the model is overloaded or not available, or
                the time is up.
        """
        rules = rules or await self.apply_rules(request)
        groups = groups_of(request, rules)
        if request.spans is None:
            scores = await self._score(groups, request, charge, is_ranking=True, admissions=admissions)
            result = self.finish(request, [scores], rules)
        else:
            follow_up = follow_up or await plan_follow_up(request, rules)
            with follow_up.held:
                scores = await self._score(
                    groups, request, charge, is_ranking=True, admissions=admissions, follow_up=follow_up
                )
                score = partial(follow_up.score, scores)
                result = await self.finish_with_spans(request, [scores], rules, score, follow_up.planner)
        # The latency of a request that the cache answered in part says nothing about the model.
        milliseconds = math.nan if scores.result.cached else scores.result.timings["total"]
        logits = [score.raw_score for score in scores.result.scores[0]]
        self._traffic.offer(request, scores.model, groups, logits, milliseconds)
        return result

    async def apply_rules(self, request: RerankRequest) -> AppliedRules:
        """Apply the rules in force to a request.

        Raises:
            InvalidRequestError: normalisation makes the texts of the request much longer.
        """
        return await apply_rules(self.rules, request)

    def finish(self, request: RerankRequest, pieces: Sequence[ModelScores], rules: AppliedRules) -> RerankResult:
        """Turn the scores of a request into its result, and record the ranking.

        Args:
            request: the request.
            pieces: scores of its documents, in request order; several if they were scored one after the other.
            rules: effect of the rules with which the request began.
        """
        result, record = finish(request, join_pieces(pieces), rules.adjustments, rules=rules.version, now=time.time())
        if self._recorder is not None and pieces:
            self._recorder.record(record)
        return result

    async def finish_with_spans(
        self,
        request: RerankRequest,
        pieces: Sequence[ModelScores],
        rules: AppliedRules,
        score: ScoreSentences,
        planner: SpanPlanner | None = None,
    ) -> RerankResult:
        """Turn the scores of a request into its result with spans, and record the ranking.

        Args:
            request: the request.
            pieces: as for `finish`.
            rules: as for `finish`.
            score: scores the sentences of the returned documents with the query of `rules`.
            planner: planner that has split texts of the request already; None for a new one.

        Raises:
            RerankdError: the sentences cannot be scored; nothing is recorded then.
        """
        scores = join_pieces(pieces)
        result, record = finish(request, scores, rules.adjustments, rules=rules.version, now=time.time())
        result = await add_spans(request, result, scores.scores, score, planner or SpanPlanner())
        if self._recorder is not None and pieces:
            self._recorder.record(record)
        return result

    async def score(
        self, groups: Sequence[QueryGroup], request: RerankRequest, charge: Charge | None = None
    ) -> ModelScores:
        """Score groups of pairs without ranking them.

        Args:
            groups: queries, each with its documents.
            request: model, truncation, time limit and tenant; its own query and documents are ignored.
            charge: as for `run`.

        Raises:
            RerankdError: as for `run`.
        """
        return await self._score(groups, request, charge, is_ranking=False)

    async def score_on(
        self, name: str, groups: Sequence[QueryGroup], request: RerankRequest, charge: Charge | None = None
    ) -> ModelScores:
        """Score groups of pairs on a given model of the pool, outside of experiments.

        Args:
            name: name of the model in the pool.
            groups: queries, each with its documents.
            request: truncation, time limit and tenant; its own query and documents are ignored.
            charge: as for `run`; None to charge nobody.

        Raises:
            RerankdError: as for `run`.
        """
        deadline = time.monotonic() + request.timeout if request.timeout else None
        try:
            async with asyncio.timeout(request.timeout):
                return await self._score_on(
                    name, groups=groups, request=request, charge=OneTimeCharge(charge), deadline=deadline
                )
        except TimeoutError:
            raise deadline_error() from None

    async def _score(
        self,
        groups: Sequence[QueryGroup],
        request: RerankRequest,
        charge: Charge | None,
        *,
        is_ranking: bool,
        admissions: Mapping[str, BatchAdmission] = _NO_ADMISSIONS,
        follow_up: FollowUp | None = None,
    ) -> ModelScores:
        """Score on the model that the request names, or as the experiment that it is part of says."""
        deadline = time.monotonic() + request.timeout if request.timeout else None
        name, one_time_charge = self._pool.resolve(request.model), OneTimeCharge(charge)
        score = partial(
            self._score_on,
            groups=groups,
            request=request,
            charge=one_time_charge,
            deadline=deadline,
            admissions=admissions,
            follow_up=follow_up,
        )
        route = self._traffic.route(name, request, is_ranking=is_ranking)
        scorer: VariantScorer | None = None
        if route is not None:
            # Pieces of one ranking that come one after the other must all be from one model: scores do not mix.
            fallback = is_ranking or request.source != "job"
            scorer = VariantScorer(route, self._traffic, one_time_charge, fallback=fallback)
        try:
            async with asyncio.timeout(request.timeout):
                return await (score(name) if scorer is None else scorer.score(name, score))
        except TimeoutError:
            if scorer is not None:
                scorer.record_timeout()
            raise deadline_error() from None

    async def _score_on(
        self,
        name: str,
        *,
        groups: Sequence[QueryGroup],
        request: RerankRequest,
        charge: Charge,
        deadline: float | None,
        admissions: Mapping[str, BatchAdmission] = _NO_ADMISSIONS,
        follow_up: FollowUp | None = None,
    ) -> ModelScores:
        async with self._pool.lease(name) as model:
            asked = to_score_request(model, groups, request, deadline)
            warnings = self._warnings(model, request, asked.truncation)
            if request.strict:
                check_strict([*warnings, *unknown_model_warnings(self._pool, request.model)])
            admission = admissions.get(name)
            if follow_up is None:
                await charge(model.engine.estimate_tokens(groups, asked.truncation))
            else:
                admission = await follow_up.admit(model, asked, admission, charge)
            result = await wait_for_scores(model.engine, model.engine.submit(asked, admission=admission))
            scores = ModelScores(name, model.engine.version, asked.truncation, result, warnings=warnings)
        if not asked.allow_truncation:  # the engine checks texts that it encodes, not those with a cached score
            _check_complete(scores, alone=not any(query for query, _ in groups))
        return scores

    def _warnings(self, model: ServedModel, request: RerankRequest, truncation: TruncationOptions) -> tuple[str, ...]:
        """Return what the request asks for and does not get; the log names a model that reads no instruction once."""
        warnings = unhonoured(request.truncation, truncation, takes_instruction=model.takes_instruction)
        if IGNORED in warnings and (version := (model.name, model.engine.version)) not in self._named:
            self._named.add(version)
            _log.warning("%s: %s", model.name, IGNORED)
        return (*priority_warnings(request), *warnings)


def groups_of(request: RerankRequest, rules: AppliedRules) -> list[QueryGroup]:
    """Return the pairs of a ranking, as one group."""
    return [(rules.query, [document.text for document in request.documents])]


def to_score_request(
    model: ServedModel, groups: Sequence[QueryGroup], request: RerankRequest, deadline: float | None
) -> ScoreRequest:
    """Return what a model is asked to score.

    Args:
        model: the model.
        groups: queries, each with its documents.
        request: truncation, tenant and priority; its own query and documents are ignored.
        deadline: time limit in monotonic seconds; None for no limit.

    Raises:
        InvalidRequestError: a value that the model does not allow.
    """
    return ScoreRequest(
        groups,
        apply_overrides(model, request.truncation),
        tenant=request.fairness_key,
        retry_key=request.retry_key,
        deadline=deadline,
        cache=request.cache,
        cache_scope=request.tenant,
        allow_truncation=request.truncation.allow_truncation,
        background=request.background,
        priority=served_priority(request),
    )


def apply_overrides(model: ServedModel, overrides: TruncationOverrides) -> TruncationOptions:
    """Return the model's truncation with the overrides of a request; without an instruction that it does not read.

    Raises:
        InvalidRequestError: a value that the model does not allow.
    """
    if overrides.max_length is not None:
        check_max_length(overrides.max_length, model.files.manifest.architecture.max_length, model.name)
    values = {name: getattr(overrides, name) for name in _OVERRIDES}
    changes = {name: value for name, value in values.items() if value is not None}
    if "instruction" in changes and not model.takes_instruction:  # its scores are those without, in the cache too
        del changes["instruction"]
    return dataclasses.replace(model.truncation, **changes) if changes else model.truncation


def _check_complete(scores: ModelScores, *, alone: bool) -> None:
    flat = [score for group in scores.result.scores for score in group]
    position = next((position for position, score in enumerate(flat) if score.truncated), None)
    if position is not None:
        raise document_too_long(position, scores.truncation, alone=alone)
