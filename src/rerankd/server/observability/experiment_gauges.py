"""Prometheus collector of experiments."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from rerankd.experiments.sync import ExperimentSync
    from rerankd.experiments.traffic import Traffic
    from rerankd.pipeline.shadow import ShadowQueue


class ExperimentGauges(Collector):
    """Gauges of the experiments in force on an instance."""

    def __init__(self, experiments: ExperimentSync, traffic: Traffic, shadow: ShadowQueue) -> None:
        self._experiments, self._traffic, self._shadow = experiments, traffic, shadow

    def collect(self) -> Iterable[Metric]:
        """Return the current values."""
        requests = CounterMetricFamily(
            "rerankd_experiment_requests",
            "Requests in experiments, by the variant that served them",
            labels=["experiment", "arm"],
        )
        for (name, variant), count in sorted(self._traffic.counts.items()):
            requests.add_metric([name, variant], count)
        coverage = GaugeMetricFamily(
            "rerankd_experiment_coverage",
            "Share of units enrolled in an experiment that this instance runs",
            labels=["experiment", "model", "kind", "state"],
        )
        for experiment in self._traffic.routes.experiments:
            labels = [experiment.name, experiment.model, experiment.kind, experiment.state]
            coverage.add_metric(labels, experiment.coverage)
        compared = CounterMetricFamily(
            "rerankd_experiment_shadows",
            "Shadow rankings by result: compared, dropped or failed",
            labels=["experiment", "result"],
        )
        for (name, result), count in sorted(self._shadow.counts.items()):
            compared.add_metric([name, result], count)
        stale = GaugeMetricFamily("rerankd_experiments_stale", "1 while the experiment database is unreachable")
        stale.add_metric([], float(self._experiments.stale))
        age = GaugeMetricFamily(
            "rerankd_experiments_age_seconds", "Seconds since the experiments were last read from the database"
        )
        age.add_metric([], self._experiments.age)
        return [requests, coverage, compared, stale, age]
