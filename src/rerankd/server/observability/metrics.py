"""Prometheus metrics, named after text-embeddings-inference's with our prefix."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from rerankd._common.version import __version__
from rerankd.engine.observer import EngineObserver
from rerankd.server.observability.experiment_gauges import ExperimentGauges
from rerankd.traces.writer import DROPS

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
    """Counts what the service and its engines do; one registry an instance, none global."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter = partial(Counter, registry=self.registry)
        sizes = partial(Histogram, registry=self.registry, buckets=_SIZES)
        tokens = partial(Histogram, registry=self.registry, buckets=_TOKENS)
        seconds = partial(Histogram, registry=self.registry, buckets=_SECONDS)
        model = ("model",)
        self.requests = counter("rerankd_request_count", "Requests by path and status", ("path", "status"))
        self.duration = seconds("rerankd_request_duration_seconds", "Of a request", ("path",))
        self.answers = counter(
            "rerankd_answers", "Answers by the exact version of the model that gave them", ("model", "version")
        )
        self.documents = sizes("rerankd_request_documents", "Documents of a request", model)
        self.queue = seconds("rerankd_request_queue_duration_seconds", "Until the first pair ran", model)
        self.inference = seconds("rerankd_request_inference_duration_seconds", "From the first pair on", model)
        self._tokenization = seconds("rerankd_request_tokenization_duration_seconds", "Of a slice", model)
        self._batch_size = sizes("rerankd_batch_next_size", "Pairs of a batch", model)
        self._batch_tokens = tokens("rerankd_batch_next_tokens", "Tokens of a batch", model)
        self._batch_seconds = seconds("rerankd_batch_inference_duration_seconds", "Of a batch", model)
        self._tokens = counter("rerankd_computed_tokens", "Tokens computed", model)
        self._padding = counter("rerankd_padding_tokens", "Tokens of padding computed", model)
        self._pairs = counter("rerankd_computed_pairs", "Pairs computed", model)
        self._hits = counter("rerankd_cache_hits", "Pairs found in the cache", model)
        self._misses = counter("rerankd_cache_misses", "Pairs not found in the cache", model)
        self._dropped = counter("rerankd_dropped_pairs", "Pairs dropped uncomputed", ("model", "reason"))
        self._refused = counter("rerankd_request_refused", "Requests refused whole", ("model", "reason"))
        self._failures = counter("rerankd_engine_failures", "Failures in engines", ("model", "kind"))
        self.jobs = counter("rerankd_jobs", "Jobs handed in", ("priority",))
        self.searches = counter(
            "rerankd_searches", "Questions to the index, by whether anything was found", ("result",)
        )
        self.retrieval = Histogram(
            "rerankd_retrieval_duration_seconds", "Of the first stage", buckets=_SECONDS, registry=self.registry
        )
        self._reloads = counter(
            "rerankd_rules_reloads", "Changed files of rules, by whether they were good", ("result",)
        )
        self.feedback = counter("rerankd_feedback", "Items of feedback taken")
        self._decisions = counter("rerankd_experiment_decisions", "Decisions that this instance made", ("action",))
        self._ratio = Gauge(
            "rerankd_batch_padding_ratio", "Share of padding in the last batch", model, registry=self.registry
        )
        build = Gauge("rerankd_build_info", "Always 1; the version is a label", ("version",), registry=self.registry)
        build.labels(__version__).set(1)

    def watch(self, pool: ModelPool, ready: Callable[[], bool], depth: Callable[[], QueueDepth] | None = None) -> None:
        """Add the gauges of a pool, and of the parts of jobs that wait."""
        self.registry.register(_PoolGauges(pool, ready, depth))

    def watch_traces(self, writer: TraceWriter | None) -> None:
        """Add what becomes of traces, where they are written."""
        if writer is not None:
            self.registry.register(_TraceCounts(writer))

    def rules_changed(self, good: bool) -> None:
        """A changed file of rules took over, or was refused."""
        self._reloads.labels("good" if good else "bad").inc()

    def watch_rules(self, rules: RulesWatcher | None) -> None:
        """Add which rules are in force, where there is a file of them."""
        if rules is not None:
            self._reloads.labels("good")
            self._reloads.labels("bad")
            self.registry.register(_RuleGauges(rules))

    def watch_registry(self, pool: ModelPool, follower: AliasFollower | None) -> None:
        """Add which versions are served, where there is what follows a registry."""
        if follower is not None:
            self.registry.register(_RegistryGauges(pool, follower))

    def decided(self, action: str) -> None:
        """This instance decided on an experiment."""
        self._decisions.labels(action).inc()

    def watch_experiments(self, experiments: ExperimentSync | None, traffic: Traffic, shadow: ShadowQueue) -> None:
        """Add what experiments do, where they are on."""
        if experiments is not None:
            for action in ("advance", "promote", "roll_back", "stop", "refuse"):
                self._decisions.labels(action)
            self.registry.register(ExperimentGauges(experiments, traffic, shadow))

    def watch_activity(self) -> Callable[[list[Activity]], None]:
        """Add what reranking did lately; call what is returned when that is known anew."""
        gauges = _ActivityGauges()
        self.registry.register(gauges)
        return gauges.show

    def serve(self, port: int) -> None:
        """Answer Prometheus from a thread of its own, where there is no service to do so."""
        start_http_server(port, registry=self.registry)

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self.registry)

    def encoded(self, model: str, seconds: float) -> None:
        """A slice was tokenised."""
        self._tokenization.labels(model).observe(seconds)

    def batch(self, model: str, pairs: int, tokens: int, padded: int, seconds: float) -> None:
        """A batch was computed."""
        self._batch_size.labels(model).observe(pairs)
        self._batch_tokens.labels(model).observe(tokens)
        self._batch_seconds.labels(model).observe(seconds)
        self._pairs.labels(model).inc(pairs)
        self._tokens.labels(model).inc(tokens)
        self._padding.labels(model).inc(padded - tokens)
        self._ratio.labels(model).set((padded - tokens) / padded if padded else 0.0)

    def cached(self, model: str, hits: int, misses: int) -> None:
        """The cache was asked."""
        self._hits.labels(model).inc(hits)
        self._misses.labels(model).inc(misses)

    def dropped(self, model: str, pairs: int, reason: str) -> None:
        """Pairs were dropped."""
        self._dropped.labels(model, reason).inc(pairs)

    def refused(self, model: str, reason: str) -> None:
        """A request was refused."""
        self._refused.labels(model, reason).inc()

    def failed(self, model: str, kind: str) -> None:
        """Something broke."""
        self._failures.labels(model, kind).inc()


