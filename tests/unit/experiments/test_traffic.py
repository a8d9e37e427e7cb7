from __future__ import annotations

import math
from dataclasses import replace

from rerankd.experiments.experiment import CHALLENGER, Experiment
from rerankd.experiments.guardrails import ExperimentPlan
from rerankd.experiments.router import RoutingTable
from rerankd.experiments.traffic import AnsweredRanking, Traffic, request_metrics
from rerankd.types import RerankRequest

ONE = Experiment("e", "canary", "mini", "other", seed="s", coverage=1.0, id=3)
REQUEST = RerankRequest("q", [], user="u")


def test_requests_without_a_unit_are_counted_as_such() -> None:
    traffic = Traffic()
    traffic.routes = RoutingTable([ONE])
    assert traffic.route("mini", RerankRequest("q", [])) is None
    assert traffic.counts == {("e", "no_unit"): 1}
    route = traffic.route("mini", REQUEST)
    assert route is not None
    traffic.count_answer(route, CHALLENGER)
    assert traffic.counts["e", CHALLENGER] == 1


def test_what_was_promoted_is_not_counted_any_more() -> None:
    traffic = Traffic()
    traffic.routes = RoutingTable([replace(ONE, state="promoted")])
    route = traffic.route("mini", RerankRequest("q", []))
    assert route is not None
    traffic.record(route, CHALLENGER, {"errors": 1.0})
    assert not traffic.counters.drain()


def test_numbers_of_a_request() -> None:
    assert request_metrics(ONE, errors=True) == {"errors": 1.0, "timeouts": 0.0, "empty": 0.0}
    assert request_metrics(ONE, milliseconds=math.nan) == {"errors": 0.0, "timeouts": 0.0, "empty": 0.0}
    limited = replace(ONE, plan=ExperimentPlan(objective_ms=10.0))
    assert [request_metrics(limited, milliseconds=spent)["slow"] for spent in (5.0, 10.0, 10.1)] == [0.0, 0.0, 1.0]


def test_shadows_are_offered_what_they_want() -> None:
    traffic = Traffic()
    offered: list[AnsweredRanking] = []
    traffic.shadow = lambda answered, routes: offered.append(answered)
    traffic.offer(REQUEST, "mini", [], [1.0], 5.0)
    traffic.routes = RoutingTable([ONE])
    traffic.offer(REQUEST, "mini", [], [1.0], 5.0)
    assert offered == []
    traffic.routes = RoutingTable([replace(ONE, kind="shadow")])
    traffic.offer(REQUEST, "mini", [], [1.0], 5.0)
    assert [one.model for one in offered] == ["mini"]
