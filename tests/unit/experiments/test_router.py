from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd.experiments.experiment import CHALLENGER, CHAMPION, INTERLEAVED, Experiment, ExperimentKind
from rerankd.experiments.router import NO_UNIT, OUTSIDE, RoutingTable, challenger_share, unit_hash
from rerankd.types import RerankRequest

SHARES = st.floats(0.0001, 1.0)


def experiment(kind: ExperimentKind = "canary", coverage: float = 0.5, **more: object) -> Experiment:
    return replace(Experiment("e", kind, "mini", "other", seed="seed", coverage=coverage, id=1), **more)  # type: ignore[arg-type]


def variant_of(one: Experiment, user: str = "", **more: object) -> str | None:
    route = RoutingTable([one]).route("mini", RerankRequest("q", [], user=user, **more))  # type: ignore[arg-type]
    return route.variant if route else None


@given(st.text(min_size=1), SHARES, SHARES)
def test_raising_coverage_moves_no_unit_away_from_the_challenger(user: str, one: float, other: float) -> None:
    low, high = sorted((one, other))
    if variant_of(experiment(coverage=low), user) == CHALLENGER:
        assert variant_of(experiment(coverage=high), user) == CHALLENGER


@given(st.text(min_size=1), SHARES, SHARES)
def test_raising_the_coverage_of_a_split_moves_nobody_between_arms(user: str, one: float, other: float) -> None:
    low, high = (variant_of(experiment("split", share), user) for share in sorted((one, other)))
    assert low in (OUTSIDE, high)


@given(st.text(min_size=1), SHARES)
def test_assignment_knows_nothing_but_the_row_and_the_unit(user: str, coverage: float) -> None:
    row = experiment(coverage=coverage)
    requests = [RerankRequest(f"q{n}", [], user=user, request_id=str(n), session=str(n)) for n in range(3)]
    assert len({RoutingTable([row]).route("mini", request) for request in requests}) == 1


@pytest.mark.slow
def test_shares_are_what_they_should_be() -> None:
    users = [f"user-{number}" for number in range(20_000)]
    for one in (experiment(coverage=0.1), experiment("split", 0.4)):
        variants = [variant_of(one, user) for user in users]
        meant = one.coverage * (0.5 if one.kind == "split" else 1)
        assert abs(variants.count(CHALLENGER) / len(users) - meant) < 0.01
    variants = [variant_of(experiment("split", 0.4), user) for user in users]
    assert abs(variants.count(CHAMPION) / len(users) - 0.2) < 0.01
    assert (challenger_share(experiment("split", 0.4)), challenger_share(experiment(coverage=0.1))) == (0.5, 0.1)


def test_who_takes_no_part() -> None:
    assert variant_of(experiment()) == NO_UNIT
    assert variant_of(experiment(unit="tenant"), "user") == NO_UNIT
    assert variant_of(experiment(unit="tenant", coverage=1.0), tenant="t") == CHALLENGER
    assert variant_of(experiment(coverage=1.0), "user", source="job") == OUTSIDE
    assert variant_of(experiment("shadow"), "user") is None
    assert RoutingTable([experiment()]).route("another", RerankRequest("q", [], user="u")) is None
    assert variant_of(experiment("interleave", 1.0)) == INTERLEAVED
    assert variant_of(experiment("interleave", 0.5)) == NO_UNIT
    pairs = RoutingTable([experiment("interleave", 1.0)]).route(
        "mini", RerankRequest("", [], user="u"), is_ranking=False
    )
    assert pairs is not None
    assert not pairs.participates


def test_what_is_promoted_answers_everybody() -> None:
    for kind in ("canary", "interleave"):
        one = experiment(kind, 1.0, state="promoted")
        assert variant_of(one) == variant_of(one, "user") == variant_of(one, source="job") == CHALLENGER


def test_shadows() -> None:
    one, half = experiment("shadow", 1.0), experiment("shadow", 0.5, name="half")
    routes = RoutingTable([one, half])
    assert [route.experiment.name for route in routes.shadow_routes("mini", RerankRequest("q", []))] == ["e"]
    several = [len(routes.shadow_routes("mini", RerankRequest("q", [], user=f"u{n}"))) for n in range(50)]
    assert set(several) == {1, 2}
    assert routes.shadow_routes("mini", RerankRequest("q", [], background=True)) == []


def test_a_hash_leads_to_nobody_in_another_experiment() -> None:
    assert unit_hash(experiment(), "u") != unit_hash(experiment(seed="other"), "u")
    assert len(unit_hash(experiment(), "user@example.org" * 20)) == 16
