"""Worker process: one engine per model, in one event loop, fed by the threads of a Celery worker."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from rerankd._common.logging import logger
from rerankd.engine.observer import EngineObserver
from rerankd.errors import InvalidRequestError, UnavailableError
from rerankd.experiments.traffic import Traffic
from rerankd.jobs.wakeups import WorkerNotifier, make_celery
from rerankd.jobs.webhook import WebhookSender
from rerankd.jobs.worker import JobWorker
from rerankd.pipeline.pipeline import Pipeline
from rerankd.rules.watcher import rules_provider
from rerankd.settings import Settings
from rerankd.wiring.dependencies import open_dependencies
from rerankd.wiring.engine import SettingsLoader, open_pool
from rerankd.wiring.experiments import open_experiment_sync
from rerankd.wiring.jobs import open_job_store, worker_options
from rerankd.wiring.registry import open_alias_follower
from rerankd.wiring.rules import open_rules
from rerankd.wiring.traces import open_trace_writer

MAX_QUEUE_SECONDS = 86_400.0
COLLECT_AFTER = 10_000

_log = logger(__name__)
T = TypeVar("T")


class WorkerProcess:
    """Celery worker whose threads share one engine per model, so that jobs of many users are batched together.

    Celery's thread pool does not fork: engines are made in the process that uses them.

    Args:
        settings: settings of the worker.
        observer: observes the engines; None for no observer.
        on_start: called in the main thread when the worker begins and again when it is ready.

    Raises:
        InvalidRequestError: `queue_url` is not set.
    """

    def __init__(
        self,
        settings: Settings,
        observer: EngineObserver | None = None,
        on_start: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_start = on_start
        if not settings.queue_url:
            raise InvalidRequestError(
                "A worker needs a queue.", hint="Set queue_url, for example --queue-url redis://localhost:6379/0."
            )
        self._settings = settings
        # No client waits for a part of a job, so the engine's queue is no reason to refuse one.
        worker_settings = settings.model_copy(update={"max_queue_seconds": MAX_QUEUE_SECONDS})
        self.pool = open_pool(settings, SettingsLoader(worker_settings, observer))
        self.follower = open_alias_follower(settings, self.pool)
        self.traces = open_trace_writer(settings)
        self.rules = open_rules(settings)
        self.dependencies = open_dependencies(settings)
        self._traffic = Traffic()
        self._experiments = open_experiment_sync(settings, self.pool, self._traffic, promoted_only=True)
        self.ready = False
        self._celery = make_celery(settings.queue_url)
        self._notifier = WorkerNotifier(self._celery)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="engine loop", daemon=True)
        self._worker: JobWorker | None = None
        self._closing: asyncio.Task[None] | None = None

    def run(self) -> None:
        """Load the models, run jobs until SIGTERM or Ctrl-C, and release unfinished parts.

        Raises:
            ModelError: the default model cannot be loaded.
            UnavailableError: Celery's worker ended by itself.
        """
        self._on_start()
        self._thread.start()
        self.dependencies.start()
        try:
            self._wait(self._open())
            self._notifier.on_wake_up(self._work)
            self._serve()
        finally:
            self.dependencies.close()
            self._wait(self._close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _serve(self) -> None:
        from celery.signals import setup_logging, worker_ready, worker_shutting_down

        def keep_logging(**_: Any) -> None:
            """Keep Celery from setting up logging, which is set up already."""

        def on_ready(**_: Any) -> None:
            self.ready = True
            self._on_start()  # Celery has set its own signal handlers
            _log.info("working with %d threads", self._settings.worker_threads)

        def on_shutdown(**_: Any) -> None:
            """Release the threads, which Celery waits for."""
            self._loop.call_soon_threadsafe(self._begin_to_close)

        setup_logging.connect(keep_logging, weak=False)
        worker_ready.connect(on_ready, weak=False)
        worker_shutting_down.connect(on_shutdown, weak=False)
        worker = self._celery.Worker(
            pool="threads",
            concurrency=self._settings.worker_threads,
            without_gossip=True,
            without_mingle=True,
            quiet=True,
        )
        worker.start()
        if self._closing is None:
            raise UnavailableError("Celery's worker ended by itself.", hint="Look at its log, and start it again.")

    def _work(self) -> bool:
        return self._worker is not None and self._wait(self._worker.work_until())

    async def _open(self) -> None:
        settings = self._settings
        rerankers = [name for name in settings.preload if name not in settings.embedding_models]  # jobs embed nothing
        eager = dict.fromkeys([self.pool.default, *rerankers])
        await self.follower.begin(eager)
        self.follower.start()
        for name in eager:
            async with self.pool.lease(name):
                pass
        if self._experiments is not None:
            self._experiments.start()
            await self._experiments.wait_ready()
        self._store = open_job_store(settings)
        webhooks = WebhookSender(self._store, settings.webhook_secret, settings.webhook_hosts)
        threads = settings.worker_threads
        options = worker_options(settings, slots=threads, bulk_slots=max(1, threads // 2))
        self._worker = JobWorker(
            Pipeline(self.pool, self.traces, rules_provider(self.rules), self._traffic), self._store, webhooks, options
        )
        self._worker.start()
        if self.rules is not None:
            self.rules.start()
        # The loaded models stay until the end: the garbage collector need not search them.
        gc.collect()
        gc.freeze()
        gc.set_threshold(COLLECT_AFTER, 20, 20)

    def _begin_to_close(self) -> None:
        if self._worker is not None and self._closing is None:
            self.ready = False
            self._closing = asyncio.create_task(self._worker.close(self._settings.shutdown_seconds))

    async def _close(self) -> None:
        self._begin_to_close()
        if self._closing is not None:
            await self._closing
            await asyncio.to_thread(self._store.close)
        await self.follower.close()
        if self._experiments is not None:
            await self._experiments.close()
        await self.pool.close()
        if self.traces is not None:
            await asyncio.to_thread(self.traces.close)
        if self.rules is not None:
            self.rules.close()

    def _wait(self, awaitable: Awaitable[T]) -> T:
        """Run an awaitable in the event loop, and wait for its result."""

        async def result() -> T:
            return await awaitable

        future: Future[T] = asyncio.run_coroutine_threadsafe(result(), self._loop)
        return future.result()
