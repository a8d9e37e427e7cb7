"""Prometheus metrics; names follow text-embeddings-inference, with our prefix."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, start_http_server

from rerankd._common.version import __version__
from rerankd.engine.observer import EngineObserver
from rerankd.errors import InvalidRequestError
from rerankd.server.observability.collectors import (
    ActivityGauges,
    DependencyGauges,
    JobCounts,
    PoolGauges,
    RegistryGauges,
    RuleGauges,
    TraceCounts,
)
from rerankd.server.observability.experiment_gauges import ExperimentGauges

if TYPE_CHECKING:
    from rerankd.engine.pool import ModelPool
    from rerankd.experiments.sync import ExperimentSync
    from rerankd.experiments.traffic import Traffic
    from rerankd.feedback.monitoring import Activity
    from rerankd.jobs.store import QueueDepth
    from rerankd.pipeline.shadow import ShadowQueue
    from rerankd.registry.alias_follower import AliasFollower
    from rerankd.rules.watcher import RulesWatcher
    from rerankd.traces.writer import TraceWriter

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_TOKENS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)


class Metrics(EngineObserver):
    """Metrics of one instance and its engines, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter = partial(Counter, registry=self.registry)
        sizes = partial(Histogram, registry=self.registry, buckets=_SIZES)
        tokens = partial(Histogram, registry=self.registry, buckets=_TOKENS)
        seconds = partial(Histogram, registry=self.registry, buckets=_SECONDS)
        model = ("model",)
        self.requests = counter("rerankd_request_count", "HTTP requests by path and status", ("path", "status"))
        self.duration = seconds("rerankd_request_duration_seconds", "Duration of an HTTP request", ("path",))
        self.answers = counter("rerankd_answers", "Successful responses by model and version", ("model", "version"))
        self.documents = sizes("rerankd_request_documents", "Documents per request", model)
        self.queue = seconds(
            "rerankd_request_queue_duration_seconds", "Time in the queue until the first pair is computed", model
        )
        self.inference = seconds(
            "rerankd_request_inference_duration_seconds", "Time from the first computed pair to the result", model
        )
        self._tokenization = seconds(
            "rerankd_request_tokenization_duration_seconds", "Tokenization time of a slice of a request", model
        )
        self._batch_size = sizes("rerankd_batch_next_size", "Pairs per batch", model)
        self._batch_tokens = tokens("rerankd_batch_next_tokens", "Tokens per batch", model)
        self._batch_seconds = seconds("rerankd_batch_inference_duration_seconds", "Inference time of a batch", model)
        self._tokens = counter("rerankd_computed_tokens", "Tokens computed", model)
        self._padding = counter("rerankd_padding_tokens", "Padding tokens computed", model)
        self._pairs = counter("rerankd_computed_pairs", "Pairs computed", model)
        self._hits = counter("rerankd_cache_hits", "Pairs with a cached score", model)
        self._misses = counter("rerankd_cache_misses", "Pairs without a cached score", model)
        self._dropped = counter(
            "rerankd_dropped_pairs", "Pairs dropped before inference, by reason", ("model", "reason")
        )
        self._refused = counter(
            "rerankd_request_refused",
            "Requests rejected by load shedding, rate limits or authentication",
            ("model", "reason"),
        )
        self._failures = counter("rerankd_engine_failures", "Engine failures by kind", ("model", "kind"))
        self.jobs = counter("rerankd_jobs", "Jobs submitted", ("priority",))
        self.searches = counter("rerankd_searches", "Index searches by result: found or nothing", ("result",))
        self.retrieval = Histogram(
            "rerankd_retrieval_duration_seconds",
            "Duration of first-stage retrieval",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._reloads = counter(
            "rerankd_rules_reloads", "Rule file reloads by result: good (applied) or bad (rejected)", ("result",)
        )
        self.feedback = counter("rerankd_feedback", "Feedback items accepted")
        self._decisions = counter(
            "rerankd_experiment_decisions", "Experiment decisions made by this instance, by action", ("action",)
        )
        self._ratio = Gauge(
            "rerankd_batch_padding_ratio", "Share of padding tokens in the last batch", model, registry=self.registry
        )
        build = Gauge("rerankd_build_info", "Always 1; the version is a label", ("version",), registry=self.registry)
        build.labels(__version__).set(1)

    def watch_pool(
        self, pool: ModelPool, ready: Callable[[], bool], depth: Callable[[], QueueDepth] | None = None
    ) -> None:
        """Register the gauges of the model pool and of the job queue."""
        self.registry.register(PoolGauges(pool, ready, depth))

    def watch_jobs(self, totals: Callable[[], Mapping[str, int]], *, in_process: bool) -> None:
        """Register the counters of jobs and webhooks."""
        self.registry.register(JobCounts(totals, in_process=in_process))

    def watch_dependencies(self, up: Callable[[], Mapping[str, bool]]) -> None:
        """Register the gauges of the servers that the process depends on."""
        self.registry.register(DependencyGauges(up))

    def watch_traces(self, writer: TraceWriter | None) -> None:
        """Register the counters of the trace writer; None registers nothing."""
        if writer is not None:
            self.registry.register(TraceCounts(writer))

    def rules_changed(self, success: bool) -> None:
        """Count a reload of the rule file."""
        self._reloads.labels("good" if success else "bad").inc()

    def watch_rules(self, rules: RulesWatcher | None) -> None:
        """Register the gauges of the rule file; None registers nothing."""
        if rules is not None:
            self._reloads.labels("good")
            self._reloads.labels("bad")
            self.registry.register(RuleGauges(rules))

    def watch_registry(self, pool: ModelPool, follower: AliasFollower | None) -> None:
        """Register the gauges of the alias follower; None registers nothing."""
        if follower is not None:
            self.registry.register(RegistryGauges(pool, follower))

    def decided(self, action: str) -> None:
        """Count a decision on an experiment."""
        self._decisions.labels(action).inc()

    def watch_experiments(self, experiments: ExperimentSync | None, traffic: Traffic, shadow: ShadowQueue) -> None:
        """Register the gauges of experiments; None registers nothing."""
        if experiments is not None:
            for action in ("advance", "promote", "roll_back", "stop", "refuse"):
                self._decisions.labels(action)
            self.registry.register(ExperimentGauges(experiments, traffic, shadow))

    def watch_activity(self) -> Callable[[list[Activity]], None]:
        """Register the gauges of recent activity; return the function that updates them."""
        gauges = ActivityGauges()
        self.registry.register(gauges)
        return gauges.update

    def serve(self, port: int, host: str = "127.0.0.1") -> None:
        """Serve the metrics on a port of their own, for processes without an HTTP service.

        Raises:
            InvalidRequestError: the port is taken, or the address is not of this machine.
        """
        try:
            start_http_server(port, addr=host, registry=self.registry)
        except OSError as error:
            raise InvalidRequestError(
                f"Cannot listen on {host}:{port} ({error.strerror or error}).",
                hint="Choose another --metrics-host or --metrics-port.",
            ) from error

    def text(self) -> bytes:
        """Return all metrics in the text format."""
        return generate_latest(self.registry)

    def encoded(self, model: str, seconds: float) -> None:
        """Observe the tokenization of a slice."""
        self._tokenization.labels(model).observe(seconds)

    def batch(self, model: str, pairs: int, tokens: int, padded: int, seconds: float) -> None:
        """Observe a computed batch."""
        self._batch_size.labels(model).observe(pairs)
        self._batch_tokens.labels(model).observe(tokens)
        self._batch_seconds.labels(model).observe(seconds)
        self._pairs.labels(model).inc(pairs)
        self._tokens.labels(model).inc(tokens)
        self._padding.labels(model).inc(padded - tokens)
        self._ratio.labels(model).set((padded - tokens) / padded if padded else 0.0)

    def cached(self, model: str, hits: int, misses: int) -> None:
        """Count cache hits and misses."""
        self._hits.labels(model).inc(hits)
        self._misses.labels(model).inc(misses)

    def dropped(self, model: str, pairs: int, reason: str) -> None:
        """Count dropped pairs."""
        self._dropped.labels(model, reason).inc(pairs)

    def refused(self, model: str, reason: str) -> None:
        """Count a refused request."""
        self._refused.labels(model, reason).inc()

    def failed(self, model: str, kind: str) -> None:
        """Count an engine failure."""
        self._failures.labels(model, kind).inc()
