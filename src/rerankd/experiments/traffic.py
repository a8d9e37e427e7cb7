"""Where requests and experiments meet: asked which arm serves a request, and told what came of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rerankd.experiments.counters import Counters
from rerankd.experiments.experiment import Experiment
from rerankd.experiments.router import Route, RoutingTable
from rerankd.types import RerankRequest

Group = tuple[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class AnsweredRanking:
    """A ranking that was answered, for those who score it again.

    Attributes:
        request: what was asked.
        model: name that it was asked of.
        groups: query and texts that were scored.
        logits: of the texts, as they were answered from.
        milliseconds: that scoring took; NaN where the cache had a part in it.
    """

    request: RerankRequest
    model: str
    groups: Sequence[Group]
    logits: Sequence[float]
    milliseconds: float


class Traffic:
    """Knows the experiments in force and counts. `routes` is exchanged whole; without any, requests go their way.

    Attributes:
        routes: experiments in force.
        counters: what the database is told.
        counts: requests by experiment and arm since the start.
        shadow: takes what was answered where a shadow experiment wants it; returns at once and never raises.

    Example:
        >>> Traffic().route("mini", RerankRequest("q", [])) is None
        True
    """

    def __init__(self) -> None:
        self.routes = RoutingTable()
        self.counters = Counters()
        self.counts: Counter[tuple[str, str]] = Counter()
        self.shadow: Callable[[AnsweredRanking, Sequence[Route]], None] | None = None

    def route(self, model: str, request: RerankRequest, *, listed: bool = True) -> Route | None:
        """What serves a request; None where it is part of no experiment."""
        if not self.routes.experiments:
            return None
        found = self.routes.of(model, request, listed=listed)
        if found is not None and not found.participates:
            self.counts[found.experiment.name, found.variant] += 1
            return None
        return found

    def record(self, route: Route, arm: str, values: Mapping[str, float]) -> None:
        """Count what came of a request.

        Args:
            route: that it took.
            arm: whose numbers they are.
            values: guardrails' numbers.
        """
        experiment = route.experiment
        if experiment.state == "running":
            self.counters.add(experiment.id, experiment.step, arm, values, route.unit)

    def count_answer(self, route: Route, arm: str) -> None:
        """Count who answered."""
        self.counts[route.experiment.name, arm] += 1

    def offer(
        self, request: RerankRequest, model: str, groups: Sequence[Group], logits: Sequence[float], milliseconds: float
    ) -> None:
        """Offer a ranking to shadow experiments."""
        if self.shadow is None or not self.routes.experiments or not logits:
            return
        routes = self.routes.shadows(model, request)
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
    """Numbers of one request for the guardrails.

    Args:
        experiment: whose objective for latency counts.
        errors: whether the model failed.
        timeouts: whether it took too long.
        empty: whether it gave no usable score.
        milliseconds: that it took; NaN where that says nothing, as with scores from a cache.

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
