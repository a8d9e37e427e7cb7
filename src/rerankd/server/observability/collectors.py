"""Prometheus collectors: gauges that are read from the parts of an instance at every scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from rerankd.traces.writer import DROPS

if TYPE_CHECKING:
    from rerankd.engine.pool import ModelPool
    from rerankd.feedback.monitoring import Activity
    from rerankd.jobs.store import QueueDepth
    from rerankd.registry.alias_follower import AliasFollower
    from rerankd.rules.watcher import RulesWatcher
    from rerankd.traces.writer import TraceWriter

MAX_ROWS = 50
_ACTIVITY: tuple[tuple[str, str, Callable[[Activity], float | None]], ...] = (
    ("requests", "Rankings in the window", lambda row: row.requests),
    ("top_changed_ratio", "Share of rankings with another document first", lambda row: row.top_changed),
    ("kendall_tau", "Mean Kendall's tau between the order before and after", lambda row: row.tau),
    ("rank_biased_overlap", "Mean rank-biased overlap of the order before and after", lambda row: row.rbo),
    ("promotion_places", "Mean number of ranks that returned documents rose", lambda row: row.promotion),
    ("top_score", "Median of the highest logits", lambda row: row.top_score),
    ("margin", "Mean difference of the scores of the first and the second document", lambda row: row.margin),
    ("score_psi", "Population stability index of top scores against the reference", lambda row: row.psi),
    ("latency_p95_seconds", "95th percentile of the latency of requests", lambda row: _seconds(row.latency_p95_ms)),
    (
        "job_latency_p95_seconds",
        "95th percentile of the latency of rankings in jobs",
        lambda row: _seconds(row.job_latency_p95_ms),
    ),
    ("truncated_ratio", "Share of truncated documents", lambda row: row.truncated),
    ("feedback_requests", "Rankings with positive feedback", lambda row: row.feedback.requests),
    ("feedback_rejections", "Thumbs down and grades of 0", lambda row: row.feedback.negative),
)


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


class PoolGauges(Collector):
    """Gauges of the loaded models, of readiness and of the job queue."""

    def __init__(self, pool: ModelPool, ready: Callable[[], bool], waiting: Callable[[], QueueDepth] | None) -> None:
        self._pool, self._ready, self._waiting = pool, ready, waiting

    def collect(self) -> Iterable[Metric]:
        """Return the current values."""
        gauges = {
            "queue_size": GaugeMetricFamily("rerankd_queue_size", "Requests in progress", labels=["model"]),
            "queue_tokens": GaugeMetricFamily(
                "rerankd_queue_tokens", "Tokens queued or being computed", labels=["model"]
            ),
            "capacity": GaugeMetricFamily(
                "rerankd_queue_capacity_tokens", "Capacity of the queue in tokens", labels=["model"]
            ),
            "speed": GaugeMetricFamily("rerankd_tokens_per_second", "Measured throughput", labels=["model"]),
            "bytes": GaugeMetricFamily("rerankd_model_bytes", "Bytes of loaded weights", labels=["model"]),
        }
        for name, model in self._pool.loaded.items():
            engine = model.engine
            gauges["queue_size"].add_metric([name], engine.queued_requests)
            gauges["queue_tokens"].add_metric([name], engine.queued_tokens)
            gauges["capacity"].add_metric([name], engine.admission.capacity)
            gauges["speed"].add_metric([name], engine.admission.rate.tokens_per_second)
            gauges["bytes"].add_metric([name], model.files.size)
        ready = GaugeMetricFamily("rerankd_ready", "1 if the last readiness probe succeeded")
        ready.add_metric([], float(self._ready()))
        jobs = GaugeMetricFamily("rerankd_job_parts_waiting", "Parts of jobs in the queue", labels=["priority"])
        if self._waiting is not None:
            waiting = self._waiting()
            jobs.add_metric(["interactive"], waiting.interactive)
            jobs.add_metric(["bulk"], waiting.bulk)
        return [*gauges.values(), ready, jobs]


class DependencyGauges(Collector):
    """Gauges of the servers that the process depends on."""

    def __init__(self, up: Callable[[], Mapping[str, bool]]) -> None:
        self._up = up

    def collect(self) -> Iterable[Metric]:
        """Return the current values."""
        gauge = GaugeMetricFamily(
            "rerankd_dependency_up",
            "1 if a server answers: queue (Redis of queue_url), cache (Redis of redis_url), traces (PostgreSQL)",
            labels=["dependency"],
        )
        for name, is_up in self._up().items():
            gauge.add_metric([name], float(is_up))
        return [gauge]


class JobCounts(Collector):
    """Counters of jobs and webhooks, over all services and workers of one queue."""

    def __init__(self, totals: Callable[[], Mapping[str, int]], *, in_process: bool) -> None:
        self._totals, self._in_process = totals, in_process

    def collect(self) -> Iterable[Metric]:
        """Return the current values."""
        totals = self._totals()
        ended = CounterMetricFamily("rerankd_jobs_ended", "Jobs that ended, by state", labels=["state"])
        for state in ("succeeded", "failed", "cancelled", "expired"):
            ended.add_metric([state], totals.get(state, 0))
        dead = CounterMetricFamily("rerankd_jobs_dead", "Parts of jobs that went to the dead-letter queue")
        dead.add_metric([], totals.get("dead", 0))
        webhooks = CounterMetricFamily(
            "rerankd_webhooks",
            "Webhook calls by outcome: delivered, failed (will be repeated) or lost (given up)",
            labels=["outcome"],
        )
        for outcome in ("delivered", "failed", "lost"):
            webhooks.add_metric([outcome], totals.get(f"webhook_{outcome}", 0))
        in_process = GaugeMetricFamily("rerankd_jobs_in_process", "1 if the instance runs jobs itself, without workers")
        in_process.add_metric([], float(self._in_process))
        return [ended, dead, webhooks, in_process]


class RuleGauges(Collector):
    """Gauges of the rule file."""

    def __init__(self, rules: RulesWatcher) -> None:
        self._rules = rules

    def collect(self) -> Iterable[Metric]:
        """Return the current values."""
        info = GaugeMetricFamily(
            "rerankd_rules_info", "Number of rules in force; the version is a label", labels=["version"]
        )
        info.add_metric([self._rules.current.version], len(self._rules.current))
        stale = GaugeMetricFamily(
            "rerankd_rules_stale", "1 while the rule file is invalid and older rules are in force"
        )
        stale.add_metric([], float(bool(self._rules.error)))
        return [info, stale]


class RegistryGauges(Collector):
    """Gauges of the followed aliases of the model registry."""

    def __init__(self, pool: ModelPool, follower: AliasFollower) -> None:
        self._pool, self._follower = pool, follower

    def collect(self) -> Iterable[Metric]:
        """Return the current values."""
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
            f"{name}_stale", "1 while the served version may not be the one of its alias", labels=labels
        )
        refused = CounterMetricFamily(
            f"{name}_refused", "Versions refused because they could not be loaded", labels=labels
        )
        swaps = CounterMetricFamily(f"{name}_swaps", "Zero-downtime model swaps to a new version", labels=labels)
        followed = self._follower.followed
        for model, alias in followed.items():
            stale.add_metric([model], float(bool(alias.fault)))
            refused.add_metric([model], alias.refusals)
            swaps.add_metric([model], alias.swaps)
        up = GaugeMetricFamily(f"{name}_up", "1 if the last request to the registry succeeded")
        if followed:
            up.add_metric([], float(self._follower.up))
        return [version, stale, refused, swaps, up]


class TraceCounts(Collector):
    """Counters of the trace writer."""

    def __init__(self, writer: TraceWriter) -> None:
        self._writer = writer

    def collect(self) -> Iterable[Metric]:
        """Return the current values."""
        counts = self._writer.counts
        written = CounterMetricFamily("rerankd_traces_written", "Traces written")
        written.add_metric([], counts.written)
        sampled = CounterMetricFamily("rerankd_traces_sampled_out", "Rankings not traced because of traces_sample")
        sampled.add_metric([], counts.sampled_out)
        dropped = CounterMetricFamily("rerankd_traces_dropped", "Traces dropped", labels=["reason"])
        for reason in DROPS:
            dropped.add_metric([reason], counts.dropped[reason])
        failures = CounterMetricFamily("rerankd_traces_failures", "Failed attempts to write traces")
        failures.add_metric([], counts.failures)
        size = GaugeMetricFamily("rerankd_traces_queue_size", "Traces in the queue")
        size.add_metric([], self._writer.queued)
        waiting_bytes = GaugeMetricFamily("rerankd_traces_queue_bytes", "Approximate bytes of the traces in the queue")
        waiting_bytes.add_metric([], self._writer.queued_bytes)
        up = GaugeMetricFamily("rerankd_traces_up", "1 if the last attempt to write traces succeeded")
        up.add_metric([], float(counts.is_up))
        return [written, sampled, dropped, failures, size, waiting_bytes, up]


class ActivityGauges(Collector):
    """Gauges of recent reranking activity, for the busiest tenants."""

    def __init__(self) -> None:
        self._rows: list[Activity] = []

    def update(self, rows: list[Activity]) -> None:
        """Replace the rows."""
        self._rows = rows[:MAX_ROWS]

    def collect(self) -> Iterable[Metric]:
        """Return the current values."""
        labels = ["model", "tenant"]
        gauges: list[Metric] = []
        for name, description, value in _ACTIVITY:
            gauge = GaugeMetricFamily(f"rerankd_activity_{name}", description, labels=labels)
            for row in self._rows:
                if (number := value(row)) is not None:
                    gauge.add_metric([row.model, row.tenant], number)
            gauges.append(gauge)
        rank = GaugeMetricFamily(
            "rerankd_activity_reciprocal_place",
            "Mean reciprocal rank of the best chosen document",
            labels=[*labels, "stage"],
        )
        gain = GaugeMetricFamily(
            "rerankd_activity_feedback_gain",
            "Gain in mean reciprocal rank by reranking, with its 95 % interval",
            labels=[*labels, "bound"],
        )
        for row in self._rows:
            feedback = row.feedback
            for stage, number in (("before", feedback.reciprocal_before), ("after", feedback.reciprocal_after)):
                if number is not None:
                    rank.add_metric([row.model, row.tenant, stage], number)
            if feedback.verdict == "too few":
                continue
            for bound, number in (("low", feedback.gain_low), ("mean", feedback.gain), ("high", feedback.gain_high)):
                if number is not None:
                    gain.add_metric([row.model, row.tenant, bound], number)
        return [*gauges, rank, gain]
