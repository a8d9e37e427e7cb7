"""Experiments on live traffic: A/B tests, interleaving, canaries and shadow traffic, with sticky assignment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerankd._common.lazy import lazy_exports

if TYPE_CHECKING:
    from rerankd.experiments.experiment import Experiment
    from rerankd.experiments.guardrails import ExperimentPlan, Guardrail
    from rerankd.experiments.history import ExperimentEvent
    from rerankd.experiments.router import Route, RoutingTable
    from rerankd.experiments.store import ExperimentStore
    from rerankd.experiments.sync import ExperimentSync
    from rerankd.experiments.traffic import Traffic

__all__ = [
    "Experiment",
    "ExperimentEvent",
    "ExperimentPlan",
    "ExperimentStore",
    "ExperimentSync",
    "Guardrail",
    "Route",
    "RoutingTable",
    "Traffic",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "rerankd.experiments.experiment": ("Experiment",),
        "rerankd.experiments.guardrails": ("ExperimentPlan", "Guardrail"),
        "rerankd.experiments.history": ("ExperimentEvent",),
        "rerankd.experiments.router": ("Route", "RoutingTable"),
        "rerankd.experiments.store": ("ExperimentStore",),
        "rerankd.experiments.sync": ("ExperimentSync",),
        "rerankd.experiments.traffic": ("Traffic",),
    },
)
