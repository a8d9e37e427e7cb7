"""Evaluations of one instance: one runs at a time, a few wait; plans, progress and results are in the database."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256

from rerankd._common.logging import logger
from rerankd.engine.pool import ModelPool
from rerankd.errors import ConflictError, InvalidRequestError, ModelNotFoundError, RerankdError
from rerankd.evaluation.measures import DEFAULT_MEASURES, check_measures
from rerankd.evaluation.saved import EvaluationPlan, State
from rerankd.evaluation.saved_store import EvaluationStore
from rerankd.models.reference import parse_reference
from rerankd.pipeline.pipeline import Pipeline
from rerankd.server.auth.keys import ApiKey
from rerankd.server.auth.quotas import QuotaStore
from rerankd.server.evaluation_datasets import EvaluationDatasets
from rerankd.server.evaluation_run import BackgroundScorer, MeasuredDataset, ModelRun, measure, rerank
from rerankd.server.store_calls import StoreCaller
from rerankd.server.trace_service import TraceService
from rerankd.settings import Settings

MAX_WAITING = 5
MAX_WAITING_OF_TENANT = 2
MAX_MODELS = 4
MAX_DEPTH, MAX_QUERIES, MAX_PAIRS = 200, 2000, 400_000
ALIVE_SECONDS = 3.0
PROGRESS_SECONDS = 0.5
WORK_SECONDS = 3600.0  # longest time to read a dataset, or to measure
CLOSE_SECONDS = 5.0
PREFIX = "evaluation:"

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """An evaluation that this instance will run, and whom it is for."""

    number: int
    plan: EvaluationPlan
    tenant: str | None
    key: ApiKey | None


class _EndedError(Exception):
    """The evaluation was ended by somebody: cancelled, perhaps at another instance."""


class EvaluationService:
    """Queue and worker of evaluations. Belongs to one event loop.

    Args:
        settings: settings of the service.
        pipeline: scores pairs.
        pool: models of the service.
        traces: database, and labelled cases.
        quotas: store of the quotas.

    Attributes:
        datasets: datasets to evaluate on.
    """

    def __init__(
        self, settings: Settings, pipeline: Pipeline, pool: ModelPool, traces: TraceService, quotas: QuotaStore
    ) -> None:
        self._pipeline, self._pool = pipeline, pool
        self._traces, self._quotas = traces, quotas
        self._waiting: deque[_Waiting] = deque()
        self._current: _Waiting | None = None
        self._task: asyncio.Task[MeasuredDataset] | None = None
        self._worker: asyncio.Task[None] | None = None
        # Threads of their own: those of the event loop parse the bodies of requests.
        self._work = StoreCaller("evaluation", seconds=WORK_SECONDS, limit=2).call
        self.datasets = EvaluationDatasets(settings, traces)

    @property
    def store(self) -> EvaluationStore:
        """Evaluations in the database; blocks like all of its methods."""
        return EvaluationStore(self._traces.store)

    @property
    def position(self) -> dict[int, int]:
        """Place in this instance's queue of each evaluation that waits, from 1."""
        return {waiting.number: place for place, waiting in enumerate(self._waiting, start=1)}

    def models(self, tenant: str | None) -> list[str]:
        """Return the models to choose from; administrators also see those of experiments, and may name any other."""
        unlisted = [name for name in self._pool.unlisted if ":" not in name.partition("~")[0]]
        return [*self._pool.names, *(unlisted if tenant is None else ())]

    async def submit(self, plan: EvaluationPlan, tenant: str | None, key: ApiKey | None, author: str) -> int:
        """Queue an evaluation; return its number.

        Args:
            plan: what it does.
            tenant: tenant whose cases it is on, and who sees it; None for all and for the administrators.
            key: key that is charged; None where none is required.
            author: name of the person, for the list.

        Raises:
            InvalidRequestError: the plan is too large, or names no model.
            ModelNotFoundError: there is no such model.
            NotFoundError: there is no such dataset.
            ConflictError: too many wait already.
        """
        self._check_size(plan)
        for name in plan.models:
            if name not in self.models(tenant):
                await self._check_reference(name, tenant)
        if plan.source == "folder":
            await self._traces.call(self.datasets.folder, plan.dataset)
        own = sum(waiting.tenant == tenant for waiting in self._waiting)
        if len(self._waiting) >= MAX_WAITING or (tenant is not None and own >= MAX_WAITING_OF_TENANT):
            raise ConflictError(
                f"{len(self._waiting)} evaluations wait already, {own} of them yours.",
                hint="Wait for one, or cancel one.",
            )
        number = await self._traces.call(lambda: self.store.add(plan, tenant, author))
        self._waiting.append(_Waiting(number, plan, tenant, key))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._run_all())
        return number

    async def cancel(self, number: int, tenant: str | None) -> None:
        """Cancel an evaluation that waits or runs, here or at another instance.

        Raises:
            NotFoundError: there is none, or it is not this tenant's.
        """
        await self._traces.call(lambda: self.store.get(number, tenant))
        await self._end(number, "cancelled")
        self._drop(number)

    def _drop(self, number: int) -> None:
        self._waiting = deque(waiting for waiting in self._waiting if waiting.number != number)
        if self._current is not None and self._current.number == number and self._task is not None:
            self._task.cancel()

    async def close(self) -> None:
        """Stop; what runs or waits is noted as interrupted."""
        numbers = [waiting.number for waiting in self._waiting]
        self._waiting.clear()
        if self._current is not None:
            numbers.append(self._current.number)
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        with contextlib.suppress(RerankdError, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                for number in numbers:
                    await self._end(number, "interrupted")

    async def _check_reference(self, name: str, tenant: str | None) -> None:
        """Check that a model that is not served is one that an administrator may load."""
        if tenant is not None:
            raise ModelNotFoundError(f"There is no model {name[:100]!r}.", hint="Choose one of the list.")
        await asyncio.to_thread(parse_reference, name)

    @asynccontextmanager
    async def _loaded(self, model: str) -> AsyncIterator[str]:
        """Give the name in the pool of a model; one that is not served is loaded for as long as the block takes."""
        if model in self._pool.names or model in self._pool.unlisted:
            yield model
            return
        name = f"{PREFIX}{sha256(model.encode(errors='replace')).hexdigest()[:12]}"
        await self._pool.add(name, model)
        try:
            yield name
        finally:
            await self._pool.remove(name)

    def _check_size(self, plan: EvaluationPlan) -> None:
        if not 1 <= len(plan.models) <= MAX_MODELS:
            raise InvalidRequestError(f"{len(plan.models)} models are chosen.", hint=f"Choose 1 to {MAX_MODELS}.")
        pairs = plan.depth * plan.queries * len(plan.models)
        if not (1 <= plan.depth <= MAX_DEPTH and 1 <= plan.queries <= MAX_QUERIES and pairs <= MAX_PAIRS):
            raise InvalidRequestError(
                f"Queries, candidates and models are up to {pairs:,} pairs; {MAX_PAIRS:,} is the most.",
                hint="Choose fewer queries, candidates or models.",
            )

    async def _run_all(self) -> None:
        """Run evaluations until none waits, giving signs of life meanwhile."""
        alive = asyncio.create_task(self._keep_alive())
        try:
            while self._waiting:
                self._current = self._waiting.popleft()
                try:
                    await self._run(self._current)
                finally:
                    self._current = None
        finally:
            alive.cancel()

    async def _run(self, waiting: _Waiting) -> None:
        number = waiting.number
        self._task = asyncio.create_task(self._evaluate(waiting))
        try:
            measured = await self._task
            await self._traces.call(
                lambda: self.store.finish(number, measured.result, measured.headline, measured.queries)
            )
        except asyncio.CancelledError:
            worker = asyncio.current_task()
            if worker is not None and worker.cancelling():  # the service is being closed
                raise
        except _EndedError:
            pass
        except RerankdError as error:
            await self._fail(number, str(error))
        except Exception as error:  # of any library that reads or measures; the page names no internals
            _log.exception("Evaluation %d failed", number, exc_info=error)
            await self._fail(number, "Something went wrong. The server's log has the cause.")

    async def _evaluate(self, waiting: _Waiting) -> MeasuredDataset:
        number, plan = waiting.number, waiting.plan
        await self._note(number, 0)
        await self._work(check_measures, DEFAULT_MEASURES)  # a missing package is found before anything is scored
        dataset = await self._work(self.datasets.read, plan, waiting.tenant)
        pairs = sum(map(len, dataset.candidates.values()))
        await self._note(number, pairs * len(plan.models))
        done, noted = 0, time.monotonic()

        async def progress(scored: int) -> None:
            nonlocal done, noted
            done += scored
            if time.monotonic() - noted < PROGRESS_SECONDS:
                return
            noted = time.monotonic()
            if not await self._traces.call(lambda: self.store.progress(number, done)):
                raise _EndedError

        scorer = BackgroundScorer(self._pipeline, self._pool, self._quotas, waiting.key)
        runs: list[ModelRun] = []
        for model in plan.models:
            async with self._loaded(model) as name:
                runs.append(await rerank(dataset, name, scorer, progress, label=model))
        return await self._work(measure, dataset, runs)

    async def _note(self, number: int, total: int) -> None:
        if not await self._traces.call(lambda: self.store.start(number, total)):
            raise _EndedError

    async def _keep_alive(self) -> None:
        while True:
            with contextlib.suppress(RerankdError):
                await self._traces.call(self._sign_of_life)
            await asyncio.sleep(ALIVE_SECONDS)

    def _sign_of_life(self) -> None:
        self.store.keep_alive(
            [waiting.number for waiting in (self._current, *list(self._waiting)) if waiting is not None]
        )

    async def _fail(self, number: int, error: str) -> None:
        with contextlib.suppress(RerankdError):
            await self._end(number, "failed", error)

    async def _end(self, number: int, state: State, error: str = "") -> None:
        await self._traces.call(lambda: self.store.end(number, state, error))
