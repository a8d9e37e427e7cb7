"""The alerts that the project ships, with their thresholds.

`deploy/prometheus/rules.yml` has the same rules for Prometheus; a test compares both, so that a threshold is decided
here. The console evaluates those whose figures it can read: from the traces, which are the same for all instances, or
from the gauges of its own instance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["critical", "warning", "info"]
AlertSource = Literal["traces", "instance", "prometheus"]
MINUTE, HOUR = 60, 3600
SLOW_BUDGET = 0.01
"""Share of scoring requests that may be slower than a second, over 30 days."""
FAST_BURN, SLOW_BURN = 14.4, 6.0
"""Multiples of the budget that spend that of 30 days within two and five days."""
DRIFT_STRONG = 0.25
DRIFT_NOTICEABLE = 0.1


@dataclass(frozen=True, slots=True)
class AlertRule:
    """An alert.

    Attributes:
        name: name in Prometheus.
        severity: `critical`, `warning` or `info`.
        seconds: time for which the condition must hold (`for`).
        source: where the console reads its figure: `traces`, `instance`, or `prometheus` for nowhere.
        threshold: limit of the figure.
        comparison: how the figure violates it.
        expression: expression in Prometheus; empty where the console does not evaluate the alert.
        gauge: gauge of the instance that holds the figure.
        divisor: gauge that the figure is divided by; empty for none.
        label: label of the gauge that tells apart what is affected.
        only: label and value that the gauge must have.
        spans: times before now in each of which the figure is measured, in seconds, by their names.
    """

    name: str
    severity: Severity
    seconds: int = 0
    source: AlertSource = "prometheus"
    threshold: float = 0.0
    comparison: Literal[">", "<", "=="] = ">"
    expression: str = ""
    gauge: str = ""
    divisor: str = ""
    label: str = ""
    only: tuple[str, str] | None = None
    spans: Mapping[str, int] = field(default_factory=dict)

    def holds(self, value: float) -> bool:
        """Return True if a figure violates the threshold."""
        if self.comparison == "==":
            return value == self.threshold
        return value > self.threshold if self.comparison == ">" else value < self.threshold


def _slow(name: str, severity: Severity, seconds: int, burn: float, spans: dict[str, int]) -> AlertRule:
    expression = " and ".join(f"rerankd:slow:ratio{span} > {burn:g} * {SLOW_BUDGET:g}" for span in spans)
    threshold = burn * SLOW_BUDGET
    return AlertRule(name, severity, seconds, "traces", threshold, expression=expression, spans=spans)


def _gauge(
    name: str,
    severity: Severity,
    seconds: int,
    gauge: str,
    comparison: Literal[">", "=="],
    threshold: float,
    label: str = "",
) -> AlertRule:
    expression = f"{gauge} {comparison} {threshold:g}"
    return AlertRule(name, severity, seconds, "instance", threshold, comparison, expression, gauge, label=label)


_QUEUE_LIMIT, _JOBS_LIMIT = 0.7, 50
ALERT_RULES = (
    AlertRule(
        "RerankdRerankingHurts",
        "critical",
        10 * MINUTE,
        "traces",
        0.0,
        "<",
        'max by (model) (rerankd_activity_feedback_gain{tenant="*", bound="high"}) < 0',
    ),
    AlertRule(
        "RerankdScoresDrift",
        "warning",
        30 * MINUTE,
        "traces",
        DRIFT_STRONG,
        ">",
        f'max by (model) (rerankd_activity_score_psi{{tenant="*"}}) > {DRIFT_STRONG:g}',
    ),
    _slow("RerankdSlowFast", "critical", 2 * MINUTE, FAST_BURN, {"5m": 5 * MINUTE, "1h": HOUR}),
    _slow("RerankdSlow", "warning", 15 * MINUTE, SLOW_BURN, {"30m": 30 * MINUTE, "6h": 6 * HOUR}),
    _gauge("RerankdNotReady", "warning", 2 * MINUTE, "rerankd_ready", "==", 0),
    AlertRule(
        "RerankdQueueLong",
        "warning",
        2 * MINUTE,
        "instance",
        _QUEUE_LIMIT,
        ">",
        f"max by (job, instance, model) (rerankd_queue_tokens / rerankd_queue_capacity_tokens) > {_QUEUE_LIMIT:g}",
        gauge="rerankd_queue_tokens",
        divisor="rerankd_queue_capacity_tokens",
        label="model",
    ),
    _gauge("RerankdTracesNotWritten", "warning", 2 * MINUTE, "rerankd_traces_up", "==", 0),
    _gauge("RerankdRegistryStale", "warning", 10 * MINUTE, "rerankd_registry_stale", "==", 1, "model"),
    _gauge("RerankdExperimentsStale", "warning", 5 * MINUTE, "rerankd_experiments_stale", "==", 1),
    _gauge("RerankdDependencyDown", "warning", 2 * MINUTE, "rerankd_dependency_up", "==", 0, "dependency"),
    AlertRule(
        "RerankdJobsWait",
        "warning",
        5 * MINUTE,
        "instance",
        _JOBS_LIMIT,
        ">",
        f'max by (priority) (rerankd_job_parts_waiting{{priority="interactive"}}) > {_JOBS_LIMIT:g}',
        gauge="rerankd_job_parts_waiting",
        only=("priority", "interactive"),
    ),
    AlertRule("RerankdInstanceDown", "warning", MINUTE),
    AlertRule("RerankdNoneReady", "critical", 30),
    AlertRule("RerankdRefusals", "warning", 5 * MINUTE),
    AlertRule("RerankdErrors", "critical", 5 * MINUTE),
    AlertRule("RerankdEngineDied", "critical"),
    AlertRule("RerankdOutOfMemory", "warning"),
    AlertRule("RerankdPairsFail", "warning"),
    AlertRule("RerankdTracesLost", "warning"),
    AlertRule("RerankdBacklogGrows", "info", HOUR),
    AlertRule("RerankdNoWorker", "critical", 2 * MINUTE),
    AlertRule("RerankdJobsDead", "warning"),
    AlertRule("RerankdWebhooksLost", "warning"),
    AlertRule("RerankdVersionsDiffer", "info", 30 * MINUTE),
)
"""All shipped alerts, those that the console evaluates first."""
