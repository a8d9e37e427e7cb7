"""The demo's experiments, decided by the controller of a service: one that was promoted, and one that is running."""

from __future__ import annotations

from dataclasses import replace

from rerankd.console.demo_models import MODEL, DemoModel
from rerankd.console.demo_visits import Visits
from rerankd.experiments.controller import Controller
from rerankd.experiments.experiment import CHALLENGER, Experiment
from rerankd.experiments.guardrails import ExperimentPlan
from rerankd.experiments.history import ExperimentEvent
from rerankd.experiments.router import RoutingTable
from rerankd.experiments.store import ExperimentStore
from rerankd.experiments.traffic import Traffic, request_metrics
from rerankd.ranking.requests import build_request
from rerankd.types import RerankRequest

STARTED_BY = "search-team"
INSTANCE = "demo-1"
VISITS_PER_SECOND = 1 / 1500
REQUESTS_PER_STEP = 3000
REQUESTS_SO_FAR = 620


def run_finished_canary(
    visits: Visits, window: tuple[float, float], champion: DemoModel, challenger: DemoModel, reference: str
) -> None:
    """Run a canary through all its steps until it is promoted, and end it.

    Args:
        visits: writes the rankings.
        window: start and end, in seconds since 1970.
        champion: model before.
        challenger: model after.
        reference: model reference of the challenger.
    """
    plan = ExperimentPlan(steps=(0.1, 0.5, 1.0), min_requests=200, proven_from=0.5, min_seconds=3600)
    canary = _Canary(visits, Experiment("read-256", "canary", MODEL, reference, seed="demo", plan=plan), window[0])
    step = (window[1] - window[0]) / len(plan.steps)
    for number in range(len(plan.steps)):
        start = window[0] + number * step
        canary.serve(start, start + step, champion, challenger, REQUESTS_PER_STEP, slowdown=1.06)
        canary.review(start + step)
    ended = ExperimentEvent("read-256", "end", "The challenger is the model now.", STARTED_BY, 1.0, {})
    canary.end(ended)


def start_running_canary(
    visits: Visits, window: tuple[float, float], champion: DemoModel, challenger: DemoModel, reference: str
) -> None:
    """Start a canary and bring it to its second step.

    Args:
        visits: writes the rankings.
        window: start and current time, in seconds since 1970.
        champion: model that is served.
        challenger: model that is tried.
        reference: model reference of the challenger.
    """
    plan = ExperimentPlan(steps=(0.1, 0.25, 0.5, 1.0), min_requests=400, proven_from=0.5, min_seconds=3600)
    canary = _Canary(visits, Experiment("read-128", "canary", MODEL, reference, seed="demo", plan=plan), window[0])
    middle = (window[0] + window[1]) / 2
    canary.serve(window[0], middle, champion, challenger, 5000, slowdown=0.9)
    canary.review(middle)
    canary.serve(middle, window[1], champion, challenger, REQUESTS_SO_FAR, slowdown=0.9)


class _Canary:
    """A canary in a store, at times that have passed."""

    def __init__(self, visits: Visits, experiment: Experiment, start: float) -> None:
        self._visits, self._now = visits, start
        self._store = ExperimentStore(visits.store, lambda: self._now)
        self._name = experiment.name
        self._store.start(experiment, STARTED_BY)
        self._controller = Controller(self._store, INSTANCE)

    def serve(
        self, start: float, end: float, champion: DemoModel, challenger: DemoModel, requests: int, *, slowdown: float
    ) -> None:
        """Write the visits of a time, of which traces keep a sample, and count all requests."""
        experiment = self._store.get(self._name)
        table = RoutingTable([experiment])

        def route(request: RerankRequest) -> tuple[DemoModel, str, str]:
            found = table.route(MODEL, request)
            if found is None or not found.participates:
                return champion, "", ""
            return (challenger if found.variant == CHALLENGER else champion), experiment.name, found.variant

        self._visits.between(start, end, VISITS_PER_SECOND, route)
        self._count(experiment, requests, slowdown)

    def _count(self, experiment: Experiment, requests: int, slowdown: float) -> None:
        """Count requests of users, whose rankings are not all traced."""
        draw, traffic = self._visits.draw, Traffic()
        traffic.routes = RoutingTable([experiment])
        for number in range(requests):
            request = build_request("", (), model=MODEL, user=f"user-{number // 2}")
            route = traffic.route(MODEL, request)
            if route is not None:
                factor = slowdown if route.variant == CHALLENGER else 1.0
                milliseconds = 38 * factor * draw.lognormvariate(0, 0.3)
                traffic.record(route, route.variant, request_metrics(experiment, milliseconds=milliseconds))
        self._store.add_counts(traffic.counters.drain())

    def review(self, now: float) -> None:
        """Let the controller decide until it waits."""
        self._now = now
        while (experiment := self._store.get(self._name)).state == "running" and self._controller.review([experiment]):
            pass

    def end(self, event: ExperimentEvent) -> None:
        """End the experiment, which is promoted."""
        self._store.end(self._store.get(self._name), replace(event, time=self._now))
