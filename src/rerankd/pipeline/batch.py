"""Many rankings in one call: one admission decision, one charge and one deadline, and an error for each that fails.

    run_batch -> _Batch.prepare -> Engine.admit -> Pipeline.run, once for each ranking

A ranking whose input is wrong gets its error, and the others are computed. What concerns all of them, a full queue, a
quota that is used up, a model that is not up, or a deadline that cannot be kept, refuses the whole call before anything
is computed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

from rerankd._common.logging import logger
from rerankd.engine.batch_admission import BatchAdmission
from rerankd.engine.pool import ModelPool, ServedModel
from rerankd.engine.request import ScoreRequest
from rerankd.errors import DeadlineExceededError, RerankdError, RetryableError
from rerankd.pipeline.applied_rules import AppliedRules
from rerankd.pipeline.pipeline import Pipeline, groups_of, to_score_request
from rerankd.pipeline.scores import ChargeBatch, deadline_error
from rerankd.pipeline.spans import FollowUp, plan_follow_up
from rerankd.types import RerankRequest, RerankResult

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class BatchResult:
    """Outcome of many rankings.

    Attributes:
        outcomes: the result of each ranking, or the error that it has instead, in the order of the requests.
        tokens: tokens to charge: those that were computed, and the estimate of rankings whose time was up.
    """

    outcomes: list[RerankResult | RerankdError]
    tokens: int


@dataclass(slots=True)
class _Item:
    """One ranking that can be computed."""

    position: int
    request: RerankRequest
    rules: AppliedRules
    model: ServedModel
    scoring: ScoreRequest
    follow_up: FollowUp | None = None

    @property
    def tokens(self) -> int:
        """Estimated tokens."""
        return self.model.engine.estimate_tokens(self.scoring.all_groups, self.scoring.truncation)


@dataclass(slots=True)
class _Batch:
    """Rankings that wait to be computed, and the models that they hold."""

    pipeline: Pipeline
    pool: ModelPool
    outcomes: list[RerankResult | RerankdError]
    deadline: float | None
    models: dict[str, ServedModel | RerankdError] = field(default_factory=dict)
    items: list[_Item] = field(default_factory=list)

    async def prepare(self, requests: Sequence[RerankRequest | RerankdError], leases: AsyncExitStack) -> None:
        """Find the rankings that can be computed, and lease their models; the others have their errors.

        Raises:
            RetryableError: a model is not up, or there is no memory for it.
        """
        for position, request in enumerate(requests):
            if isinstance(request, RerankdError):
                self.outcomes[position] = request
                continue
            try:
                self.items.append(await self._item(position, request, leases))
            except RetryableError:
                raise
            except RerankdError as error:
                self.outcomes[position] = error

    async def _item(self, position: int, request: RerankRequest, leases: AsyncExitStack) -> _Item:
        model = await self._model(self.pool.resolve(request.model), leases)
        rules = await self.pipeline.apply_rules(request)
        scoring = to_score_request(model, groups_of(request, rules), request, self.deadline)
        if request.spans is None:
            return _Item(position, request, rules, model, scoring)
        follow_up = await plan_follow_up(request, rules)
        return _Item(position, request, rules, model, replace(scoring, follow_up=follow_up.groups), follow_up)

    async def _model(self, name: str, leases: AsyncExitStack) -> ServedModel:
        if name not in self.models:
            try:
                self.models[name] = await leases.enter_async_context(self.pool.lease(name))
            except RetryableError:
                raise
            except RerankdError as error:  # it cannot be loaded: the same for all that ask for it
                self.models[name] = error
        model = self.models[name]
        if isinstance(model, RerankdError):
            raise model
        return model

    def admit(self) -> dict[str, BatchAdmission]:
        """Admit the rankings of each model at once, or none at all.

        Raises:
            RerankdError: a queue is full, or the deadline cannot be kept.
        """
        admissions: dict[str, BatchAdmission] = {}
        try:
            for name, model in self.models.items():
                scoring = [item.scoring for item in self.items if item.model is model]
                if scoring and isinstance(model, ServedModel):
                    admissions[name] = model.engine.admit(scoring)
        except BaseException:
            self.release(admissions)
            raise
        return admissions

    def release(self, admissions: dict[str, BatchAdmission]) -> None:
        """Give back what no ranking took, such as that of a challenger's."""
        for name, admission in admissions.items():
            model = self.models[name]
            if isinstance(model, ServedModel):
                model.engine.release(admission)

    async def run(self, item: _Item, admissions: dict[str, BatchAdmission]) -> None:
        """Compute one ranking; its outcome is its result or its error."""
        timeouts = [item.request.timeout, None if self.deadline is None else self.deadline - time.monotonic()]
        timeout = min((seconds for seconds in timeouts if seconds is not None), default=None)
        try:
            if timeout is not None and timeout <= 0:
                raise deadline_error()
            request = replace(item.request, timeout=timeout)
            self.outcomes[item.position] = await self.pipeline.run(
                request, rules=item.rules, admissions=admissions, follow_up=item.follow_up
            )
        except RerankdError as error:
            self.outcomes[item.position] = error
        except Exception as error:
            _log.exception("a ranking of a batch failed", exc_info=error, extra={"request_id": item.request.request_id})
            self.outcomes[item.position] = RerankdError(
                "Something went wrong.", hint=f"The server's log has the cause under id {item.request.request_id}."
            )


async def run_batch(
    pipeline: Pipeline,
    pool: ModelPool,
    requests: Sequence[RerankRequest | RerankdError],
    *,
    timeout: float | None = None,
    charge: ChargeBatch | None = None,
) -> BatchResult:
    """Run many rankings together.

    Args:
        pipeline: the pipeline.
        pool: its models.
        requests: the rankings; an error stands for one whose input cannot be used.
        timeout: seconds for all of them; a ranking may have a shorter time limit of its own.
        charge: called with the estimated tokens of all rankings, and their number, before anything is queued.

    Raises:
        RerankdError: nothing was computed: the models are overloaded or not up, a quota is used up, or the time is up
            before a ranking has a result.

    Example:
        >>> batch = await run_batch(pipeline, pool, [RerankRequest("q", [Document("d")])])  # doctest: +SKIP
        >>> batch.outcomes[0].results[0].index  # doctest: +SKIP
        0
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    batch = _Batch(pipeline, pool, [RerankdError("The ranking was not computed.")] * len(requests), deadline)
    async with AsyncExitStack() as leases:
        try:
            async with asyncio.timeout(timeout):  # models may have to be loaded
                await batch.prepare(requests, leases)
                if charge is not None and batch.items:
                    await charge(sum(item.tokens for item in batch.items), len(batch.items))
        except TimeoutError:
            raise deadline_error() from None
        admissions = batch.admit()
        try:
            async with asyncio.TaskGroup() as group:
                for item in batch.items:
                    group.create_task(batch.run(item, admissions))
        finally:
            batch.release(admissions)
        return _finished(batch)


def _finished(batch: _Batch) -> BatchResult:
    outcomes = batch.outcomes
    if batch.items and all(isinstance(outcomes[item.position], DeadlineExceededError) for item in batch.items):
        raise deadline_error()
    tokens = sum(outcome.computed_tokens or 0 for outcome in outcomes if isinstance(outcome, RerankResult))
    # What was computed of a ranking whose time was up is not known: it stays charged.
    tokens += sum(item.tokens for item in batch.items if isinstance(outcomes[item.position], DeadlineExceededError))
    return BatchResult(outcomes, tokens)
