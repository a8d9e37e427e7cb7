"""Routing of a request to a variant: a pure function of the experiments, the request and its unit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from rerankd.experiments.assignment import Variant, assign
from rerankd.experiments.experiment import CHALLENGER, CHAMPION, INTERLEAVED, Experiment
from rerankd.types import RerankRequest

NO_UNIT, OUTSIDE = "no_unit", "outside"
SPLIT = 0.5
_VARIANTS = {
    "canary": (Variant(CHALLENGER, 1.0),),
    "split": (Variant(CHALLENGER, SPLIT), Variant(CHAMPION, SPLIT)),
    "interleave": (Variant(INTERLEAVED, 1.0),),
    "shadow": (Variant(CHALLENGER, 1.0),),
}


@dataclass(frozen=True, slots=True)
class Route:
    """The variant that serves a request.

    Attributes:
        experiment: experiment on the request's model.
        variant: `champion`, `challenger` or `interleaved`; or the reason why the request takes no part: `no_unit` or
            `outside`.
        unit: hash of the request's unit; empty if there is none to count.
    """

    experiment: Experiment
    variant: str
    unit: str = ""

    @property
    def participates(self) -> bool:
        """True if the request is part of the experiment."""
        return self.variant not in (NO_UNIT, OUTSIDE)


class RoutingTable:
    """Experiments whose challengers are loaded, by model.

    Args:
        experiments: running or promoted experiments; one per model among those that answer requests.

    Example:
        >>> table = RoutingTable([Experiment("new", "canary", "mini", "org/name", coverage=1.0)])
        >>> table.route("mini", RerankRequest("q", [], user="u1")).variant, table.route("other", RerankRequest("q", []))
        ('challenger', None)
    """

    def __init__(self, experiments: Iterable[Experiment] = ()) -> None:
        self.experiments = tuple(experiments)
        self._answering = {
            experiment.model: experiment for experiment in self.experiments if experiment.kind != "shadow"
        }

    def route(self, model: str, request: RerankRequest, *, is_ranking: bool = True) -> Route | None:
        """Return the route of a request, or None if there is no experiment on its model.

        Args:
            model: name of the model that the request asks for.
            request: request whose unit decides.
            is_ranking: True if a ranking is asked for; scores of pairs cannot be interleaved.
        """
        experiment = self._answering.get(model)
        if experiment is None:
            return None
        if experiment.state == "promoted":
            return Route(experiment, CHALLENGER)
        if _in_background(request) or (experiment.kind == "interleave" and not is_ranking):
            return Route(experiment, OUTSIDE)
        return assign_route(experiment, request)

    def shadow_routes(self, model: str, request: RerankRequest) -> list[Route]:
        """Return the routes of the shadow experiments that score a request after its answer."""
        if _in_background(request):
            return []
        routes = [
            assign_route(experiment, request)
            for experiment in self.experiments
            if experiment.kind == "shadow" and experiment.model == model and experiment.state == "running"
        ]
        return [route for route in routes if route.participates]


def assign_route(experiment: Experiment, request: RerankRequest) -> Route:
    """Return the route of a request in a running experiment.

    A request needs no unit if the experiment covers everything and nothing has to stick to a variant (`shadow` and
    `interleave`).
    """
    unit = unit_of(experiment, request)
    if not unit:
        if experiment.kind in ("shadow", "interleave") and experiment.coverage >= 1:
            return Route(experiment, _VARIANTS[experiment.kind][0].name)
        return Route(experiment, NO_UNIT)
    variant = assign(_VARIANTS[experiment.kind], experiment.coverage, experiment.seed, unit)
    if variant is None:
        variant = CHAMPION if experiment.kind == "canary" else OUTSIDE
    return Route(experiment, variant, unit_hash(experiment, unit))


def challenger_share(experiment: Experiment) -> float:
    """Return the share of a running experiment's units that the challenger should get."""
    return SPLIT if experiment.kind == "split" else experiment.coverage


def unit_of(experiment: Experiment, request: RerankRequest) -> str:
    """Return the user, tenant or session of a request that sticks to a variant; empty if it names none."""
    return {"user": request.user, "tenant": request.tenant, "session": request.session}[experiment.unit]


def unit_hash(experiment: Experiment, unit: str) -> str:
    """Return the stored hash of a unit: it tells units of one experiment apart and links to no other experiment."""
    return hashlib.sha256(f"{experiment.seed}\0{unit}".encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _in_background(request: RerankRequest) -> bool:
    return request.background or request.source == "job"
