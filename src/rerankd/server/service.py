"""One instance of the service: its parts, its start and end, liveness and readiness."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rerankd._common.logging import logger
from rerankd.engine.pool import ModelPool, ServedModel
from rerankd.errors import ModelError, NotFoundError, RerankdError, UnavailableError
from rerankd.experiments.sync import ExperimentSync
from rerankd.experiments.traffic import Traffic
from rerankd.pipeline.pipeline import Pipeline
from rerankd.pipeline.shadow import ShadowQueue
from rerankd.registry.alias_follower import AliasFollower
from rerankd.registry.promotion_sync import PromotionSync
from rerankd.rules.watcher import RulesWatcher, rules_provider
from rerankd.server.auth.key_ring import KeyRing
from rerankd.server.auth.quotas import MemoryQuotas, QuotaStore
from rerankd.server.auth.redis_quotas import RedisQuotas
from rerankd.server.auth.sessions import SessionSigner
from rerankd.server.background import after_response
from rerankd.server.evaluation_service import EvaluationService
from rerankd.server.job_service import JobService
from rerankd.server.observability.metrics import Metrics
from rerankd.server.observability.openinference import Detail
from rerankd.server.observability.tracing import Tracing
from rerankd.server.search_service import SearchService
from rerankd.server.trace_service import TraceService
from rerankd.settings import Settings
from rerankd.traces.writer import TraceWriter
from rerankd.wiring.dependencies import DependencyMonitor, open_dependencies
from rerankd.wiring.embedding import EncoderLoader
from rerankd.wiring.engine import SettingsLoader, open_pool
from rerankd.wiring.experiments import instance_name, open_experiment_sync
from rerankd.wiring.registry import open_alias_follower
from rerankd.wiring.rules import open_rules
from rerankd.wiring.traces import open_trace_writer

PROBE_SECONDS = 1.0
FRESH_SECONDS = 0.5
MAX_CRASHES = 3
TRACES_SECONDS = 10.0

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Readiness:
    """Result of a readiness probe, with the reason where it failed."""

    ready: bool
    reason: str = ""


@dataclass(eq=False)
class Service:
    """Parts of one instance.

    Attributes:
        draining: True from SIGTERM on: the readiness probe fails, requests are still served.
        readiness: result of the last readiness probe.
        failure: error that prevented the start.
        end: stops the server; called after such an error.
        pages_only: True if the instance serves the console alone, over the store of other instances: it loads a model
            when a page needs one, and leaves jobs, experiments, retention and the detection of bad cases to them.
    """

    settings: Settings
    pool: ModelPool
    pipeline: Pipeline
    keys: KeyRing
    quotas: QuotaStore
    metrics: Metrics
    tracing: Tracing
    job_service: JobService
    trace_service: TraceService
    search_service: SearchService
    evaluations: EvaluationService
    sessions: SessionSigner
    traces: TraceWriter | None = None
    rules: RulesWatcher | None = None
    follower: AliasFollower | None = None
    experiments: ExperimentSync | None = None
    shadow: ShadowQueue | None = None
    dependencies: DependencyMonitor = field(default_factory=lambda: DependencyMonitor(()))
    draining: bool = False
    started: bool = False
    readiness: Readiness = field(default_factory=lambda: Readiness(False, "starting"))
    failure: RerankdError | None = None
    end: Callable[[], None] = lambda: None
    pages_only: bool = False
    _loading: asyncio.Future[None] | None = None
    _probe_task: asyncio.Task[Readiness] | None = None

    async def start(self) -> None:
        """Load and warm up the default model and those to preload; the port is open, and readiness fails meanwhile.

        A model that cannot be loaded ends the service with `failure`.
        """
        if self.rules is not None:
            self.rules.start()
        self.dependencies.start()
        if self.pages_only:
            self.started, self.readiness = True, Readiness(True)
            return
        if self.traces is not None:
            self.traces.start()
        try:
            eager = dict.fromkeys([self.pool.default, *self.settings.preload])
            if self.follower is not None:
                await self.follower.begin(eager)
            for name in eager:
                async with self.pool.lease(name):
                    pass
        except RerankdError as error:
            self.failure = error
            self.end()
        except Exception as error:  # any error that a library raises while a model is loaded
            _log.exception("A model could not be loaded", exc_info=error)
            self.failure = ModelError(f"A model could not be loaded ({type(error).__name__}).", hint="See the log.")
            self.end()
        else:
            if self.experiments is not None:
                self.experiments.start()
                await self.experiments.wait_ready()
            self.started = True
            self.readiness = Readiness(True)
            if self.follower is not None:
                self.follower.start()
            await self.job_service.start()

    async def close(self) -> None:
        """Finish accepted requests and close everything."""
        self.draining = True
        await asyncio.to_thread(self.dependencies.close)
        await self.evaluations.close()
        await self.job_service.close(self.settings.shutdown_seconds / 2)
        await self.search_service.close()
        if self.follower is not None:
            await self.follower.close()
        if self.shadow is not None:
            await self.shadow.close()
        if self.experiments is not None:
            await self.experiments.close()
        await self.pool.close()
        await self.quotas.close()
        if self.traces is not None:  # the last, since jobs and requests that end are traced
            await asyncio.to_thread(self.traces.close, TRACES_SECONDS)
        await asyncio.to_thread(self.trace_service.close)
        if self.rules is not None:
            await asyncio.to_thread(self.rules.close)
        self.tracing.close()

    def check_started(self) -> None:
        """Check that requests can be scored.

        Raises:
            UnavailableError: the service is starting; a proxy tries the next instance rather than wait for the model.
        """
        if not self.started:
            raise UnavailableError("The service is starting.", hint="Send the request again.")

    def check_traces(self) -> None:
        """Check that rankings are traced.

        Raises:
            NotFoundError: this service writes no traces.
        """
        if self.traces is None:
            raise NotFoundError("This service writes no traces.", hint="Set traces = true.")

    async def ready(self) -> Readiness:
        """Probe readiness: score a real pair on every loaded model, through its queue; one probe at a time."""
        if self.draining:
            self.readiness = Readiness(False, "draining")
        elif not self.started:
            self.readiness = Readiness(False, "starting")
        else:
            if self._probe_task is None or self._probe_task.done():
                self._probe_task = asyncio.create_task(self._probe())
            self.readiness = await asyncio.shield(self._probe_task)
        return self.readiness

    async def _probe(self) -> Readiness:
        # A challenger that cannot score costs nobody an answer, so the instance is ready without it.
        unlisted = self.pool.unlisted
        models = [model for name, model in self.pool.loaded.items() if name not in unlisted]
        if self.pool.default not in self.pool.loaded and not self.pages_only:
            self._loading = asyncio.ensure_future(self._load_default())
            return Readiness(False, f"{self.pool.default} is not loaded")
        results = await asyncio.gather(*(_probe(model) for model in models))
        reasons = [reason for reason in results if reason]
        return Readiness(not reasons, "; ".join(reasons))

    async def _load_default(self) -> None:
        with contextlib.suppress(RerankdError):
            async with self.pool.lease(self.pool.default):
                pass

    @property
    def alive(self) -> bool:
        """True unless an engine died repeatedly without a score in between: then only a restart helps."""
        unlisted = self.pool.unlisted
        loaded = [model for name, model in self.pool.loaded.items() if name not in unlisted]
        return all(model.engine.crashes < MAX_CRASHES for model in loaded)

    @property
    def details(self) -> str:
        """Degradations that do not affect readiness; empty for none."""
        return "" if self.experiments is None else self.experiments.details


def _open_tracing(settings: Settings) -> Tracing:
    return Tracing(settings.otel_endpoint, detail=Detail(settings.otel_texts, settings.otel_documents))


async def _probe(model: ServedModel) -> str:
    """Return the reason why a model cannot score; empty if it can."""
    engine = model.engine
    before = engine.last_success
    if not engine.crashed and before is not None and time.monotonic() - before < FRESH_SECONDS:
        return ""  # requests are being scored: they are the probe
    try:
        pair = engine.probe()
        async with asyncio.timeout(PROBE_SECONDS):
            await asyncio.wrap_future(pair.future)
    except TimeoutError:
        engine.cancel(pair)
        # A long batch may be running; that is work, not a fault, as long as it takes no longer than it should.
        working = engine.last_success != before or (engine.running and not engine.stalled)
        return "" if working else f"{model.name}: no score within {PROBE_SECONDS:.0f} s"
    except RerankdError as error:
        return f"{model.name}: {error.message}"
    return ""


def open_service(
    settings: Settings, loader: type[SettingsLoader] = SettingsLoader, *, pages_only: bool = False
) -> Service:
    """Assemble an instance; nothing is loaded yet.

    Args:
        settings: settings of the service.
        loader: class that opens the engines.
        pages_only: True for an instance that serves the console alone.

    Raises:
        InvalidRequestError: settings contradict each other.
    """
    metrics = Metrics()
    pool = open_pool(settings, loader(settings, metrics), EncoderLoader(settings, metrics))
    keys = KeyRing(
        settings.api_keys,
        Path(settings.api_keys_file) if settings.api_keys_file else None,
        metrics=settings.metrics_keys,
    )
    quotas: QuotaStore = RedisQuotas(settings.redis_url) if settings.redis_url else MemoryQuotas()
    on_activity = metrics.watch_activity() if settings.traces and not pages_only else None
    traces = open_trace_writer(settings, on_activity, maintain=not pages_only)
    rules = open_rules(settings, metrics.rules_changed)
    traffic = Traffic()
    pipeline, tracing = Pipeline(pool, traces, rules_provider(rules), traffic), _open_tracing(settings)
    follower = open_alias_follower(settings, pool)
    promotions = PromotionSync(follower, pool, instance_name(), metrics.decided)
    experiments = None if pages_only else open_experiment_sync(settings, pool, traffic, metrics.decided, promotions)
    shadow = ShadowQueue(pipeline.score_on, traffic, after_response)
    traffic.shadow = shadow.offer
    job_service, trace_service = JobService(settings, pipeline, quotas), TraceService(settings)
    service = Service(
        settings,
        pool,
        pipeline,
        keys,
        quotas,
        metrics,
        tracing,
        job_service,
        trace_service,
        SearchService(settings, pipeline),
        EvaluationService(settings, pipeline, pool, trace_service, quotas),
        SessionSigner(settings.console_secret, int(settings.console_hours * 3600)),
        traces,
        rules,
        follower,
        experiments,
        shadow,
        open_dependencies(settings),
        pages_only=pages_only,
    )
    metrics.watch_registry(pool, follower)
    metrics.watch_experiments(experiments, traffic, shadow)
    metrics.watch_rules(rules)
    metrics.watch_pool(pool, lambda: service.readiness.ready, lambda: service.job_service.waiting)
    metrics.watch_jobs(lambda: service.job_service.totals, in_process=not settings.queue_url)
    metrics.watch_dependencies(lambda: service.dependencies.up)
    metrics.watch_traces(traces)
    return service
