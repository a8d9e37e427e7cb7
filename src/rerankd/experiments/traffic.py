"""Routing and counting of live traffic: which variant serves a request, and what came of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rerankd.experiments.counters import Counters
from rerankd.experiments.experiment import Experiment
from rerankd.experiments.router import Route, RoutingTable
from rerankd.types import RerankRequest

QueryTexts = tuple[str, Sequence[str]]
"""A query and the texts that were scored for it."""


@dataclass(frozen=True, slots=True)
class AnsweredRanking:
    """A ranking that was answered and that a shadow experiment scores again.

    Attributes:
        request: request that was answered.
        model: name of the model that the request asked for.
        groups: query and texts that were scored.
        logits: logits of the texts in the answer, flat, in the order of the groups.
        milliseconds: time that scoring took; NaN if a part came from the cache.
    """

    request: RerankRequest
    model: str
    groups: Sequence[QueryTexts]
    logits: Sequence[float]
    milliseconds: float


class Traffic:
    """Experiments in force on an instance, and its counters. `routes` is replaced as a whole, so readers need no lock.

    Attributes:
        routes: experiments in force.
        counters: counts that go to the database.
        counts: requests since the start, by experiment and variant.
        shadow: receives answered rankings for shadow experiments; returns at once and never raises.

    Example:
        >>> Traffic().route("mini", RerankRequest("q", [])) is None
        True
    """

    def __init__(self) -> None:
        self.routes = RoutingTable()
        self.counters = Counters()
        self.counts: Counter[tuple[str, str]] = Counter()
        self.shadow: Callable[[AnsweredRanking, Sequence[Route]], None] | None = None

    def route(self, model: str, request: RerankRequest, *, is_ranking: bool = True) -> Route | None:
        """Return the route of a request, or None if it takes part in no experiment."""
        if not self.routes.experiments:
            return None
        route = self.routes.route(model, request, is_ranking=is_ranking)
        if route is not None and not route.participates:
            self.counts[route.experiment.name, route.variant] += 1
            return None
        return route

    def record(self, route: Route, variant: str, values: Mapping[str, float]) -> None:
        """Count the metrics of a request.

        Args:
            route: route of the request.
            variant: variant that the metrics are of.
            values: metrics of the guardrails, as `request_metrics` gives them.
        """
        experiment = route.experiment
        if experiment.state == "running":
            self.counters.add(experiment.id, experiment.step, variant, values, route.unit)

    def count_answer(self, route: Route, variant: str) -> None:
        """Count an answer of a variant."""
        self.counts[route.experiment.name, variant] += 1

    def offer(
        self,
        request: RerankRequest,
        model: str,
        groups: Sequence[QueryTexts],
        logits: Sequence[float],
        milliseconds: float,
    ) -> None:
        """Offer an answered ranking to shadow experiments."""
        if self.shadow is None or not self.routes.experiments or not logits:
            return
        routes = self.routes.shadow_routes(model, request)
        if routes:
            self.shadow(AnsweredRanking(request, model, groups, logits, milliseconds), routes)


def request_metrics(
    experiment: Experiment,
    *,
    errors: bool = False,
    timeouts: bool = False,
    empty: bool = False,
    milliseconds: float = math.nan,
) -> dict[str, float]:
    """Return the guardrail metrics of one request.

    Args:
        experiment: experiment whose latency objective applies.
        errors: True if the model failed.
        timeouts: True if the model took too long.
        empty: True if the model gave no usable score.
        milliseconds: time that scoring took; NaN if it says nothing, as with scores from a cache.

    Returns:
        `errors`, `timeouts` and `empty` as 0 or 1; with a time, `latency` (its natural logarithm) and, once the
        experiment has an objective, `slow`.

    Example:
        >>> request_metrics(Experiment("e", "canary", "mini", "other"), milliseconds=1.0)
        {'errors': 0.0, 'timeouts': 0.0, 'empty': 0.0, 'latency': 0.0}
    """
    values = {"errors": float(errors), "timeouts": float(timeouts), "empty": float(empty)}
    if milliseconds > 0:  # not NaN
        values["latency"] = math.log(milliseconds)
        if experiment.plan.objective_ms:
            values["slow"] = float(milliseconds > experiment.plan.objective_ms)
    return values