class _PoolGauges(Collector):
    """Read from the engines when asked."""

    def __init__(self, pool: ModelPool, ready: Callable[[], bool], waiting: Callable[[], QueueDepth] | None) -> None:
        self._pool, self._ready, self._waiting = pool, ready, waiting

    def collect(self) -> Iterable[Metric]:
        gauges = {
            "queue_size": GaugeMetricFamily("rerankd_queue_size", "Requests not answered yet", labels=["model"]),
            "queue_tokens": GaugeMetricFamily("rerankd_queue_tokens", "Tokens waiting or running", labels=["model"]),
            "capacity": GaugeMetricFamily("rerankd_queue_capacity_tokens", "Tokens that may wait", labels=["model"]),
            "speed": GaugeMetricFamily("rerankd_tokens_per_second", "Measured speed", labels=["model"]),
            "bytes": GaugeMetricFamily("rerankd_model_bytes", "Bytes of loaded weights", labels=["model"]),
        }
        for name, model in self._pool.loaded.items():
            engine = model.engine
            gauges["queue_size"].add_metric([name], engine.queued_requests)
            gauges["queue_tokens"].add_metric([name], engine.queued_tokens)
            gauges["capacity"].add_metric([name], engine.admission.capacity)
            gauges["speed"].add_metric([name], engine.admission.rate.tokens_per_second)
            gauges["bytes"].add_metric([name], model.files.size)
        ready = GaugeMetricFamily("rerankd_ready", "Whether the last look found the service ready")
        ready.add_metric([], float(self._ready()))
        jobs = GaugeMetricFamily("rerankd_job_parts_waiting", "Parts of jobs that wait", labels=["priority"])
        if self._waiting is not None:
            waiting = self._waiting()
            jobs.add_metric(["interactive"], waiting.interactive)
            jobs.add_metric(["bulk"], waiting.bulk)
        return [*gauges.values(), ready, jobs]


class _RuleGauges(Collector):
    """Read from the rules when asked."""

    def __init__(self, rules: RulesWatcher) -> None:
        self._rules = rules

    def collect(self) -> Iterable[Metric]:
        info = GaugeMetricFamily("rerankd_rules_info", "Rules in force; the version is a label", labels=["version"])
        info.add_metric([self._rules.current.version], len(self._rules.current))
        stale = GaugeMetricFamily("rerankd_rules_stale", "1 while the file is refused and older rules are in force")
        stale.add_metric([], float(bool(self._rules.error)))
        return [info, stale]


