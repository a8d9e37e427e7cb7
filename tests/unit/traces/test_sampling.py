from __future__ import annotations

import pytest

from rerankd.traces.sampling import is_sampled
from tests.unit.traces.rankings import ranking


def test_every_ranking_is_sampled_by_default() -> None:
    assert is_sampled(ranking(request_id=""), {})


def test_a_rate_is_of_its_tenant() -> None:
    rates = {"search": 0.0, "*": 1.0}
    assert not is_sampled(ranking(tenant="search"), rates)
    assert is_sampled(ranking(tenant="other"), rates)
    assert not is_sampled(ranking(tenant="other"), {"search": 1.0, "*": 0.0})


def test_a_request_id_is_always_sampled_or_never() -> None:
    names = [f"r{number}" for number in range(400)]
    sampled = [is_sampled(ranking(request_id=name), {"search": 0.5}) for name in names]
    assert sampled == [is_sampled(ranking(request_id=name, at=1e9), {"search": 0.5}) for name in names]
    assert sum(sampled) == pytest.approx(200, abs=60)


def test_requests_without_id_are_sampled_by_time_and_query() -> None:
    records = [ranking(request_id="", at=1e9 + number) for number in range(400)]
    assert sum(is_sampled(record, {"search": 0.5}) for record in records) == pytest.approx(200, abs=60)
