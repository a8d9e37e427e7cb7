"""Which arm of which experiment serves a request: a function of the experiments, the request and its unit. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from rerankd.experiments.assignment import Variant, assign
from rerankd.experiments.experiment import CHALLENGER, CHAMPION, INTERLEAVED, Experiment
from rerankd.types import RerankRequest

NO_UNIT, OUTSIDE = "no_unit", "outside"
SPLIT = 0.5
_SHARES = {
    "canary": (Variant(CHALLENGER, 1.0),),
    "split": (Variant(CHALLENGER, SPLIT), Variant(CHAMPION, SPLIT)),
    "interleave": (Variant(INTERLEAVED, 1.0),),
    "shadow": (Variant(CHALLENGER, 1.0),),
}


@dataclass(frozen=True, slots=True)
class Route:
    """What serves a request.

    Attributes:
        experiment: that it is part of.
        variant: `champion`, `challenger` or `interleaved`; or why it takes no part: `no_unit` or `outside`.
        unit: hash of its unit; empty where that does not matter.
    """

    experiment: Experiment
    variant: str
    unit: str = ""

    @property
    def participates(self) -> bool:
        """Whether the request is part of the experiment."""
        return self.variant not in (NO_UNIT, OUTSIDE)


class RoutingTable:
    """The experiments whose challengers are loaded, by model.

    Args:
        experiments: running or promoted; of those that answer, one for each model.

    Example:
        >>> routes = RoutingTable([Experiment("new", "canary", "mini", "org/name", coverage=1.0)])
        >>> routes.of("mini", RerankRequest("q", [], user="u1")).arm, routes.of("other", RerankRequest("q", []))
        ('challenger', None)
    """

    def __init__(self, experiments: Iterable[Experiment] = ()) -> None:
        self.experiments = tuple(experiments)
        self._answering = {one.model: one for one in self.experiments if one.kind != "shadow"}

    def of(self, model: str, request: RerankRequest, *, listed: bool = True) -> Route | None:
        """What serves a request; None where there is no experiment on its model.

        Args:
            model: name of the model that the request asks for.
            request: whose unit counts.
            listed: whether a ranking is asked for, and not scores of pairs, of which no list can be made.
        """
        experiment = self._answering.get(model)
        if experiment is None:
            return None
        if experiment.state == "promoted":
            return Route(experiment, CHALLENGER)
        if _in_background(request) or (experiment.kind == "interleave" and not listed):
            return Route(experiment, OUTSIDE)
        return route(experiment, request)

    def shadows(self, model: str, request: RerankRequest) -> list[Route]:
        """The experiments that score a request once it is answered."""
        if _in_background(request):
            return []
        own = [one for one in self.experiments if one.kind == "shadow" and one.model == model]
        return [found for one in own if one.state == "running" and (found := route(one, request)).participates]


def route(experiment: Experiment, request: RerankRequest) -> Route:
    """The arm of a request in a running experiment.

    Where everything is covered and nothing sticks (`shadow`, `interleave`), a request needs no unit.
    """
    unit = unit_of(experiment, request)
    if not unit:
        if experiment.kind in ("shadow", "interleave") and experiment.coverage >= 1:
            return Route(experiment, _SHARES[experiment.kind][0].name)
        return Route(experiment, NO_UNIT)
    arm = assign(_SHARES[experiment.kind], experiment.coverage, experiment.seed, unit)
    if arm is None:
        arm = CHAMPION if experiment.kind == "canary" else OUTSIDE
    return Route(experiment, arm, unit_hash(experiment, unit))


def share_of(experiment: Experiment) -> float:
    """Share of units of a running experiment that should be the challenger's."""
    return SPLIT if experiment.kind == "split" else experiment.coverage


def unit_of(experiment: Experiment, request: RerankRequest) -> str:
    """What sticks to an arm: user, tenant or session of a request, never its id; empty where it names none."""
    return {"user": request.user, "tenant": request.tenant, "session": request.session}[experiment.unit]


def unit_hash(experiment: Experiment, unit: str) -> str:
    """What is kept of a unit: it tells units of one experiment apart, and leads to nobody in another."""
    return hashlib.sha256(f"{experiment.seed}\0{unit}".encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _in_background(request: RerankRequest) -> bool:
    return request.background or request.source == "job"