class _RegistryGauges(Collector):
    """Read from what follows the registry when asked."""

    def __init__(self, pool: ModelPool, follower: AliasFollower) -> None:
        self._pool, self._follower = pool, follower

    def collect(self) -> Iterable[Metric]:
        name = "rerankd_registry"
        labels = ["model"]
        version = GaugeMetricFamily(
            f"{name}_version", "Always 1; the registered version is a label", labels=["model", "version"]
        )
        for model in self._pool.names:
            card = self._follower.card(model)
            if card is not None and card["version"] is not None:
                version.add_metric([model, str(card["version"])], 1.0)
        stale = GaugeMetricFamily(
            f"{name}_stale", "1 while what is served may not be what its alias means", labels=labels
        )
        refused = CounterMetricFamily(
            f"{name}_refused", "Versions that an alias led to and that were bad", labels=labels
        )
        swaps = CounterMetricFamily(f"{name}_swaps", "Versions taken over while serving", labels=labels)
        followed = self._follower.followed
        for model, one in followed.items():
            stale.add_metric([model], float(bool(one.fault)))
            refused.add_metric([model], one.refusals)
            swaps.add_metric([model], one.swaps)
        up = GaugeMetricFamily(f"{name}_up", "Whether the registry answered last, where one is followed")
        if followed:
            up.add_metric([], float(self._follower.up))
        return [version, stale, refused, swaps, up]


class _TraceCounts(Collector):
    """Read from the writer when asked."""

    def __init__(self, writer: TraceWriter) -> None:
        self._writer = writer

    def collect(self) -> Iterable[Metric]:
        counts = self._writer.counts
        written = CounterMetricFamily("rerankd_traces_written", "Traces written")
        written.add_metric([], counts.written)
        sampled = CounterMetricFamily("rerankd_traces_sampled_out", "Rankings not traced because of traces_sample")
        sampled.add_metric([], counts.sampled_out)
        dropped = CounterMetricFamily("rerankd_traces_dropped", "Traces lost", labels=["reason"])
        for reason in DROPS:
            dropped.add_metric([reason], counts.dropped[reason])
        failures = CounterMetricFamily("rerankd_traces_failures", "Attempts to write traces that failed")
        failures.add_metric([], counts.failures)
        size = GaugeMetricFamily("rerankd_traces_queue_size", "Traces that wait to be written")
        size.add_metric([], self._writer.queued)
        held = GaugeMetricFamily("rerankd_traces_queue_bytes", "Bytes of traces that wait to be written, about")
        held.add_metric([], self._writer.queued_bytes)
        up = GaugeMetricFamily("rerankd_traces_up", "Whether the last attempt to write traces succeeded")
        up.add_metric([], float(counts.is_up))
        return [written, sampled, dropped, failures, size, held, up]


class _ActivityGauges(Collector):
    """The newest look at what reranking did, for the busiest tenants."""

    def __init__(self) -> None:
        self._rows: list[Activity] = []

    def show(self, rows: list[Activity]) -> None:
        self._rows = rows[:MAX_ROWS]

    def collect(self) -> Iterable[Metric]:
        labels = ["model", "tenant"]
        found: list[Metric] = []
        for name, about, value in _ACTIVITY:
            gauge = GaugeMetricFamily(f"rerankd_activity_{name}", about, labels=labels)
            for row in self._rows:
                if (number := value(row)) is not None:
                    gauge.add_metric([row.model, row.tenant], number)
            found.append(gauge)
        place = GaugeMetricFamily(
            "rerankd_activity_reciprocal_place",
            "Mean of 1 / place of the best chosen document",
            labels=[*labels, "stage"],
        )
        gain = GaugeMetricFamily(
            "rerankd_activity_feedback_gain",
            "Of that mean by reranking, and its 95 % interval",
            labels=[*labels, "bound"],
        )
        for row in self._rows:
            said = row.feedback
            for stage, number in (("before", said.reciprocal_before), ("after", said.reciprocal_after)):
                if number is not None:
                    place.add_metric([row.model, row.tenant, stage], number)
            if said.verdict == "too few":
                continue
            for bound, number in (("low", said.gain_low), ("mean", said.gain), ("high", said.gain_high)):
                if number is not None:
                    gain.add_metric([row.model, row.tenant, bound], number)
        return [*found, place, gain]


MAX_ROWS = 50
_ACTIVITY: tuple[tuple[str, str, Callable[[Activity], float | None]], ...] = (
    ("requests", "Rankings in the window", lambda row: row.requests),
    ("top_changed_ratio", "Share of rankings with another document first", lambda row: row.top_changed),
    ("kendall_tau", "Kendall's tau between the order before and after, mean", lambda row: row.tau),
    ("rank_biased_overlap", "Rank-biased overlap between them, mean", lambda row: row.rbo),
    ("promotion_places", "Places that shown documents rose, mean", lambda row: row.promotion),
    ("top_score", "Logit of the first document, median", lambda row: row.top_score),
    ("margin", "Logits between first and second document, mean", lambda row: row.margin),
    ("score_psi", "Population stability index of top scores against the reference", lambda row: row.psi),
    ("latency_p95_seconds", "Of rankings", lambda row: row.latency_p95_ms / 1000),
    ("truncated_ratio", "Share of documents that were not read whole", lambda row: row.truncated),
    ("feedback_requests", "Rankings with a chosen document", lambda row: row.feedback.requests),
    ("feedback_rejections", "Thumbs down and grades of 0", lambda row: row.feedback.negative),
)
